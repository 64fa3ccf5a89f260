//! How far each file has been read, as it travels in Singer STATE, and whether a file is still the one that a
//! bookmark was made of. Reads a few bytes around the bookmark, never records.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;
use crate::cli::log;

/// The bytes at each end of what has been read that the fingerprint covers.
const FINGERPRINT_BYTES: u64 = 1024;

/// A place in a file, between two records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bookmark {
    /// Lines up to here.
    pub line: u64,
    /// Bytes up to here.
    pub bytes: u64,
    /// The length of the last record, if no line end follows it yet: then it may still be being written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unterminated: u64,
    /// Of the first and the last KiB up to here.
    pub fingerprint: String,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Where reading stands; becomes a [`Bookmark`] with a look at the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub line: u64,
    pub bytes: u64,
    /// Where the last record begins.
    pub record_start: u64,
}

impl Bookmark {
    pub fn of(file: &File, place: Place) -> io::Result<Self> {
        let terminated = place.bytes == 0 || {
            let mut last = [0];
            file.read_exact_at(&mut last, place.bytes - 1)?;
            matches!(last, [b'\n' | b'\r'])
        };
        Ok(Self {
            line: place.line,
            bytes: place.bytes,
            unterminated: if terminated { 0 } else { place.bytes - place.record_start },
            fingerprint: fingerprint(file, place.bytes)?,
        })
    }

    /// Where to read on in `file`; `None`, with a log line, when it is no longer the file of this bookmark.
    pub fn resume(&self, file: &File, path: &Path) -> io::Result<Option<Place>> {
        let size = file.metadata()?.len();
        let changed = if size < self.bytes {
            Some("is shorter than its bookmark")
        } else if fingerprint(file, self.bytes)? != self.fingerprint {
            Some("is not the file of its bookmark")
        } else {
            None
        };
        if let Some(changed) = changed {
            log("WARNING", format_args!("{} {changed}: reading from the beginning", path.display()));
            return Ok(None);
        }
        let record_start = self.bytes.saturating_sub(self.unterminated);
        let mut place = Place { line: self.line, bytes: self.bytes, record_start };
        if self.unterminated > 0 && size > self.bytes {
            let mut next = [0];
            file.read_exact_at(&mut next, self.bytes)?;
            if !matches!(next, [b'\n' | b'\r']) {
                // The last record has grown since: it is read again, whole.
                place.bytes = record_start;
                place.line = self.line.saturating_sub(1);
            }
        }
        Ok(Some(place))
    }
}

/// FNV-1a over the first and the last KiB of the first `bytes`: cheap enough for every STATE, and it notices a
/// file that was replaced, also one with the same first rows.
fn fingerprint(file: &File, bytes: u64) -> io::Result<String> {
    let length = bytes.min(FINGERPRINT_BYTES);
    let mut block = vec![0; length as usize];
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for start in [0, bytes - length] {
        file.read_exact_at(&mut block, start)?;
        for byte in &block {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    Ok(format!("{hash:016x}"))
}

/// The value of a STATE message: the bookmarks of every file of every stream, those of earlier runs included.
#[derive(Debug, Default, Serialize)]
pub(super) struct State {
    bookmarks: BTreeMap<String, StreamState>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct StreamState {
    files: BTreeMap<String, Bookmark>,
}

impl State {
    /// From the `--state` file; null and `{}` mean none.
    pub fn parse(value: Value) -> Result<Self, Error> {
        let none = Value::Object(Map::new());
        let bookmarks = value.get("bookmarks").unwrap_or(&none);
        let bookmarks = serde_json::from_value(bookmarks.clone()).map_err(|error| {
            Error::invalid(format!(
                "state holds no bookmarks of this tap ({error}): clear the bookmark to read from the beginning"
            ))
        })?;
        Ok(Self { bookmarks })
    }

    pub fn get(&self, stream: &str, file: &str) -> Option<&Bookmark> {
        self.bookmarks.get(stream)?.files.get(file)
    }

    pub fn set(&mut self, stream: &str, file: &str, bookmark: Bookmark) {
        self.bookmarks.entry(stream.into()).or_default().files.insert(file.into(), bookmark);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resume(before: &str, place: Place, after: &str) -> Option<u64> {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), before).unwrap();
        let bookmark = Bookmark::of(&File::open(path.path()).unwrap(), place).unwrap();
        let travelled = serde_json::from_str(&serde_json::to_string(&bookmark).unwrap()).unwrap();
        assert_eq!(bookmark, travelled);
        std::fs::write(path.path(), after).unwrap();
        travelled.resume(&File::open(path.path()).unwrap(), path.path()).unwrap().map(|place| place.bytes)
    }

    #[test]
    fn an_appended_file_goes_on_and_a_changed_one_begins_again() {
        let place = Place { line: 2, bytes: 8, record_start: 4 };
        assert_eq!(resume("one\ntwo\n", place, "one\ntwo\nthree\n"), Some(8));
        assert_eq!(resume("one\ntwo\n", place, "one\ntwo\n"), Some(8));
        assert_eq!(resume("one\ntwo\n", place, "one\n"), None);
        assert_eq!(resume("one\ntwo\n", place, "One\ntwo\nthree\n"), None);
        let long = "x".repeat(5_000);
        let place = Place { line: 1, bytes: 5_001, record_start: 0 };
        assert_eq!(resume(&format!("{long}\n"), place, &format!("{}y\n", &long[1..])), None);
    }

    #[test]
    fn a_last_line_without_end_is_read_again_only_if_it_has_grown() {
        let place = Place { line: 2, bytes: 7, record_start: 4 };
        assert_eq!(resume("one\ntwo", place, "one\ntwo"), Some(7));
        assert_eq!(resume("one\ntwo", place, "one\ntwo\nthree\n"), Some(7));
        assert_eq!(resume("one\ntwo", place, "one\ntwofold\n"), Some(4));
    }

    #[test]
    fn an_empty_state_is_no_state_and_a_foreign_one_an_error() {
        for none in [json!(null), json!({}), json!({"bookmarks": {}})] {
            assert!(State::parse(none).unwrap().bookmarks.is_empty());
        }
        let error = State::parse(json!({"bookmarks": {"s": {"id": 3}}})).unwrap_err();
        assert!(error.to_string().contains("clear the bookmark"));
    }
}
