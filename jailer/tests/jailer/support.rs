//! A small synchronous daemon: starts the launcher, sends a policy, reads reports. Every wait has a deadline.

use flexcore_jailer::protocol::frames::{Frames, encode, receive, send_with_descriptors};
use flexcore_jailer::protocol::{
    Ended, Isolation, Limits, Order, PlacedFile, Policy, Report, Shown, StartFailure,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};
use std::fs::{File, read_to_string};
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No wait of a test is longer; none comes near it on a machine that is not broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Every mechanism.
pub(crate) const ALL: Isolation = Isolation { namespaces: true, landlock: true, seccomp: true };
/// What tests of the process tree alone need: the working directory is the host's, and rules by path are not.
pub(crate) const BARE: Isolation = Isolation { namespaces: false, landlock: false, seccomp: true };

/// The users that the launcher is tried as: this test's own, and an ordinary one where this test is the superuser's.
pub(crate) fn users() -> Vec<Option<u32>> {
    const NOBODY: u32 = 65_534;
    if getuid().is_root() { vec![None, Some(NOBODY)] } else { vec![None] }
}

/// What to launch.
pub(crate) struct Launch {
    pub(crate) policy: Policy,
    pub(crate) stdin: Option<OwnedFd>,
    user: Option<u32>,
    workdir: TempDir,
}

/// A launched program. Dropping it closes the control socket, which ends the tree.
pub(crate) struct Launched {
    pub(crate) pid: Pid,
    pub(crate) stdout: PipeReader,
    pub(crate) jailer: Jailer,
    pub(crate) workdir: TempDir,
}

/// A launcher process and our end of its socket.
pub(crate) struct Jailer {
    pub(crate) process: Child,
    socket: Option<UnixStream>,
    frames: Frames,
    attached: Vec<OwnedFd>,
}

impl Launch {
    pub(crate) fn program<const N: usize>(argv: [&str; N]) -> Self {
        let workdir = tempfile::tempdir().unwrap();
        let policy = Policy {
            build: flexcore_jailer::BUILD.to_owned(),
            argv: argv.map(str::to_owned).to_vec(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            workdir: workdir.path().to_owned(),
            stdin: false,
            limits: Limits::default(),
            subprocess: true,
            internet: true,
            isolation: BARE,
            view: Vec::new(),
            files: Vec::new(),
            cgroup: None,
            result: None,
            connect: Vec::new(),
        };
        Self { policy, stdin: None, user: None, workdir }
    }

    pub(crate) fn sh(script: &str) -> Self {
        Self::program(["/bin/sh", "-c", script])
    }

    pub(crate) fn limits(mut self, limits: Limits) -> Self {
        self.policy.limits = limits;
        self
    }

    /// With every mechanism.
    pub(crate) fn jailed(mut self) -> Self {
        self.policy.isolation = ALL;
        self
    }

    /// By a launcher of this user.
    pub(crate) fn by(mut self, user: Option<u32>) -> Self {
        self.user = user;
        self
    }

    /// Shows a place of the host under its own name.
    pub(crate) fn shows(mut self, path: &Path, write: bool) -> Self {
        let path = path.canonicalize().unwrap();
        self.policy.view.push(Shown { source: path.clone(), target: path, write });
        self
    }

    pub(crate) fn file(mut self, path: &Path, mode: u32, content: &str) -> Self {
        self.policy.files.push(PlacedFile { path: path.to_owned(), mode, content: content.into() });
        self
    }

    pub(crate) fn stdin(mut self, stdin: impl Into<OwnedFd>) -> Self {
        self.policy.stdin = true;
        self.stdin = Some(stdin.into());
        self
    }

    pub(crate) fn workdir(&self) -> &Path {
        self.workdir.path()
    }

    pub(crate) fn start(self) -> Result<Launched, StartFailure> {
        let (stdout, output) = pipe().unwrap();
        let mut jailer = Jailer::spawn_as(self.user);
        let null = File::options().write(true).open("/dev/null").unwrap();
        let mut descriptors: Vec<BorrowedFd<'_>> = self.stdin.iter().map(AsFd::as_fd).collect();
        descriptors.extend([output.as_fd(), null.as_fd()]);
        jailer.send_with(&encode(&Order::Start(Box::new(self.policy.clone()))).unwrap(), &descriptors);
        match jailer.report() {
            Report::Started { pid } => {
                Ok(Launched { pid: Pid::from_raw(pid), stdout, jailer, workdir: self.workdir })
            }
            Report::StartFailed(failure) => Err(failure),
            Report::Ended(ended) => panic!("ended before it started: {ended:?}"),
        }
    }

    /// Sends the policy and kills the launcher after `delay`, wherever it is then with the start.
    pub(crate) fn abandon(self, delay: Duration) {
        let null = File::options().write(true).open("/dev/null").unwrap();
        let mut jailer = Jailer::spawn_as(self.user);
        let mut descriptors: Vec<BorrowedFd<'_>> = self.stdin.iter().map(AsFd::as_fd).collect();
        descriptors.extend([null.as_fd(), null.as_fd()]);
        jailer.send_with(&encode(&Order::Start(Box::new(self.policy.clone()))).unwrap(), &descriptors);
        // not waiting for anything: the moment is what varies
        std::thread::sleep(delay);
        jailer.signal(Signal::SIGKILL);
    }

    /// Starts, waits for the end and answers it with the whole output.
    pub(crate) fn run(self) -> (Ended, String) {
        let mut launched = self.start().unwrap();
        let mut output = String::new();
        launched.stdout.read_to_string(&mut output).unwrap();
        (launched.ended(), output)
    }
}

impl Launched {
    pub(crate) fn ended(&mut self) -> Ended {
        match self.jailer.report() {
            Report::Ended(ended) => ended,
            other => panic!("not an end: {other:?}"),
        }
    }

    /// The process id that a script wrote to this file of its scratch directory, once it is there whole.
    pub(crate) fn pid_in(&self, file: &str) -> Pid {
        let path = self.workdir.path().join(file);
        let read = || read_to_string(&path).ok()?.strip_suffix('\n')?.parse().ok().map(Pid::from_raw);
        until("a pid in a file", || read().is_some());
        read().unwrap()
    }

    pub(crate) fn order(&mut self, order: &Order) {
        self.jailer.send_with(&encode(order).unwrap(), &[]);
    }
}

impl Jailer {
    pub(crate) fn spawn() -> Self {
        Self::spawn_as(None)
    }

    pub(crate) fn spawn_as(user: Option<u32>) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_flexcore-jailer"));
        command.env("INHERITED", "by accident").stdin(OwnedFd::from(theirs));
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let process = command.spawn().unwrap();
        Self { process, socket: Some(ours), frames: Frames::default(), attached: Vec::new() }
    }

    pub(crate) fn send_with(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut socket = self.socket.as_ref().unwrap();
        let sent = send_with_descriptors(socket, bytes, descriptors).unwrap();
        socket.write_all(&bytes[sent..]).unwrap();
    }

    pub(crate) fn report(&mut self) -> Report {
        self.try_report().expect("the launcher closed its socket without a report")
    }

    pub(crate) fn try_report(&mut self) -> Option<Report> {
        loop {
            if let Some(report) = self.frames.next_message().unwrap() {
                return Some(report);
            }
            let socket = self.socket.as_ref().unwrap();
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(PATIENCE).unwrap();
            assert!(poll(&mut fds, patience).unwrap() > 0, "no report came");
            match receive(socket, &mut self.frames, &mut self.attached) {
                Ok(0) | Err(Errno::ECONNRESET) => return None,
                Ok(_) | Err(Errno::EAGAIN) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The content of the descriptor that came with the last report.
    pub(crate) fn attached(&mut self) -> String {
        let mut content = String::new();
        File::from(self.attached.pop().unwrap()).read_to_string(&mut content).unwrap();
        content
    }

    /// What the death of the daemon looks like to the launcher.
    pub(crate) fn hang_up(&mut self) {
        self.socket = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        until("the launcher's end", || self.process.try_wait().unwrap().is_some());
        self.process.wait().unwrap().code()
    }
}

impl Drop for Jailer {
    fn drop(&mut self) {
        self.hang_up();
        // The launcher ends by itself then, within its own bound; it is not left a zombie.
        let _ = self.process.wait();
    }
}

/// Waits for a condition.
pub(crate) fn until(what: &str, condition: impl FnMut() -> bool) {
    let mut condition = condition;
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process runs; a zombie does not.
pub(crate) fn alive(pid: Pid) -> bool {
    read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

/// Standard error of a launcher that was not started by a daemon.
pub(crate) fn launcher_alone() -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_flexcore-jailer")).stdin(Stdio::null()).output().unwrap()
}
