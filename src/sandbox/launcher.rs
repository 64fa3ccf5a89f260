//! From the description of a program to a running one. What happens after that is in `running`.

use super::cgroups::Groups;
use super::error::LaunchError;
use super::limits::{OVERDUE_WAIT, START_WAIT};
use super::running::{self, Control, Reports, Running};
use super::spare::{Process, Spare};
use flexcore_jailer::cgroup::CgroupSpec;
use flexcore_jailer::protocol::frames::{encode, send_with_descriptors};
pub use flexcore_jailer::protocol::{Connection, Isolation, PlacedFile, Shown};
use flexcore_jailer::protocol::{Limits, Order, Policy, Report, Stage};
use flexcore_jailer::{BUILD, PROGRAM_NAME};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// What to run. Nothing is inherited from the daemon: what is not named here does not exist for the program.
#[derive(Debug)]
pub struct Program {
    /// The argument vector; the first is an absolute path (see [`super::programs::resolve`]).
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The private scratch directory, absolute, made by the caller with mode 0700; the working directory of the program.
    pub workdir: PathBuf,
    /// Standard input; `/dev/null` if absent.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
    /// Resource limits.
    pub limits: ProgramLimits,
    /// What it sees and may do; `None` for a helper of FlexCore's own, which is kept from the system calls that no program
    /// needs but works with the host's files and network.
    pub jail: Option<Jail>,
}

/// What a program sees of the host and may do beyond its own process.
#[derive(Debug, Default)]
pub struct Jail {
    /// Files and directories that it sees, beside [`flexcore_jailer::base`].
    pub view: Vec<Shown>,
    /// Files that are made for it.
    pub files: Vec<PlacedFile>,
    /// Whether it may start other programs.
    pub subprocess: bool,
    /// The file that is handed out with its end.
    pub result: Option<PathBuf>,
    /// What it may connect to: it has a network of its own, whose sockets [`Running::sockets`] are. Without namespaces there
    /// is none.
    pub connect: Vec<Connection>,
}

/// Resource limits of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramLimits {
    /// Bytes of memory of the whole tree together.
    pub memory_bytes: u64,
    /// Processor time of each process, rounded up to whole seconds; `None` is unlimited.
    pub cpu_time: Option<Duration>,
    /// Open descriptors of each process.
    pub open_files: u64,
    /// Bytes of the largest file it may write; `None` is unlimited.
    pub file_size: Option<u64>,
    /// Processes and threads of the whole tree; binds only with namespaces.
    pub processes: u64,
    /// Bytes of its private file system; binds only with namespaces.
    pub scratch_bytes: u64,
    /// Thousandths of a processor; binds only with control groups.
    pub millicpus: u32,
}

/// Starts programs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Launcher {
    jailer: Arc<PathBuf>,
    presence: Option<Arc<File>>,
    overdue: Duration,
    isolation: Isolation,
    groups: Option<Arc<Groups>>,
    refusal: Option<Arc<str>>,
    spare: Option<Arc<Spare>>,
    lease: Option<watch::Receiver<Duration>>,
}

/// A program outside of the jail: FlexCore's own, working for an operator.
const HELPER: Isolation = Isolation { namespaces: false, landlock: false, seccomp: true };

impl Launcher {
    /// A launcher that runs this file, which is `flexcore-jailer` or any program that acts as it under that name in
    /// `argv[0]`. The path must be absolute (see [`super::programs::locate`]).
    #[must_use]
    pub fn new(jailer: PathBuf) -> Self {
        let isolation = Isolation { namespaces: true, landlock: true, seccomp: true };
        Self {
            jailer: Arc::new(jailer),
            presence: None,
            overdue: OVERDUE_WAIT,
            isolation,
            groups: None,
            refusal: None,
            spare: None,
            lease: None,
        }
    }

    /// The same, with a locked file that each launcher process keeps open until its program's tree is gone. A lock
    /// belongs to all holders together, so it outlives a daemon that is killed for exactly as long as its programs do.
    #[must_use]
    pub fn with_presence(self, presence: File) -> Self {
        Self { presence: Some(Arc::new(presence)), ..self }
    }

    /// Whether a program has a root file system of its own, and a network of its own, in which it can be given connections.
    #[must_use]
    pub const fn has_own_root(&self) -> bool {
        self.isolation.namespaces
    }

    /// With these mechanisms instead of all. One that is asked for and fails refuses the start.
    #[must_use]
    pub fn with_isolation(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// With a control group for each program.
    #[must_use]
    pub fn with_groups(self, groups: Arc<Groups>) -> Self {
        Self { groups: Some(groups), ..self }
    }

    /// One that starts no program in a jail, for this reason.
    #[must_use]
    pub fn refusing(self, why: &str) -> Self {
        Self { refusal: Some(why.into()), ..self }
    }

    /// With one launcher process that is started ahead and waits for its order, so that a program's start does not wait for
    /// the launcher's own.
    #[must_use]
    pub fn with_spare(self) -> Self {
        let ahead = Self { spare: Some(Arc::default()), ..self };
        ahead.start_ahead();
        ahead
    }

    /// With a moment of [`flexcore_jailer::since_boot`] until which programs may run; whoever sends later ones keeps them
    /// running. From there on they are stopped, and killed [`flexcore_jailer::limits::FROZEN_MAX`] later, also while this
    /// process itself is stopped.
    #[must_use]
    pub fn with_lease(self, lease: watch::Receiver<Duration>) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// Why no program is started in a jail, if none is.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The process id of the launcher that waits, if one does.
    #[cfg(test)]
    pub(super) fn ahead(&self) -> Option<nix::unistd::Pid> {
        self.spare.as_ref()?.pid()
    }

    /// With less patience for a launcher that does not answer a kill, for tests of it.
    #[cfg(test)]
    pub(super) fn with_overdue(self, overdue: Duration) -> Self {
        Self { overdue, ..self }
    }

    /// Starts a program; answers when it has been executed. The descriptors are closed on this side in any case, so the
    /// other ends of pipes see the program's own end. Dropping the future ends what was started.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing runs then. Bounded by [`START_WAIT`], and by [`OVERDUE_WAIT`] for the end of what failed.
    pub async fn start(&self, program: Program) -> Result<Running, LaunchError> {
        if let (Some(why), Some(_)) = (&self.refusal, &program.jail) {
            return Err(LaunchError::Incomplete(why.to_string()));
        }
        let started = Instant::now();
        let (policy, descriptors) = self.split(program);
        let cgroup = policy.cgroup.clone();
        policy.check()?;
        let order = encode(&Order::Start(Box::new(policy)))?;
        let mut lease = self.lease.clone();
        let lease_now =
            lease.as_mut().map(|lease| encode(&Order::lease(*lease.borrow_and_update()))).transpose()?;
        let (jailer, mut socket, sent) = self.connect(&order, &descriptors)?;
        drop(descriptors);
        let mut reports = Reports::default();
        let answer = timeout(START_WAIT, async {
            // Refused orders are answered before they are read whole: the answer, not the broken pipe, tells why.
            let _ = socket.write_all(&order[sent..]).await;
            if let Some(lease) = &lease_now {
                let _ = socket.write_all(lease).await;
            }
            reports.next(&socket).await
        });
        let failed = match answer.await {
            Ok(Some(Report::Started { pid })) => {
                self.start_ahead();
                let control = Control::new(socket, self.overdue);
                if let Some(lease) = lease {
                    control.follow(lease);
                }
                return Ok(Running::new(pid, control, reports, jailer, started, cgroup));
            }
            // It has removed what it made, or does so before it exits.
            // What this side has checked is a policy; a launcher that says it is none is of another build.
            Ok(Some(Report::StartFailed(failure))) if failure.stage == Stage::Policy => {
                let (path, said) = (self.jailer.to_path_buf(), failure.message);
                return Err(LaunchError::OtherBuild { path, said });
            }
            Ok(Some(Report::StartFailed(failure))) => return Err(LaunchError::Refused(failure)),
            Ok(Some(Report::Ended(_)) | None) => LaunchError::Lost,
            Err(_) => LaunchError::TimedOut,
        };
        drop(socket);
        running::give_up(jailer, cgroup).await;
        Err(failed)
    }

    /// The launcher's file.
    pub(super) fn jailer(&self) -> &Path {
        &self.jailer
    }

    fn split(&self, program: Program) -> (Policy, Vec<OwnedFd>) {
        let Program { argv, env, workdir, stdin, stdout, stderr, limits, jail } = program;
        let isolation = if jail.is_some() { self.isolation } else { HELPER };
        // Without a network of its own a program would have the host's.
        let internet = jail.is_none() || isolation.namespaces;
        let jail = jail.unwrap_or_else(|| Jail { subprocess: true, ..Jail::default() });
        let Jail { view, files, subprocess, result, connect } = jail;
        let (stdin_is_sent, limits) = (stdin.is_some(), limits.into());
        let cgroup = self.groups.as_ref().map(|groups| CgroupSpec {
            parents: groups.parents().clone(),
            name: Uuid::now_v7().simple().to_string(),
        });
        let policy = Policy {
            build: BUILD.to_owned(),
            argv,
            env,
            workdir,
            stdin: stdin_is_sent,
            limits,
            subprocess,
            internet,
            isolation,
            view,
            files,
            cgroup,
            result,
            connect,
        };
        (policy, stdin.into_iter().chain([stdout, stderr]).collect())
    }

    /// Sends a launcher process the beginning of the order with the descriptors; answers how much was sent.
    fn connect(
        &self,
        order: &[u8],
        descriptors: &[OwnedFd],
    ) -> Result<(Child, UnixStream, usize), LaunchError> {
        let failed = |source| LaunchError::Launcher { path: self.jailer.to_path_buf(), source };
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        // A fresh socket has room, so this does not wait.
        let send = |process: Process| {
            let sent = send_with_descriptors(&process.socket, order, &borrowed).ok()?;
            Some((process, sent))
        };
        let ahead = self.spare.as_ref().and_then(|spare| spare.take());
        let sent = match ahead.and_then(send) {
            Some(sent) => Some(sent),
            // none was there, or it was killed while it waited
            None => send(self.spawn().map_err(failed)?),
        };
        let (Process { child, socket }, sent) = sent.ok_or(LaunchError::Lost)?;
        Ok((child, UnixStream::from_std(socket).map_err(failed)?, sent))
    }

    /// Starts the next launcher process beside whatever runs, if one is to be had ahead.
    fn start_ahead(&self) {
        if let Some(spare) = self.spare.clone().filter(|_| self.refusal.is_none()) {
            let launcher = Self { spare: None, ..self.clone() };
            // a start blocks for a millisecond; the handle is not awaited because a start that fails is tried, and
            // told, when a program is to be started
            drop(tokio::task::spawn_blocking(move || spare.fill(|| launcher.spawn())));
        }
    }

    /// No `pre_exec`, user or directory here: with any of them the standard library would fork this many-threaded, large
    /// process instead of using `posix_spawn`. And no kill on drop: the launcher must outlive us to reap its tree.
    fn spawn(&self) -> io::Result<Process> {
        let (socket, theirs) = StdUnixStream::pair()?;
        socket.set_nonblocking(true)?;
        // Standard output because it is passed on without a pre_exec; the launcher writes nothing to it, and its program
        // has another.
        let presence = match &self.presence {
            Some(file) => Stdio::from(file.try_clone()?),
            None => Stdio::null(),
        };
        let child = Command::new(self.jailer.as_path())
            .arg0(PROGRAM_NAME)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(presence)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Process { child, socket })
    }
}

impl From<ProgramLimits> for Limits {
    fn from(limits: ProgramLimits) -> Self {
        let whole_seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        Self {
            memory_bytes: Some(limits.memory_bytes),
            cpu_seconds: limits.cpu_time.map(whole_seconds),
            open_files: Some(limits.open_files),
            file_bytes: limits.file_size,
            processes: Some(limits.processes),
            scratch_bytes: Some(limits.scratch_bytes),
            millicpus: Some(limits.millicpus),
        }
    }
}
