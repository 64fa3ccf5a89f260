//! What commands do to the store itself, in the audit log. Never in here: what they do.

use flexcore_actors::ports::event_store::StoreError;

use crate::compose::audit::Recorder;
use crate::config::Config;

use super::failure::{Exit, Failure, chain};
use super::migrate::refused;

/// Opens the audit log, before anything is done: what could not be recorded is not done.
///
/// # Errors
/// When it cannot be opened.
pub(super) async fn recorder(config: &Config) -> Result<Recorder, Failure> {
    Recorder::open(config).await.map_err(|error| refused(&error))
}

/// Records what was done.
///
/// # Errors
/// When it is not recorded, or perhaps not.
pub(super) async fn recorded(audit: &Recorder, action: String) -> Result<(), Failure> {
    let not = |error: StoreError| {
        let exit = if error.retryable() { Exit::Unavailable } else { Exit::Failed };
        Failure::new(exit, format!("it is done, but not recorded in the audit log: {}", chain(&error)))
            .hint("do it again, to have it recorded")
    };
    audit.record(action).await.map_err(not)
}
