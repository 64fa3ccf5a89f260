//! `migrate`: the store's schema, without a node. Never in here: what a migration does, or which store is meant.

use flexcore_actors::ports::event_store::StoreError;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::compose::migrations;
use crate::config::Config;
use crate::schema::{self, Migration, State, Unfit};

use super::args::{MigrateArgs, MigrateCommand, StoreArgs};
use super::check::load_config;
use super::failure::{Exit, Failure};
use super::output::{Format, Terminal};
use super::table::Table;

/// Applies the pending migrations, or shows all.
///
/// # Errors
/// A wrong configuration, a store that cannot be reached ([`Exit::Unavailable`]) or must not be used by this version
/// ([`Exit::Conflict`]); for `status` also pending migrations ([`Exit::Failed`]).
pub async fn migrate(terminal: &mut Terminal, args: MigrateArgs) -> Result<(), Failure> {
    let config = store_config(terminal, &args.store)?;
    match args.command {
        None => {
            apply(terminal, &config, args.output).await?;
            let Some(role) = args.grant_to else { return Ok(()) };
            migrations::grant(&config, &role).await.map_err(|error| refused(&error))?;
            terminal.note(&format!("role {role} may run a node, and change nothing else"));
            Ok(())
        }
        Some(MigrateCommand::Status) => status(terminal, &config, args.output).await,
    }
}

/// The configuration of the store at rest that flags name.
///
/// # Errors
/// Every mistake of the configuration.
pub(super) fn store_config(terminal: &mut Terminal, args: &StoreArgs) -> Result<Config, Failure> {
    let loaded = load_config(args.config.as_deref(), &args.flags())?;
    for warning in &loaded.warnings {
        terminal.note(&format!("warning: {warning}"));
    }
    let mut config = loaded.config;
    if args.data_dir.is_some() {
        // who names a data directory means the embedded store in it, whatever the configuration says
        config.database_url = None;
    }
    Ok(config)
}

async fn apply(terminal: &mut Terminal, config: &Config, output: Format) -> Result<(), Failure> {
    let before = migrations::apply(config).await.map_err(|error| refused(&error))?;
    let now = migrations::list(config).await.map_err(|error| refused(&error))?;
    show(terminal, &now, output)?;
    terminal.note(&match pending(&before) {
        0 => "the store was up to date".to_owned(),
        1 => "1 migration was applied".to_owned(),
        count => format!("{count} migrations were applied"),
    });
    Ok(())
}

async fn status(terminal: &mut Terminal, config: &Config, output: Format) -> Result<(), Failure> {
    let migrations = migrations::list(config).await.map_err(|error| refused(&error))?;
    show(terminal, &migrations, output)?;
    schema::check(&migrations).map_err(|unfit| Failure::new(Exit::Conflict, unfit.to_string()))?;
    let message = match pending(&migrations) {
        0 => return Ok(()),
        1 => "1 migration is pending".to_owned(),
        count => format!("{count} migrations are pending"),
    };
    Err(Failure::failed(message).hint("apply them with: flexcore migrate, or by starting a node"))
}

fn pending(migrations: &[Migration]) -> usize {
    migrations.iter().filter(|migration| migration.state == State::Pending).count()
}

fn show(terminal: &mut Terminal, migrations: &[Migration], output: Format) -> Result<(), Failure> {
    if output == Format::Json {
        let items: Vec<Value> = migrations.iter().map(to_json).collect();
        return terminal.json(&json!({"items": items, "pending": pending(migrations)}));
    }
    let mut table = Table::new(&[">VERSION", "NAME", "STATE", "APPLIED"]);
    for migration in migrations {
        table.row([
            migration.version.to_string(),
            migration.name.clone(),
            migration.state.as_str().to_owned(),
            migration.applied_at.map(to_the_second).unwrap_or_default(),
        ]);
    }
    terminal.table(&table)
}

fn to_json(migration: &Migration) -> Value {
    json!({
        "version": migration.version,
        "name": migration.name,
        "state": migration.state.as_str(),
        "applied_at": migration.applied_at.map(|at| at.to_string()),
    })
}

fn to_the_second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The failure, with the exit code that says whether it may pass.
pub(super) fn refused(error: &anyhow::Error) -> Failure {
    let unfit = error.chain().any(|cause| cause.is::<Unfit>());
    let away =
        error.chain().any(|cause| cause.downcast_ref::<StoreError>().is_some_and(StoreError::retryable));
    let exit = match (unfit, away) {
        (true, _) => Exit::Conflict,
        (false, true) => Exit::Unavailable,
        (false, false) => Exit::Failed,
    };
    Failure::new(exit, format!("{error:#}"))
}
