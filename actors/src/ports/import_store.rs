//! How a log comes into an empty store as it was in another one: with its ids, positions, times and hashes. Whoever calls
//! this has verified what he brings; a store that a node has ever used takes nothing.

use super::BoxFuture;
use super::event_store::StoreError;
use super::integrity_store::{StoredCheckpoint, StreamEnd};
use crate::domain::event::RecordedEvent;
use crate::domain::ids::Position;
use crate::domain::integrity::merkle::{Hash, Tile};

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportState {
    /// The position of the last event that is there.
    pub position: Position,
    /// The digest over all commits that are there.
    pub digest: Option<Hash>,
    /// Whether a node has ever claimed the store: then it is no longer anybody's to import into.
    pub claimed: bool,
}

/// A run of whole commits, with everything that is recorded with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportPage {
    /// The events, in order.
    pub events: Vec<RecordedEvent>,
    /// Where their streams end with them.
    pub ends: Vec<StreamEnd>,
    /// The digest after them.
    pub digest: Option<Hash>,
    /// Tiles that a checkpoint among these sealed.
    pub tiles: Vec<Tile>,
    /// Checkpoints over events up to the last one here.
    pub checkpoints: Vec<StoredCheckpoint>,
}

/// A store that takes a log from elsewhere.
pub trait ImportStore: Send + Sync + 'static {
    /// How far an import has come.
    fn import_state(&self) -> BoxFuture<'_, Result<ImportState, StoreError>>;

    /// Stores a page in one transaction, if the last event is at `after` and no node has claimed the store.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when something else is there. After [`StoreError::Unknown`] [`ImportStore::import_state`]
    /// tells.
    fn import(&self, after: Position, page: ImportPage) -> BoxFuture<'_, Result<(), StoreError>>;
}
