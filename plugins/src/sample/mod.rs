//! `flexcore-sample`: a plugin of every protocol that does its work, and any fault it is told to have.
//!
//! For tests and for trying a runtime out. It is the one program here that may crash, hang, print garbage or
//! leave a child behind; none of that may happen without its key in the configuration.

mod command;
mod config;
mod faults;
mod framed;
mod tap;
mod target;

use std::io::{BufReader, BufWriter};
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use self::command::Environment;
use self::config::{Config, Mode};
use crate::Error;
use crate::cli::{About, Flags, Program, TapFlags, run};

const EXAMPLE: &str = "Example: a tap of ten records that crashes after the third, but only the first time
  echo '{\"records\": 10, \"crash_after\": 3, \"once_marker\": \"marker\"}' > config.json
  flexcore-sample tap --config config.json";

/// Be a tap, a target, a command or a flexcore plugin, with configured faults
#[derive(Debug, Parser)]
#[command(name = "flexcore-sample", version, after_help = EXAMPLE)]
struct Args {
    /// What to be; default: the configuration's `mode`, else tap
    mode: Option<Mode>,
    /// Arguments that a command echoes in its result
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    flags: Flags,
    /// The catalog is accepted, as every tap does, and not used.
    #[command(flatten)]
    tap: TapFlags,
}

/// Runs the program with the arguments of this process. Exit codes: 0 done, 1 failed, 2 usage, or as configured.
pub fn main() -> ExitCode {
    run::<Args>()
}

impl Program for Args {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn about() -> About {
        let keys = serde_json::to_value(Config::default()).unwrap_or_default();
        let described = |key: &String| (key.clone(), json!({"description": "see plugins/README.md"}));
        let properties: serde_json::Map<String, Value> =
            keys.as_object().into_iter().flat_map(|keys| keys.keys()).map(described).collect();
        About {
            name: "flexcore-sample",
            description: "A tap, target, command or flexcore plugin with configured faults, for tests.",
            capabilities: &["about", "catalog", "discover", "state"],
            settings: json!({"type": "object", "additionalProperties": false, "properties": properties}),
        }
    }

    fn start(&self) -> Result<(), Error> {
        sample(self, self.flags.config()?.unwrap_or_default())
    }
}

fn sample(args: &Args, config: Config) -> Result<(), Error> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    match args.mode.unwrap_or(config.mode) {
        Mode::Tap if args.tap.discover => discover(),
        Mode::Tap => {
            let config = config.consider_marker()?;
            let _memory = faults::at_start(&config)?;
            tap::run(&config, args.tap.state.as_deref(), stdout.lock())
        }
        Mode::Target => {
            let config = config.consider_marker()?;
            let _memory = faults::at_start(&config)?;
            target::run(&config, stdin.lock(), stdout.lock())
        }
        Mode::Command => {
            let environment = Environment::read()?;
            let written = serde_json::to_value(&config).unwrap_or(Value::Null);
            let config = Config::from_known_keys(&[&written, &environment.parameters])?.consider_marker()?;
            let _memory = faults::at_start(&config)?;
            command::run(&config, &environment, &args.arguments, stdin.lock(), stdout.lock())
        }
        Mode::Flexcore => framed::run(BufReader::new(stdin), BufWriter::new(stdout.lock())),
        Mode::Linger => faults::linger(),
    }
}

fn discover() -> Result<(), Error> {
    use std::io::Write;
    let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}}});
    let metadata =
        json!([{"breadcrumb": [], "metadata": {"inclusion": "available", "selected-by-default": true}}]);
    let stream =
        json!({"tap_stream_id": "sample", "stream": "sample", "schema": schema, "metadata": metadata});
    writeln!(std::io::stdout(), "{:#}", json!({"streams": [stream]})).map_err(Error::stdout)
}
