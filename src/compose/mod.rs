//! Puts a node together from its parts: the one place that names two adapters, and never more than their making.

pub mod archiving;
pub mod at_rest;
pub mod audit;
mod cluster;
mod home;
pub(crate) mod integrity;
mod launch; // nothing but conversions between the plugin host, the launcher and the network
mod locks;
pub mod migrations;
mod network;
pub mod secrets;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use flexcore_actors::domain::audit::RequestAccepted;
use flexcore_actors::domain::ids::CorrelationId;
use flexcore_actors::domain::outcome::SandboxUsed;
use flexcore_actors::domain::plugin::Policy;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::{
    Clock, ClusterStore, EventStore, IntegrityStore, LogStore, ReadModels, SecretStore, SnapshotStore,
    SubscriptionStore, TokenStore,
};
use flexcore_actors::runtime::api::Api;
use flexcore_actors::runtime::node::{Loss, Node as Runtime, Ports};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::access::Access;
use crate::config::{self, Config};
use crate::http;
use crate::logs::FileLogs;
#[cfg(test)]
use crate::plugins::launch::Launch;
use crate::plugins::{LocalHost, Settings};
use crate::postgres::PostgresStore;
use crate::sandbox::Launcher;
use crate::sandbox::level::{Finding, Level, Requirement};
use crate::sandbox::programs::{OWN_PROGRAMS, locate};
use crate::secrets::Vault;
use crate::sqlite::{SqliteBeside, SqliteReadModels, SqliteStore};

/// Where the address that a node listens on is written, below its data directory: it may have been given port 0.
pub const ADDRESS_FILE: &str = "http.address";

/// The embedded store's file, below the data directory.
const EMBEDDED_STORE: &str = "flexcore.db";

/// A running node.
pub struct Node {
    runtime: Runtime,
    api: Api,
    address: SocketAddr,
    gateway_shutdown: CancellationToken,
    gateway: JoinHandle<Result<(), http::ServeError>>,
    peers: Option<cluster::Serving>,
    _renewing: Option<AbortOnDropHandle<()>>,
    _lock: File,
}

/// Starts a node: locks the data directory, waits for programs of its former life to be gone, opens the store, goes on with what was open, then serves.
///
/// # Errors
/// When the data directory is in use, the store cannot be opened, or the address cannot be had.
pub async fn start(config: &Config) -> anyhow::Result<Node> {
    let data_dir = make_data_dir(&config.data_dir)?;
    let lock = locks::node(&data_dir)?;
    let presence = locks::programs(&data_dir).await?;
    // before the runtime takes over its shards, so that a wrong address stops nothing that runs
    let listener = http::bind(config.http_listen, config.auth_required).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let clock: Arc<dyn Clock> = Arc::new(System);
    let Stores { events: store, cluster, snapshots, subscriptions, integrity, read_models, secrets, tokens } =
        open_stores(config, &data_dir).await?;
    let vault = Vault::new(secrets, secrets::key_place(config, &data_dir));
    let integrity = integrity::ports(config, &data_dir, integrity)?;
    let logs: Arc<dyn LogStore> = Arc::new(FileLogs::open(&data_dir)?);
    let (renew, lease) = cluster::lease(config);
    let ties = Ties { presence, lease };
    let host = host(&data_dir, ties, address, &logs, &clock, vault, config).await?;
    let host = Arc::new(host);
    let ids = Arc::new(System);
    let policy = policy(config)?;
    let (cluster, peers) = cluster::ports(config, cluster, home::id(&data_dir)?).await?;
    let ports = Ports {
        store,
        read_models,
        snapshots,
        subscriptions,
        host,
        logs,
        policy,
        integrity,
        clock,
        ids,
        cluster,
    };
    let runtime = Runtime::start(config.node_name.as_str(), ports).await?;
    let api = runtime.api();
    if !config.sandbox.accept_missing.is_empty() {
        api.audited(going_without(config));
    }
    let peers = peers.map(|listener| listener.serve(runtime.peer_service()));
    let renewing = renew.map(|renew| cluster::renew(renew, api.clone()));
    let gateway_shutdown = CancellationToken::new();
    let settings = http::Config { max_connections: config.http_max_connections, ..http::Config::default() };
    let access = Arc::new(Access::new(config.auth_required, tokens, Arc::new(System)));
    let gateway = http::serve(listener, api.clone(), access, gateway_shutdown.clone(), settings);
    let gateway = tokio::spawn(gateway);
    write_address(&data_dir, address)?;
    Ok(Node { runtime, api, address, gateway_shutdown, gateway, peers, _renewing: renewing, _lock: lock })
}

impl Node {
    /// The way in for gateways of this process.
    #[must_use]
    pub const fn api(&self) -> &Api {
        &self.api
    }

    /// Where it listens.
    #[must_use]
    pub const fn http_address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when it can no longer go on and must end.
    pub async fn lost(&self) -> Loss {
        self.runtime.lost().await
    }

    /// Ends it in an orderly way, within `grace`: what runs, its part in the cluster, the gateway, and then all the rest.
    pub async fn shutdown(self, grace: Duration) {
        let deadline = Instant::now() + grace;
        // who asks goes on asking here until it is seen that the node is not ready
        self.runtime.drain(deadline).await;
        self.gateway_shutdown.cancel();
        let gateway = self.gateway.await;
        self.runtime.end(deadline).await;
        // to the end it tells others who owns what
        if let Some(peers) = self.peers {
            peers.end().await;
        }
        match gateway {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "http ended with an error")
            }
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "http failed"),
        }
    }
}

/// Makes the data directory, for its owner alone: it holds logs, configurations and the embedded store.
fn make_data_dir(path: &Path) -> anyhow::Result<PathBuf> {
    let made =
        DirBuilder::new().recursive(true).mode(0o700).create(path).and_then(|()| fs::canonicalize(path));
    made.with_context(|| {
        format!("data_dir {} cannot be made: choose another or make it writable", path.display())
    })
}

/// One store under the names of its ports, and the read models beside it.
struct Stores {
    events: Arc<dyn EventStore>,
    cluster: Arc<dyn ClusterStore>,
    snapshots: Arc<dyn SnapshotStore>,
    subscriptions: Arc<dyn SubscriptionStore>,
    integrity: Arc<dyn IntegrityStore>,
    read_models: Arc<dyn ReadModels>,
    secrets: Arc<dyn SecretStore>,
    tokens: Arc<dyn TokenStore>,
}

impl Stores {
    fn of<S, B>(store: Arc<S>, read_models: impl ReadModels, beside: Arc<B>) -> Self
    where
        B: SecretStore + TokenStore,
        S: EventStore + ClusterStore + SnapshotStore + SubscriptionStore + IntegrityStore,
    {
        Self {
            events: Arc::clone(&store) as _,
            cluster: Arc::clone(&store) as _,
            snapshots: Arc::clone(&store) as _,
            subscriptions: Arc::clone(&store) as _,
            integrity: store,
            read_models: Arc::new(read_models),
            secrets: Arc::clone(&beside) as _,
            tokens: beside,
        }
    }
}

async fn open_stores(config: &Config, data_dir: &Path) -> anyhow::Result<Stores> {
    let Some(url) = &config.database_url else {
        let path = data_dir.join(EMBEDDED_STORE);
        let open = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                Ok::<_, StoreError>((SqliteStore::open(&path)?, SqliteBeside::open(&path)?))
            })
        };
        let (store, secrets) =
            open.await?.with_context(|| format!("the embedded store {} cannot be opened", path.display()))?;
        let path = data_dir.join("read-models.db");
        let open = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || SqliteReadModels::open(path))
        };
        let read_models =
            open.await?.with_context(|| format!("the read models {} cannot be opened", path.display()))?;
        return Ok(Stores::of(Arc::new(store), read_models, Arc::new(secrets)));
    };
    let store = PostgresStore::connect(url.reveal())
        .await
        .context("database.url: the event store cannot be opened")?
        .with_archive_dir(archiving::dir(config, data_dir));
    let read_models = store.read_models().context("database.url: the read models cannot be opened")?;
    let store = Arc::new(store);
    Ok(Stores::of(Arc::clone(&store), read_models, store))
}

/// What plugins may be granted on this node.
fn policy(config: &Config) -> anyhow::Result<Arc<Policy>> {
    let Some(path) = &config.sandbox_policy else {
        tracing::info!("there is no sandbox.policy: plugins are granted what their manifests ask for");
        return Ok(Arc::default());
    };
    let policy = config::policy::read(path).context("sandbox.policy cannot be used")?;
    let rules = policy.rules().map_or(0, <[_]>::len);
    tracing::info!(path = %path.display(), id = policy.id(), rules, "plugins are granted what the policy allows");
    Ok(Arc::new(policy))
}

/// What starts programs, under the launcher at `jailer`.
#[cfg(test)]
pub(crate) fn launcher(jailer: PathBuf) -> Arc<dyn Launch> {
    let sandbox = SandboxUsed { level: Level::NoCgroup.to_string(), missing: Vec::new() };
    Arc::new(launch::Starter {
        launcher: Launcher::new(jailer),
        network: network::of_node(Vec::new()),
        sandbox,
    })
}

/// What ties programs to their node.
struct Ties {
    /// Each launcher keeps it open until it has ended.
    presence: File,
    /// Until when programs may run, in a cluster: alone, nobody else would start them again.
    lease: Option<watch::Receiver<Duration>>,
}

/// What starts programs on this node, with the isolation that it has, and whether that is what is required.
async fn fit(
    jailer: PathBuf,
    ties: Ties,
    data_dir: &Path,
    requirement: &Requirement,
) -> anyhow::Result<(Launcher, SandboxUsed)> {
    let launcher = Launcher::new(jailer).with_presence(ties.presence);
    let launcher = ties.lease.into_iter().fold(launcher, Launcher::with_lease);
    let (findings, groups) = launcher.probe(&group_name(data_dir)).await;
    for Finding { mechanism, result } in &findings.0 {
        if let Err(why) = result {
            tracing::warn!(%mechanism, why, "a mechanism of the sandbox is missing on this host");
        }
    }
    let launcher = match groups {
        Some(groups) => {
            let left =
                groups.sweep().context("control groups of this node's former life cannot be removed")?;
            tracing::debug!(left, "control groups of a former life were removed");
            launcher.with_groups(groups)
        }
        None => launcher,
    };
    let missing = findings.missing();
    let level = Level::without(&missing);
    let used =
        SandboxUsed { level: level.to_string(), missing: missing.iter().map(ToString::to_string).collect() };
    let launcher = match findings.meet(requirement) {
        Ok(isolation) => {
            tracing::info!(%level, "plugins run in the sandbox");
            launcher.with_isolation(isolation).with_spare()
        }
        Err(why) => {
            tracing::error!(%level, required = %requirement.level, why, "no plugin will be started");
            launcher.refusing(&why)
        }
    };
    Ok((launcher, used))
}

/// For the audit log: the operator's choice to go without mechanisms of the sandbox.
fn going_without(config: &Config) -> RequestAccepted {
    let Requirement { level, accept_missing } = &config.sandbox;
    let names: Vec<&str> = accept_missing.iter().map(|mechanism| mechanism.as_str()).collect();
    RequestAccepted {
        address: "local".to_owned(),
        actor: "configuration".to_owned(),
        action: format!("sandbox.required {level}, sandbox.accept_missing {}", names.join(", ")),
        stream: None,
        status: 200,
        correlation_id: CorrelationId(Uuid::now_v7()),
        count: 1,
    }
}

/// One name for each data directory of the host: only one node has it at a time.
pub(crate) fn group_name(data_dir: &Path) -> String {
    const BYTES: usize = 8;
    let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    digest[..BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn host(
    data_dir: &Path,
    ties: Ties,
    address: SocketAddr,
    logs: &Arc<dyn LogStore>,
    clock: &Arc<dyn Clock>,
    vault: Vault,
    config: &Config,
) -> anyhow::Result<LocalHost> {
    let mut own_programs = Vec::new();
    let mut jailer = None;
    for name in OWN_PROGRAMS {
        let path = locate(name, data_dir)?;
        own_programs.extend(path.parent().map(Path::to_path_buf));
        if name == flexcore_jailer::PROGRAM_NAME {
            jailer = Some(path);
        }
    }
    let Some(jailer) = jailer else {
        bail!("{} is not one of flexcore's own programs", flexcore_jailer::PROGRAM_NAME)
    };
    own_programs.dedup();
    let (launcher, sandbox) = fit(jailer, ties, data_dir, &config.sandbox).await?;
    let host = LocalHost::new(Settings {
        launcher: Arc::new(launch::Starter { launcher, network: network::of_node(vec![address]), sandbox }),
        logs: Arc::clone(logs),
        clock: Arc::clone(clock),
        data_dir: data_dir.to_path_buf(),
        own_programs,
        variables: variables(std::env::vars_os()),
        secrets: Arc::new(secrets::FromVault(vault)),
        warm_interpreters: config.warm_interpreters,
    })?;
    host.clear_leftovers().context("leftovers of earlier executions cannot be removed")?;
    Ok(host)
}

/// The daemon's environment; what is not UTF-8 cannot be named by a manifest, and the key for secrets is for nobody.
fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    all.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| key != secrets::KEY_VARIABLE)
        .collect()
}

/// Written beside and renamed, so that a reader never sees half of it.
fn write_address(data_dir: &Path, address: SocketAddr) -> io::Result<()> {
    let beside = data_dir.join(format!("{ADDRESS_FILE}.new"));
    fs::write(&beside, format!("{address}\n"))?;
    fs::rename(beside, data_dir.join(ADDRESS_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_for_secrets_is_for_no_program() {
        let all = [("FLEXCORE_SECRETS_KEY", "SECRETS+KEY+x"), ("TZ", "UTC")];
        let passed = variables(all.map(|(name, value)| (name.into(), value.into())).into_iter());
        assert_eq!(passed, BTreeMap::from([("TZ".to_owned(), "UTC".to_owned())]));
    }
}
