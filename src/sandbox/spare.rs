//! One launcher process that was started ahead. It ends when the daemon does, because its socket closes then. Never in here:
//! how a launcher is started.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use tokio::process::Child;

/// A launcher process that waits for its order.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    /// Non-blocking.
    pub(super) socket: UnixStream,
}

/// Room for one.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Option<Process>>);

impl Spare {
    /// The one that waits, if it still does. Never waits for one that is being started.
    pub(super) fn take(&self) -> Option<Process> {
        let mut process = self.0.try_lock().ok()?.take()?;
        matches!(process.child.try_wait(), Ok(None)).then_some(process)
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> Option<nix::unistd::Pid> {
        let pid = self.0.try_lock().ok()?.as_ref()?.child.id()?;
        Some(nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?))
    }

    /// Starts one, if there is room.
    pub(super) fn fill(&self, start: impl FnOnce() -> io::Result<Process>) {
        let mut room = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if room.is_none() {
            // a failure is found again, and told, by whoever starts a program
            *room = start().ok();
        }
    }
}
