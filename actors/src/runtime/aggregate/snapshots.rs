//! Takes snapshots of aggregates and reads them back. A snapshot is bound to the history it was folded from: a digest
//! over the leaf of its last event, which covers all events before, and the state stands before the state; so one that
//! was damaged, or belongs to a history which is not the stream's, is noticed. Never in here: when one is due (the
//! actor), and anything that an append would wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::domain::aggregate::{Aggregate, fingerprint};
use crate::domain::codec::{from_bytes, to_bytes};
use crate::domain::event::RecordedEvent;
use crate::domain::ids::{StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;
use crate::limits::{MAX_SNAPSHOT_BYTES, SNAPSHOTS_SAVING, SNAPSHOTS_WAITING};
use crate::ports::SnapshotStore;
use crate::ports::event_store::StoreError;
use crate::ports::snapshot_store::Snapshot;

/// Bytes of the digest before the state.
const DIGEST: usize = 32;

/// The snapshots of a node's aggregates. Cheap to clone.
#[derive(Clone)]
pub struct Snapshots {
    store: Arc<dyn SnapshotStore>,
    waiting: Arc<Semaphore>,
    saving: Arc<Semaphore>,
    metrics: Arc<SnapshotMetrics>,
}

/// What became of snapshots since the node started.
#[derive(Debug, Default)]
pub struct SnapshotMetrics {
    /// Saved.
    pub saved: AtomicU64,
    /// Could not be saved.
    pub failed: AtomicU64,
    /// Found, or not readable, and not used: the stream was folded from its beginning.
    pub ignored: AtomicU64,
}

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it has another shape, as after a change of FlexCore's version")]
    Shape,
    #[error("the stream has no event at its version")]
    Ahead,
    #[error("it is damaged, or of another history than the stream")]
    Damaged,
    #[error("its state cannot be read: {0}")]
    State(#[from] rmp_serde::decode::Error),
}

/// Why a snapshot was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("the state would be {0} bytes, more than {MAX_SNAPSHOT_BYTES}")]
    TooLarge(usize),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Snapshots {
    /// Snapshots that are kept in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn SnapshotStore>) -> Self {
        let (waiting, saving) = (Semaphore::new(SNAPSHOTS_WAITING), Semaphore::new(SNAPSHOTS_SAVING));
        Self { store, waiting: Arc::new(waiting), saving: Arc::new(saving), metrics: Arc::default() }
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &SnapshotMetrics {
        &self.metrics
    }

    /// The snapshot of a stream. One that cannot be loaded counts as none: the stream can always be folded.
    pub(super) async fn load(&self, stream: &StreamId) -> Option<Snapshot> {
        self.store.load(stream).await.unwrap_or_else(|error| {
            self.metrics.ignored.fetch_add(1, Relaxed);
            tracing::warn!(%stream, error = &error as &dyn std::error::Error, "snapshot cannot be loaded");
            None
        })
    }

    /// Counts and tells that a snapshot is not used.
    pub(super) fn ignore(&self, stream: &StreamId, version: Version, why: &Unusable) {
        self.metrics.ignored.fetch_add(1, Relaxed);
        if matches!(why, Unusable::Shape) {
            tracing::info!(%stream, %version, %why, "snapshot ignored");
        } else {
            tracing::warn!(%stream, %version, %why, "snapshot ignored");
        }
    }

    /// Takes a snapshot of `state` after the event of this version and leaf, in a task of its own; `None` when too
    /// many wait already. What goes wrong is logged and costs nothing but time at the next recovery.
    pub(super) fn take<A: Aggregate>(
        &self,
        stream: &StreamId,
        (version, leaf): (Version, LeafHash),
        state: Arc<A>,
        taken_at: Timestamp,
    ) -> Option<JoinHandle<()>> {
        let place = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        let (this, stream) = (self.clone(), stream.clone());
        Some(tokio::spawn(async move {
            let _place = place;
            let Ok(_turn) = this.saving.acquire().await else { return };
            let saved = match seal(&*state, leaf) {
                Ok(payload) => {
                    let snapshot = Snapshot { version, taken_at, fingerprint: fingerprint::<A>(), payload };
                    this.store.save(&stream, &snapshot).await.map_err(NotTaken::from)
                }
                Err(error) => Err(error),
            };
            match saved {
                Ok(()) => {
                    this.metrics.saved.fetch_add(1, Relaxed);
                }
                Err(error) => {
                    this.metrics.failed.fetch_add(1, Relaxed);
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%stream, %version, error, "snapshot not saved");
                }
            }
        }))
    }
}

/// The payload of a snapshot of `state`, whose last event has this leaf.
fn seal<A: Aggregate>(state: &A, leaf: LeafHash) -> Result<Bytes, NotTaken> {
    let state = to_bytes(state);
    if state.len() > MAX_SNAPSHOT_BYTES {
        return Err(NotTaken::TooLarge(state.len()));
    }
    Ok(Bytes::from([&digest(leaf, &state)[..], &state].concat()))
}

/// The state in a snapshot; `last` is the event of the stream at the snapshot's version.
///
/// # Errors
/// Why it must not be used.
pub(super) fn open<A: Aggregate>(snapshot: &Snapshot, last: Option<&RecordedEvent>) -> Result<A, Unusable> {
    if snapshot.fingerprint != fingerprint::<A>() {
        return Err(Unusable::Shape);
    }
    let last = last.filter(|event| event.version == snapshot.version).ok_or(Unusable::Ahead)?;
    let (found, state) = snapshot.payload.split_at_checked(DIGEST).ok_or(Unusable::Damaged)?;
    if found != digest(last.hashes.leaf, state) {
        return Err(Unusable::Damaged);
    }
    Ok(from_bytes(state)?)
}

fn digest(leaf: LeafHash, state: &[u8]) -> [u8; DIGEST] {
    Sha256::new().chain_update(leaf.0).chain_update(state).finalize().into()
}
