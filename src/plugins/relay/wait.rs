//! Waiting for a pipe and for orders at the same time.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::control::{Control, Order};
use crate::plugins::limits::{RELAY_REPORT, RELAY_SMALL_READ};

/// Waits until `end` is ready, an order comes, the program behind `downstream` closes its input, or it is time to
/// publish how long it has been; says how long it was.
pub fn wait(
    end: &OwnedFd,
    ready: PollFlags,
    downstream: Option<&OwnedFd>,
    control: &Control,
) -> Result<Duration, Errno> {
    let started = Instant::now();
    let timeout = PollTimeout::try_from(RELAY_REPORT).unwrap_or(PollTimeout::ZERO);
    let mut fds = vec![PollFd::new(end.as_fd(), ready), PollFd::new(control.wake(), PollFlags::POLLIN)];
    // no events asked for: only the error that says that nobody reads any more
    fds.extend(downstream.map(|fd| PollFd::new(fd.as_fd(), PollFlags::empty())));
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    let raised = |fd: &PollFd<'_>, flag| fd.revents().is_some_and(|r| r.intersects(flag));
    if raised(&fds[1], PollFlags::POLLIN) {
        control.noticed();
    }
    let upstream_has_more = raised(&fds[0], PollFlags::POLLIN | PollFlags::POLLHUP);
    if !upstream_has_more && fds.get(2).is_some_and(|fd| raised(fd, PollFlags::POLLERR)) {
        return Err(Errno::EPIPE);
    }
    Ok(started.elapsed())
}

/// Reads and forgets what a program still writes while it is being stopped, so that it can end in an orderly way
/// instead of of a broken pipe.
pub fn discard(upstream: &OwnedFd, control: &Control) {
    let mut buffer = vec![0; RELAY_SMALL_READ];
    while control.current() != Order::Abandon {
        match nix::unistd::read(upstream, &mut buffer) {
            Ok(0) => return,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if control.current() == Order::UpstreamGone => return,
            Err(Errno::EAGAIN) => {
                if wait(upstream, PollFlags::POLLIN, None, control).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
