//! The sample as a Singer target: counts records, keeps none, prints each STATE as soon as it comes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

use super::config::Config;
use super::faults;
use crate::Error;
use crate::cli::log;
use crate::lines::{LineError, Lines};
use crate::singer::{self, Message};

/// Reads messages until the end of `input`.
pub(super) fn run(config: &Config, input: impl Read, mut output: impl Write) -> Result<(), Error> {
    let mut lines = Lines::new(input);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut records = 0;
    faults::after(config, records)?;
    while let Some(line) = lines.next_line().map_err(unreadable)? {
        let text = String::from_utf8_lossy(line.bytes);
        let message: Message<'_> = serde_json::from_str(&text).map_err(|error| {
            Error::invalid(format!("input line {} is not a singer message: {error}", line.number))
        })?;
        if message.kind.eq_ignore_ascii_case("STATE") && !config.exit_without_state {
            let state = message.value.map_or("null", |value| value.get());
            writeln!(output, "{state}").and_then(|()| output.flush()).map_err(Error::stdout)?;
        }
        if !message.kind.eq_ignore_ascii_case("RECORD") {
            continue;
        }
        records += 1;
        *counts.entry(message.stream.into_owned()).or_default() += 1;
        if config.slow_ms > 0 {
            std::thread::sleep(Duration::from_millis(config.slow_ms));
        }
        if config.fail_after == Some(records) {
            return Err(Error::invalid(format!("failing after {records} records as configured")));
        }
        faults::after(config, records)?;
    }
    singer::log_record_counts(counts.iter().map(|(name, count)| (name.as_str(), *count)));
    log("INFO", format_args!("{records} records counted"));
    Ok(())
}

fn unreadable(error: LineError) -> Error {
    match error {
        LineError::Read(source) => Error::Stream { operation: "read standard input", source },
        LineError::TooLong(number) => Error::invalid(format!("input line {number} is too long")),
    }
}
