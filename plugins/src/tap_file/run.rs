//! The tap's work: streams in order, each file from its bookmark, records paced, STATE in between. Knows neither
//! CSV nor JSON.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::bookmark::{Bookmark, Place, State};
use super::catalog::{Catalog, Selection};
use super::config::Format;
use super::csv_source::CsvSource;
use super::jsonl_source::JsonlSource;
use super::schema;
use super::sources::Stream;
use crate::Error;
use crate::cli::log;
use crate::output::Output;
use crate::pace::Pace;
use crate::singer;

/// Records of one file, one after the other.
pub(super) trait Source {
    /// Writes the next record as a JSON object; false, and nothing written, at the end.
    fn next_record(&mut self, out: &mut Vec<u8>) -> Result<bool, Error>;
    /// Where reading stands.
    fn place(&self) -> Place;
    /// The open file itself, so that a bookmark is of what is being read, whatever its name means by now.
    fn file(&self) -> &File;
}

/// One run of the tap.
pub(super) struct Run<W> {
    pub output: Output<W>,
    pub state: State,
    pub state_every: u64,
    pub pace: Pace,
    records_since_state: u64,
    counts: Vec<(String, u64)>,
}

impl<W: Write> Run<W> {
    pub fn new(writer: W, state: State, state_every: u64, rate: Option<f64>) -> Self {
        Self {
            output: Output::new(writer),
            state,
            state_every,
            pace: Pace::new(rate, Instant::now()),
            records_since_state: 0,
            counts: Vec::new(),
        }
    }

    /// Reads every selected stream to its end. What was read before an error is still written out.
    pub fn streams(&mut self, streams: &[Stream], catalog: Option<&Catalog>) -> Result<(), Error> {
        let outcome = self.all(streams, catalog);
        if !matches!(outcome, Err(Error::ReaderGone)) {
            self.output.flush()?;
        }
        singer::log_record_counts(self.counts.iter().map(|(name, count)| (name.as_str(), *count)));
        outcome
    }

    fn all(&mut self, streams: &[Stream], catalog: Option<&Catalog>) -> Result<(), Error> {
        for stream in streams {
            let selection = match catalog {
                Some(catalog) => catalog.select(stream)?,
                None => Some(Selection { schema: schema::infer(stream)?, deselected: HashSet::new() }),
            };
            match selection {
                Some(selection) => self.stream(stream, &selection)?,
                None => log("INFO", format_args!("stream {} is not selected", stream.name)),
            }
        }
        self.write_state()
    }

    fn stream(&mut self, stream: &Stream, selection: &Selection) -> Result<(), Error> {
        log("INFO", format_args!("stream {}: {} file(s)", stream.name, stream.files.len()));
        let bookmark_properties: Vec<String> = stream.replication_key.iter().cloned().collect();
        singer::write_schema(
            self.output.buffer(),
            &stream.name,
            &selection.schema,
            &stream.key_properties,
            &bookmark_properties,
        )?;
        self.counts.push((stream.name.clone(), 0));
        for path in &stream.files {
            let place = self.resume_place(stream, path)?;
            match stream.format {
                Format::Csv => {
                    let empty = serde_json::Map::new();
                    let properties = selection.schema.get("properties").and_then(Value::as_object);
                    let source = CsvSource::new(path, stream.delimiter, place, properties.unwrap_or(&empty))?;
                    self.file(source, stream, path)?;
                }
                Format::Jsonl => {
                    let source = JsonlSource::new(path, place, &selection.deselected)?;
                    self.file(source, stream, path)?;
                }
            }
        }
        if self.records_since_state > 0 { self.write_state() } else { Ok(()) }
    }

    fn resume_place(&self, stream: &Stream, path: &Path) -> Result<Option<Place>, Error> {
        let Some(bookmark) = self.state.get(&stream.name, &path.to_string_lossy()) else { return Ok(None) };
        File::open(path)
            .and_then(|file| bookmark.resume(&file, path))
            .map_err(Error::file("compare the bookmark with", path))
    }

    fn file(&mut self, mut source: impl Source, stream: &Stream, path: &Path) -> Result<(), Error> {
        let prefix = singer::record_prefix(&stream.name)?;
        let outcome = loop {
            let buffer = self.output.buffer();
            let start = buffer.len();
            buffer.extend_from_slice(&prefix);
            match source.next_record(buffer) {
                Ok(true) => buffer.extend_from_slice(b"}\n"),
                end => {
                    buffer.truncate(start); // nothing of a half-written record leaves
                    break end.map(|_| ());
                }
            }
            if let Some((_, count)) = self.counts.last_mut() {
                *count += 1;
            }
            self.records_since_state += 1;
            self.output.line_done()?;
            if self.records_since_state >= self.state_every {
                self.bookmark(&source, stream, path)?;
                self.write_state()?;
            }
            if let Some(wait) = self.pace.record(Instant::now) {
                self.output.flush()?;
                std::thread::sleep(wait);
            }
        };
        outcome?;
        self.bookmark(&source, stream, path)
    }

    fn bookmark(&mut self, source: &impl Source, stream: &Stream, path: &Path) -> Result<(), Error> {
        let bookmark =
            Bookmark::of(source.file(), source.place()).map_err(Error::file("make a bookmark of", path))?;
        self.state.set(&stream.name, &path.to_string_lossy(), bookmark);
        Ok(())
    }

    fn write_state(&mut self) -> Result<(), Error> {
        self.records_since_state = 0;
        singer::write_state(self.output.buffer(), &self.state)?;
        self.output.line_done()
    }
}
