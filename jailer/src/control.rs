//! The launcher's end of the control socket. It moves messages; what they mean is decided in `supervise`.

use crate::limits::{DESCRIPTORS, POLICY_WAIT};
use crate::protocol::frames::{FrameError, Frames, SendError, receive, send_now};
use crate::protocol::{Order, Policy, Report};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Why no (further) order comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("the daemon closed the control socket")]
    Closed,
    #[error("no policy came within {} s", POLICY_WAIT.as_secs())]
    Silent,
    #[error("unexpected order: the first must be start, and only the first")]
    OutOfOrder,
    #[error("{received} descriptors came with the policy, which needs {expected}")]
    Descriptors { received: usize, expected: usize },
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("control socket failed")]
    Socket(#[from] Errno),
}

/// The socket, and what was read from it but not yet used.
pub(crate) struct Control {
    socket: OwnedFd,
    frames: Frames,
    descriptors: Vec<OwnedFd>,
}

impl Control {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, frames: Frames::default(), descriptors: Vec::with_capacity(DESCRIPTORS) }
    }

    /// Waits for the policy and its descriptors, at most [`POLICY_WAIT`].
    pub(crate) fn policy(&mut self) -> Result<(Policy, Vec<OwnedFd>), ControlError> {
        let deadline = Instant::now() + POLICY_WAIT;
        loop {
            match self.next()? {
                Some(Order::Start(policy)) => {
                    let expected = DESCRIPTORS - usize::from(!policy.stdin);
                    let descriptors = std::mem::take(&mut self.descriptors);
                    let received = descriptors.len();
                    if received != expected {
                        return Err(ControlError::Descriptors { received, expected });
                    }
                    return Ok((*policy, descriptors));
                }
                Some(_) => return Err(ControlError::OutOfOrder),
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(ControlError::Silent);
                    }
                    wait(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], Some(left))?;
                }
            }
        }
    }

    /// The next order, `None` if none has come (whole) yet. Never waits.
    pub(crate) fn next(&mut self) -> Result<Option<Order>, ControlError> {
        loop {
            if let Some(order) = self.frames.next_message()? {
                return Ok(Some(order));
            }
            match receive(&self.socket, &mut self.frames, &mut self.descriptors) {
                Ok(0) => return Err(ControlError::Closed),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a report and descriptors with it. Never waits.
    pub(crate) fn report(&self, report: &Report, attached: &[BorrowedFd<'_>]) -> Result<(), ControlError> {
        Ok(send_now(&self.socket, report, attached)?)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `poll(2)`, restarted by the caller's loop after a signal; `None` waits without end. Rounded up to whole milliseconds,
/// so that a deadline has passed when its wait returns.
pub(crate) fn wait(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> nix::Result<()> {
    let timeout = timeout.map_or(PollTimeout::NONE, |left| {
        PollTimeout::try_from(left.saturating_add(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX)
    });
    match poll(fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error),
    }
}
