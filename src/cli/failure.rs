//! How a command ends when it does not succeed: the exit code scripts match on, a sentence, and what to do next.
//! Never in here: printing.

use std::fmt;
use std::io;

/// Exit codes; the numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for failed.
    Failed = 1,
    /// The request itself is wrong: flags, a file, a parameter.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// It exists already, or is in the wrong state.
    Conflict = 4,
    /// The node wants another token or role.
    Unauthorised = 5,
    /// The node, or something it needs, is away; the same command may succeed later.
    Unavailable = 6,
    /// Left by Ctrl-C (128 and SIGINT's number, as shells have it).
    Interrupted = 130,
    /// The reader of standard output went away (128 and SIGPIPE's number); said by nothing else.
    OutputClosed = 141,
}

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, one sentence; empty says nothing.
    pub message: String,
    /// More lines, such as every problem of a file.
    pub details: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without details or hint.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), details: Vec::new(), hint: None }
    }

    /// A wrong request.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something that failed.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with more lines.
    #[must_use]
    pub fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    /// What writing the answer met; a closed pipe (`| head`) ends the command quietly.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(Exit::OutputClosed, "")
        } else {
            Self::failed(format!("cannot write the answer: {error}"))
        }
    }
}

/// An error with what is behind it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
