//! `flexcore-target-file`: Singer messages from standard input into one JSON Lines or CSV file per stream.
//!
//! The promise: a STATE is printed only when every record before it is on the disk, and a file never keeps half
//! a line, however the program ends. This module is the command line and the reading; the rest is in its
//! submodules.

mod config;
mod csv_rows;
mod data_file;
mod names;
#[cfg(test)]
mod tests;
mod writer;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::config::Config;
use self::writer::Writer;
use crate::Error;
use crate::cli::{self, About, Flags, Program, log};
use crate::lines::{LineError, Lines, MAX_LINE};

const EXAMPLE: &str = "Example:
  echo '{\"destination_path\": \"out\"}' > target.json
  flexcore-tap-file --config tap.json | flexcore-target-file --config target.json > states.jsonl";

/// Write Singer messages to JSON Lines or CSV files
#[derive(Debug, Parser)]
#[command(name = "flexcore-target-file", version, after_help = EXAMPLE)]
struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Runs the program with the arguments of this process. Exit codes: 0 done, 1 failed, 2 usage.
pub fn main() -> ExitCode {
    cli::run::<Args>()
}

impl Program for Args {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn about() -> About {
        About {
            name: "flexcore-target-file",
            description: "Writes Singer messages to JSON Lines or CSV files, one per stream.",
            capabilities: &["about"],
            settings: config::settings(),
        }
    }

    fn start(&self) -> Result<(), Error> {
        target(&self.flags.needed_config()?)
    }
}

fn target(config: &Config) -> Result<(), Error> {
    config.check()?;
    let directory = &config.destination_path;
    std::fs::create_dir_all(directory).map_err(Error::file("make directory", directory))?;
    let stdin = std::io::stdin();
    run(config, stdin.lock(), |wait| has_input(&stdin, wait), std::io::stdout().lock())
}

/// Writes all of `input`. `has_input` waits for input for so long, and says whether some has come.
fn run(
    config: &Config,
    input: impl Read,
    has_input: impl Fn(Duration) -> Result<bool, Error>,
    output: impl Write,
) -> Result<(), Error> {
    let mut lines = Lines::new(input);
    let mut writer = Writer::new(config, output);
    let mut blank: u64 = 0;
    let outcome = read(&mut lines, &mut writer, has_input, &mut blank);
    if blank > 0 {
        log("WARNING", format_args!("{blank} blank lines were skipped"));
    }
    match outcome {
        Ok(()) => writer.finish(),
        Err(error) => {
            if let Err(second) = writer.abandon() {
                log("ERROR", second.chain());
            }
            Err(error)
        }
    }
}

fn read(
    lines: &mut Lines<impl Read>,
    writer: &mut Writer<'_, impl Write>,
    has_input: impl Fn(Duration) -> Result<bool, Error>,
    blank: &mut u64,
) -> Result<(), Error> {
    loop {
        // A slow tap must not keep a STATE from being told: while nothing comes, the clock decides.
        if let Some(wait) = writer.state_wait()
            && !lines.has_buffered()
            && !has_input(wait)?
        {
            writer.sync()?;
        }
        let line = lines.next_line().map_err(|error| match error {
            LineError::Read(source) => Error::Stream { operation: "read standard input", source },
            LineError::TooLong(number) => Error::invalid(format!(
                "input line {number} is longer than {MAX_LINE} bytes: split the record"
            )),
        })?;
        let Some(line) = line else { return Ok(()) };
        if line.bytes.is_empty() {
            *blank += 1;
            continue;
        }
        let (number, terminated) = (line.number, line.terminated);
        writer.message(line.bytes).map_err(|error| match error {
            Error::Invalid(_) if !terminated => Error::invalid(format!(
                "input line {number} is cut off, the last one without a line end: see why the tap has died"
            )),
            Error::Invalid(text) => Error::invalid(format!("input line {number} {text}")),
            other => other,
        })?;
    }
}

fn has_input(stdin: &impl AsFd, wait: Duration) -> Result<bool, Error> {
    let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(Error::Stream { operation: "wait for standard input", source: errno.into() }),
    }
}
