//! A step that failed, on its way from the process where it failed to the launcher: one pipe, written at most once.

use crate::limits::DETAIL_BYTES;
use crate::protocol::Stage;
use nix::errno::Errno;
use nix::unistd::{read, write};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::os::fd::OwnedFd;

/// Above what a failure takes, below what a pipe keeps whole.
const MOST_BYTES: usize = 2 * DETAIL_BYTES;

/// What failed, and on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    errno: i32,
    /// A path or operation; never a value.
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(stage: Stage, errno: impl Into<Errno>, detail: impl Display) -> Self {
        let mut detail = detail.to_string();
        let end = (0..=DETAIL_BYTES.min(detail.len())).rev().find(|end| detail.is_char_boundary(*end));
        detail.truncate(end.unwrap_or(0));
        Self { stage, errno: errno.into() as i32, detail }
    }

    pub(crate) fn errno(&self) -> Errno {
        Errno::from_raw(self.errno)
    }

    /// Tells it to whoever holds the other end; if nobody does, the missing start tells as much.
    pub(crate) fn tell(&self, pipe: &OwnedFd) {
        if let Ok(bytes) = rmp_serde::to_vec(self) {
            let _ = write(pipe, &bytes);
        }
    }

    /// What was told; `None` at the end of the pipe, when every step succeeded.
    pub(crate) fn heard(pipe: &OwnedFd) -> nix::Result<Option<Self>> {
        let mut bytes = [0; MOST_BYTES];
        match read(pipe, &mut bytes)? {
            0 => Ok(None),
            length => rmp_serde::from_slice(&bytes[..length]).map(Some).map_err(|_| Errno::EBADMSG),
        }
    }
}

/// Gives an error of the system its stage and detail.
pub(crate) trait At<T> {
    fn at(self, stage: Stage, detail: impl Display) -> Result<T, Failure>;
}

impl<T, E: IntoErrno> At<T> for Result<T, E> {
    fn at(self, stage: Stage, detail: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(stage, error.into_errno(), detail))
    }
}

/// Errors of the system, by whichever library they come.
pub(crate) trait IntoErrno {
    fn into_errno(self) -> Errno;
}

impl IntoErrno for Errno {
    fn into_errno(self) -> Errno {
        self
    }
}

impl IntoErrno for rustix::io::Errno {
    fn into_errno(self) -> Errno {
        Errno::from_raw(self.raw_os_error())
    }
}

impl IntoErrno for std::io::Error {
    fn into_errno(self) -> Errno {
        Errno::from_raw(self.raw_os_error().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;
    use crate::limits::DETAIL_BYTES;
    use crate::protocol::Stage;
    use nix::errno::Errno;
    use nix::unistd::pipe;

    #[test]
    fn it_is_heard_as_it_was_told_and_silence_is_success() {
        let (hear, tell) = pipe().unwrap();
        let failure = Failure::new(Stage::Root, Errno::ENOENT, "ö".repeat(DETAIL_BYTES));
        failure.tell(&tell);
        drop(tell);
        let heard = Failure::heard(&hear).unwrap().unwrap();
        assert_eq!(heard, failure);
        assert_eq!((heard.errno(), heard.detail.len()), (Errno::ENOENT, DETAIL_BYTES));
        assert_eq!(Failure::heard(&hear).unwrap(), None);
    }
}
