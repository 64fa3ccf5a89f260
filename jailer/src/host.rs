//! Makes this process a launcher: nothing inherited by luck, reaper of its descendants, deaf to signals.
//!
//! Only what concerns the launcher itself; what concerns the program is in `payload`.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, dup2_stdin};
use std::fs::read_dir;
use std::io::stdin;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// First descriptor that is not a standard stream.
pub(crate) const FIRST_PRIVATE_FD: RawFd = 3;

/// Why this process cannot be a launcher.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error(
        "standard input is not a socket: this program is started by flexcore, which sends its orders over that socket"
    )]
    NotASocket,
    #[error("cannot {action}")]
    System { action: &'static str, source: Errno },
    #[error("/proc cannot be read: mount it, for without it a program's descendants cannot be found")]
    NoProc,
    #[error("{threads} threads exist before the launcher runs: it must be called first in main")]
    Threads { threads: usize },
}

impl HostError {
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::System { source, .. } => *source as i32,
            _ => 0,
        }
    }
}

/// Takes the control socket from standard input (which becomes `/dev/null`) and closes everything but the standard
/// streams.
pub(crate) fn take_control_socket() -> Result<OwnedFd, HostError> {
    use nix::sys::socket::{getsockopt, sockopt::SockType};
    getsockopt(&stdin().as_fd(), SockType).map_err(|_| HostError::NotASocket)?;
    let system = |action| move |source| HostError::System { action, source };
    // The lowest free number from 3 on may be anything; 3 itself makes "close all from 4 on" possible.
    close_from(FIRST_PRIVATE_FD, 0).map_err(system("close inherited descriptors"))?;
    let copy = fcntl(stdin(), FcntlArg::F_DUPFD_CLOEXEC(FIRST_PRIVATE_FD))
        .map_err(system("copy the control socket"))?;
    // SAFETY: fcntl has just made this descriptor; nobody else owns it.
    let control = unsafe { OwnedFd::from_raw_fd(copy) };
    dup2_stdin(dev_null(OFlag::O_RDONLY).map_err(system("open /dev/null"))?)
        .map_err(system("replace standard input"))?;
    Ok(control)
}

/// Blocks every signal, becomes the reaper of all descendants and answers what tells of their ends.
///
/// Signals are blocked, not handled: the launcher takes orders over its socket only, so a `SIGTERM` or `SIGINT` meant for
/// a whole service or terminal cannot make it leave a tree behind. `SIGKILL` remains, and the program's parent-death
/// signal answers that one.
pub(crate) fn become_reaper() -> Result<Watch, HostError> {
    let system = |action| move |source| HostError::System { action, source };
    let threads = read_dir("/proc/self/task").map_err(|_| HostError::NoProc)?.count();
    if threads != 1 {
        return Err(HostError::Threads { threads });
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).map_err(system("block signals"))?;
    set_child_subreaper(true).map_err(system("become the reaper of descendants"))?;
    // Files that loaders make are for others to read; the scratch directory is closed by its own mode.
    umask(Mode::from_bits_truncate(0o022));
    // Hold no file system of the daemon's.
    chdir("/").map_err(system("enter /"))?;
    Watch::new().map_err(system("watch for ends of children"))
}

/// Tells that a child ended. Signals must be blocked.
pub(crate) struct Watch(SignalFd);

impl Watch {
    pub(crate) fn new() -> nix::Result<Self> {
        let mut child_ends = SigSet::empty();
        child_ends.add(Signal::SIGCHLD);
        SignalFd::with_flags(&child_ends, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Self)
    }

    /// Becomes readable when a child ends.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// To be called before children are looked for, so that an end after the look makes it readable again.
    pub(crate) fn forget(&self) {
        while let Ok(Some(_)) = self.0.read_signal() {}
    }
}

/// `/dev/null`, close-on-exec.
pub(crate) fn dev_null(access: OFlag) -> nix::Result<OwnedFd> {
    open("/dev/null", access | OFlag::O_CLOEXEC, Mode::empty())
}

/// Closes every descriptor from `first` on; with `CLOSE_RANGE_CLOEXEC` in `flags` marks them close-on-exec instead.
/// There is no fallback for kernels older than 5.11: guessing at open descriptors is how they leak.
pub(crate) fn close_from(first: RawFd, flags: libc::c_uint) -> nix::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(|_| Errno::EBADF)?;
    // SAFETY: close_range takes three integers and touches no memory. The callers own no descriptor in the range that is
    // used afterwards: at start nothing has been opened, and before exec the range is only marked.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) }).map(drop)
}
