//! `check`: looks at something without running it. Never in here: the rules themselves.

use std::path::Path;

use crate::config::{self, ConfigError, Flag};

use super::args::CheckCommand;
use super::failure::Failure;
use super::output::Terminal;

/// Does a `check` command.
///
/// # Errors
/// Everything that is wrong, with [`super::failure::Exit::Usage`].
pub fn check(terminal: &mut Terminal, command: CheckCommand) -> Result<(), Failure> {
    match command {
        CheckCommand::Config(args) => {
            let loaded = load_config(args.config.as_deref(), &args.flags())?;
            for warning in &loaded.warnings {
                terminal.note(&format!("warning: {warning}"));
            }
            // JSON is YAML: the answer can be kept as a file
            terminal.json(&loaded.config.redacted())
        }
    }
}

/// Reads the configuration that flags, environment and file give.
///
/// # Errors
/// Every mistake at once.
pub fn load_config(file: Option<&Path>, flags: &[Flag]) -> Result<config::Loaded, Failure> {
    config::load(file, config::environment(), flags).map_err(|ConfigError(mistakes)| {
        let lines = ConfigError(mistakes).to_string().lines().map(str::to_owned).collect();
        Failure::usage("the configuration is wrong")
            .details(lines)
            .hint("config/flexcore.yaml documents every key; try again with: flexcore check config")
    })
}
