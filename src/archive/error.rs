//! What can be wrong with an archive file, each with the file and the cure.

use std::path::PathBuf;

/// Why an archive file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is not where it must be.
    #[error(
        "archive file {} is missing: put it back, or set archive.dir to the directory that holds it",
        path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// What is recorded as its name is none.
    #[error(
        "the table archive names the file {name:?}, which is no bare file name: somebody has changed the table, run \
         flexcore verify"
    )]
    NoName {
        /// What is recorded.
        name: String,
    },
    /// It cannot be read or written.
    #[error("archive file {} cannot be used: check the disk and that the node may read and write it", path.display())]
    Io {
        /// The file or its directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not what was written.
    #[error("archive file {} is damaged ({reason}): restore it from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The SQLite library could not read or write it.
    #[error("archive file {} cannot be read: check the disk, or restore it from a copy", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What the library said.
        source: rusqlite::Error,
    },
}

impl ArchiveError {
    /// May it be over when the file is put back or the disk recovers?
    #[must_use]
    pub const fn passes(&self) -> bool {
        !matches!(self, Self::Damaged { .. } | Self::NoName { .. })
    }
}
