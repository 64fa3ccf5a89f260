//! The life of one launcher: policy in, program started, orders and limits watched, tree destroyed, end reported.
//!
//! One loop around `poll`, no thread. It decides; the other modules act.

use crate::account::{Account, Excess};
use crate::control::{Control, ControlError, wait};
use crate::explain;
use crate::failure::{At, Failure};
use crate::filter::{Allow, Filter, Notices};
use crate::host::{HostError, Watch, become_reaper, take_control_socket};
use crate::init::{Init, open_result};
use crate::lease::{Lease, since_boot};
use crate::limits::GRACE_MAX;
use crate::payload::Payload;
use crate::process_tree::descendants;
use crate::protocol::{Ended, Isolation, Order, Outcome, Policy, Report, Stage, StartFailure};
use crate::reaper::Reaper;
use crate::root;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Pid, pipe2};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What the launcher could not do, for its own standard error: the daemon sees the socket close.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SuperviseError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("waiting for events failed")]
    Poll(#[from] Errno),
}

/// Runs one program from its policy to its reported end.
pub(crate) fn run() -> Result<(), SuperviseError> {
    let mut control = Control::new(take_control_socket()?);
    let child_ends = match become_reaper() {
        Ok(child_ends) => child_ends,
        Err(error) => {
            let failure =
                StartFailure { stage: Stage::Prepare, errno: error.errno(), message: error.to_string() };
            control.report(&Report::StartFailed(failure), &[])?;
            return Err(error.into());
        }
    };
    let (policy, descriptors) = match control.policy() {
        Ok(received) => received,
        Err(error) => return refuse(&control, error),
    };
    match start(&control, child_ends, &policy, descriptors)? {
        Ok(program) => program.supervise(&mut control),
        Err(failure) => Ok(control.report(&Report::StartFailed(failure), &[])?),
    }
}

fn refuse(control: &Control, error: ControlError) -> Result<(), SuperviseError> {
    let failure = StartFailure { stage: Stage::Policy, errno: 0, message: error.to_string() };
    // Whoever sent no usable policy may be gone; the error itself is what is returned.
    let _ = control.report(&Report::StartFailed(failure), &[]);
    Err(error.into())
}

/// A program that was executed, and what is watched about it.
struct Program {
    reaper: Reaper,
    /// With namespaces; the reaper's main process is then init.
    init: Option<Init>,
    result: Option<PathBuf>,
    started: Instant,
    account: Account,
    notices: Notices,
    lease: Lease,
    kill_at: Option<Instant>,
}

/// Why the loop ended; in each case the tree is destroyed next.
enum Cause {
    MainEnded,
    Ordered,
    DaemonGone,
    LeaseOver,
    OutOfMemory(Excess),
}

/// Forks the program and waits until it was executed or failed.
fn start(
    control: &Control,
    child_ends: Watch,
    policy: &Policy,
    descriptors: Vec<OwnedFd>,
) -> Result<Result<Program, StartFailure>, SuperviseError> {
    let started = Instant::now();
    let (failure, tell) = pipe2(OFlag::O_CLOEXEC)?;
    let account = match Account::open(policy) {
        Ok(account) => account,
        Err(failure) => return Ok(Err(explain::failure(policy, &failure))),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (notices, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    let (main, init) = match fork(policy, descriptors, &account, &tell, theirs) {
        Ok(forked) => forked,
        Err(failure) => return Ok(Err(failure)),
    };
    drop(tell);
    let mut reaper = Reaper::new(main, child_ends);
    let answer = await_exec(control, &failure);
    if !matches!(answer, Ok(Exec::Done)) {
        reaper.destroy_tree();
    }
    match answer? {
        Exec::Done => {}
        Exec::Failed(failure) => return Ok(Err(explain::failure(policy, &failure))),
        Exec::DaemonGone => return Err(ControlError::Closed.into()),
    }
    // Below init the program is the first; one that has ended already is spoken of by its init.
    let program = init.as_ref().and_then(|init| Some(descendants(init.pid).first()?.pid)).unwrap_or(main);
    let sockets = init.as_ref().map(Init::sockets).unwrap_or_default();
    let attached: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    if let Err(error) = control.report(&Report::Started { pid: program.as_raw() }, &attached) {
        reaper.destroy_tree();
        return Err(error.into());
    }
    let result = policy.result.clone();
    let notices = Notices::of(&notices);
    let lease = Lease::default();
    Ok(Ok(Program { reaper, init, result, started, account, notices, lease, kill_at: None }))
}

/// Starts the program's first process, which is init where there are namespaces.
fn fork(
    policy: &Policy,
    descriptors: Vec<OwnedFd>,
    account: &Account,
    tell: &OwnedFd,
    notices: OwnedFd,
) -> Result<(Pid, Option<Init>), StartFailure> {
    policy.check().map_err(|error| explain::bad_policy(&error))?;
    let Isolation { namespaces, landlock, seccomp } = policy.isolation;
    let allow = Allow {
        subprocess: policy.subprocess,
        internet: policy.internet,
        attributes: namespaces || !landlock,
    };
    let filter = seccomp.then(|| Filter::build(allow)).transpose();
    let filter = filter.map_err(|error| explain::no_filter(&error))?;
    let payload = Payload::new(policy, filter, descriptors, notices).at(Stage::Descriptors, "");
    let started = payload.and_then(|mut payload| {
        let entrance = account.entrance()?;
        if namespaces {
            let init = Init::start(policy, payload, entrance, tell)?;
            return Ok((init.pid, Some(init)));
        }
        root::place(&policy.files)?;
        Ok((payload.fork(entrance.as_ref(), tell)?, None))
    });
    started.map_err(|failure| explain::failure(policy, &failure))
}

enum Exec {
    Done,
    Failed(Failure),
    DaemonGone,
}

/// Waits for the failure pipe's answer; a start that hangs (a dead network file system) ends with the daemon's patience.
fn await_exec(control: &Control, failure: &OwnedFd) -> Result<Exec, SuperviseError> {
    loop {
        // Orders stay in the socket until the program runs: only the hang-up, always reported, is looked for.
        let mut fds = [
            PollFd::new(failure.as_fd(), PollFlags::POLLIN),
            PollFd::new(control.as_fd(), PollFlags::empty()),
        ];
        wait(&mut fds, None)?;
        if fds[0].any().unwrap_or(true) {
            return match Failure::heard(failure) {
                Ok(Some(failure)) => Ok(Exec::Failed(failure)),
                Ok(None) => Ok(Exec::Done),
                Err(Errno::EINTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
        if fds[1].any().unwrap_or(true) {
            return Ok(Exec::DaemonGone);
        }
    }
}

impl Program {
    fn supervise(mut self, control: &mut Control) -> Result<(), SuperviseError> {
        let cause = self.watch(control);
        let survivors = self.reaper.destroy_tree();
        let wall = self.started.elapsed();
        let killed = Outcome::Signal(Signal::SIGKILL as i32);
        let (ended, result) = match &self.init {
            Some(init) => init.verdict().map_or((killed, None), |(outcome, result)| (outcome, result)),
            // Only a survivor has not ended; it has been sent the signal.
            None => (self.reaper.ended().unwrap_or(killed), self.result.as_deref().and_then(open_result)),
        };
        let daemon_gone = matches!(cause, Cause::DaemonGone);
        let lease_over = matches!(cause, Cause::LeaseOver) && ended == killed;
        let excess = match cause {
            Cause::OutOfMemory(excess) => Some(excess),
            // A process that the kernel killed may be the last that was looked at.
            _ if ended == killed => self.account.killed(),
            _ => None,
        };
        let outcome = match excess {
            _ if lease_over => Outcome::LeaseOver,
            Some(Excess { limit, peak }) => Outcome::OutOfMemory { limit, peak },
            None => ended,
        };
        let survivors = survivors.into_iter().map(Pid::as_raw).collect();
        let usage = self.account.usage(wall);
        let (refused, result_is_there) = (self.notices.refused(), result.is_some());
        let report = Report::Ended(Ended { outcome, usage, survivors, result: result_is_there, refused });
        let attached: Vec<_> = result.iter().map(AsFd::as_fd).collect();
        let reported = control.report(&report, &attached);
        self.account.close();
        match reported {
            // Nobody is there to read it.
            Err(ControlError::Send(_)) if daemon_gone => Ok(()),
            reported => Ok(reported?),
        }
    }

    fn watch(&mut self, control: &mut Control) -> Cause {
        // An order that came with the policy is in memory already: the socket would not wake anyone for it.
        if let Some(cause) = self.obey(control) {
            return cause;
        }
        loop {
            let mut fds = vec![
                PollFd::new(self.reaper.as_fd(), PollFlags::POLLIN),
                PollFd::new(control.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(self.notices.poll_fd());
            if wait(&mut fds, self.next_look()).is_err() {
                // Without poll nothing can be watched; a tree that is not watched must not run.
                return Cause::Ordered;
            }
            let noticed = fds.get(2).and_then(PollFd::revents);
            self.notices.attend(noticed.unwrap_or(PollFlags::empty()));
            self.reaper.collect_orphans();
            if self.reaper.ended().is_some() {
                return Cause::MainEnded;
            }
            if let Some(cause) = self.obey(control) {
                return cause;
            }
            let may_run = self.lease.enforce(since_boot(), self.init.as_ref().map(|init| init.pid));
            if !may_run {
                return Cause::LeaseOver;
            }
            if self.kill_at.is_some_and(|at| at <= Instant::now()) {
                return Cause::Ordered;
            }
            if let Some(excess) = self.account.look() {
                return Cause::OutOfMemory(excess);
            }
        }
    }

    fn next_look(&self) -> Option<Duration> {
        let next = [self.account.due(), self.kill_at].into_iter().flatten().min();
        let next = next.map(|next| next.saturating_duration_since(Instant::now()));
        [next, self.lease.due(since_boot())].into_iter().flatten().min()
    }

    fn obey(&mut self, control: &mut Control) -> Option<Cause> {
        loop {
            match control.next() {
                // Who is stopped cannot obey, and must not run to do so.
                Ok(Some(Order::Stop { .. })) if self.lease.is_frozen() => return Some(Cause::Ordered),
                Ok(Some(Order::Stop { grace_ms })) => {
                    match &self.init {
                        Some(init) => init.terminate(),
                        None => self.reaper.terminate_group(),
                    }
                    let at = Instant::now() + Duration::from_millis(grace_ms).min(GRACE_MAX);
                    self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
                }
                Ok(Some(Order::Lease { until_ms })) => self.lease.renew(Duration::from_millis(until_ms)),
                Ok(Some(Order::Kill)) => return Some(Cause::Ordered),
                Ok(None) => return None,
                // Closed, damaged or out of order: whoever is there is not the daemon that sent the policy.
                Ok(Some(Order::Start(_))) | Err(_) => return Some(Cause::DaemonGone),
            }
        }
    }
}
