//! Queries of the contract about one resource, which is read from its aggregate and reflects every acknowledged
//! command; about the log, the actors and the node. Lists are in `lists.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::aggregate::{Directory, SubmitError};
use super::super::cluster::{Asked, ClusterStatus, Route, ShardStatus};
use super::super::integrity::SealerState;
use super::super::live::Live;
use super::super::node::ROOT;
use super::super::views::{
    ActorView, BookmarkView, DependencyView, EventView, ExecutionView, NodeMetrics, NodeStatus, Page,
    PipelineView, PluginView, RevisionView,
};
use super::commands::{not_found, refused};
use super::project::{self, ExecutionContext};
use super::{Api, ApiError, EventQuery};
use crate::domain::aggregate::Aggregate;
use crate::domain::execution::Execution;
use crate::domain::ids::{Category, ExecutionId, Name, Position, StreamId, Version};
use crate::domain::pipeline::Pipeline;
use crate::domain::plugin::Plugin;
use crate::limits::RECOVERY_PAGE;
use crate::ports::cluster::Member;
use crate::ports::event_store::StoreError;
use crate::ports::log_store::LogLine;

impl Api {
    /// One pipeline.
    ///
    /// # Errors
    /// When it does not exist, or the store is away.
    pub async fn pipeline(&self, name: &Name) -> Result<PipelineView, ApiError> {
        let state = self.read_pipeline(name).await?;
        project::pipeline(&state).ok_or_else(|| not_found("pipeline", name.as_str()))
    }

    /// The revisions of a pipeline, oldest first.
    ///
    /// # Errors
    /// When the pipeline does not exist, or the store is away.
    pub async fn revisions(&self, name: &Name) -> Result<Page<RevisionView>, ApiError> {
        self.pipeline(name).await?;
        let mut items = Vec::new();
        for event in self.all_events(&StreamId::pipeline(name)).await? {
            let is_revision = matches!(event.kind.as_str(), "PipelineCreated" | "PipelineRevised");
            if let (true, Some(definition)) = (is_revision, event.data.get("definition")) {
                let revision = event.data.get("revision").and_then(Value::as_u64).unwrap_or(1);
                let (definition, actor) = (definition.clone(), event.metadata.actor.clone());
                items.push(RevisionView { revision, created_at: event.timestamp, actor, definition });
            }
        }
        Ok(self.page(items, None))
    }

    /// The bookmarks of a pipeline.
    ///
    /// # Errors
    /// When the pipeline does not exist, or the store is away.
    pub async fn bookmarks(&self, name: &Name) -> Result<Page<BookmarkView>, ApiError> {
        let state = self.read_pipeline(name).await?;
        state.definition.as_ref().ok_or_else(|| not_found("pipeline", name.as_str()))?;
        Ok(self.page(project::bookmarks(&state), None))
    }

    /// One plugin.
    ///
    /// # Errors
    /// When it does not exist, or the store is away.
    pub async fn plugin(&self, name: &Name) -> Result<PluginView, ApiError> {
        let state = self.read_plugin(name).await?;
        project::plugin(&state, self.services.shared.clock.now())
            .ok_or_else(|| not_found("plugin", name.as_str()))
    }

    /// One execution, live while it runs.
    ///
    /// # Errors
    /// When it does not exist, or the store is away.
    pub async fn execution(&self, id: ExecutionId) -> Result<ExecutionView, ApiError> {
        let stream = StreamId::execution(id);
        let state = self.read(&self.services.executions, &stream).await?;
        let last = Version(state.version.0.saturating_sub(1));
        let last = self.services.shared.store.read_stream(&stream, last, 1).await.map_err(store_away)?;
        let last = last.first().map(|event| (event.origin.correlation_id, event.position));
        let elsewhere = match self.services.shared.cluster.route(stream.shard()) {
            Route::There(member) if !state.ended() => {
                let seen = self.services.shared.cluster.live_at(&member, id).await;
                Some(Live::of_another(id, seen))
            }
            _ => None,
        };
        let view = last.and_then(|(correlation_id, position)| {
            let live = elsewhere.as_ref().unwrap_or(&self.services.live);
            project::execution(&state, &ExecutionContext { id, correlation_id, position, live })
        });
        view.ok_or_else(|| not_found("execution", &id.to_string()))
    }

    /// Waits until the execution has ended, or until `timeout`; returns its view either way.
    ///
    /// # Errors
    /// When it does not exist, or the store is away.
    pub async fn wait_execution(
        &self,
        id: ExecutionId,
        timeout: Duration,
    ) -> Result<ExecutionView, ApiError> {
        let stream = StreamId::execution(id);
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let followed = self.services.executions.follow(&stream).await;
            let (state, mut changes) = followed.map_err(|error| refused(error, "execution", stream.id()))?;
            if state.phase.is_some() && !state.ended() {
                let ended = changes.wait_for(|state| state.ended());
                // its changes end when it goes on at another node: it is followed there
                if let Ok(Err(_)) = tokio::time::timeout_at(deadline, ended).await {
                    continue;
                }
            }
            return self.execution(id).await;
        }
    }

    /// Log lines of an execution from line number `after`, at most `limit`, and the number to go on from.
    ///
    /// # Errors
    /// When the execution does not exist, or its log cannot be read.
    pub async fn logs(
        &self,
        id: ExecutionId,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<LogLine>, u64), ApiError> {
        let state = self.read(&self.services.executions, &StreamId::execution(id)).await?;
        if state.phase.is_none() {
            return Err(not_found("execution", &id.to_string()));
        }
        if let Some(member) = self.ran_at(&state) {
            let asked = self.services.shared.cluster.logs_at(&member, id, after, limit).await;
            let away = |_| ApiError::Unavailable { what: format!("node {}", member.name), retry_after: 1 };
            return match asked {
                Asked::Answered(lines) => lines.map_err(away),
                Asked::Moved | Asked::Lost => Err(away(SubmitError::Fenced)),
            };
        }
        self.services.logs.read(id, after, limit).await.map_err(|error| {
            tracing::error!(execution = %id, error = &error as &dyn std::error::Error, "log cannot be read");
            ApiError::Internal
        })
    }

    /// The other node that has the log of an execution: the one that began its latest attempt, while it is a member.
    fn ran_at(&self, state: &Execution) -> Option<Member> {
        let attempts = state.steps.iter().flat_map(|step| &step.attempts);
        let latest = attempts.max_by_key(|attempt| attempt.started_at)?;
        self.services.shared.cluster.other(&latest.node)
    }

    /// Events in the order of the store. `next_cursor` is the last position as text, when there may be more.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn events(&self, query: EventQuery) -> Result<Page<EventView>, ApiError> {
        let (after, limit) = (query.after, query.limit);
        let filter = query.filter();
        let events = self.services.shared.store.read_all(after, limit, &filter).await.map_err(store_away)?;
        let full = events.len() == limit;
        let next_cursor = events.last().filter(|_| full).map(|event| event.position.to_string());
        Ok(self.page(events.into_iter().map(project::event).collect(), next_cursor))
    }

    /// The actors as a tree; never waits for one.
    #[must_use]
    pub fn actors(&self) -> ActorView {
        self.services.inspector.tree(ROOT).unwrap_or_else(|| self.root_gone())
    }

    /// The actor of a stream's aggregate, when it is in memory; never waits for it.
    #[must_use]
    pub fn aggregate(&self, stream: &StreamId) -> Option<ActorView> {
        self.services.inspector.one(stream.as_str())
    }

    /// Ends the quarantine of the actors that work for a stream: its aggregate's, and an execution's runner; false
    /// when none of them is in quarantine. The circuit of a plugin is its own: see `ReleasePlugin`.
    pub async fn release(&self, stream: &StreamId) -> bool {
        match stream.category() {
            Category::Pipeline => self.services.pipelines.release(stream).await,
            Category::Plugin => self.services.plugins.release(stream).await,
            Category::Execution => {
                let runner = self.tree.runners.release(&format!("runner-{}", stream.id())).await;
                self.services.executions.release(stream).await || runner
            }
            Category::External => self.services.externals.release(stream).await,
            Category::Audit => false,
        }
    }

    /// What the node is and does; asks each dependency.
    pub async fn status(&self) -> NodeStatus {
        let asked = Instant::now();
        let head = tokio::time::timeout(Duration::from_secs(2), self.services.shared.store.head()).await;
        let error = match head {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it did not answer within 2s".to_owned()),
        };
        let store = DependencyView {
            status: if error.is_none() { "up" } else { "down" },
            latency_ms: asked.elapsed().as_secs_f64() * 1e3,
            error,
        };
        let draining =
            self.services.draining.is_cancelled() || self.services.shared.cluster.superseded.is_cancelled();
        let serves = !self.services.shared.cluster.shards.guard_left().is_zero();
        NodeStatus {
            service: "flexcore",
            version: env!("CARGO_PKG_VERSION"),
            node: self.services.node.clone(),
            incarnation: self.services.incarnation.to_string(),
            started_at: self.started_at,
            ready: store.error.is_none() && !draining && serves,
            dependencies: [("event_store", store)].into(),
            metrics: self.metrics(),
            projections: self.projections(),
        }
    }

    /// The cluster as this node sees it; asks nobody.
    #[must_use]
    pub fn cluster(&self) -> ClusterStatus {
        self.services.shared.cluster.status()
    }

    /// The uptime ([`Uptime`](crate::ports::Uptime)) until which this node may serve unless its lease is renewed: what it
    /// started must not go on for much longer.
    #[must_use]
    pub fn serves_until(&self) -> Duration {
        self.services.shared.cluster.shards.guard_until()
    }

    /// Who owns which shard, as this node sees it; asks nobody.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardStatus> {
        self.services.shared.cluster.owners()
    }

    /// Counters since the node started, and gauges; asks nobody.
    #[must_use]
    pub fn metrics(&self) -> NodeMetrics {
        let (live, commits) = (&self.services.live, self.services.shared.committer.metrics());
        let sealer = self.services.sealer.status();
        let snapshots = self.services.shared.snapshots.metrics();
        NodeMetrics {
            actors: self.services.inspector.len() as u64,
            executions_running: live.runners(),
            executions_completed: live.completed.load(Relaxed),
            executions_failed: live.failed.load(Relaxed),
            executions_cancelled: live.cancelled.load(Relaxed),
            programs_started: live.programs.load(Relaxed),
            events_appended: commits.events.load(Relaxed),
            commits: commits.commits.load(Relaxed),
            records: live.records.load(Relaxed),
            bytes: live.bytes.load(Relaxed),
            position: commits.position().0,
            actor_restarts: self.services.inspector.restarts(),
            sealed_size: sealer.sealed.load(Relaxed),
            unsealed_events: sealer.unsealed(),
            published_size: sealer.published.load(Relaxed),
            seals: sealer.seals.load(Relaxed),
            seal_failures: sealer.failures.load(Relaxed),
            integrity_alarm: u64::from(matches!(sealer.state(), SealerState::Alarm(_))),
            snapshots_saved: snapshots.saved.load(Relaxed),
            snapshots_failed: snapshots.failed.load(Relaxed),
            snapshots_ignored: snapshots.ignored.load(Relaxed),
        }
    }

    pub(super) async fn read_pipeline(&self, name: &Name) -> Result<Arc<Pipeline>, ApiError> {
        self.read(&self.services.pipelines, &StreamId::pipeline(name)).await
    }

    pub(super) async fn read_plugin(&self, name: &Name) -> Result<Arc<Plugin>, ApiError> {
        self.read(&self.services.plugins, &StreamId::plugin(name)).await
    }

    async fn read<A: Aggregate>(
        &self,
        directory: &Directory<A>,
        stream: &StreamId,
    ) -> Result<Arc<A>, ApiError> {
        directory.read(stream).await.map_err(|error| refused(error, A::CATEGORY.as_str(), stream.id()))
    }

    async fn all_events(&self, stream: &StreamId) -> Result<Vec<EventView>, ApiError> {
        let (mut events, mut after) = (Vec::new(), Version(0));
        loop {
            let page = self
                .services
                .shared
                .store
                .read_stream(stream, after, RECOVERY_PAGE)
                .await
                .map_err(store_away)?;
            let full = page.len() == RECOVERY_PAGE;
            after = page.last().map_or(after, |event| event.version);
            events.extend(page.into_iter().map(project::event));
            if !full {
                return Ok(events);
            }
        }
    }

    fn page<T>(&self, items: Vec<T>, next_cursor: Option<String>) -> Page<T> {
        Page { items, next_cursor, position: self.position() }
    }

    fn position(&self) -> Position {
        self.services.shared.committer.metrics().position()
    }

    fn root_gone(&self) -> ActorView {
        ActorView {
            id: ROOT.to_owned(),
            kind: "supervisor",
            state: "stopped",
            mailbox: 0,
            busy_ms: 0,
            handled: 0,
            restarts: 0,
            last_error: None,
            version: None,
            epoch: None,
            node: self.services.node.clone(),
            children: Vec::new(),
        }
    }
}

pub(super) fn store_away(error: StoreError) -> ApiError {
    tracing::warn!(error = &error as &dyn std::error::Error, "store cannot be read");
    ApiError::Unavailable { what: "the event store".to_owned(), retry_after: 1 }
}
