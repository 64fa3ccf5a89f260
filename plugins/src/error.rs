//! What can go wrong in a shipped program, as its user reads it: which operation, on which file or line, and the
//! cure. Never the content of a record.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error as ThisError;

/// Why a program of this crate ended early.
#[derive(Debug, ThisError)]
pub enum Error {
    /// Input that cannot be used: a configuration, a message or a file. The text names place and cure.
    #[error("{0}")]
    Invalid(String),
    /// The system refused an operation on a file.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// The verb, such as `open` or `write`.
        operation: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system refused an operation on a standard stream.
    #[error("cannot {operation}")]
    Stream {
        /// What was attempted, such as `read standard input`.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Whoever read standard output has closed it (`| head`). Told to nobody: the exit code says enough.
    #[error("the reader of standard output has gone")]
    ReaderGone,
    /// The program was told to end with this exit code; it has already said why. Only the sample does so.
    #[error("ended with exit code {0} as configured")]
    Exit(u8),
}

impl Error {
    /// Input that cannot be used; `text` names the place and the cure.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// For `map_err` on an operation on `path`.
    pub fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { operation, path: path.to_path_buf(), source }
    }

    /// A failed write to standard output, where a closed pipe is not worth a word.
    pub fn stdout(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Stream { operation: "write standard output", source },
        }
    }

    /// The whole chain on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_operation_object_and_reason_once() {
        let error = Error::file("open", Path::new("/data/a.csv"))(io::Error::other("not today"));
        assert_eq!(error.chain(), "cannot open /data/a.csv: not today");
    }

    #[test]
    fn a_closed_pipe_is_its_own_case() {
        assert!(matches!(Error::stdout(io::ErrorKind::BrokenPipe.into()), Error::ReaderGone));
        assert!(matches!(Error::stdout(io::ErrorKind::StorageFull.into()), Error::Stream { .. }));
    }
}
