//! Where the Merkle tree over the log and its checkpoints are kept, beside the events. What is in here can be computed
//! again from the events: nothing is believed because it stands here.
//!
//! The promises, each with its conformance test in the testkit:
//! - a seal is stored whole or not at all, and only on top of the checkpoint it was made on: nodes that seal at the same
//!   time cannot disagree;
//! - what was sealed is never changed: there is nothing here that would.

use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use super::BoxFuture;
use super::event_store::StoreError;
use crate::domain::ids::{Position, StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;
use crate::domain::integrity::merkle::{Hash, Tile};

/// A checkpoint with its signatures, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// How many events the log had; also the position of the last of them.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The signed note.
    pub note: String,
    /// When it was made, in whole microseconds.
    pub sealed_at: Timestamp,
}

/// How far the log and its seals have come, seen at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogState {
    /// The position of the last event.
    pub position: Position,
    /// The digest over all commits; none before the first.
    pub digest: Option<Hash>,
    /// The latest checkpoint.
    pub sealed: Option<StoredCheckpoint>,
}

/// A stream's own record of where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// The stream.
    pub stream: StreamId,
    /// The version of its last event.
    pub version: Version,
    /// The leaf of that event.
    pub leaf: LeafHash,
}

/// A checkpoint to be stored, with the tiles that became complete since the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The size of the checkpoint on which it was made; 0 for the first.
    pub previous: u64,
    /// The tiles.
    pub tiles: Vec<Tile>,
    /// The checkpoint; its size is larger than `previous`.
    pub checkpoint: StoredCheckpoint,
}

/// What became of a [`Seal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealOutcome {
    /// It is stored, and durable.
    Sealed,
    /// The latest checkpoint is not the one on which it was made; nothing was stored.
    Behind,
}

/// Where tiles and checkpoints are kept.
pub trait IntegrityStore: Send + Sync + 'static {
    /// How far the log and its seals have come.
    fn log_state(&self) -> BoxFuture<'_, Result<LogState, StoreError>>;

    /// The leaf hashes of the events at these indexes (position − 1), in order. Fewer than asked for when the log ends
    /// before, or when events are missing: the caller knows how many there must be.
    fn leaves(&self, indexes: Range<u64>) -> BoxFuture<'_, Result<Vec<Hash>, StoreError>>;

    /// Complete tiles of a level from index `first`, in order, at most `limit`.
    fn tiles(&self, level: u8, first: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Tile>, StoreError>>;

    /// The roots of the same tiles, without reading their hashes.
    fn tile_roots(&self, level: u8, first: u64, limit: usize)
    -> BoxFuture<'_, Result<Vec<Hash>, StoreError>>;

    /// Checkpoints with a size above `after`, by size, at most `limit`.
    fn checkpoints(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredCheckpoint>, StoreError>>;

    /// The records of all streams, by name, beyond `after` (exclusive), at most `limit`.
    fn stream_ends<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEnd>, StoreError>>;

    /// Stores a seal in one transaction, if the latest checkpoint has the size `previous`.
    ///
    /// # Errors
    /// After [`StoreError::Unknown`] it may be stored; [`IntegrityStore::log_state`] tells.
    fn seal(&self, seal: Arc<Seal>) -> BoxFuture<'_, Result<SealOutcome, StoreError>>;
}
