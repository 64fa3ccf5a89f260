//! Waiting for children, and the end of a whole tree: the launcher is the reaper of every descendant.
//!
//! **Invariant:** the main program is not waited for before its process group was killed; until then its zombie keeps the
//! group's number from being given to someone else. Deciding when to kill is `supervise`'s.

use crate::control::wait;
use crate::host::Watch;
use crate::limits::{KILL_ROUND, KILL_WAIT};
use crate::process_tree::{Descendant, descendants, signal};
use crate::protocol::Outcome;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpid};
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// The children of this process.
pub(crate) struct Reaper {
    main: Pid,
    child_ends: Watch,
    ended: Option<Outcome>,
}

impl Reaper {
    /// The reaper of the tree whose first process is `main`.
    pub(crate) fn new(main: Pid, child_ends: Watch) -> Self {
        Self { main, child_ends, ended: None }
    }

    /// How the main program ended, if it has.
    pub(crate) fn ended(&self) -> Option<Outcome> {
        self.ended
    }

    /// Becomes readable when a child ends.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.child_ends.as_fd()
    }

    /// Waits for every orphan that has ended, up to the end of the main program, which is noted but left a zombie.
    pub(crate) fn collect_orphans(&mut self) {
        self.child_ends.forget();
        while self.ended.is_none() {
            match peek() {
                Ok(Some(end)) if end.pid == self.main => self.ended = Some(end.outcome),
                Ok(Some(end)) => collect(end.pid),
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// `SIGTERM` to the main program's process group; also wakes it if it was stopped, so that it can obey.
    pub(crate) fn terminate_group(&self) {
        let _ = killpg(self.main, Signal::SIGTERM);
        let _ = killpg(self.main, Signal::SIGCONT);
    }

    /// Kills every descendant and waits for all of them, at most [`KILL_WAIT`]; answers who is still there.
    ///
    /// The group is killed in one call, which no fork can outrun. Those who left it are killed one by one, again and again:
    /// a process with a pending `SIGKILL` can no longer fork, and an orphan becomes our child, so each round gets nearer
    /// the end. The proof is the kernel's answer that no child is left at all.
    pub(crate) fn destroy_tree(&mut self) -> Vec<Pid> {
        let deadline = Instant::now() + KILL_WAIT;
        let _ = killpg(self.main, Signal::SIGKILL);
        loop {
            self.child_ends.forget();
            if self.collect_all() == Err(Errno::ECHILD) {
                return Vec::new();
            }
            let left = descendants(getpid());
            for descendant in &left {
                signal(getpid(), *descendant, Signal::SIGKILL);
            }
            if Instant::now() >= deadline {
                return self.not_proven_gone(&left);
            }
            // A failing poll only makes the rounds quicker; the deadline still ends them.
            let _ = wait(&mut [PollFd::new(self.child_ends.as_fd(), PollFlags::POLLIN)], Some(KILL_ROUND));
        }
    }

    /// Never empty: a child is left, even if it was too quick to be seen in the last look.
    fn not_proven_gone(&self, seen: &[Descendant]) -> Vec<Pid> {
        if seen.is_empty() { vec![self.main] } else { seen.iter().map(|descendant| descendant.pid).collect() }
    }

    /// Waits for everyone who has ended; `ECHILD` when no child is left.
    fn collect_all(&mut self) -> nix::Result<()> {
        while let Some(end) = peek()? {
            if end.pid == self.main {
                self.ended = Some(end.outcome);
            }
            collect(end.pid);
        }
        Ok(())
    }
}

/// The end of one child.
pub(crate) struct End {
    pub(crate) pid: Pid,
    pub(crate) outcome: Outcome,
}

/// A child that has ended, left as it is; `None` if there is none, `ECHILD` if there are no children.
///
/// Not nix's `waitid`: it answers an error for a child that died of a real-time signal.
pub(crate) fn peek() -> nix::Result<Option<End>> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeros is a valid siginfo_t, and the one that POSIX asks for to recognise "nobody has ended".
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: waitid writes to info only, which outlives the call.
    Errno::result(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) })?;
    // SAFETY: waitid succeeded, so the fields of SIGCHLD are filled, or still zero if nobody has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let outcome =
        if info.si_code == libc::CLD_EXITED { Outcome::Exit(status) } else { Outcome::Signal(status) };
    Ok(Some(End { pid: Pid::from_raw(pid), outcome }))
}

/// Waits for a process that has ended.
pub(crate) fn collect(pid: Pid) {
    // It has ended, so this does not wait. An error can only be about decoding a real-time signal, after the fact.
    let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
}
