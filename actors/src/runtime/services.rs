//! What the parts of the runtime share: ports, directories and the identity of the node.

use std::sync::Arc;

use dashmap::DashMap;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::aggregate::{Directory, Identity, Shared, Submission, SubmitError, Submitted};
use super::audit::Unrecorded;
use super::cluster::Hosted;
use super::inspect::Inspector;
use super::integrity::{Sealer, Verifications};
use super::live::Live;
use super::projector::Projections;
use super::subscription::Subscriptions;
use crate::domain::aggregate::Aggregate;
use crate::domain::event::Origin;
use crate::domain::execution::Execution;
use crate::domain::external::External;
use crate::domain::ids::{CommandId, CorrelationId, Incarnation, Name, StreamId, Version};
use crate::domain::pipeline::Pipeline;
use crate::domain::plugin::{Plugin, Policy};
use crate::ports::{LogStore, PluginHost};

/// Everything the runtime's actors work with. One a node.
pub struct Services {
    /// The node's name.
    pub node: String,
    /// This life of it.
    pub incarnation: Incarnation,
    /// Store, committer, clock and ids.
    pub shared: Arc<Shared>,
    /// Runs programs.
    pub host: Arc<dyn PluginHost>,
    /// Keeps what they say.
    pub logs: Arc<dyn LogStore>,
    /// What plugins may be granted here.
    pub policy: Arc<Policy>,
    /// All actors, to look at.
    pub inspector: Inspector,
    /// What runs now.
    pub live: Arc<Live>,
    /// The programs that run here, for this node and others.
    pub hosted: Arc<Hosted>,
    /// Seals the log.
    pub sealer: Sealer,
    /// The latest verification of the store.
    pub verifications: Verifications,
    /// Pipelines.
    pub pipelines: Directory<Pipeline>,
    /// Executions.
    pub executions: Directory<Execution>,
    /// Plugins.
    pub plugins: Directory<Plugin>,
    /// Streams of events that programs publish.
    pub externals: Directory<External>,
    /// Whose turn it is to ask a plugin for permits; one entry a plugin that was ever run here.
    pub turns: DashMap<Name, Arc<tokio::sync::Mutex<()>>>,
    /// What reacts to events.
    pub subscriptions: Arc<Subscriptions>,
    /// What lists are read from.
    pub projections: Projections,
    /// Requests of which no event tells yet.
    pub unrecorded: Unrecorded,
    /// Cancelled when the node drains: nothing new is started.
    pub draining: CancellationToken,
    /// Cancelled when the node has drained: what it does for itself ends too.
    pub ending: CancellationToken,
}

impl Services {
    /// Submits a command of the runtime itself. `id` makes it happen once, where it is given.
    ///
    /// # Errors
    /// Every kind of [`SubmitError`].
    pub async fn command<A: Aggregate>(
        &self,
        directory: &Directory<A>,
        stream: &StreamId,
        command: A::Command,
        request: InternalRequest,
    ) -> Result<Submitted, SubmitError> {
        directory.submit(stream, self.submission(command, request)).await
    }

    /// A command of the runtime itself, ready to be submitted.
    pub(super) fn submission<C>(&self, command: C, request: InternalRequest) -> Submission<C> {
        Submission {
            command,
            identity: request.id.map(|id| Identity { id, idempotent: false, request_hash: [0; 32] }),
            origin: Origin {
                actor: format!("node:{}", self.node),
                correlation_id: request.correlation_id,
                causation_id: request.id.map(|id| id.0),
            },
            if_match: None,
            guard: request.guard,
        }
    }

    /// Whether this node owns the shard of a stream.
    pub(super) fn owns(&self, stream: &StreamId) -> bool {
        self.shared.cluster.shards.owns(stream.shard())
    }
}

/// What goes along with a command of the runtime itself.
#[derive(Debug, Clone)]
pub struct InternalRequest {
    /// What belongs together.
    pub correlation_id: CorrelationId,
    /// The derived id of a reaction.
    pub id: Option<CommandId>,
    /// A stream that must still be at this version.
    pub guard: Option<(StreamId, Version)>,
}

impl InternalRequest {
    /// A command that belongs to `correlation_id`.
    #[must_use]
    pub const fn of(correlation_id: CorrelationId) -> Self {
        Self { correlation_id, id: None, guard: None }
    }
}

/// The digest that tells a repeated request from another one under the same id.
#[must_use]
pub fn request_hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        // the length keeps ["ab", "c"] apart from ["a", "bc"]
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}
