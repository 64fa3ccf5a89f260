//! `import`: an export into an empty store at rest. It is verified as a whole before the first event is stored. Never in
//! here: what makes an export right.

use std::path::Path;

use flexcore_actors::runtime::integrity::export::{ImportError, Importer};
use flexcore_actors::runtime::integrity::views::VerificationView;

use crate::compose::{self, at_rest};
use crate::integrity::{adopt, read_trusted};

use super::args::ImportArgs;
use super::export::Lines;
use super::failure::{Exit, Failure};
use super::human::grouped;
use super::integrity::key_failure;
use super::migrate::{refused, store_config};
use super::output::{Format, Terminal};
use super::verify::{Bar, check_export, outside, report, trusted};

/// Verifies an export and stores it.
///
/// # Errors
/// What is wrong with it ([`Exit::Failed`]), a store that is not empty ([`Exit::Conflict`]), or why it cannot be stored.
pub async fn import(terminal: &mut Terminal, args: ImportArgs) -> Result<(), Failure> {
    let Some(file) = &args.file else {
        return Err(Failure::failed("import --meltano is not built yet"));
    };
    if args.store.data_dir.is_none() && args.store.database_url.is_none() {
        return Err(Failure::usage("into which store? give --data-dir or --database-url"));
    }
    let config = store_config(terminal, &args.store)?;
    let (keys, worth) = trusted(&config, args.public_key.as_deref())?;
    let directory = match &args.checkpoints {
        Some(path) => outside(&config, Some(path))?.0,
        None => None,
    };
    let verdict = check_export(terminal, file, keys.clone(), directory.as_ref()).await?;
    if verdict.fault.is_some() {
        let mut view = VerificationView::running(worth, verdict.counts.events, 0);
        view.decide(&verdict);
        return report(terminal, &serde_json::to_value(view).unwrap_or_default(), Format::Table);
    }
    let target = at_rest::open_target(&config).await.map_err(|error| refused(&error))?;
    let mut importer = Importer::begin(&*target.store, keys).await.map_err(failure)?;
    let mut lines = Lines::open(file)?;
    let bar = Bar::new(terminal);
    while let Some(line) = lines.next()? {
        importer.line(line).await.map_err(failure)?;
        bar.show(importer.stored().0, verdict.counts.events);
    }
    drop(bar);
    let stored = importer.stored();
    if let Some(path) = &args.public_key {
        // the node that will use this store has a key of its own
        let keys = read_trusted(path).map_err(key_failure)?;
        let key_file = compose::integrity::key_file(&config, &config.data_dir).0;
        if key_file.parent().is_some_and(Path::is_dir) {
            adopt(&key_file, &keys, verdict.counts.sealed).map_err(key_failure)?;
        } else {
            terminal.note(&format!(
                "the node that will use this store must believe the given keys too: copy them to {}.trusted",
                key_file.display()
            ));
        }
    }
    terminal.line(&format!("imported: {} events, verified", grouped(stored.0)))
}

fn failure(error: ImportError) -> Failure {
    let exit = match &error {
        ImportError::Claimed | ImportError::Other(_) => Exit::Conflict,
        ImportError::Part => Exit::Usage,
        ImportError::Fault(_) => Exit::Failed,
        ImportError::Store(_) => return refused(&anyhow::Error::new(error)),
    };
    Failure::new(exit, error.to_string())
}
