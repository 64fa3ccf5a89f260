//! CSV files as records: text straight to JSON, one field at a time, without a tree in between.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Position, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::bookmark::Place;
use super::kind::Kind;
use super::run::Source;
use crate::Error;
use crate::lines::{MAX_LINE, READ_BUFFER};

/// How far into a file the kind of its line ends is looked for, in bytes.
const LINE_END_SAMPLE: usize = 64 << 10;

/// One CSV file.
pub(super) struct CsvSource<'a> {
    path: &'a Path,
    reader: Reader<Bounded>,
    record: ByteRecord,
    columns: Vec<Option<Column>>,
    /// Where the last record ends; the reader itself stands elsewhere once it has seen the end of the file.
    place: Place,
    /// 1 in files with `\r\n`: the reader stops between the two, so its line is one behind.
    lag: u64,
}

/// A column that is replicated.
struct Column {
    name: String,
    /// `"name":`, as it stands in every record.
    key: Vec<u8>,
    kind: Kind,
}

impl<'a> CsvSource<'a> {
    /// Stands before the first record, or at `place`. Only columns in `properties` are read.
    pub fn new(
        path: &'a Path,
        delimiter: u8,
        place: Option<Place>,
        properties: &Map<String, Value>,
    ) -> Result<Self, Error> {
        let mut reader = open(path, delimiter)?;
        let columns = header(&mut reader, path)?
            .into_iter()
            .map(|name| {
                let kind = Kind::of_schema(properties.get(&name)?);
                let mut key = serde_json::to_vec(&name).expect("a string into memory cannot fail");
                key.push(b':');
                Some(Column { name, key, kind })
            })
            .collect();
        let lag = u64::from(has_crlf(path)?);
        let resumed = place.filter(|place| place.bytes > 0);
        if let Some(place) = resumed {
            let mut position = Position::new();
            position.set_byte(place.bytes).set_line(place.line + 1 - lag.min(place.line));
            reader.seek(position).map_err(|error| failed(path, error))?;
        }
        let place = Place::default();
        let mut source = Self { path, reader, record: ByteRecord::new(), columns, place, lag };
        source.place = resumed.unwrap_or_else(|| source.place_after(0));
        Ok(source)
    }

    fn place_after(&self, record_start: u64) -> Place {
        let position = self.reader.position();
        let line = if position.byte() == 0 { 0 } else { position.line() - 1 + self.lag };
        Place { line, bytes: position.byte(), record_start }
    }

    /// The line that the record begins on.
    fn line(&self) -> u64 {
        self.record.position().map_or(0, Position::line) + self.lag
    }

    fn not_utf8(&self) -> Error {
        Error::invalid(format!(
            "{} line {}: is not utf-8: convert the file, for instance with iconv",
            self.path.display(),
            self.line()
        ))
    }
}

impl Source for CsvSource<'_> {
    fn next_record(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        if !read_record(&mut self.reader, &mut self.record, self.path)? {
            return Ok(false);
        }
        self.place = self.place_after(self.record.position().map_or(0, Position::byte));
        if self.record.len() != self.columns.len() {
            return Err(Error::invalid(format!(
                "{} line {}: has {} fields, the header {}: correct the line, or the `delimiter`",
                self.path.display(),
                self.line(),
                self.record.len(),
                self.columns.len()
            )));
        }
        let Ok(text) = str::from_utf8(self.record.as_slice()) else { return Err(self.not_utf8()) };
        let mut separator = b'{';
        for (index, column) in self.columns.iter().enumerate() {
            let Some(column) = column else { continue };
            // A field can begin inside a character when two broken fields happen to make a whole one.
            let field = self.record.range(index).and_then(|range| text.get(range));
            let Some(field) = field else { return Err(self.not_utf8()) };
            out.push(separator);
            separator = b',';
            out.extend_from_slice(&column.key);
            if !column.kind.write(field, out) {
                return Err(Error::invalid(format!(
                    "{} line {}: column {} does not hold the {:?} that its first records or the catalog promise: \
                     correct the line, or name the column's type in `types`",
                    self.path.display(),
                    self.line(),
                    column.name,
                    column.kind
                )));
            }
        }
        if separator == b'{' {
            out.push(b'{');
        }
        out.push(b'}');
        Ok(true)
    }

    fn place(&self) -> Place {
        self.place
    }

    fn file(&self) -> &File {
        &self.reader.get_ref().file
    }
}

/// Opens a file at its header.
pub(super) fn open(path: &Path, delimiter: u8) -> Result<Reader<Bounded>, Error> {
    let file = File::open(path).map_err(Error::file("open", path))?;
    let bounded = Bounded { file, path: path.to_path_buf(), at: 0, until: u64::MAX };
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true) // counted here, where the error can name the cure
        .buffer_capacity(READ_BUFFER)
        .from_reader(bounded);
    bound_record(&mut reader);
    Ok(reader)
}

/// The names of the columns; a column without one is named after its number, from 1.
pub(super) fn header(reader: &mut Reader<Bounded>, path: &Path) -> Result<Vec<String>, Error> {
    let header = reader.byte_headers().map_err(|error| failed(path, error))?.clone();
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    for (index, name) in header.iter().enumerate() {
        let name = str::from_utf8(name).map_err(|_| {
            Error::invalid(format!("{} line 1: is not utf-8: convert the file", path.display()))
        })?;
        let name = if name.is_empty() { format!("column_{}", index + 1) } else { name.to_owned() };
        if names.contains(&name) {
            return Err(Error::invalid(format!(
                "{} line 1: column {name} is there twice: rename one",
                path.display()
            )));
        }
        names.push(name);
    }
    Ok(names)
}

/// Reads the next record; false at the end of the file.
pub(super) fn read_record(
    reader: &mut Reader<Bounded>,
    record: &mut ByteRecord,
    path: &Path,
) -> Result<bool, Error> {
    bound_record(reader);
    reader.read_byte_record(record).map_err(|error| failed(path, error))
}

/// Lets the reader read as far as one record of the longest allowed kind may reach.
fn bound_record(reader: &mut Reader<Bounded>) {
    let until = reader.position().byte() + (MAX_LINE + READ_BUFFER) as u64;
    reader.get_mut().until = until;
}

fn failed(path: &Path, error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::File { operation: "read", path: path.to_path_buf(), source },
        other => Error::invalid(format!("{} is not readable as csv: {other:?}", path.display())),
    }
}

fn has_crlf(path: &Path) -> Result<bool, Error> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LINE_END_SAMPLE as u64).read_to_end(&mut start))
        .map_err(Error::file("read", path))?;
    Ok(memchr::memchr(b'\n', &start).is_some_and(|end| end > 0 && start[end - 1] == b'\r'))
}

/// A file that stops being read when one record gets too long, as it does when a quote is left open.
pub(super) struct Bounded {
    file: File,
    path: PathBuf,
    at: u64,
    until: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.until {
            return Err(io::Error::other(format!(
                "a record of {} is longer than {MAX_LINE} bytes: perhaps a quote is left open",
                self.path.display()
            )));
        }
        let read = self.file.read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(to)?;
        // The next record is bounded from here; read_record sets it anew each time.
        self.until = self.at + (MAX_LINE + READ_BUFFER) as u64;
        Ok(self.at)
    }
}
