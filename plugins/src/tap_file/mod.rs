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
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use self::bookmark::State;
use self::catalog::Catalog;
use self::config::Config;
use self::run::Run;
use crate::Error;
use crate::cli::{About, AboutArgs, finish, log, read_config, read_json};

const EXAMPLE: &str = "Example:
  echo '{\"files\": [{\"path\": \"weather.csv\", \"key_properties\": [\"date\"]}]}' > config.json
  flexcore-tap-file --config config.json > messages.jsonl
  tail -n 1 messages.jsonl            # the STATE; its value is what --state takes the next time";

/// Read CSV and JSON Lines files as Singer messages
#[derive(Debug, Parser)]
#[command(name = "flexcore-tap-file", version, after_help = EXAMPLE)]
struct Args {
    /// Configuration, a JSON file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Catalog that says which streams and properties are selected
    #[arg(long, value_name = "FILE", alias = "properties")]
    catalog: Option<PathBuf>,
    /// The value of the last STATE of an earlier run
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Write a catalog instead of messages
    #[arg(long)]
    discover: bool,
    #[command(flatten)]
    about: AboutArgs,
}

/// Runs the program with the arguments of this process. Exit codes: 0 done, 1 failed (also when the reader of
/// standard output has gone), 2 usage.
pub fn main() -> ExitCode {
    finish(start(&Args::parse()))
}

fn start(args: &Args) -> Result<(), Error> {
    if args.about.about {
        return about().print(&args.about);
    }
    let config: Config = read_config(args.config.as_deref())?;
    config.check()?;
    let (state_every, rate) = (config.state_every, config.rate);
    let streams = sources::streams(config)?;
    let mut stdout = std::io::stdout().lock();
    if args.discover {
        let mut entries = Vec::with_capacity(streams.len());
        for stream in &streams {
            entries.push(catalog::entry(stream, &schema::infer(stream)?));
        }
        return writeln!(stdout, "{:#}", json!({"streams": entries})).map_err(Error::stdout);
    }
    let catalog: Option<Catalog> =
        args.catalog.as_deref().map(|path| read_json(path, "catalog")).transpose()?;
    let state: Value = args.state.as_deref().map_or(Ok(Value::Null), |path| read_json(path, "state"))?;
    if catalog.is_none() {
        log("INFO", "types come from the first records of each stream; a catalog makes them fixed");
    }
    Run::new(stdout, State::parse(state)?, state_every, rate).streams(&streams, catalog.as_ref())
}

fn about() -> About {
    About {
        name: "flexcore-tap-file",
        description: "Reads CSV and JSON Lines files as Singer messages.",
        capabilities: &["about", "catalog", "discover", "state"],
        settings: config::settings(),
    }
}
