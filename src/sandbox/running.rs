//! A program that runs: hear of its end, ask it to end, end it. Starting is in `launcher`.

use super::limits::{EXIT_WAIT, OVERDUE_WAIT, SWEEP_ROUND, SWEEP_WAIT};
use flexcore_jailer::cgroup::{CgroupSpec, destroy};
use flexcore_jailer::limits::GRACE_MAX;
use flexcore_jailer::process_tree::kill_session;
use flexcore_jailer::protocol::frames::{Frames, receive, send_now};
use flexcore_jailer::protocol::{self, Order, Outcome, Report};
pub use flexcore_jailer::protocol::{Refused, Usage};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// The cause.
    pub status: Status,
    /// What the whole tree used; of a lost one only the wall time is known.
    pub usage: Usage,
    /// Processes that did not go when they were killed. Empty means that everything the program started is proven gone;
    /// of a lost one, everything that stayed in its session.
    pub survivors: Vec<i32>,
    /// What it left at [`super::Jail::result`]; handed out by the first [`Running::wait`] alone.
    pub result: Option<File>,
    /// Dangerous system calls that it made.
    pub refused: Vec<Refused>,
}

impl Ended {
    /// The same, without the result.
    fn copy(&self) -> Self {
        let (survivors, refused) = (self.survivors.clone(), self.refused.clone());
        Self { survivors, refused, result: None, ..*self }
    }
}

/// The cause of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It exited with this code.
    Exit(i32),
    /// A signal with this number ended it.
    Signal(i32),
    /// Its tree used more memory than its limit and was killed.
    Oom {
        /// The limit, bytes.
        limit: u64,
        /// What was measured, bytes.
        peak: u64,
    },
    /// Its node could not say for too long that it may run, and it was killed.
    LeaseOver,
    /// The launcher ended without a report; how the program ended is not known, but it has.
    Lost,
}

/// A running program. Dropping it kills the whole tree.
#[derive(Debug)]
pub struct Running {
    pid: i32,
    control: Control,
    reports: Reports,
    jailer: Child,
    started: Instant,
    cgroup: Option<CgroupSpec>,
    sockets: Option<Vec<OwnedFd>>,
    ended: Option<Ended>,
    settled: bool,
}

/// Ends a running program from elsewhere than where its end is awaited. Cheap to clone; without effect once it has ended.
#[derive(Debug, Clone)]
pub struct Control {
    socket: Arc<UnixStream>,
    overdue: Arc<watch::Sender<Option<Instant>>>,
    patience: Duration,
}

impl Control {
    pub(super) fn new(socket: UnixStream, patience: Duration) -> Self {
        Self { socket: Arc::new(socket), overdue: Arc::new(watch::Sender::new(None)), patience }
    }

    /// `SIGTERM` to the program's process group now, `SIGKILL` to the whole tree after `grace` (at most 24 h). A second
    /// call can only bring the end nearer.
    pub fn stop(&self, grace: Duration) {
        self.order(&Order::stop(grace), grace.min(GRACE_MAX));
    }

    /// `SIGKILL` to the whole tree now.
    pub fn kill(&self) {
        self.order(&Order::Kill, Duration::ZERO);
    }

    /// Passes each new moment until which the program may run on, for as long as somebody holds the program.
    pub(super) fn follow(&self, mut lease: watch::Receiver<Duration>) {
        let socket = Arc::downgrade(&self.socket);
        tokio::spawn(async move {
            while lease.changed().await.is_ok() {
                let until = *lease.borrow_and_update();
                let Some(socket) = socket.upgrade() else { return };
                send(&socket, &Order::lease(until));
            }
        });
    }

    fn order(&self, order: &Order, within: Duration) {
        let at = Instant::now() + within + self.patience;
        self.overdue.send_modify(|overdue| *overdue = Some(overdue.map_or(at, |earlier| earlier.min(at))));
        send(&self.socket, order);
    }
}

fn send(socket: &UnixStream, order: &Order) {
    if send_now(socket, order, &[]).is_err() {
        // Either the launcher has ended, or it no longer reads; the end of the stream is the strongest order there is.
        let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
    }
}

impl Running {
    pub(super) fn new(
        pid: i32,
        control: Control,
        mut reports: Reports,
        jailer: Child,
        started: Instant,
        cgroup: Option<CgroupSpec>,
    ) -> Self {
        let sockets = Some(std::mem::take(&mut reports.attached)).filter(|sockets| !sockets.is_empty());
        Self { pid, control, reports, jailer, started, cgroup, sockets, ended: None, settled: false }
    }

    /// The sockets of the program's own network, once; `None` if it has no such network. They keep that network alive, also
    /// beyond the program.
    pub fn sockets(&mut self) -> Option<Vec<OwnedFd>> {
        self.sockets.take()
    }

    /// The program's process id, which is its session and process group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// A handle that ends this program.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// See [`Control::stop`].
    pub fn stop(&self, grace: Duration) {
        self.control.stop(grace);
    }

    /// See [`Control::kill`].
    pub fn kill(&self) {
        self.control.kill();
    }

    /// Waits for the end: the program has ended, everything it started is gone, the launcher has exited and is reaped.
    /// May be dropped and called again at any time; after the end it answers the same again.
    ///
    /// Unbounded as long as the program may run; bounded by [`OVERDUE_WAIT`] after a kill or the end of a grace.
    pub async fn wait(&mut self) -> Ended {
        let mut ended = match self.ended.take() {
            Some(ended) => ended,
            None => self.hear_of_end().await,
        };
        // Kept before the next wait, so that it is not lost with a dropped future.
        self.ended = Some(ended.copy());
        if !self.settled {
            self.reap_launcher().await;
            if ended.status == Status::Lost {
                ended.survivors = self.sweep().await;
                self.ended = Some(ended.copy());
            }
            self.settled = true;
        }
        ended
    }

    async fn hear_of_end(&mut self) -> Ended {
        let mut overdue = self.control.overdue.subscribe();
        let report = tokio::select! {
            report = self.reports.next(&self.control.socket) => report,
            () = until_overdue(&mut overdue) => {
                // It neither reports nor ends, so it is stopped or broken. Its death is the program's (parent-death signal).
                let _ = self.jailer.start_kill();
                None
            }
        };
        match report {
            Some(Report::Ended(ended)) => {
                let result = self.reports.attached.pop().filter(|_| ended.result);
                Ended { result: result.map(File::from), ..ended.into() }
            }
            _ => self.lost(),
        }
    }

    fn lost(&self) -> Ended {
        let wall_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let usage = Usage { wall_ms, ..Usage::default() };
        Ended { status: Status::Lost, usage, survivors: Vec::new(), result: None, refused: Vec::new() }
    }

    async fn reap_launcher(&mut self) {
        // If it still lives, it kills its tree now; if it has reported, nothing is left to say.
        self.hang_up();
        let patience = if matches!(self.ended, Some(Ended { status: Status::Lost, .. })) {
            OVERDUE_WAIT
        } else {
            EXIT_WAIT
        };
        if timeout(patience, self.jailer.wait()).await.is_err() {
            let _ = self.jailer.start_kill();
            let _ = self.jailer.wait().await;
        }
    }

    /// Kills what a dead launcher left in the program's session; answers who is still there at the end.
    async fn sweep(&self) -> Vec<i32> {
        remove_group(self.cgroup.clone()).await;
        let deadline = Instant::now() + SWEEP_WAIT;
        loop {
            let left = kill_session(Pid::from_raw(self.pid));
            if left.is_empty() || Instant::now() >= deadline {
                return left.into_iter().map(Pid::as_raw).collect();
            }
            sleep(SWEEP_ROUND).await;
        }
    }

    /// The lifeline's end, even while a [`Control`] holds the socket open.
    fn hang_up(&self) {
        let _ = shutdown(self.control.socket.as_raw_fd(), Shutdown::Both);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The launcher kills the tree and exits; tokio reaps it in the background.
        self.hang_up();
    }
}

impl From<protocol::Ended> for Ended {
    fn from(ended: protocol::Ended) -> Self {
        let status = match ended.outcome {
            Outcome::Exit(code) => Status::Exit(code),
            Outcome::Signal(signal) => Status::Signal(signal),
            Outcome::OutOfMemory { limit, peak } => Status::Oom { limit, peak },
            Outcome::LeaseOver => Status::LeaseOver,
        };
        let protocol::Ended { usage, survivors, refused, .. } = ended;
        Self { status, usage, survivors, result: None, refused }
    }
}

/// Waits until a launcher that gave no usable answer has gone, its control socket closed, and removes what it left.
pub(super) async fn give_up(mut jailer: Child, cgroup: Option<CgroupSpec>) {
    if timeout(OVERDUE_WAIT, jailer.wait()).await.is_err() {
        let _ = jailer.start_kill();
        let _ = jailer.wait().await;
    }
    remove_group(cgroup).await;
}

/// Ends whatever a launcher that is gone left in its program's control group, and removes that.
async fn remove_group(cgroup: Option<CgroupSpec>) {
    let Some(spec) = cgroup else { return };
    let destroy_all = move || {
        for parent in spec.parents.directories() {
            // What the kernel keeps is swept by the node's next start.
            let _ = destroy(&parent.join(&spec.name));
        }
    };
    let _ = tokio::task::spawn_blocking(destroy_all).await;
}

/// What a launcher said so far and is not yet understood, and the descriptors that came with it.
#[derive(Debug, Default)]
pub(super) struct Reports {
    frames: Frames,
    attached: Vec<OwnedFd>,
}

impl Reports {
    /// The next report; `None` if the stream ended, failed or is not understood. What was read stays, so the future may be
    /// dropped.
    pub(super) async fn next(&mut self, socket: &UnixStream) -> Option<Report> {
        loop {
            if let Some(report) = self.frames.next_message().ok()? {
                return Some(report);
            }
            socket.readable().await.ok()?;
            let received = socket
                .try_io(Interest::READABLE, || Ok(receive(socket, &mut self.frames, &mut self.attached)?));
            match received {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }
}

async fn until_overdue(overdue: &mut watch::Receiver<Option<Instant>>) {
    loop {
        let deadline = *overdue.borrow_and_update();
        let changed = overdue.changed();
        match deadline {
            None => _ = changed.await,
            Some(at) => tokio::select! {
                () = sleep_until(at) => return,
                _ = changed => {}
            },
        }
    }
}
