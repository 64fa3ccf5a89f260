//! Records what a command does to the store itself in the audit log, beside a running node or without one. A part of
//! composing: opening, and who asks.

use std::sync::Arc;

use anyhow::Context;
use flexcore_actors::ports::EventStore;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::runtime::audit_beside::{Deed, record};

use super::EMBEDDED_STORE;
use crate::config::Config;
use crate::postgres::PostgresStore;
use crate::sqlite::SqliteStore;

/// Writes into the audit log of a store.
pub struct Recorder(Arc<dyn EventStore>);

impl Recorder {
    /// One for the store that a configuration names, which must be there and of this version.
    ///
    /// # Errors
    /// When it cannot be opened: then nothing should be done that would have to be recorded.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        if let Some(url) = &config.database_url {
            let store = PostgresStore::connect(url.reveal()).await;
            return Ok(Self(Arc::new(store.context("database.url: the audit log cannot be opened")?)));
        }
        let path = config.data_dir.join(EMBEDDED_STORE);
        let open = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || SqliteStore::open_beside(path))
        };
        let store = open.await?;
        let store = store.with_context(|| format!("the audit log in {} cannot be opened", path.display()))?;
        Ok(Self(Arc::new(store)))
    }

    /// Records that this process's user did something; never name a secret's value.
    ///
    /// # Errors
    /// When it is not recorded, or perhaps not.
    pub async fn record(&self, action: String) -> Result<(), StoreError> {
        let (actor, address) = (actor(), host());
        record(&*self.0, &System, &System, Deed { actor, address, action }).await
    }
}

/// Who does what this process does, as the audit log names them: its user, and the host.
#[must_use]
pub fn actor() -> String {
    format!("{}@{}", user(), host())
}

/// The user that this process runs as; its number when it has no name.
fn user() -> String {
    let id = nix::unistd::getuid();
    let known = nix::unistd::User::from_uid(id).ok().flatten();
    known.map_or_else(|| format!("uid-{id}"), |user| user.name)
}

fn host() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "localhost".to_owned())
}
