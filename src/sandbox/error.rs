//! Why a program did not start, in words for the person who can change it. No content of arguments or environment.

use super::limits::START_WAIT;
use flexcore_jailer::BUILD;
use flexcore_jailer::protocol::frames::FrameError;
use flexcore_jailer::protocol::{PolicyError, StartFailure};
use nix::errno::Errno;
use std::io;
use std::path::PathBuf;

/// A start that failed. It is certain that nothing of the program runs, or will.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The description can never run.
    #[error("the program's description is not valid: {0}")]
    Invalid(#[from] PolicyError),
    /// The description cannot be sent.
    #[error(transparent)]
    Message(#[from] FrameError),
    /// The launcher itself could not be started.
    #[error(
        "the launcher {} could not be started: check that the file exists and may be executed",
        path.display()
    )]
    Launcher {
        /// Its path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The launcher does not understand what it is asked.
    #[error(
        "the launcher {} does not belong to this flexcore of build {BUILD}: {said}; install the flexcore-jailer of the same \
         build there, or remove that file, and flexcore acts as its own launcher after a restart",
        path.display()
    )]
    OtherBuild {
        /// Its path.
        path: PathBuf,
        /// What it says.
        said: String,
    },
    /// The launcher refused or could not execute the program; the message names the program and the cure.
    #[error("{}", .0.message)]
    Refused(StartFailure),
    /// The host lacks isolation that is required.
    #[error("the sandbox of this node is incomplete: {0}; flexcore check sandbox shows all of it")]
    Incomplete(String),
    /// The launcher ended, or its socket failed, before it answered.
    #[error("the launcher ended before it answered whether the program started")]
    Lost,
    /// No answer in time.
    #[error(
        "the program was not executed within {} s: its file system hangs or the host is overloaded",
        START_WAIT.as_secs()
    )]
    TimedOut,
}

impl LaunchError {
    /// Whether the same start may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Lost | Self::TimedOut => true,
            Self::Launcher { source, .. } => source.raw_os_error().is_some_and(is_transient),
            Self::Refused(failure) => is_transient(failure.errno),
            Self::OtherBuild { .. } | Self::Invalid(_) | Self::Message(_) | Self::Incomplete(_) => false,
        }
    }
}

fn is_transient(errno: i32) -> bool {
    let shortages = [Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE, Errno::ETXTBSY];
    shortages.contains(&Errno::from_raw(errno))
}
