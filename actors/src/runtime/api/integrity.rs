//! Queries about the sealed log: how it stands, and proofs for whoever does not want to believe this node.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::super::integrity::export::{ExportError, ExportQuery, Exporter};
use super::super::integrity::tree::{SealedTree, TreeError};
use super::super::integrity::views::{
    CheckpointView, ConsistencyView, DirectoryView, HashView, InclusionView, IntegrityView, KeyView,
    VerificationView,
};
use super::super::integrity::{Busy, Work};
use super::queries::store_away;
use super::{Api, ApiError, Context};
use crate::domain::ids::Position;
use crate::domain::integrity::merkle::{ProofPlan, verify_consistency, verify_inclusion};
use crate::ports::integrity_store::StoredCheckpoint;

impl Api {
    /// How the log is sealed.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn integrity(&self) -> Result<IntegrityView, ApiError> {
        let (ports, status) = (self.services.sealer.ports(), self.services.sealer.status());
        let log = ports.store.log_state().await.map_err(store_away)?;
        let sealed = log.sealed.as_ref().map_or(0, |latest| latest.size);
        let (state, key, place) = (status.state(), ports.signer.place(), ports.outside.place());
        let keys = ports.signer.trusted().into_iter();
        Ok(IntegrityView {
            state: state.as_str(),
            detail: state.detail().map(str::to_owned),
            checkpoint: log.sealed.map(checkpoint),
            position: log.position,
            unsealed: log.position.0.saturating_sub(sealed),
            digest: log.digest.map(HashView),
            keys: keys.map(|t| KeyView { key: t.key.to_string(), until: t.until }).collect(),
            trust: trust(key.beside_store, place.beside_store),
            key,
            directory: DirectoryView {
                place,
                published: status.published.load(Relaxed),
                error: status.outside_error(),
            },
        })
    }

    /// Verifies the store in the background. Under the id of the latest verification it is that one: a repeated
    /// request.
    ///
    /// # Errors
    /// While another one runs.
    pub fn start_verification(&self, context: &Context) -> Result<VerificationView, ApiError> {
        let services = &self.services;
        let ports = services.sealer.ports().clone();
        let trust = trust(ports.signer.place().beside_store, ports.outside.place().beside_store);
        let id = context.command_id.map_or_else(|| services.shared.ids.uuid(), |command| command.0);
        let work = Work {
            events: Arc::clone(&services.shared.store),
            ports,
            clock: Arc::clone(&services.shared.clock),
            trust,
            draining: services.draining.clone(),
        };
        match services.verifications.start(id, work) {
            Ok(verification) => Ok(verification.view()),
            Err(Busy(id)) => Err(ApiError::Conflict(format!(
                "verification {id} is running: wait for its end, GET /integrity/verify tells how far it has come"
            ))),
        }
    }

    /// The latest verification; waits for its end, but no longer than `patience`.
    ///
    /// # Errors
    /// When there was none since the node started.
    pub async fn verification(&self, patience: Duration) -> Result<VerificationView, ApiError> {
        let latest = self.services.verifications.latest();
        let latest =
            latest.ok_or_else(|| ApiError::NotFound { kind: "verification", id: "latest".to_owned() })?;
        latest.wait(patience).await;
        Ok(latest.view())
    }

    /// An export of what is in the log now, to be taken page by page.
    ///
    /// # Errors
    /// When the log is not sealed up to where it is to begin, or the store is away.
    pub async fn export(&self, query: ExportQuery) -> Result<Exporter, ApiError> {
        let shared = &self.services.shared;
        let store = Arc::clone(&self.services.sealer.ports().store);
        let exporter = Exporter::begin(Arc::clone(&shared.store), store, query, shared.clock.now()).await;
        exporter.map_err(|error| match error {
            ExportError::Store(error) => store_away(error),
            ExportError::Tree(error) => damaged(error),
            ExportError::NotSealed { .. } => ApiError::Conflict(error.to_string()),
        })
    }

    /// That the event at a position is in the log of `size` events; by default in all that is sealed.
    ///
    /// # Errors
    /// When the position or size is not sealed yet, or the store is away.
    pub async fn inclusion_proof(
        &self,
        position: Position,
        size: Option<u64>,
    ) -> Result<InclusionView, ApiError> {
        let sealed = self.sealed_size().await?;
        let size = size.unwrap_or(sealed);
        let index =
            position.0.checked_sub(1).ok_or_else(|| malformed("position", "positions begin with 1"))?;
        not_beyond(sealed, size.max(position.0))?;
        let plan = ProofPlan::inclusion(index, size)
            .map_err(|_| malformed("size", "size must not be below position"))?;
        let store = &*self.services.sealer.ports().store;
        let mut tree = SealedTree::new(store, sealed);
        let proof = tree.prove(&plan).await.map_err(damaged)?;
        let root = tree.root_at(size).await.map_err(damaged)?;
        let leaf = tree.leaf(index).await.map_err(damaged)?;
        verify_inclusion(&leaf, index, size, &proof, &root).map_err(contradiction)?;
        let stored = store.leaves(index..index + 1).await.map_err(store_away)?;
        if stored.first().is_some_and(|stored| *stored != leaf) {
            return Err(contradiction(format!(
                "the event at position {position} is not the one that was sealed"
            )));
        }
        Ok(InclusionView {
            kind: "inclusion",
            position,
            index,
            leaf_hash: HashView(leaf),
            size,
            root: HashView(root),
            proof: proof.into_iter().map(HashView).collect(),
            checkpoint: self.note_over(size).await?,
        })
    }

    /// That the log of `to` events begins with the log of `from` events; by default `to` is all that is sealed.
    ///
    /// # Errors
    /// When a size is not sealed yet, or the store is away.
    pub async fn consistency_proof(&self, from: u64, to: Option<u64>) -> Result<ConsistencyView, ApiError> {
        let sealed = self.sealed_size().await?;
        let to = to.unwrap_or(sealed);
        not_beyond(sealed, to.max(from))?;
        let plan =
            ProofPlan::consistency(from, to).map_err(|_| malformed("from", "from must not be above to"))?;
        let mut tree = SealedTree::new(&*self.services.sealer.ports().store, sealed);
        let proof = tree.prove(&plan).await.map_err(damaged)?;
        let from_root = tree.root_at(from).await.map_err(damaged)?;
        let to_root = tree.root_at(to).await.map_err(damaged)?;
        verify_consistency(from, to, &from_root, &to_root, &proof).map_err(contradiction)?;
        Ok(ConsistencyView {
            kind: "consistency",
            from,
            from_root: HashView(from_root),
            to,
            to_root: HashView(to_root),
            proof: proof.into_iter().map(HashView).collect(),
            checkpoint: self.note_over(to).await?,
        })
    }

    async fn sealed_size(&self) -> Result<u64, ApiError> {
        let log = self.services.sealer.ports().store.log_state().await.map_err(store_away)?;
        Ok(log.sealed.map_or(0, |latest| latest.size))
    }

    /// The note over exactly this size.
    async fn note_over(&self, size: u64) -> Result<Option<String>, ApiError> {
        let Some(before) = size.checked_sub(1) else { return Ok(None) };
        let found = self.services.sealer.ports().store.checkpoints(before, 1).await.map_err(store_away)?;
        Ok(found.into_iter().next().filter(|checkpoint| checkpoint.size == size).map(|c| c.note))
    }
}

fn checkpoint(stored: StoredCheckpoint) -> CheckpointView {
    let StoredCheckpoint { size, root, note, sealed_at } = stored;
    CheckpointView { size, root: HashView(root), sealed_at, note }
}

const fn trust(key_beside: bool, copies_beside: bool) -> &'static str {
    match (key_beside, copies_beside) {
        (true, true) => {
            "the trust root lies beside the store: whoever can write there can rewrite history unseen; set integrity.key_file and integrity.checkpoint_dir"
        }
        (true, false) => {
            "checkpoints are copied outside the store, but the private key lies beside it: set integrity.key_file"
        }
        (false, true) => {
            "the private key lies outside the store, but the copies of the checkpoints beside it: a rollback of both together is not seen; set integrity.checkpoint_dir"
        }
        (false, false) => "key and copies of the checkpoints lie outside the store",
    }
}

fn not_beyond(sealed: u64, asked: u64) -> Result<(), ApiError> {
    if asked <= sealed {
        return Ok(());
    }
    Err(ApiError::Conflict(format!(
        "{asked} is not sealed: the latest checkpoint covers {sealed} events, and the log is sealed every second"
    )))
}

fn malformed(field: &str, message: &str) -> ApiError {
    ApiError::Malformed(format!("{field}: {message}"))
}

fn damaged(error: TreeError) -> ApiError {
    match error {
        TreeError::Store(error) => store_away(error),
        other => contradiction(other),
    }
}

/// The store contradicts itself: no proof can be given, and the operator has to know.
fn contradiction(why: impl std::fmt::Display) -> ApiError {
    tracing::error!(%why, "the sealed log contradicts itself: verify the store");
    ApiError::Conflict(format!("no proof can be given: {why}; verify the store"))
}
