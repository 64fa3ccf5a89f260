//! A node: builds the tree of supervisors, takes over what was open when it starts, and drains when it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::aggregate::{Directory, Shared, Snapshots};
use super::api::Api;
use super::audit::{Recorder, Unrecorded};
use super::cluster::{
    Cluster, ClusterPorts, JoinError, Keeper, PROJECTIONS, PeerAnswers, SEALER, claim_own, join, renewals,
};
use super::committer::Committer;
use super::completion::CompletePipelines;
use super::inspect::Inspector;
use super::integrity::{IntegrityPorts, Sealer, Verifications};
use super::live::Live;
use super::projector::{Parts, Projections};
use super::recovery::{Orphans, take_over};
use super::services::Services;
use super::subscription::Subscriptions;
use super::supervisor::SupervisorHandle;
use crate::domain::ids::{Incarnation, InvalidName, Name, StreamId};
use crate::domain::plugin::Policy;
use crate::limits::{PASSIVATE_AFTER, PASSIVATE_SWEEP, REPLAYS};
use crate::ports::event_store::StoreError;
use crate::ports::{
    Clock, EventStore, IdSource, LogStore, PeerService, PluginHost, ReadModels, SnapshotStore,
    SubscriptionStore,
};

/// Aggregates that recover at the same time: more only makes each of them slower.
const RECOVERIES: usize = 16;
/// How often a draining node looks whether its executions have ended.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What a node is made of.
pub struct Ports {
    /// Where events are kept.
    pub store: Arc<dyn EventStore>,
    /// Where what lists show is kept, derived from the events.
    pub read_models: Arc<dyn ReadModels>,
    /// Where snapshots are kept.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Where durable subscriptions keep their places.
    pub subscriptions: Arc<dyn SubscriptionStore>,
    /// Runs programs.
    pub host: Arc<dyn PluginHost>,
    /// Keeps what programs say.
    pub logs: Arc<dyn LogStore>,
    /// What plugins may be granted here.
    pub policy: Arc<Policy>,
    /// What the log is sealed with.
    pub integrity: IntegrityPorts,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
    /// What makes it one of several.
    pub cluster: ClusterPorts,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store does not answer.
    #[error("the node cannot take over its shards")]
    Store(#[from] StoreError),
    /// It is no name for a node.
    #[error("node.name")]
    Name(#[from] InvalidName),
    /// It cannot be a member.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The actor system refuses.
    #[error("the node's supervisors cannot be started")]
    Actors(#[from] ractor::SpawnErr),
    /// Something open could not be taken over.
    #[error("an open {what} cannot be taken over: {reason}")]
    Recovery {
        /// Its stream.
        what: StreamId,
        /// Why.
        reason: String,
    },
}

/// Why a node can no longer go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// Its next life, or another node after its silence, has taken over its shards.
    #[error("another node has taken over from this one, which can write nothing any more")]
    Superseded,
    /// So many actors failed that the cause is not theirs.
    #[error("too many actors failed: the node's log names them")]
    GaveUp,
}

/// The supervisors below the root, ended in this order: what starts work first, what stores it last.
#[derive(Clone)]
pub(super) struct Tree {
    pub(super) root: SupervisorHandle,
    pub(super) runners: SupervisorHandle,
    subscriptions: SupervisorHandle,
    executions: SupervisorHandle,
    pipelines: SupervisorHandle,
    plugins: SupervisorHandle,
    externals: SupervisorHandle,
    projectors: SupervisorHandle,
    infrastructure: SupervisorHandle,
    integrity: SupervisorHandle,
}

/// The id of the root of the tree of actors.
pub(super) const ROOT: &str = "node";

/// A running node.
pub struct Node {
    api: Api,
    services: Arc<Services>,
    tree: Tree,
    sweeper: JoinHandle<()>,
    recorder: JoinHandle<()>,
    /// They go on to the very end.
    renewals: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

impl Node {
    /// Starts the node `name`: joins the cluster, so that an earlier life of it can write nothing any more, claims the free
    /// shards that belong here, then goes on with every execution in them that has not ended.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn start(name: &str, ports: Ports) -> Result<Self, StartError> {
        let Ports {
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
            ..
        } = ports;
        let incarnation = Incarnation(ids.uuid());
        let cluster = Cluster::new(Name::new(name)?, incarnation, ports.cluster);
        join(&cluster).await?;
        let renewals = tokio::spawn(renewals(Arc::clone(&cluster)));
        let claimed = claim_own(&cluster).await?;
        let head = store.head().await?;
        let inspector = Inspector::new(name);
        let tree = Tree::plant(&inspector, &ids).await?;
        let (writes, times) = (Arc::clone(&store), Arc::clone(&clock));
        let committer = Committer::start(name, writes, times, &tree.infrastructure, head).await;
        let sealer =
            Sealer::start(integrity, Arc::clone(&clock), cluster.singleton(SEALER), &tree.integrity).await;
        let shared = Arc::new(Shared {
            store: Arc::clone(&store),
            committer,
            clock,
            ids: Arc::clone(&ids),
            cluster,
            snapshots: Snapshots::new(snapshots),
            recoveries: Semaphore::new(RECOVERIES),
            replays: Semaphore::new(REPLAYS),
        });
        let superseded = shared.cluster.superseded.clone();
        let (draining, ending) = (CancellationToken::new(), CancellationToken::new());
        let parts = Parts {
            store: Arc::clone(&shared.store),
            models: read_models,
            singleton: shared.cluster.singleton(PROJECTIONS),
            ending: ending.clone(),
        };
        let projections = Projections::start(parts, &tree.projectors).await;
        let services = Arc::new(Services {
            node: name.to_owned(),
            incarnation,
            host,
            logs,
            policy,
            inspector,
            live: Arc::new(Live::default()),
            hosted: Arc::default(),
            sealer,
            verifications: Verifications::default(),
            pipelines: Directory::new(tree.pipelines.clone(), Arc::clone(&shared)),
            executions: Directory::new(tree.executions.clone(), Arc::clone(&shared)),
            plugins: Directory::new(tree.plugins.clone(), Arc::clone(&shared)),
            externals: Directory::new(tree.externals.clone(), Arc::clone(&shared)),
            turns: DashMap::new(),
            projections,
            unrecorded: Unrecorded::default(),
            draining,
            ending,
            subscriptions: Arc::new(Subscriptions::new(name, store, subscriptions, superseded)),
            shared,
        });
        take_over(&services, &tree.runners, &claimed).await?;
        let keeper = tokio::spawn(Keeper::new(Arc::clone(&services), tree.runners.clone()).run());
        let completion = Arc::new(CompletePipelines { services: Arc::clone(&services) });
        services.subscriptions.start(&tree.subscriptions, completion).await;
        let sweeper = tokio::spawn(sweep(Arc::clone(&services), tree.runners.clone()));
        let recorder = tokio::spawn(Recorder::new(Arc::clone(&services)).run());
        let started_at = services.shared.clock.now();
        let api = Api::new(Arc::clone(&services), tree.clone(), started_at);
        Ok(Self { api, services, tree, sweeper, recorder, renewals, keeper })
    }

    /// What gateways hold.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api.clone()
    }

    /// What answers other nodes: the adapter of [`Peers`](crate::ports::Peers) calls it at this end.
    #[must_use]
    pub fn peer_service(&self) -> Arc<dyn PeerService> {
        let (services, runners) = (Arc::clone(&self.services), self.tree.runners.clone());
        Arc::new(PeerAnswers { services, runners })
    }

    /// Returns when this node can no longer go on and must end: another has taken over its shards, so that it can
    /// write nothing any more, or its supervisors have given up.
    pub async fn lost(&self) -> Loss {
        tokio::select! {
            () = self.services.shared.cluster.superseded.cancelled() => Loss::Superseded,
            () = self.tree.root.ended() => Loss::GaveUp,
        }
    }

    /// Ends the node: [`Self::drain`], then [`Self::end`]. What has not ended after `grace` is killed.
    pub async fn shutdown(self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.drain(deadline).await;
        self.end(deadline).await;
    }

    /// Starts nothing new, ends what runs (an execution goes on at the next start, or at another node), and gives its shards
    /// to the others. It answers meanwhile, for others too.
    pub async fn drain(&self, deadline: Instant) {
        let cluster = &self.services.shared.cluster;
        self.services.draining.cancel();
        cluster.drain();
        self.sweeper.abort();
        let idle = async {
            while self.services.live.runners() > 0 || self.services.hosted.foreign() > 0 {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        };
        if tokio::time::timeout_at(deadline.into(), idle).await.is_err() {
            tracing::warn!("executions did not end in time and are killed");
        }
        // until it knows who has them: requests that came here wait for that
        let handed_over = async {
            while cluster.has_heirs() && !cluster.has_handed_over() {
                cluster.look();
                tokio::time::sleep(DRAIN_POLL).await;
            }
        };
        if tokio::time::timeout_at(deadline.into(), handed_over).await.is_err() {
            tracing::warn!(
                shards = cluster.shards.owned().len(),
                "shards were not handed over in time: others find them free"
            );
        }
    }

    /// Ends its actors, and leaves the cluster. What has not ended by `deadline` is killed.
    pub async fn end(mut self, deadline: Instant) {
        self.services.ending.cancel();
        // what was refused last is recorded while there is a committer
        let left = deadline.saturating_duration_since(Instant::now());
        if tokio::time::timeout(left, &mut self.recorder).await.is_err() {
            self.recorder.abort();
            tracing::warn!("refused requests were not recorded in time");
        }
        self.keeper.abort();
        self.tree.fell(deadline, &self.services.sealer).await;
        self.renewals.abort();
        self.services.shared.cluster.leave().await;
    }
}

impl Tree {
    async fn plant(inspector: &Inspector, ids: &Arc<dyn IdSource>) -> Result<Self, ractor::SpawnErr> {
        let root = SupervisorHandle::spawn(ROOT, inspector.clone(), Arc::clone(ids), None).await?;
        let below =
            async |id| SupervisorHandle::spawn(id, inspector.clone(), Arc::clone(ids), Some(&root)).await;
        Ok(Self {
            integrity: below("integrity").await?,
            infrastructure: below("infrastructure").await?,
            projectors: below("projectors").await?,
            externals: below("externals").await?,
            plugins: below("plugins").await?,
            pipelines: below("pipelines").await?,
            executions: below("executions").await?,
            subscriptions: below("subscriptions").await?,
            runners: below("runners").await?,
            root,
        })
    }

    /// Ends everything; what has not ended by `deadline` is killed. What was stored to the end is sealed.
    async fn fell(&self, deadline: Instant, sealer: &Sealer) {
        let drain = async |supervisor: &SupervisorHandle| {
            supervisor.drain(deadline.saturating_duration_since(Instant::now())).await;
        };
        let writers = [
            &self.runners,
            &self.subscriptions,
            &self.executions,
            &self.pipelines,
            &self.plugins,
            &self.externals,
            &self.projectors,
            &self.infrastructure,
        ];
        for supervisor in writers {
            drain(supervisor).await;
        }
        sealer.finish();
        for supervisor in [&self.integrity, &self.root] {
            drain(supervisor).await;
        }
    }
}

/// Lets idle aggregates leave memory and takes care of executions that nobody runs, for as long as the node lives.
async fn sweep(services: Arc<Services>, runners: SupervisorHandle) {
    let mut orphans = Orphans::default();
    loop {
        tokio::time::sleep(PASSIVATE_SWEEP).await;
        services.pipelines.passivate(PASSIVATE_AFTER);
        services.executions.passivate(PASSIVATE_AFTER);
        services.plugins.passivate(PASSIVATE_AFTER);
        services.externals.passivate(PASSIVATE_AFTER);
        orphans.adopt(&services, &runners).await;
    }
}
