//! Kernel pipes: made close-on-exec, enlarged where the kernel lets us, waited for together with a wake-up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use crate::plugins::limits::PIPE_BYTES;

/// A pipe for logs: its reading and its writing end, close-on-exec, of the default capacity.
///
/// # Errors
/// When the process has no descriptors left.
pub fn small() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe2(OFlag::O_CLOEXEC)?)
}

/// A pipe for records: as [`small`], with [`PIPE_BYTES`] of capacity where the user's share of pipe memory allows.
///
/// # Errors
/// When the process has no descriptors left.
pub fn large() -> io::Result<(OwnedFd, OwnedFd)> {
    let ends = small()?;
    // EPERM: the user's share (/proc/sys/fs/pipe-user-pages-soft) is used up; a smaller pipe works, a little slower
    let _ = fcntl(&ends.1, FcntlArg::F_SETPIPE_SZ(i32::try_from(PIPE_BYTES).expect("256 KiB fits an i32")));
    Ok(ends)
}

/// Makes our end of a pipe non-blocking; the program's end is a file description of its own and stays blocking.
///
/// # Errors
/// Never for a valid pipe.
pub fn set_non_blocking(end: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL)?);
    fcntl(end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// The capacity of a pipe in bytes; at least 1.
#[must_use]
pub fn capacity(end: &OwnedFd) -> u64 {
    fcntl(end, FcntlArg::F_GETPIPE_SZ).ok().and_then(|n| u64::try_from(n).ok()).unwrap_or(1).max(1)
}

/// How many bytes wait in a pipe.
#[must_use]
pub fn waiting(end: BorrowedFd<'_>) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the pointer, which is valid for the call; the descriptor is borrowed
    let result = unsafe { libc::ioctl(end.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}
