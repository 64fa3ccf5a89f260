//! Reads log files by line number.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use flexcore_actors::domain::ids::{ExecutionId, Name};
use flexcore_actors::ports::log_store::LogLine;

use super::limits::{INDEX_EVERY, INDEXED_FILES, READ_BYTES, TAIL_BYTES};
use super::path_of;

/// Reads logs; remembers where it has been, so that following a long log does not read it anew each time.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    indexes: Mutex<HashMap<ExecutionId, Index>>,
}

/// Offsets of the lines numbered 0, [`INDEX_EVERY`], 2 × [`INDEX_EVERY`] …, as far as the file was read.
#[derive(Debug, Default)]
struct Index {
    offsets: Vec<u64>,
    used: u64,
}

impl Reader {
    /// A reader of the logs in `directory`.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, indexes: Mutex::default() }
    }

    /// Lines with a number of at least `after`, at most `limit`, and the number to go on from. A line that cannot be
    /// read (a crash cut it off) is left out but counted.
    ///
    /// # Errors
    /// When there is a log and it cannot be read.
    pub fn read(&self, execution: ExecutionId, after: u64, limit: usize) -> io::Result<(Vec<LogLine>, u64)> {
        let file = match File::open(path_of(&self.directory, execution)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), after)),
            Err(e) => return Err(e),
        };
        let (mut number, mut offset) = self.nearest(execution, after);
        let mut file = BufReader::new(file);
        file.seek(SeekFrom::Start(offset))?;
        let (mut lines, mut taken, mut bytes) = (Vec::new(), 0, Vec::new());
        while lines.len() < limit && taken < READ_BYTES {
            bytes.clear();
            let count = file.read_until(b'\n', &mut bytes)?;
            if bytes.last() != Some(&b'\n') {
                // the end, or a line that is still being written
                break;
            }
            if number >= after {
                taken += count as u64;
                lines.extend(serde_json::from_slice::<LogLine>(&bytes));
            }
            number += 1;
            offset += count as u64;
            self.remember(execution, number, offset);
        }
        Ok((lines, number.max(after)))
    }

    /// The last lines of a program within the last [`TAIL_BYTES`] of a log, at most `last`.
    ///
    /// # Errors
    /// When there is a log and it cannot be read.
    pub fn tail(&self, execution: ExecutionId, plugin: &Name, last: usize) -> io::Result<Vec<LogLine>> {
        let mut file = match File::open(path_of(&self.directory, execution)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        // the first may be the end of a line, which is no line then
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<LogLine>(line).ok());
        let mut lines: Vec<LogLine> = lines.filter(|line| line.plugin == *plugin).collect();
        lines.drain(..lines.len().saturating_sub(last));
        Ok(lines)
    }

    /// The nearest known line at or before `number`, and its offset.
    fn nearest(&self, execution: ExecutionId, number: u64) -> (u64, u64) {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = indexes.values().map(|index| index.used).max().unwrap_or_default() + 1;
        if !indexes.contains_key(&execution) && indexes.len() >= INDEXED_FILES {
            let oldest = indexes.iter().min_by_key(|(_, index)| index.used).map(|(id, _)| *id);
            oldest.and_then(|id| indexes.remove(&id));
        }
        let index = indexes.entry(execution).or_default();
        index.used = clock;
        if index.offsets.is_empty() {
            index.offsets.push(0);
        }
        let known = index.offsets.len() - 1;
        let mark = usize::try_from(number / INDEX_EVERY).unwrap_or(usize::MAX).min(known);
        (mark as u64 * INDEX_EVERY, index.offsets[mark])
    }

    fn remember(&self, execution: ExecutionId, number: u64, offset: u64) {
        if !number.is_multiple_of(INDEX_EVERY) {
            return;
        }
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = indexes.get_mut(&execution)
            && index.offsets.len() as u64 == number / INDEX_EVERY
        {
            index.offsets.push(offset);
        }
    }
}
