//! `check`: looks at something without running it. Never in here: the rules themselves.

use std::fmt::Display;
use std::path::Path;

use serde_json::json;

use crate::config::{self, ConfigError, Flag};
use crate::sandbox::Launcher;
use crate::sandbox::level::{Finding, Level, Requirement};
use crate::sandbox::programs::locate;

use super::args::{CheckCommand, SandboxArgs};
use super::failure::Failure;
use super::output::{Format, Terminal};
use super::table::Table;

/// Does a `check` command.
///
/// # Errors
/// Everything that is wrong, with [`super::failure::Exit::Usage`].
pub async fn check(terminal: &mut Terminal, command: CheckCommand) -> Result<(), Failure> {
    match command {
        CheckCommand::Config(args) => {
            let loaded = load_config(args.config.as_deref(), &args.flags())?;
            for warning in &loaded.warnings {
                terminal.note(&format!("warning: {warning}"));
            }
            // JSON is YAML: the answer can be kept as a file
            terminal.json(&loaded.config.redacted())
        }
        CheckCommand::Sandbox(SandboxArgs { config, output }) => {
            let requirement = load_config(config.config.as_deref(), &config.flags())?.config.sandbox;
            sandbox(terminal, output, &requirement).await
        }
    }
}

async fn sandbox(terminal: &mut Terminal, output: Format, requirement: &Requirement) -> Result<(), Failure> {
    let failed = |error: &dyn Display| Failure::failed(format!("the sandbox cannot be tried: {error}"));
    let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
    let jailer = locate(flexcore_jailer::PROGRAM_NAME, folder.path()).map_err(|error| failed(&error))?;
    let name = format!("check-{}", std::process::id());
    let (findings, _groups) = Launcher::new(jailer).probe(&name).await;
    let (level, met) = (Level::without(&findings.missing()), findings.meet(requirement));
    match output {
        Format::Json => {
            let mechanism = |Finding { mechanism, result }: &Finding| json!({"mechanism": mechanism.as_str(), "holds": result.is_ok(), "problem": result.as_ref().err()});
            terminal.json(&json!({
                "level": level.as_str(),
                "required": requirement.level.as_str(),
                "met": met.is_ok(),
                "mechanisms": findings.0.iter().map(mechanism).collect::<Vec<_>>(),
            }))?;
        }
        Format::Table => {
            let mut table = Table::new(&["MECHANISM", "HOLDS", "TRIED IN"]);
            for Finding { mechanism, result } in &findings.0 {
                let time = result
                    .as_ref()
                    .map_or_else(|_| "-".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3));
                let holds = if result.is_ok() { "yes" } else { "no" };
                table.row([mechanism.to_string(), holds.to_owned(), time]);
            }
            terminal.table(&table)?;
            for Finding { mechanism, result } in &findings.0 {
                if let Err(why) = result {
                    terminal.line(&format!("{mechanism}: {why}"))?;
                }
            }
            terminal.line(&format!("level {level}, required {}", requirement.level))?;
        }
    }
    met.map(drop).map_err(|why| {
        Failure::failed(format!("no plugin will be started on this host: {why}"))
            .hint("docs/sandbox.md has the cures, and how to go without a mechanism")
    })
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
