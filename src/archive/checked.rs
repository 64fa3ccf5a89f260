//! Opens archive files as the database has them recorded: by a bare name, and only the bytes that were recorded. Every
//! function blocks. Nothing here knows what is in a file.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::error::ArchiveError;
use super::reader::Reader;
use super::writer::sha256;

/// What the database says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its name in the directory for archives.
    pub name: String,
    /// Of its bytes.
    pub sha256: [u8; 32],
    /// The positions it holds.
    pub positions: RangeInclusive<u64>,
}

/// Opens files whose bytes are what was recorded. A file is read whole the first time, and again whenever the system
/// says that it is another or was changed; meanwhile others wait.
#[derive(Debug, Default)]
pub struct Checked {
    files: Mutex<HashMap<PathBuf, Seen>>,
}

/// What a file was when its bytes were compared.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    sha256: [u8; 32],
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds of the last change of its bytes, and of anything about it.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Checked {
    /// Opens a recorded file in the directory.
    ///
    /// # Errors
    /// [`ArchiveError::NoName`] when its name leads elsewhere, [`ArchiveError::Missing`] when there is no such file,
    /// [`ArchiveError::Damaged`] when it is another than was recorded.
    pub fn open(&self, dir: &Path, file: &Recorded) -> Result<Reader, ArchiveError> {
        let path = dir.join(bare(&file.name)?);
        self.compare(&path, file.sha256)?;
        Reader::open(&path, file.positions.clone())
    }

    fn compare(&self, path: &Path, recorded: [u8; 32]) -> Result<(), ArchiveError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ArchiveError::Missing { path: path.to_path_buf() },
            _ => ArchiveError::Io { path: path.to_path_buf(), source },
        };
        // held while one reads: the others wait for the same answer instead of reading it too
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = File::open(path).map_err(failed)?;
        let now = Seen::of(&file.metadata().map_err(failed)?, recorded);
        if files.get(path) == Some(&now) {
            return Ok(());
        }
        files.remove(path);
        if sha256(&mut file).map_err(failed)? != recorded {
            let reason = "its sha-256 is not the one that was recorded".to_owned();
            return Err(ArchiveError::Damaged { path: path.to_path_buf(), reason });
        }
        files.insert(path.to_path_buf(), now);
        Ok(())
    }
}

impl Seen {
    fn of(file: &Metadata, sha256: [u8; 32]) -> Self {
        Self {
            sha256,
            device: file.dev(),
            inode: file.ino(),
            length: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// A name that leads nowhere but into the directory it is looked for in.
fn bare(name: &str) -> Result<&str, ArchiveError> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(only)), None) if only == name => Ok(name),
        _ => Err(ArchiveError::NoName { name: name.to_owned() }),
    }
}
