//! Snapshots in memory, for tests. What is kept can be put there and looked at as it is, damaged too. Never offered to
//! users.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::domain::ids::StreamId;
use crate::ports::event_store::StoreError;
use crate::ports::snapshot_store::Snapshot;
use crate::ports::{BoxFuture, SnapshotStore, batch};

/// A snapshot store that keeps everything in memory.
#[derive(Default)]
pub struct MemorySnapshots(Mutex<HashMap<StreamId, Snapshot>>);

impl MemorySnapshots {
    /// Puts a snapshot there, whatever is there now.
    pub fn put(&self, stream: &StreamId, snapshot: Snapshot) {
        self.kept().insert(stream.clone(), snapshot);
    }

    /// What is kept for a stream.
    #[must_use]
    pub fn get(&self, stream: &StreamId) -> Option<Snapshot> {
        self.kept().get(stream).cloned()
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<StreamId, Snapshot>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl SnapshotStore for MemorySnapshots {
    fn load<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>> {
        Box::pin(std::future::ready(Ok(self.get(stream))))
    }

    fn save<'a>(
        &'a self,
        stream: &'a StreamId,
        snapshot: &'a Snapshot,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let mut kept = self.kept();
        let late = |old: &Snapshot| old.fingerprint == snapshot.fingerprint && old.version > snapshot.version;
        if !kept.get(stream).is_some_and(late) {
            let taken_at = batch::whole_micros(snapshot.taken_at);
            kept.insert(stream.clone(), Snapshot { taken_at, ..snapshot.clone() });
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
