//! Puts together what lies beside the events, for a node or a command: the vault of secrets with the place of its key, and tokens. A part of composing:
//! paths, opening and nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use flexcore_actors::domain::secret::{SecretName, SecretValue};
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::{BoxFuture, SecretStore, TokenStore};

use super::{EMBEDDED_STORE, locks, make_data_dir};
use crate::access::Access;
use crate::config::Config;
use crate::plugins::Secrets;
use crate::postgres::PostgresStore;
use crate::secrets::{KeyPlace, Vault};
use crate::sqlite::{SqliteBeside, SqliteStore};

/// The key for secrets, below the data directory when no other place is configured.
const KEY_FILE: &str = "secrets.key";
/// The variable of `secrets.key`: no program is ever given it, whatever its manifest says.
pub(super) const KEY_VARIABLE: &str = "FLEXCORE_SECRETS_KEY";

/// Where the keys for secrets are.
pub(crate) fn key_place(config: &Config, data_dir: &Path) -> KeyPlace {
    match (&config.secrets_key, &config.secrets_key_file) {
        (Some(key), _) => KeyPlace::Given(key.clone()),
        (None, Some(path)) => KeyPlace::File(path.clone()),
        (None, None) => KeyPlace::File(data_dir.join(KEY_FILE)),
    }
}

/// Gives programs what a vault holds.
pub(super) struct FromVault(pub(super) Vault);

impl Secrets for FromVault {
    fn reveal<'a>(
        &'a self,
        names: &'a [SecretName],
    ) -> BoxFuture<'a, Result<BTreeMap<SecretName, SecretValue>, String>> {
        Box::pin(async {
            self.0.reveal(names).await.map_err(|error| format!("{:#}", anyhow::Error::new(error)))
        })
    }

    fn missing<'a>(&'a self, names: &'a [SecretName]) -> BoxFuture<'a, Result<Vec<SecretName>, String>> {
        Box::pin(async {
            self.0.missing(names).await.map_err(|error| format!("{:#}", anyhow::Error::new(error)))
        })
    }
}

/// Opens the vault of the store that a configuration names, to change it.
///
/// # Errors
/// When there is no store and none is to be made, or it cannot be opened.
pub async fn open(config: &Config, make: bool) -> anyhow::Result<Vault> {
    let Beside { secrets, .. } = beside(config, make).await?;
    Ok(Vault::new(secrets, key_place(config, &config.data_dir)))
}

/// Opens the tokens of the store that a configuration names, to change them; it is made if need be.
///
/// # Errors
/// When there is no store and none is to be made, or it cannot be opened.
pub async fn access(config: &Config, make: bool) -> anyhow::Result<Access> {
    let Beside { tokens, .. } = beside(config, make).await?;
    Ok(Access::new(config.auth_required, tokens, Arc::new(System)))
}

/// What lies beside the events of a store.
struct Beside {
    secrets: Arc<dyn SecretStore>,
    tokens: Arc<dyn TokenStore>,
}

impl Beside {
    fn of<B: SecretStore + TokenStore>(store: B) -> Self {
        let store = Arc::new(store);
        Self { secrets: Arc::clone(&store) as _, tokens: store }
    }
}

/// Opens what lies beside the events of the store that a configuration names; a node may be running on it. To `make` one, the
/// store is made and migrated as the start of a node does, unless one runs in the data directory.
///
/// # Errors
/// When there is no store and none is to be made, or it cannot be opened.
async fn beside(config: &Config, make: bool) -> anyhow::Result<Beside> {
    if !make && config.database_url.is_none() && !config.data_dir.join(EMBEDDED_STORE).exists() {
        let path = config.data_dir.join(EMBEDDED_STORE);
        bail!("there is no embedded store {}: name another --data-dir, or a --database-url", path.display());
    }
    let data_dir = make_data_dir(&config.data_dir)?;
    if let Some(url) = &config.database_url {
        let store = PostgresStore::connect(url.reveal()).await;
        let store = store.context("database.url: the store cannot be opened")?;
        return Ok(Beside::of(store));
    }
    let path = data_dir.join(EMBEDDED_STORE);
    let open = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            let found = SqliteBeside::open(&path);
            if found.is_ok() {
                return found;
            }
            // who has the lock has the store to himself; a running node has migrated it
            let Ok(_lock) = locks::node(&data_dir) else { return found };
            SqliteStore::migrate(&path)?;
            SqliteBeside::open(&path)
        })
    };
    let store =
        open.await?.with_context(|| format!("the embedded store {} cannot be opened", path.display()))?;
    Ok(Beside::of(store))
}
