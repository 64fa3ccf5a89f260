//! Copies of checkpoints in a directory: `YYYY-MM-DD.checkpoints`, one file a day (UTC), notes one after another, only ever
//! appended to; and `latest`, the last note alone. A note is in its day's file, durably, before `latest` names it. Several
//! nodes of one log may share a directory on one host. Never in here: whether a note is to be believed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flexcore_actors::domain::integrity::checkpoint::Checkpoint;
use flexcore_actors::domain::integrity::note::{MAX_NOTE_BYTES, SignedNote};
use flexcore_actors::ports::checkpoints::{NotePage, NotePlace, OutsideError, Place, Published};
use flexcore_actors::ports::{BoxFuture, OutsideCheckpoints};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::history;
use crate::durable;

pub(super) const LATEST: &str = "latest";
const LOCK: &str = "lock";
pub(super) const SUFFIX: &str = ".checkpoints";
const READABLE: u32 = 0o644;
/// How long another node may hold the directory: it writes a few hundred bytes.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(10);
/// What a line that signs begins with.
pub(super) const SIGNATURE: &str = "\u{2014} ";
/// Lines of a checkpoint's text.
pub(super) const TEXT_LINES: usize = 3;

/// A directory of checkpoints.
#[derive(Clone)]
pub struct CheckpointDirectory {
    path: PathBuf,
    beside_store: bool,
    /// The note that was last read or written here: another one in its place was put there by somebody else.
    known: Arc<Mutex<Option<String>>>,
}

impl CheckpointDirectory {
    /// Opens a directory, and makes it when it is not there. `beside_store` says that it lies beside the store.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path, beside_store: bool) -> Result<Self, OutsideError> {
        fs::create_dir_all(path).map_err(unavailable("make it"))?;
        Ok(Self { path: path.to_owned(), beside_store, known: Arc::default() })
    }

    /// A directory that is there, to be read.
    #[must_use]
    pub fn existing(path: &Path, beside_store: bool) -> Self {
        Self { path: path.to_owned(), beside_store, known: Arc::default() }
    }

    fn latest_now(&self) -> Result<Option<String>, OutsideError> {
        let latest = read_latest(&self.path)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = latest.clone();
        Ok(latest)
    }

    fn publish_now(&self, note: &str, at: Timestamp) -> Result<Published, OutsideError> {
        let _lock = lock(&self.path)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = read_latest(&self.path)?;
        if let Some(found) = &found {
            let (there, new) = (checkpoint(found, LATEST)?, checkpoint(note, "the new note")?);
            if there == new {
                *known = Some(found.clone());
                return Ok(Published::Written);
            }
            if there.size >= new.size || known.as_ref() != Some(found) {
                return Ok(Published::Changed);
            }
        } else if known.is_some() {
            return Err(OutsideError::Damaged("the checkpoints that were there are gone".to_owned()));
        }
        append(&self.path.join(format!("{}{SUFFIX}", at.to_zoned(TimeZone::UTC).date())), note)?;
        durable::replace(&self.path.join(LATEST), note, READABLE).map_err(unavailable("write latest"))?;
        *known = Some(note.to_owned());
        Ok(Published::Written)
    }
}

impl OutsideCheckpoints for CheckpointDirectory {
    fn latest(&self) -> BoxFuture<'_, Result<Option<String>, OutsideError>> {
        let this = self.clone();
        Box::pin(blocking(move || this.latest_now()))
    }

    fn notes(&self, from: NotePlace) -> BoxFuture<'_, Result<NotePage, OutsideError>> {
        let path = self.path.clone();
        Box::pin(blocking(move || history::page(&path, from)))
    }

    fn publish<'a>(&'a self, note: &'a str, at: Timestamp) -> BoxFuture<'a, Result<Published, OutsideError>> {
        let (this, note) = (self.clone(), note.to_owned());
        Box::pin(blocking(move || this.publish_now(&note, at)))
    }

    fn place(&self) -> Place {
        Place { at: self.path.display().to_string(), beside_store: self.beside_store }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OutsideError> + Send + 'static,
) -> Result<T, OutsideError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|lost| Err(unavailable("be used")(io::Error::other(lost))))
}

/// The larger of what `latest` and the newest day's file end with: a crash between the two leaves `latest` behind, and
/// who removes one of them hides nothing.
fn read_latest(directory: &Path) -> Result<Option<String>, OutsideError> {
    let mut found: Vec<(Checkpoint, String)> = Vec::new();
    match fs::read_to_string(directory.join(LATEST)) {
        Ok(note) => found.push((checkpoint(&note, LATEST)?, note)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unavailable("read latest")(error)),
    }
    if let Some(day) = newest_day(directory)? {
        let mut file = File::open(&day).map_err(unavailable("read the newest day"))?;
        if let Some((note, _)) = last_note(&mut file).map_err(unavailable("read the newest day"))? {
            found.push((checkpoint(&note, &day.display().to_string())?, note));
        }
    }
    Ok(found.into_iter().max_by_key(|(checkpoint, _)| checkpoint.size).map(|(_, note)| note))
}

fn newest_day(directory: &Path) -> Result<Option<PathBuf>, OutsideError> {
    let list = || -> io::Result<Option<PathBuf>> {
        let mut newest = None;
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(|name| name.ends_with(SUFFIX)) {
                newest = newest.max(Some(name));
            }
        }
        Ok(newest.map(|name| directory.join(name)))
    };
    list().map_err(unavailable("list its files"))
}

/// Adds a note at the end of a day's file. What a crash has left there half-written is cut off first.
fn append(path: &Path, note: &str) -> Result<(), OutsideError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        let whole = last_note(&mut file)?.map_or(0, |(_, end)| end);
        if whole < length {
            tracing::warn!(path = %path.display(), bytes = length - whole, "a half-written checkpoint is cut off");
            file.set_len(whole)?;
        }
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        if length == 0 { durable::sync_parent(path) } else { Ok(()) }
    };
    write().map_err(unavailable("append to the day's file"))
}

/// The last whole note of a file, and where it ends.
fn last_note(file: &mut File) -> io::Result<Option<(String, u64)>> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * MAX_NOTE_BYTES as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    // a cut may lie within a character: what is before the first whole line is not needed
    let tail = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = tail.split_inclusive('\n').collect();
    let signs = |line: &&str| line.starts_with(SIGNATURE) && line.ends_with('\n');
    let Some(last) = lines.iter().rposition(signs) else { return Ok(None) };
    let Some(blank) = lines[..last].iter().rposition(|line| *line == "\n") else { return Ok(None) };
    let Some(first) = blank.checked_sub(TEXT_LINES) else { return Ok(None) };
    let beyond: usize = lines[last + 1..].iter().map(|line| line.len()).sum();
    Ok(Some((lines[first..=last].concat(), length - beyond as u64)))
}

fn checkpoint(note: &str, at: &str) -> Result<Checkpoint, OutsideError> {
    let damaged = |why: String| OutsideError::Damaged(format!("{at}: {why}"));
    let note: SignedNote = note.parse().map_err(|e| damaged(format!("{e}")))?;
    Checkpoint::of(&note).map_err(|e| damaged(e.to_string()))
}

/// Keeps other nodes from writing; it ends with the file.
fn lock(directory: &Path) -> Result<File, OutsideError> {
    let file = File::create(directory.join(LOCK)).map_err(unavailable("make its lock"))?;
    let end = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(LOCK_POLL),
            Err(error) => return Err(unavailable("lock it")(error.into())),
        }
    }
}

pub(super) fn unavailable(operation: &'static str) -> impl Fn(io::Error) -> OutsideError {
    move |source| OutsideError::Unavailable { operation, source }
}
