//! JSON Lines files as records: a line is checked and passed through as it stands.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use serde_json::value::RawValue;

use super::bookmark::Place;
use super::run::Source;
use crate::Error;
use crate::lines::{Line, LineError, Lines, MAX_LINE};
use crate::singer::{Members, write_json};

/// One JSON Lines file.
pub(super) struct JsonlSource<'a> {
    path: &'a Path,
    lines: Lines<File>,
    deselected: &'a HashSet<String>,
    record_start: u64,
}

impl<'a> JsonlSource<'a> {
    /// Stands at the beginning, or at `place`.
    pub fn new(path: &'a Path, place: Option<Place>, deselected: &'a HashSet<String>) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(Error::file("open", path))?;
        let place = place.unwrap_or_default();
        file.seek(SeekFrom::Start(place.bytes)).map_err(Error::file("seek in", path))?;
        let lines = Lines::starting_at(file, place.line, place.bytes);
        Ok(Self { path, lines, deselected, record_start: place.record_start })
    }
}

impl Source for JsonlSource<'_> {
    fn next_record(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        loop {
            let start = self.lines.offset();
            let Some(line) = next_line(&mut self.lines, self.path)? else { return Ok(false) };
            if line.bytes.is_empty() {
                continue;
            }
            self.record_start = start;
            write_record(line, self.path, self.deselected, out)?;
            return Ok(true);
        }
    }

    fn place(&self) -> Place {
        Place { line: self.lines.number(), bytes: self.lines.offset(), record_start: self.record_start }
    }

    fn file(&self) -> &File {
        self.lines.get_ref()
    }
}

fn write_record(
    line: Line<'_>,
    path: &Path,
    deselected: &HashSet<String>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let text = str::from_utf8(line.bytes).map_err(|_| {
        Error::invalid(format!("{} line {}: is not utf-8: convert the file", path.display(), line.number))
    })?;
    if deselected.is_empty() {
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|error| not_an_object(path, line.number, &error))?;
        if !raw.get().starts_with('{') {
            return Err(not_an_object(path, line.number, &"another kind of value"));
        }
        out.extend_from_slice(raw.get().as_bytes());
        return Ok(());
    }
    let members: Members<'_> =
        serde_json::from_str(text).map_err(|error| not_an_object(path, line.number, &error))?;
    let mut separator = b'{';
    for (key, value) in members.0.iter().filter(|(key, _)| !deselected.contains(key.as_ref())) {
        out.push(separator);
        separator = b',';
        write_json(out, key)?;
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(())
}

/// The next line, blank ones included.
pub(super) fn next_line<'l>(lines: &'l mut Lines<File>, path: &Path) -> Result<Option<Line<'l>>, Error> {
    lines.next_line().map_err(|error| match error {
        LineError::Read(source) => Error::File { operation: "read", path: path.to_path_buf(), source },
        LineError::TooLong(number) => Error::invalid(format!(
            "{} line {number}: is longer than {MAX_LINE} bytes: split the record",
            path.display()
        )),
    })
}

/// The error for a line that is no record; `found` says what was found, never the line itself.
pub(super) fn not_an_object(path: &Path, line: u64, found: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!(
        "{} line {line}: is not a json object ({found}): correct or remove the line",
        path.display()
    ))
}
