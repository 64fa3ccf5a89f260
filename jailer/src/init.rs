//! Process 1 of the program's namespaces: makes its root, starts it, reaps, passes on the order to stop, and ends when the
//! program ends or the launcher does; with process 1 the kernel ends everything else in there.
//!
//! Launcher and init speak over a pair of packet sockets. Its end is init's lifeline, beside the parent-death signal.

use crate::cgroup::Entrance;
use crate::control::wait;
use crate::failure::{At, Failure};
use crate::host::Watch;
use crate::limits::{HOST_NAME, OOM_SCORE};
use crate::namespaces;
use crate::network;
use crate::payload::{Payload, enter};
use crate::protocol::frames::{Frames, receive, send_with_descriptors};
use crate::protocol::{Outcome, Policy, Stage};
use crate::reaper::{End, collect, peek};
use crate::root;
use crate::trees::Trees;
use crate::user::{INSIDE, User};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid, setgroups, sethostname, setresgid, setresuid, setsid};
use std::fs::{File, read_to_string, write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Launcher to init: the maps of users are written.
const GO: u8 = b'g';
/// Launcher to init: `SIGTERM` for the program.
const TERMINATE: u8 = b't';

/// Init to launcher, first of all: the sockets of the program's network are attached.
const SOCKETS: u8 = b'n';

/// What may be had of kernel objects that are counted for each user, here for the program's namespace. What a program takes
/// is missing to the user who started the launcher, so none can take all.
const USER_LIMITS: [(&str, &str); 3] = [
    ("/proc/sys/user/max_user_namespaces", "0"),
    ("/proc/sys/user/max_inotify_instances", "8"),
    ("/proc/sys/user/max_inotify_watches", "8192"),
];

/// The launcher's handle on init.
pub(crate) struct Init {
    pub(crate) pid: Pid,
    line: OwnedFd,
}

impl Init {
    /// Starts init with the program; answers when init may go on, not when it has. Failures of its own steps are told
    /// over `tell`.
    pub(crate) fn start(
        policy: &Policy,
        payload: Payload,
        group: Option<Entrance>,
        tell: &OwnedFd,
    ) -> Result<Self, Failure> {
        let user = User::choose()?;
        let trees = user.is_leased().then(|| Trees::open(&policy.view, &user)).transpose()?;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = pair.at(Stage::Namespaces, "socketpair")?;
        let Some(pid) = namespaces::fork(group.as_ref().and_then(Entrance::directory))? else {
            drop(ours);
            live(policy, payload, Brought { user, trees, group }, tell, &theirs)
        };
        let init = Self { pid, line: ours };
        match offer_first(pid)
            .and_then(|()| user.map(pid))
            .and_then(|()| init.say(GO).at(Stage::Namespaces, "init"))
        {
            Ok(()) => Ok(init),
            Err(failure) => {
                let _ = kill(pid, Signal::SIGKILL);
                let _ = nix::sys::wait::waitpid(pid, None);
                Err(failure)
            }
        }
    }

    /// The sockets of the program's network; they are there once the program is.
    pub(crate) fn sockets(&self) -> Vec<OwnedFd> {
        let (mut message, mut attached) = (Frames::default(), Vec::new());
        // Whoever gets fewer than it asked for does not use them.
        let _ = receive(&self.line, &mut message, &mut attached);
        attached
    }

    /// `SIGTERM` to the program's process group.
    pub(crate) fn terminate(&self) {
        // Init has gone if this fails, and the program with it.
        let _ = self.say(TERMINATE);
    }

    /// How the program ended, once init has, and its result; `None` if init was killed before it knew.
    pub(crate) fn verdict(&self) -> Option<(Outcome, Option<OwnedFd>)> {
        let (mut message, mut attached) = (Frames::default(), Vec::new());
        receive(&self.line, &mut message, &mut attached).ok()?;
        let [kind, number @ ..] = *message.bytes().first_chunk::<5>()?;
        let number = i32::from_le_bytes(number);
        let outcome = match kind {
            b'e' => Outcome::Exit(number),
            b's' => Outcome::Signal(number),
            _ => return None,
        };
        Some((outcome, attached.pop()))
    }

    fn say(&self, message: u8) -> nix::Result<()> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        send(self.line.as_raw_fd(), &[message], flags).map(drop)
    }
}

/// What the launcher made and init needs.
struct Brought {
    user: User,
    /// With a leased user: init itself may not open them any more.
    trees: Option<Trees>,
    group: Option<Entrance>,
}

/// Where the whole host is out of memory the kernel ends programs before the launcher, the daemon and others, even where the
/// daemon is protected from that and programs would inherit it. They cannot undo it.
fn offer_first(pid: Pid) -> Result<(), Failure> {
    const OWN: &str = "/proc/self/oom_score_adj";
    let score = read_to_string(OWN).at(Stage::Namespaces, OWN)?;
    if score.trim().parse().is_ok_and(|score: i32| score >= OOM_SCORE) {
        return Ok(());
    }
    write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE.to_string()).at(Stage::Namespaces, "oom_score_adj")
}

/// The whole life of init.
fn live(policy: &Policy, mut payload: Payload, brought: Brought, tell: &OwnedFd, line: &OwnedFd) -> ! {
    let mut go = [0];
    if matches!(recv(line.as_raw_fd(), &mut go, MsgFlags::empty()), Ok(1)) && go == [GO] {
        match prepare(policy, brought, line).and_then(|ready| Ok((ready, payload.fork(None, tell)?))) {
            Ok(((watch, _lease), program)) => {
                // The program's streams end when it closes them, not when init ends.
                drop(payload);
                // SAFETY: the descriptor is open, and this process, which ends without running destructors, does not use
                // it again. Its end, at the program's execution, is what the launcher waits for.
                unsafe { libc::close(tell.as_raw_fd()) };
                attend(program, policy, &watch, line);
            }
            Err(failure) => failure.tell(tell),
        }
    }
    // SAFETY: _exit ends this process, and everything in its namespace, without handlers that belong to the launcher.
    unsafe { libc::_exit(0) }
}

fn prepare(policy: &Policy, brought: Brought, line: &OwnedFd) -> Result<(Watch, User), Failure> {
    let Brought { user, trees, group } = brought;
    let step = |what| move |errno: Errno| Failure::new(Stage::Namespaces, errno, what);
    // Before this process is someone else, who could not.
    group.iter().filter(|group| group.directory().is_none()).try_for_each(enter)?;
    drop(group);
    if user.is_leased() {
        setgroups(&[]).map_err(step("setgroups"))?;
    }
    let (uid, gid) = (Uid::from_raw(INSIDE), Gid::from_raw(INSIDE));
    setresgid(gid, gid, gid).map_err(step("setresgid"))?;
    setresuid(uid, uid, uid).map_err(step("setresuid"))?;
    // After the change of user, which resets it. A launcher that died before is seen by the lifeline.
    set_pdeathsig(Signal::SIGKILL).map_err(step("parent-death signal"))?;
    setsid().map_err(step("setsid"))?;
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(step("unshare of the cgroup namespace"))?;
    sethostname(HOST_NAME).map_err(step("sethostname"))?;
    for (path, most) in USER_LIMITS {
        write(path, most).at(Stage::Namespaces, path)?;
    }
    make_network(policy, line)?;
    let trees = trees.map_or_else(|| Trees::open(&policy.view, &user), Ok)?;
    root::enter(policy, trees)?;
    // Init's memory is a copy of the launcher's, with the policy in it.
    set_dumpable(false).map_err(step("dumpable"))?;
    Ok((Watch::new().at(Stage::Namespaces, "signalfd")?, user))
}

/// Makes the network and passes its sockets on, through the launcher to the daemon. None of them stays here: the last
/// one that is closed ends the namespace.
fn make_network(policy: &Policy, line: &OwnedFd) -> Result<(), Failure> {
    let sockets = network::open(&policy.connect)
        .map_err(|error| Failure::new(Stage::Network, error.errno, error.operation))?;
    let attached: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    send_with_descriptors(line, &[SOCKETS], &attached).map(drop).at(Stage::Network, "pass the sockets on")
}

/// The program's result, if it is a file: nothing that a program can make, a pipe without writers say, is waited for.
pub(crate) fn open_result(path: &Path) -> Option<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty()).ok()?);
    file.metadata().is_ok_and(|found| found.is_file()).then(|| file.into())
}

/// Reaps until the program's end, which is told, or the launcher's.
fn attend(program: Pid, policy: &Policy, watch: &Watch, line: &OwnedFd) {
    loop {
        let mut fds =
            [PollFd::new(watch.as_fd(), PollFlags::POLLIN), PollFd::new(line.as_fd(), PollFlags::POLLIN)];
        if wait(&mut fds, None).is_err() {
            return;
        }
        watch.forget();
        while let Ok(Some(End { pid, outcome })) = peek() {
            if pid == program {
                let (kind, number) = match outcome {
                    Outcome::Signal(number) => (b's', number),
                    Outcome::Exit(number) => (b'e', number),
                    Outcome::OutOfMemory { .. } | Outcome::LeaseOver => return,
                };
                let [a, b, c, d] = number.to_le_bytes();
                let result = policy.result.as_deref().and_then(open_result);
                let attached: Vec<_> = result.iter().map(AsFd::as_fd).collect();
                let _ = send_with_descriptors(line, &[kind, a, b, c, d], &attached);
                return;
            }
            collect(pid);
        }
        let mut order = [0];
        match recv(line.as_raw_fd(), &mut order, MsgFlags::MSG_DONTWAIT) {
            Ok(1) if order == [TERMINATE] => {
                let _ = killpg(program, Signal::SIGTERM);
                let _ = killpg(program, Signal::SIGCONT);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The launcher has gone.
            _ => return,
        }
    }
}
