//! The launcher's end of the control socket. It moves messages; what they mean is decided in `supervise`.

use crate::BUILD;
use crate::limits::{BUILD_CHARS, DESCRIPTORS, POLICY_WAIT};
use crate::protocol::frames::{FrameError, Frames, SendError, receive, send_now};
use crate::protocol::{AnyOrder, AnyPolicy, Order, Policy, Report};
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
    #[error("this launcher is of build {BUILD}, and was asked by {asked}")]
    OtherBuild { asked: String },
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
            let order = match self.next() {
                Err(ControlError::Frame(FrameError::Decode)) => return Err(self.misunderstood()),
                order => order?,
            };
            match order {
                Some(Order::Start(policy)) => {
                    if policy.build != BUILD {
                        return Err(other_build(&policy.build));
                    }
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

    /// Why the first message is not understood: whose it is, if it says so.
    fn misunderstood(&self) -> ControlError {
        match self.frames.peek() {
            Some(AnyOrder::Start(AnyPolicy { build })) if build != BUILD => other_build(&build),
            _ => FrameError::Decode.into(),
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

fn other_build(build: &str) -> ControlError {
    let asked = if build.is_empty() {
        "an earlier one".to_owned()
    } else {
        format!("build {}", build.chars().take(BUILD_CHARS).collect::<String>())
    };
    ControlError::OtherBuild { asked }
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
