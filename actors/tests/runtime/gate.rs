//! A store in front of the in-memory one that keeps appends of one event type waiting (a store that hangs), and counts
//! the events that are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::{Category, CommandId, Position, StreamId, Version};
use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::event_store::{
    AppendOutcome, EventFilter, StoreError, StoredCommand, StreamOrder, Wakeup,
};
use flexcore_actors::ports::{BoxFuture, EventStore};
use flexcore_actors::testkit::MemoryStore;
use tokio::sync::watch;

use crate::world::{DEADLINE, World};

pub struct Gate {
    inner: Arc<MemoryStore>,
    held: watch::Sender<Option<&'static str>>,
    caught: watch::Sender<u32>,
    read: AtomicUsize,
}

impl Gate {
    /// A node whose store has a gate.
    pub async fn world() -> (World, Arc<Self>) {
        let inner = Arc::new(MemoryStore::new());
        let gate = Self::before(&inner);
        let edge = Arc::clone(&gate) as Arc<dyn EventStore>;
        let world = World::with(inner, edge, Arc::new(System), Arc::new(System)).await;
        (world, gate)
    }

    /// A gate in front of a store.
    pub fn before(store: &Arc<MemoryStore>) -> Arc<Self> {
        let (held, caught) = (watch::Sender::new(None), watch::Sender::new(0));
        Arc::new(Self { inner: Arc::clone(store), held, caught, read: AtomicUsize::new(0) })
    }

    /// Events of streams read since the last call.
    pub fn take_read(&self) -> usize {
        self.read.swap(0, Ordering::SeqCst)
    }

    /// From now on appends with an event of this type wait.
    pub fn hold(&self, kind: &'static str) {
        self.caught.send_replace(0);
        self.held.send_replace(Some(kind));
    }

    /// Returns when an append waits.
    pub async fn caught(&self) {
        self.caught_all(1).await;
    }

    /// Returns when so many appends wait.
    pub async fn caught_all(&self, appends: u32) {
        let mut caught = self.caught.subscribe();
        tokio::time::timeout(DEADLINE, caught.wait_for(|n| *n >= appends)).await.unwrap().unwrap();
    }

    pub fn open(&self) {
        self.held.send_replace(None);
    }
}

impl EventStore for Gate {
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Vec<AppendOutcome>, StoreError>> {
        Box::pin(async move {
            let kinds: Vec<_> = batch
                .units()
                .iter()
                .flat_map(|a| &a.streams)
                .flat_map(|s| &s.events)
                .map(|e| e.kind)
                .collect();
            let passes = |held: &Option<&'static str>| held.is_none_or(|held| !kinds.contains(&held));
            let mut held = self.held.subscribe();
            if !passes(&held.borrow()) {
                self.caught.send_modify(|n| *n += 1);
            }
            held.wait_for(passes).await.unwrap();
            self.inner.append(batch).await
        })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        after: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move {
            let events = self.inner.read_stream(stream, after, limit).await?;
            self.read.fetch_add(events.len(), Ordering::SeqCst);
            Ok(events)
        })
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        limit: usize,
        filter: &'a EventFilter,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        self.inner.read_all(after, limit, filter)
    }

    fn find_command<'a>(
        &'a self,
        stream: &'a StreamId,
        id: CommandId,
    ) -> BoxFuture<'a, Result<Option<StoredCommand>, StoreError>> {
        self.inner.find_command(stream, id)
    }

    fn list_streams<'a>(
        &'a self,
        category: Category,
        after: Option<&'a StreamId>,
        order: StreamOrder,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamId>, StoreError>> {
        self.inner.list_streams(category, after, order, limit)
    }

    fn wakeups<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Wakeup>, StoreError>> {
        self.inner.wakeups(after, limit)
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.head()
    }

    fn head_changes(&self) -> watch::Receiver<Position> {
        self.inner.head_changes()
    }
}
