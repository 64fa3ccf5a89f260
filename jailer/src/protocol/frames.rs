//! Length-prefixed MessagePack on a stream socket, with descriptors beside the bytes.
//!
//! [`Frames`] collects bytes from any reader, so blocking, polled and asynchronous sides share one parser. Errors carry no
//! content of a message: it may hold secrets.

use crate::limits::{ATTACHED, MESSAGE_BYTES, READ_BYTES};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const PREFIX_BYTES: usize = 4;

/// A message that cannot be sent or understood; a repetition would fail the same way.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MESSAGE_BYTES`].
    #[error(
        "message of {bytes} bytes exceeds the launcher protocol's {MESSAGE_BYTES}: pass large values in files"
    )]
    TooLarge {
        /// The announced or encoded length.
        bytes: usize,
    },
    /// It has no wire form; in practice a path that is not UTF-8.
    #[error("message cannot be encoded: a path in it is not UTF-8")]
    Encode,
    /// Not a message of this protocol, or one with a field that this side does not know.
    #[error(
        "message cannot be decoded: daemon and launcher are of different builds, or the bytes are damaged"
    )]
    Decode,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It has no wire form.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The system refused.
    #[error("control socket failed")]
    Socket(#[from] Errno),
}

/// Encodes one message with its length prefix.
///
/// # Errors
/// [`FrameError::TooLarge`] or [`FrameError::Encode`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; PREFIX_BYTES];
    rmp_serde::encode::write_named(&mut frame, message).map_err(|_| FrameError::Encode)?;
    let bytes = frame.len() - PREFIX_BYTES;
    if bytes > MESSAGE_BYTES {
        return Err(FrameError::TooLarge { bytes });
    }
    let prefix = u32::try_from(bytes).expect("MESSAGE_BYTES fits in 32 bits");
    frame[..PREFIX_BYTES].copy_from_slice(&prefix.to_be_bytes());
    Ok(frame)
}

/// Bytes received so far, cut into messages.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Adds what was read.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Reads the next whole message as another type and leaves it there; `None` when it is none of that type.
    pub(crate) fn peek<T: DeserializeOwned>(&self) -> Option<T> {
        rmp_serde::from_slice(self.bytes.get(PREFIX_BYTES..)?).ok()
    }

    /// What was received and not yet taken.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the next whole message, `None` if its end has not come yet.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] as soon as the prefix announces it, [`FrameError::Decode`].
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some((prefix, rest)) = self.bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > MESSAGE_BYTES {
            return Err(FrameError::TooLarge { bytes: length });
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let mut unread = body;
        let message = rmp_serde::from_read(&mut unread).map_err(|_| FrameError::Decode)?;
        if !unread.is_empty() {
            return Err(FrameError::Decode);
        }
        self.bytes.drain(..PREFIX_BYTES + length);
        Ok(Some(message))
    }
}

/// Sends the beginning of `bytes` with the descriptors beside its first byte; answers how many bytes went. The rest is
/// written like any bytes. The receiver gets duplicates: the caller keeps, and closes, its own.
///
/// # Errors
/// The system's, such as `EAGAIN` on a full non-blocking socket (nothing was sent then) and `EPIPE`.
pub fn send_with_descriptors(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> nix::Result<usize> {
    send(socket, bytes, descriptors, MsgFlags::empty())
}

/// Sends one small message whole and without waiting, with descriptors beside it, or fails. `EAGAIN` means that the socket is
/// full: messages are few, so nobody reads at the other end any more.
///
/// # Errors
/// [`SendError`]; after `EAGAIN` the stream may hold half a message and is of no further use.
pub fn send_now<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), SendError> {
    let frame = encode(message)?;
    let sent = send(&socket, &frame, descriptors, MsgFlags::MSG_DONTWAIT)?;
    if sent == frame.len() { Ok(()) } else { Err(Errno::EAGAIN.into()) }
}

fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> nix::Result<usize> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
    let slices = [IoSlice::new(bytes)];
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &slices, rights, flags | MsgFlags::MSG_NOSIGNAL, None)
}

/// Reads what is there, without waiting, into `frames` and `descriptors`; answers how many bytes came, 0 at the end of
/// the stream. Descriptors arrive close-on-exec.
///
/// # Errors
/// The system's: `EAGAIN` if nothing is there; `EBADMSG` if more than [`ATTACHED`] descriptors wait to be taken.
pub fn receive(socket: impl AsFd, frames: &mut Frames, descriptors: &mut Vec<OwnedFd>) -> nix::Result<usize> {
    let mut buffer = vec![0; READ_BYTES];
    let mut ancillary = cmsg_space!([RawFd; ATTACHED]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let (bytes, truncated) = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut ancillary), flags)?;
        let truncated = message.flags.contains(MsgFlags::MSG_CTRUNC);
        // A truncated control message cannot be walked; what it carried is closed with this process.
        if !truncated {
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(received) = control {
                    // SAFETY: the kernel has just made these descriptors for this process; nobody else owns them.
                    descriptors.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
        }
        (message.bytes, truncated)
    };
    if truncated || descriptors.len() > ATTACHED {
        return Err(Errno::EBADMSG);
    }
    frames.extend(&buffer[..bytes]);
    Ok(bytes)
}
