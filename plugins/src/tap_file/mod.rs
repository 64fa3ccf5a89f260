//! `flexcore-tap-file`: CSV and JSON Lines files as Singer messages on standard output.
//!
//! A bookmark is a place in a file: a restart reads on from there without reading what came before. This module
//! is the command line; the work is in its submodules. It never writes to a file.

mod bookmark;
mod catalog;
mod config;
mod csv_source;
mod jsonl_source;
mod kind;
mod run;
mod schema;
mod sources;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use self::bookmark::State;
use self::catalog::Catalog;
use self::config::Config;
use self::run::Run;
use crate::Error;
use crate::cli::{About, Flags, Program, TapFlags, log, read_json, run};

const EXAMPLE: &str = "Example:
  echo '{\"files\": [{\"path\": \"weather.csv\", \"key_properties\": [\"date\"]}]}' > config.json
  flexcore-tap-file --config config.json > messages.jsonl
  tail -n 1 messages.jsonl            # the STATE; its value is what --state takes the next time";

/// Read CSV and JSON Lines files as Singer messages
#[derive(Debug, Parser)]
#[command(name = "flexcore-tap-file", version, after_help = EXAMPLE)]
struct Args {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    tap: TapFlags,
}

/// Runs the program with the arguments of this process. Exit codes: 0 done, 1 failed (also when the reader of
/// standard output has gone), 2 usage.
pub fn main() -> ExitCode {
    run::<Args>()
}

impl Program for Args {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn about() -> About {
        About {
            name: "flexcore-tap-file",
            description: "Reads CSV and JSON Lines files as Singer messages.",
            capabilities: &["about", "catalog", "discover", "state"],
            settings: config::settings(),
        }
    }

    fn start(&self) -> Result<(), Error> {
        tap(self.flags.needed_config()?, &self.tap)
    }
}

fn tap(config: Config, flags: &TapFlags) -> Result<(), Error> {
    config.check()?;
    let (state_every, rate) = (config.state_every, config.rate);
    let streams = sources::streams(config)?;
    let mut stdout = std::io::stdout().lock();
    if flags.discover {
        let mut entries = Vec::with_capacity(streams.len());
        for stream in &streams {
            entries.push(catalog::entry(stream, &schema::infer(stream)?));
        }
        return writeln!(stdout, "{:#}", json!({"streams": entries})).map_err(Error::stdout);
    }
    let catalog: Option<Catalog> =
        flags.catalog.as_deref().map(|path| read_json(path, "catalog")).transpose()?;
    let state: Value = flags.state.as_deref().map_or(Ok(Value::Null), |path| read_json(path, "state"))?;
    if catalog.is_none() {
        log("INFO", "types come from the first records of each stream; a catalog makes them fixed");
    }
    Run::new(stdout, State::parse(state)?, state_every, rate).streams(&streams, catalog.as_ref())
}
