//! One data file that survives being killed: whole lines only, durable when asked, replaced as a whole.
//!
//! In `append` mode a half last line that a killed run has left is cut off on opening. In `replace` mode
//! everything goes to a hidden file beside it, which takes its name at the clean end. What is written is not
//! this room's business.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::config::{Format, Mode};
use crate::Error;
use crate::cli::log;

/// Handed to the system once this many bytes wait.
const WRITE_AT: usize = 256 << 10;

/// Read at once while looking for the last whole line, in bytes.
const SCAN_BLOCK: usize = 1 << 20;

/// What is kept of a buffer that one huge record has grown, in bytes.
const KEEP_BUFFER: usize = 1 << 20;

/// An open data file, locked against other writers.
pub(super) struct DataFile {
    /// Where the data will be in the end.
    path: PathBuf,
    /// The hidden file of `replace` mode.
    temporary: Option<PathBuf>,
    file: File,
    /// Bytes of whole lines in the file. Everything is written at this place, so it never holds half a line long.
    length: u64,
    buffer: Vec<u8>,
    dirty: bool,
    /// After a failed write or sync nobody knows what is on the disk: nothing is called durable any more.
    failed: bool,
}

impl DataFile {
    /// Opens `path` for writing after its last whole line, or its hidden file empty.
    pub fn open(path: PathBuf, format: Format, mode: Mode) -> Result<Self, Error> {
        let temporary = match mode {
            Mode::Append => None,
            Mode::Replace => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Some(path.with_file_name(format!(".{name}.new")))
            }
        };
        let written = temporary.as_deref().unwrap_or(&path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false) // only once the lock is ours
            .open(written)
            .map_err(Error::file("open", written))?;
        lock(&file, written)?;
        let repaired = match mode {
            Mode::Append => repair(&file, format, written),
            Mode::Replace => file.set_len(0),
        };
        repaired.map_err(Error::file("prepare", written))?;
        let length = file.metadata().map_err(Error::file("look at", written))?.len();
        sync_directory(&path)?; // that the file exists must be as durable as what is in it
        Ok(Self { path, temporary, file, length, buffer: Vec::new(), dirty: true, failed: false })
    }

    /// The path that is being written, for errors.
    pub fn path(&self) -> &Path {
        self.temporary.as_deref().unwrap_or(&self.path)
    }

    /// What the file holds from its beginning, for reading a header.
    pub fn reader(&self) -> impl Read + '_ {
        Reader { file: &self.file, at: 0 }
    }

    /// Where the next line is written. Finish it with `\n`, then call [`Self::line_done`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Hands lines to the system if enough wait.
    #[inline]
    pub fn line_done(&mut self) -> Result<(), Error> {
        if self.buffer.len() >= WRITE_AT { self.write_out() } else { Ok(()) }
    }

    /// Returns when all lines so far are on the disk.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.write_out()?;
        if self.dirty {
            let synced = self.file.sync_data();
            self.succeeded(synced, "make durable")?;
            self.dirty = false;
        }
        Ok(())
    }

    /// The clean end: all lines are on the disk, under the final name.
    pub fn finish(mut self) -> Result<(), Error> {
        self.sync()?;
        if let Some(temporary) = &self.temporary {
            std::fs::rename(temporary, &self.path).map_err(Error::file("replace", &self.path))?;
            sync_directory(&self.path)?;
        }
        Ok(())
    }

    /// The other end: a hidden file goes, the one it should have replaced stays as it was.
    pub fn discard(self) {
        if let Some(temporary) = &self.temporary {
            // If it cannot be removed, the next run empties it.
            let _ = std::fs::remove_file(temporary);
        }
    }

    fn write_out(&mut self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::invalid(format!(
                "{} is given up after a failed write",
                self.path().display()
            )));
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.dirty = true;
        let written = self.file.write_all_at(&self.buffer, self.length);
        if written.is_err() {
            // If this fails too, the next run cuts the half line off.
            let _ = self.file.set_len(self.length);
        }
        self.succeeded(written, "write")?;
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(KEEP_BUFFER);
        Ok(())
    }

    fn succeeded(&mut self, outcome: io::Result<()>, operation: &'static str) -> Result<(), Error> {
        self.failed |= outcome.is_err();
        outcome.map_err(Error::file(operation, self.path()))
    }
}

/// The lock goes with the process, however it ends.
fn lock(file: &File, path: &Path) -> Result<(), Error> {
    let taken = || {
        Error::invalid(format!(
            "{} is being written by another process: wait for it, or choose another destination_path",
            path.display()
        ))
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(taken()),
        Err(TryLockError::Error(source)) => return Err(Error::file("lock", path)(source)),
    }
    // Between open and lock another process may have finished and given the file its final name.
    let ours = file.metadata().map_err(Error::file("look at", path))?.ino();
    match std::fs::metadata(path) {
        Ok(named) if named.ino() == ours => Ok(()),
        _ => Err(taken()),
    }
}

/// Cuts off what follows the last line end that ends a record. A whole JSON value without line end gets one.
fn repair(file: &File, format: Format, path: &Path) -> io::Result<()> {
    let size = file.metadata()?.len();
    let whole = match format {
        Format::Jsonl => last_line_end(file, size)?,
        Format::Csv => last_record_end(file)?,
    };
    if whole == size {
        return Ok(());
    }
    if format == Format::Jsonl {
        let mut tail = Reader { file, at: whole };
        // No part of an object is an object, so one that parses is whole.
        if serde_json::from_reader::<_, serde::de::IgnoredAny>(io::BufReader::new(&mut tail)).is_ok() {
            return file.write_all_at(b"\n", size);
        }
    }
    log(
        "WARNING",
        format_args!("{}: cut off {} bytes of an unfinished last line", path.display(), size - whole),
    );
    file.set_len(whole)
}

/// The offset after the last `\n`, found from the end.
fn last_line_end(file: &File, size: u64) -> io::Result<u64> {
    let mut block = vec![0; SCAN_BLOCK];
    let mut end = size;
    while end > 0 {
        let length = end.min(SCAN_BLOCK as u64) as usize;
        let start = end - length as u64;
        file.read_exact_at(&mut block[..length], start)?;
        if let Some(found) = memchr::memrchr(b'\n', &block[..length]) {
            return Ok(start + found as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The offset after the last `\n` outside quotes. Only counting quotes from the beginning can tell.
fn last_record_end(file: &File) -> io::Result<u64> {
    let mut block = vec![0; SCAN_BLOCK];
    let (mut at, mut end, mut quoted) = (0, 0, false);
    let mut reader = Reader { file, at: 0 };
    loop {
        let read = reader.read(&mut block)?;
        if read == 0 {
            return Ok(end);
        }
        for found in memchr::memchr2_iter(b'\n', b'"', &block[..read]) {
            match block[found] {
                b'"' => quoted = !quoted,
                _ if !quoted => end = at + found as u64 + 1,
                _ => {}
            }
        }
        at += read as u64;
    }
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(Error::file("make durable", directory))
}

/// Reads a file at its own place, without moving the file's.
struct Reader<'f> {
    file: &'f File,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(format: Format, content: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        std::fs::write(&path, content).unwrap();
        let mut file = DataFile::open(path.clone(), format, Mode::Append).unwrap();
        file.buffer().extend_from_slice(b"+\n");
        file.finish().unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn an_unfinished_last_line_is_cut_off() {
        let long = "x".repeat(3 * SCAN_BLOCK);
        assert_eq!(repaired(Format::Jsonl, ""), "+\n");
        assert_eq!(repaired(Format::Jsonl, "{\"a\":"), "+\n");
        assert_eq!(repaired(Format::Jsonl, "{}\n{\"a\":\"b\"}\n"), "{}\n{\"a\":\"b\"}\n+\n");
        assert_eq!(repaired(Format::Jsonl, &format!("{{}}\n{{\"a\":\"{long}")), "{}\n+\n");
        assert_eq!(repaired(Format::Csv, "a,b\n1,\"x\ny\"\n2,\"half\nof"), "a,b\n1,\"x\ny\"\n+\n");
        assert_eq!(repaired(Format::Csv, "a\n1\n2"), "a\n1\n+\n");
    }

    #[test]
    fn a_whole_object_without_line_end_is_kept() {
        assert_eq!(repaired(Format::Jsonl, "{}\n{\"a\":1}"), "{}\n{\"a\":1}\n+\n");
    }

    #[test]
    fn replacing_shows_the_old_file_until_the_clean_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        std::fs::write(&path, "old\n").unwrap();
        let open = || DataFile::open(path.clone(), Format::Jsonl, Mode::Replace).unwrap();
        let mut file = open();
        file.buffer().extend_from_slice(b"half a line, then killed");
        file.sync().unwrap();
        drop(file);
        let mut file = open();
        file.buffer().extend_from_slice(b"new\n");
        file.sync().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\n");
        file.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        open().discard();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no hidden file stays");
    }

    #[test]
    fn after_a_failed_write_no_half_line_stays_and_nothing_is_called_durable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let mut file = DataFile::open(path.clone(), Format::Jsonl, Mode::Append).unwrap();
        file.buffer().extend_from_slice(b"first\n");
        file.sync().unwrap();
        let whole = std::mem::replace(&mut file.file, File::open(&path).unwrap()); // refuses to be written
        file.buffer().extend_from_slice(b"second\n");
        assert!(matches!(file.sync(), Err(Error::File { operation: "write", .. })));
        file.file = whole;
        assert!(file.sync().unwrap_err().to_string().contains("given up"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\n");
    }

    #[test]
    fn two_writers_of_one_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let _first = DataFile::open(path.clone(), Format::Jsonl, Mode::Append).unwrap();
        let second = DataFile::open(path, Format::Jsonl, Mode::Append).err().unwrap();
        assert!(second.to_string().contains("another process"), "{second}");
    }
}
