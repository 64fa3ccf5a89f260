//! The sample as a Singer tap: numbered records, resumed from their number, with a tap's faults.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::config::Config;
use super::faults;
use crate::Error;
use crate::cli::{log, read_json};
use crate::output::Output;
use crate::pace::Pace;
use crate::singer;

/// Writes `records` records of each stream, numbered from 1 in `id`, after those that the state names.
pub(super) fn run(config: &Config, state: Option<&Path>, writer: impl Write) -> Result<(), Error> {
    let state: Value = state.map_or(Ok(Value::Null), |path| read_json(path, "state"))?;
    let mut tap = Tap {
        config,
        output: Output::new(writer),
        pace: Pace::new(config.rate, Instant::now()),
        done: BTreeMap::new(),
        counts: BTreeMap::new(),
        emitted: 0,
    };
    for number in 1..=config.streams() {
        let name = if config.streams() == 1 { "sample".to_owned() } else { format!("sample_{number}") };
        let from = state["bookmarks"][&name]["id"].as_u64().unwrap_or(0);
        tap.done.insert(name, from);
    }
    let outcome = tap.streams();
    if !matches!(outcome, Err(Error::ReaderGone)) {
        tap.output.flush()?;
    }
    singer::log_record_counts(tap.counts.iter().map(|(name, count)| (name.as_str(), *count)));
    outcome
}

struct Tap<'c, W> {
    config: &'c Config,
    output: Output<W>,
    pace: Pace,
    /// The last id of each stream.
    done: BTreeMap<String, u64>,
    counts: BTreeMap<String, u64>,
    emitted: u64,
}

impl<W: Write> Tap<'_, W> {
    fn streams(&mut self) -> Result<(), Error> {
        for (stream, from) in self.done.clone() {
            let schema = json!({"type": "object", "properties": {
                "id": {"type": "integer"}, "payload": {"type": "string"}, "value": {"type": ["null", "number"]},
            }});
            singer::write_schema(self.output.buffer(), &stream, &schema, &["id".into()], &[])?;
            self.at_start(&stream)?;
            let payload = "x".repeat(self.config.record_bytes);
            for id in from + 1..=self.config.records() {
                self.record(&stream, id, &payload)?;
                self.done.insert(stream.clone(), id);
                *self.counts.entry(stream.clone()).or_default() += 1;
                self.after_record()?;
            }
        }
        self.write_state()
    }

    fn at_start(&mut self, stream: &str) -> Result<(), Error> {
        if self.emitted == 0 {
            self.faults_due()?;
        }
        for _ in 0..self.config.blank_lines {
            self.output.buffer().push(b'\n');
        }
        if self.config.huge_line > 0 {
            // Not a record of the sequence, so that counting ids still shows what was lost.
            self.record(stream, 0, &"h".repeat(self.config.huge_line))?;
        }
        Ok(())
    }

    fn record(&mut self, stream: &str, id: u64, payload: &str) -> Result<(), Error> {
        let prefix = singer::record_prefix(stream)?;
        let buffer = self.output.buffer();
        buffer.extend_from_slice(&prefix);
        let value = if self.config.nan { "NaN" } else { "0.5" };
        buffer.extend_from_slice(format!(r#"{{"id":{id},"value":{value},"payload":""#).as_bytes());
        buffer.extend_from_slice(payload.as_bytes());
        buffer.extend_from_slice(b"\"}}\n");
        self.output.line_done()
    }

    fn after_record(&mut self) -> Result<(), Error> {
        self.emitted += 1;
        if self.emitted.is_multiple_of(self.config.state_every()) {
            self.write_state()?;
        }
        self.faults_due()?;
        if let Some(wait) = self.pace.record(Instant::now) {
            self.output.flush()?;
            std::thread::sleep(wait);
        }
        Ok(())
    }

    fn faults_due(&mut self) -> Result<(), Error> {
        let emitted = Some(self.emitted);
        if self.config.garbage_after == emitted {
            self.output
                .buffer()
                .extend_from_slice(b"INFO this log line does not belong on standard output\n");
        }
        if self.config.half_line_after == emitted {
            self.output.buffer().extend_from_slice(br#"{"type":"RECORD","stream":"sample","rec"#);
            self.output.flush()?;
            log("ERROR", "crashing inside a line as configured");
            std::process::abort();
        }
        if faults::due_after(self.config, self.emitted) {
            self.output.flush()?;
        }
        faults::after(self.config, self.emitted)
    }

    fn write_state(&mut self) -> Result<(), Error> {
        let bookmarks: BTreeMap<_, _> =
            self.done.iter().map(|(name, id)| (name, json!({"id": id}))).collect();
        let state = if self.config.null_state { Value::Null } else { json!({"bookmarks": bookmarks}) };
        singer::write_state(self.output.buffer(), &state)?;
        self.output.line_done()
    }
}
