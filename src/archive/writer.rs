//! Writing an archive file: beside its final name, made durable, then renamed, so that a file under its final name is
//! whole. Every function blocks. Nothing here reads an event back.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use flexcore_actors::domain::event::RecordedEvent;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::error::ArchiveError;
use super::row::{self, COLUMNS, INDEXES, TABLE};
use super::{APPLICATION, FORMAT};

/// How much of a file is hashed at once, in bytes.
const HASH_CHUNK: usize = 1 << 20;

/// An archive file under its final name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its name in the directory for archives.
    pub file: String,
    /// Of its bytes.
    pub sha256: [u8; 32],
}

/// An archive file that is being written. What an earlier attempt left is replaced.
#[derive(Debug)]
pub struct Draft {
    db: Connection,
    dir: PathBuf,
    file: String,
}

impl Draft {
    /// Begins the file for these positions; makes the directory, for its owner alone.
    ///
    /// # Errors
    /// When the directory or the file cannot be made.
    pub fn create(dir: &Path, positions: &RangeInclusive<u64>) -> Result<Self, ArchiveError> {
        let file = format!("events-{:012}-{:012}.db", positions.start(), positions.end());
        let beside = beside(dir, &file);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| ArchiveError::Io { path: dir.to_path_buf(), source })?;
        match fs::remove_file(&beside) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(ArchiveError::Io { path: beside, source });
            }
            _ => {}
        }
        let begin = || {
            let db = Connection::open(&beside)?;
            db.pragma_update(None, "application_id", APPLICATION)?;
            db.pragma_update(None, "user_version", FORMAT)?;
            // a draft that a crash spoils is written again; `finish` makes the whole durable
            db.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(()))?;
            db.pragma_update(None, "synchronous", "off")?;
            db.execute_batch(TABLE)?;
            Ok(db)
        };
        let db = begin().map_err(|source| ArchiveError::Database { path: beside.clone(), source })?;
        Ok(Self { db, dir: dir.to_path_buf(), file })
    }

    /// Adds events.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, events: &[RecordedEvent]) -> Result<(), ArchiveError> {
        let path = beside(&self.dir, &self.file);
        let mut add = || {
            let transaction = self.db.transaction()?;
            {
                let marks = vec!["?"; COLUMNS.split(',').count()].join(", ");
                let mut statement =
                    transaction.prepare_cached(&format!("insert into event ({COLUMNS}) values ({marks})"))?;
                for event in events {
                    row::write(&mut statement, event)?;
                }
            }
            transaction.commit()
        };
        add().map_err(|source| ArchiveError::Database { path, source })
    }

    /// Makes it whole and durable, under its final name.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<Finished, ArchiveError> {
        let Self { db, dir, file } = self;
        let (draft, path) = (beside(&dir, &file), dir.join(&file));
        let close = || {
            db.execute_batch(INDEXES)?;
            db.close().map_err(|(_, source)| source)
        };
        close().map_err(|source| ArchiveError::Database { path: draft.clone(), source })?;
        let keep = || {
            File::open(&draft)?.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&dir)?.sync_all()?;
            sha256(&mut File::open(&path)?)
        };
        let sha256 = keep().map_err(|source| ArchiveError::Io { path: path.clone(), source })?;
        Ok(Finished { file, sha256 })
    }
}

fn beside(dir: &Path, file: &str) -> PathBuf {
    dir.join(format!("{file}.new"))
}

/// Of what is in the file from here on.
pub(super) fn sha256(file: &mut File) -> io::Result<[u8; 32]> {
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; HASH_CHUNK]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&chunk[..length]),
        }
    }
}
