//! Snapshots of aggregates: their state at a version, so that a long stream need not be folded from its beginning.
//! They may be lost at any time and are never what is true; nothing here is read to answer whether something happened.

use bytes::Bytes;
use jiff::Timestamp;

use super::BoxFuture;
use super::event_store::StoreError;
use crate::domain::ids::{StreamId, Version};

/// The state of an aggregate at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The version of the stream that it reflects, from 1.
    pub version: Version,
    /// When it was taken, to the microsecond.
    pub taken_at: Timestamp,
    /// Tells which states can be read from it (SHA-256): another one is ignored, not decoded.
    pub fingerprint: [u8; 32],
    /// Opaque here, and given back byte for byte, also when it makes no sense.
    pub payload: Bytes,
}

/// Where the latest snapshot of each stream is kept, outside the appends.
pub trait SnapshotStore: Send + Sync + 'static {
    /// The snapshot of a stream; `None` when there is none.
    ///
    /// # Errors
    /// When the store is away or holds what cannot be a snapshot.
    fn load<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>>;

    /// Keeps a snapshot in the place of an earlier one. One that is late changes nothing: what is kept at a higher
    /// version under the same fingerprint stays.
    ///
    /// # Errors
    /// When it may not have been kept, which loses nothing but time.
    fn save<'a>(
        &'a self,
        stream: &'a StreamId,
        snapshot: &'a Snapshot,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}
