//! Messages to files: what each message does, and when a STATE may be told. Reads no stream and prints nothing
//! but STATE.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::config::{Config, Format, Mode};
use super::csv_rows::{Columns, RowError};
use super::data_file::DataFile;
use super::names::file_name;
use crate::Error;
use crate::cli::log;
use crate::singer::{Message, log_record_counts, without_non_finite};

/// How long a STATE is held back at most, so that few records need not wait for a batch.
const HOLD_STATE: Duration = Duration::from_secs(1);

/// The clock is looked at once in so many records.
const CLOCK_EVERY: u64 = 64;

/// The most streams of one run: each is an open file.
const MAX_STREAMS: usize = 1_000;

/// One stream's file.
struct Stream {
    file: DataFile,
    /// The columns of a CSV file.
    columns: Option<Columns>,
    records: u64,
    version_logged: bool,
}

/// The files of one run, and the STATE that waits for them to be durable.
pub(super) struct Writer<'c, W> {
    config: &'c Config,
    output: W,
    streams: HashMap<String, Stream>,
    state: Option<String>,
    unsynced: u64,
    last_sync: Instant,
    non_finite: u64,
}

impl<'c, W: Write> Writer<'c, W> {
    pub fn new(config: &'c Config, output: W) -> Self {
        Self {
            config,
            output,
            streams: HashMap::new(),
            state: None,
            unsynced: 0,
            last_sync: Instant::now(),
            non_finite: 0,
        }
    }

    /// Handles one line, which is not blank. The error says what is wrong with the line, not its number.
    pub fn message(&mut self, line: &[u8]) -> Result<(), Error> {
        let text = str::from_utf8(line).map_err(|_| Error::invalid("is not utf-8: repair the tap"))?;
        let message = match serde_json::from_str::<Message<'_>>(text) {
            Ok(message) => message,
            Err(error) => {
                let Some((text, count)) = without_non_finite(text) else {
                    return Err(Error::invalid(format!(
                        "is not a singer message ({error}): see what the tap prints, logs belong on standard error"
                    )));
                };
                self.non_finite += count;
                return self.message(text.as_bytes());
            }
        };
        let kind = message.kind.as_ref();
        match () {
            () if kind.eq_ignore_ascii_case("RECORD") => self.record(&message),
            () if kind.eq_ignore_ascii_case("STATE") => self.hold_state(&message),
            () if kind.eq_ignore_ascii_case("SCHEMA") => self.schema(&message),
            () if kind.eq_ignore_ascii_case("ACTIVATE_VERSION") => {
                self.activate_version(&message.stream);
                Ok(())
            }
            () if kind.eq_ignore_ascii_case("BATCH") => Err(Error::invalid(
                "is a BATCH message, which this target does not read: turn batches off in the tap's configuration",
            )),
            () => Err(Error::invalid(
                "has an unknown type: SCHEMA, RECORD, STATE and ACTIVATE_VERSION are known",
            )),
        }
    }

    /// How long the waiting STATE may still wait; `None` when none waits.
    pub fn state_wait(&self) -> Option<Duration> {
        if self.config.mode == Mode::Replace {
            return None; // not before the clean end
        }
        self.state.is_some().then(|| HOLD_STATE.saturating_sub(self.last_sync.elapsed()))
    }

    /// Makes everything so far durable, then tells the waiting STATE.
    pub fn sync(&mut self) -> Result<(), Error> {
        for stream in self.streams.values_mut() {
            stream.file.sync()?;
        }
        self.unsynced = 0;
        self.last_sync = Instant::now();
        // A file that is still hidden is lost with this process: its STATE waits for the clean end.
        if self.config.mode == Mode::Append { self.tell_state() } else { Ok(()) }
    }

    /// The clean end of the input.
    pub fn finish(mut self) -> Result<(), Error> {
        self.log_counts();
        for (_, stream) in self.streams.drain() {
            stream.file.finish()?;
        }
        self.tell_state()
    }

    /// The end after an error: what came before it is kept in `append` mode, and nothing in `replace` mode.
    pub fn abandon(mut self) -> Result<(), Error> {
        let synced = self.sync();
        self.log_counts();
        for (_, stream) in self.streams.drain() {
            stream.file.discard();
        }
        synced
    }

    fn record(&mut self, message: &Message<'_>) -> Result<(), Error> {
        let Some(stream) = self.streams.get_mut(message.stream.as_ref()) else {
            return Err(Error::invalid(format!(
                "is a RECORD of stream {:?} before its SCHEMA: repair the tap",
                message.stream
            )));
        };
        let Some(record) = message.record.filter(|record| record.get().starts_with('{')) else {
            return Err(Error::invalid("is a RECORD whose record is not an object: repair the tap"));
        };
        match &stream.columns {
            None => {
                let buffer = stream.file.buffer();
                buffer.extend_from_slice(record.get().as_bytes());
                buffer.push(b'\n');
            }
            Some(columns) => write_row(&mut stream.file, columns, record)?,
        }
        stream.file.line_done()?;
        stream.records += 1;
        self.unsynced += 1;
        if self.state.is_some() && self.unsynced.is_multiple_of(CLOCK_EVERY) {
            self.sync_if_due()
        } else {
            Ok(())
        }
    }

    fn hold_state(&mut self, message: &Message<'_>) -> Result<(), Error> {
        let Some(value) = message.value else {
            return Err(Error::invalid("is a STATE without value: repair the tap"));
        };
        self.state = Some(value.get().to_owned());
        self.sync_if_due()
    }

    fn sync_if_due(&mut self) -> Result<(), Error> {
        let waited = self.state_wait().is_some_and(|left| left.is_zero());
        let batch = self.config.mode == Mode::Append && self.unsynced >= self.config.batch_rows;
        if waited || batch { self.sync() } else { Ok(()) }
    }

    fn tell_state(&mut self) -> Result<(), Error> {
        let Some(mut state) = self.state.take() else { return Ok(()) };
        state.push('\n');
        self.output.write_all(state.as_bytes()).and_then(|()| self.output.flush()).map_err(Error::stdout)
    }

    fn schema(&mut self, message: &Message<'_>) -> Result<(), Error> {
        let name: &Cow<'_, str> = &message.stream;
        let schema: Value = message
            .schema
            .and_then(|schema| serde_json::from_str(schema.get()).ok())
            .filter(Value::is_object)
            .ok_or_else(|| Error::invalid("is a SCHEMA whose schema is not an object: repair the tap"))?;
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        if !self.streams.contains_key(name.as_ref()) {
            let stream = self.open(name, properties)?;
            self.streams.insert(name.clone().into_owned(), stream);
        }
        let stream = &self.streams[name.as_ref()];
        let missing =
            stream.columns.as_ref().map(|columns| columns.missing(properties.keys())).unwrap_or_default();
        if !missing.is_empty() {
            return Err(Error::invalid(format!(
                "is a SCHEMA with {}, for which {} has no column: move that file away, or use mode replace or \
                 format jsonl",
                missing.join(", "),
                stream.file.path().display()
            )));
        }
        Ok(())
    }

    fn open(&self, name: &str, properties: &Map<String, Value>) -> Result<Stream, Error> {
        if self.streams.len() == MAX_STREAMS {
            return Err(Error::invalid(format!(
                "is of one stream more than {MAX_STREAMS}: select fewer streams"
            )));
        }
        let format = self.config.format;
        let file_name = file_name(name)
            .ok_or_else(|| Error::invalid("has a stream name that is empty or too long for a file name"))?;
        let path = self.config.destination_path.join(format!("{file_name}.{}", format.extension()));
        let mut file = DataFile::open(path, format, self.config.mode)?;
        let columns = match format {
            Format::Jsonl => None,
            Format::Csv => Some(columns_of(&mut file, properties)?),
        };
        Ok(Stream { file, columns, records: 0, version_logged: false })
    }

    fn activate_version(&mut self, name: &str) {
        if let Some(stream) = self.streams.get_mut(name)
            && !std::mem::replace(&mut stream.version_logged, true)
        {
            log("INFO", format_args!("stream {name}: ACTIVATE_VERSION is ignored, files keep every version"));
        }
    }

    fn log_counts(&self) {
        if self.non_finite > 0 {
            log(
                "WARNING",
                format_args!("{} NaN or Infinity, which json does not have, became null", self.non_finite),
            );
        }
        log_record_counts(self.streams.iter().map(|(name, stream)| (name.as_str(), stream.records)));
    }
}

/// The header that the file has, or the one it now gets.
fn columns_of(file: &mut DataFile, properties: &Map<String, Value>) -> Result<Columns, Error> {
    let mut header = csv::StringRecord::new();
    let found =
        csv::ReaderBuilder::new().has_headers(false).from_reader(file.reader()).read_record(&mut header);
    match found {
        Ok(true) => Ok(Columns::new(header.iter().map(String::from).collect())),
        Ok(false) => {
            let columns = Columns::new(properties.keys().cloned().collect());
            columns.write_header(file.buffer());
            Ok(columns)
        }
        Err(error) => Err(Error::invalid(format!(
            "is of a stream whose file {} has no readable header ({error}): move the file away",
            file.path().display()
        ))),
    }
}

fn write_row(file: &mut DataFile, columns: &Columns, record: &RawValue) -> Result<(), Error> {
    let buffer = file.buffer();
    let start = buffer.len();
    columns.write_row(record, buffer).map_err(|error| {
        buffer.truncate(start);
        Error::invalid(match error {
            RowError::NotAnObject(error) => {
                format!("is a RECORD that cannot be a row ({error}): repair the tap")
            }
            RowError::NoColumn(name) => {
                format!(
                    "is a RECORD with property {name}, which its SCHEMA or the file's header does not name"
                )
            }
        })
    })
}
