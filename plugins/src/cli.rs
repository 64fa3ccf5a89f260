//! What the programs' command lines share: the flags, `--about`, log lines, reading JSON files, the exit code. No
//! program's own behaviour belongs here.

use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Error;

/// The largest configuration, catalog or state file that is read, in bytes.
const MAX_JSON_FILE: u64 = 64 << 20;

/// A program: its command line, and what it does with it.
pub(crate) trait Program: clap::Parser {
    /// The flags that every program has.
    fn flags(&self) -> &Flags;

    /// What `--about` tells.
    fn about() -> About;

    /// Does the program's work.
    fn start(&self) -> Result<(), Error>;
}

/// Runs a program with the arguments of this process.
pub(crate) fn run<P: Program>() -> ExitCode {
    let program = P::parse();
    let flags = program.flags();
    finish(if flags.about { P::about().print(&flags.format) } else { program.start() })
}

/// The flags that every program has.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Configuration, a JSON file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Describe the program and its settings, and end
    #[arg(long)]
    about: bool,
    /// How --about writes
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

impl Flags {
    /// The configuration, without which the program cannot work.
    pub fn needed_config<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.config()?.ok_or_else(|| Error::invalid("no configuration: give --config FILE (see --help)"))
    }

    /// The configuration, if one is given.
    pub fn config<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        self.config.as_deref().map(|path| read_json(path, "configuration")).transpose()
    }
}

/// The flags that every tap has.
#[derive(Debug, clap::Args)]
pub(crate) struct TapFlags {
    /// Catalog that says which streams and properties are selected
    #[arg(long, value_name = "FILE", alias = "properties")]
    pub catalog: Option<PathBuf>,
    /// The value of the last STATE of an earlier run
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Write a catalog instead of messages
    #[arg(long)]
    pub discover: bool,
}

/// What `--about` tells: the same fields as programs built on the Singer SDK.
pub(crate) struct About {
    pub name: &'static str,
    pub description: &'static str,
    pub capabilities: &'static [&'static str],
    /// A JSON Schema of the configuration.
    pub settings: Value,
}

impl About {
    /// Writes the description on standard output, as text or as JSON.
    fn print(&self, format: &str) -> Result<(), Error> {
        let version = env!("CARGO_PKG_VERSION");
        let text = if format == "json" {
            let about = json!({
                "name": self.name, "description": self.description, "version": version,
                "capabilities": self.capabilities, "settings": self.settings,
            });
            format!("{about:#}\n")
        } else {
            let mut text = format!("{} {version}\n{}\n\n", self.name, self.description);
            text.push_str(&format!("capabilities: {}\nsettings:\n", self.capabilities.join(", ")));
            for (name, setting) in self.settings["properties"].as_object().into_iter().flatten() {
                text.push_str(&format!("  {name}: {}\n", setting["description"].as_str().unwrap_or("")));
            }
            text
        };
        std::io::stdout().write_all(text.as_bytes()).map_err(Error::stdout)
    }
}

/// One log line on standard error. A closed standard error is no reason to stop moving data.
pub(crate) fn log(level: &str, text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{level} {text}");
}

/// Turns the outcome of a program into its exit code, telling the error once.
fn finish(outcome: Result<(), Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::ReaderGone) => ExitCode::FAILURE,
        Err(Error::Exit(code)) => ExitCode::from(code),
        Err(error) => {
            log("ERROR", error.chain());
            ExitCode::FAILURE
        }
    }
}

/// Reads a JSON file of at most 64 MiB; `what` names it in errors ("configuration").
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, Error> {
    let file = File::open(path).map_err(Error::file("open", path))?;
    let mut text = String::new();
    let read = file.take(MAX_JSON_FILE + 1).read_to_string(&mut text).map_err(Error::file("read", path))?;
    if read as u64 > MAX_JSON_FILE {
        return Err(Error::invalid(format!(
            "{what} {} is larger than {MAX_JSON_FILE} bytes",
            path.display()
        )));
    }
    serde_json::from_str(&text)
        .map_err(|source| Error::invalid(format!("{what} {} is not usable: {source}", path.display())))
}
