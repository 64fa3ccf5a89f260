//! `archive`: old events to files, without a node. Never in here: which events may be moved.

use flexcore_actors::domain::ids::Position;
use flexcore_actors::ports::event_store::StoreError;
use serde_json::{Value, json};

use crate::compose::archiving;
use crate::postgres::{ArchiveReport, ArchivedPartition, Keep};

use super::args::ArchiveArgs;
use super::check::load_config;
use super::failure::{Exit, Failure};
use super::output::{Format, Terminal};
use super::table::Table;

/// Archives, then shows what was moved and why it went no further.
///
/// # Errors
/// A wrong configuration, an embedded store, a database that cannot be reached ([`Exit::Unavailable`]), or a file that
/// cannot be written or verified.
pub async fn archive(terminal: &mut Terminal, args: ArchiveArgs) -> Result<(), Failure> {
    let loaded = load_config(args.store.config.as_deref(), &args.store.flags())?;
    for warning in &loaded.warnings {
        terminal.note(&format!("warning: {warning}"));
    }
    let mut config = loaded.config;
    if args.store.data_dir.is_some() {
        // who names a data directory means the embedded store in it, as with `migrate`
        config.database_url = None;
    }
    config.archive_dir = args.dir.or(config.archive_dir);
    let keep = match args.before {
        Some(position) => Keep::Before(Position(position)),
        None => Keep::Partitions(args.keep_partitions),
    };
    let report = archiving::run(&config, keep).await.map_err(|error| refused(&error))?;
    show(terminal, &report, args.output)
}

fn show(terminal: &mut Terminal, report: &ArchiveReport, output: Format) -> Result<(), Failure> {
    if output == Format::Json {
        let items: Vec<Value> = report.archived.iter().map(to_json).collect();
        return terminal.json(&json!({"items": items, "stopped_by": report.stopped_by}));
    }
    let mut table = Table::new(&[">FIRST", ">LAST", "FILE"]);
    for part in &report.archived {
        table.row([part.first.0.to_string(), part.last.0.to_string(), part.file.clone()]);
    }
    terminal.table(&table)?;
    terminal.note(&report.stopped_by);
    Ok(())
}

fn to_json(part: &ArchivedPartition) -> Value {
    let sha256: String = part.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"first_position": part.first.0, "last_position": part.last.0, "file": part.file, "sha256": sha256})
}

fn refused(error: &anyhow::Error) -> Failure {
    let away =
        error.chain().any(|cause| cause.downcast_ref::<StoreError>().is_some_and(StoreError::retryable));
    Failure::new(if away { Exit::Unavailable } else { Exit::Failed }, format!("{error:#}"))
}
