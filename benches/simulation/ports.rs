//! What the simulated nodes reach of the outside: each node's door to the one store, its end of the network, and a clock
//! of simulated time. Everything that passes is counted. Nothing in here decides anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::{
    Category, CommandId, Epoch, Incarnation, Position, Shard, StreamId, Version,
};
use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::cluster::{ClusterView, Heard, Hint, Hints, Join, Joined, Member, MemberState};
use flexcore_actors::ports::cluster::{PeerError, Renewed};
use flexcore_actors::ports::event_store::{
    AppendOutcome, EventFilter, StoreError, StoredCommand, StreamOrder, Wakeup,
};
use flexcore_actors::ports::{BoxFuture, Clock, ClusterStore, EventStore, Peers, Uptime};
use flexcore_actors::testkit::{MemoryStore, NetworkEnd};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long a call of the store takes in simulated time: so long that what happens at once at several nodes overlaps.
pub const STORE_LATENCY: Duration = Duration::from_millis(1);
/// How long a question is on its way to another node.
pub const PEER_LATENCY: Duration = Duration::from_millis(1);
/// 2026-01-01T00:00:00Z, where simulated time begins.
const BEGINNING_SECONDS: i64 = 1_767_225_600;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Renewals of a lease.
    Renewals,
    /// Queries of the members and owners.
    Views,
    /// Rows that those queries answered: each member and each shard is one.
    ViewRows,
    /// Claims, however many shards each.
    Claims,
    /// Releases of a shard, and members that left.
    Releases,
    /// Attempts to mark a member dead.
    Burials,
    /// Group commits.
    Appends,
    /// Reads of a stream or a command: aggregates that are loaded.
    Loads,
    /// Pages of the log that were read, each by one follower.
    Pages,
    /// Pages of the list of what is open.
    OpenPages,
    /// Questions to another node.
    Asked,
    /// Hints published.
    Hints,
}

impl What {
    /// How many there are.
    const COUNT: usize = Self::Hints as usize + 1;
}

/// How often each of them happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; What::COUNT]);

impl Counts {
    /// How often one happened.
    pub const fn of(&self, what: What) -> u64 {
        self.0[what as usize]
    }

    /// What happened since.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] - earlier.0[n]))
    }
}

/// Counts for all nodes together.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; What::COUNT]);

impl Counters {
    /// As they are now.
    pub fn now(&self) -> Counts {
        Counts(std::array::from_fn(|n| self.0[n].load(Relaxed)))
    }

    fn add(&self, what: What, times: usize) {
        self.0[what as usize].fetch_add(times as u64, Relaxed);
    }
}

/// Time as the paused runtime has it: it moves when every task waits.
pub struct SimulatedTime(Instant);

impl SimulatedTime {
    /// Begins now.
    pub fn begin() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for SimulatedTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(BEGINNING_SECONDS).expect("a constant in range") + self.0.elapsed()
    }
}

impl Uptime for SimulatedTime {
    fn uptime(&self) -> Duration {
        self.0.elapsed()
    }
}

/// One node's way to the store.
pub struct Door {
    store: Arc<MemoryStore>,
    counters: Arc<Counters>,
    closed: AtomicBool,
}

impl Door {
    /// An open one.
    pub fn new(store: &Arc<MemoryStore>, counters: &Arc<Counters>) -> Arc<Self> {
        let (store, counters) = (Arc::clone(store), Arc::clone(counters));
        Arc::new(Self { store, counters, closed: AtomicBool::new(false) })
    }

    /// Nothing passes any more.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    async fn pass(&self, what: What) -> Result<&MemoryStore, StoreError> {
        self.counters.add(what, 1);
        tokio::time::sleep(STORE_LATENCY).await;
        if self.closed.load(Relaxed) {
            return Err(StoreError::Unavailable { operation: "reach the store", source: "it is cut".into() });
        }
        Ok(&self.store)
    }
}

impl EventStore for Door {
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Vec<AppendOutcome>, StoreError>> {
        Box::pin(async move { self.pass(What::Appends).await?.append(batch).await })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        after: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move { self.pass(What::Loads).await?.read_stream(stream, after, limit).await })
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        limit: usize,
        filter: &'a EventFilter,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move { self.pass(What::Pages).await?.read_all(after, limit, filter).await })
    }

    fn find_command<'a>(
        &'a self,
        stream: &'a StreamId,
        id: CommandId,
    ) -> BoxFuture<'a, Result<Option<StoredCommand>, StoreError>> {
        Box::pin(async move { self.pass(What::Loads).await?.find_command(stream, id).await })
    }

    fn list_streams<'a>(
        &'a self,
        category: Category,
        after: Option<&'a StreamId>,
        order: StreamOrder,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamId>, StoreError>> {
        Box::pin(
            async move { self.pass(What::Pages).await?.list_streams(category, after, order, limit).await },
        )
    }

    fn wakeups<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Wakeup>, StoreError>> {
        Box::pin(async move { self.pass(What::OpenPages).await?.wakeups(after, limit).await })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move { self.pass(What::Pages).await?.head().await })
    }

    fn head_changes(&self) -> watch::Receiver<Position> {
        self.store.head_changes()
    }
}

impl ClusterStore for Door {
    fn join<'a>(&'a self, join: &'a Join) -> BoxFuture<'a, Result<Joined, StoreError>> {
        Box::pin(async move { self.pass(What::Claims).await?.join(join).await })
    }

    fn renew(
        &self,
        member: Incarnation,
        state: MemberState,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Renewed, StoreError>> {
        Box::pin(async move { self.pass(What::Renewals).await?.renew(member, state, lease).await })
    }

    fn leave(&self, member: Incarnation) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.pass(What::Releases).await?.leave(member).await })
    }

    fn mark_dead(&self, by: Incarnation, member: Incarnation) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.pass(What::Burials).await?.mark_dead(by, member).await })
    }

    fn claim<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<Vec<(Shard, Epoch)>, StoreError>> {
        Box::pin(async move { self.pass(What::Claims).await?.claim(member, shards).await })
    }

    fn release<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.pass(What::Releases).await?.release(member, shards).await })
    }

    fn view(&self) -> BoxFuture<'_, Result<ClusterView, StoreError>> {
        Box::pin(async move {
            let view = self.pass(What::Views).await?.view().await?;
            self.counters.add(What::ViewRows, view.members.len() + view.shards.len());
            Ok(view)
        })
    }
}

/// One node's end of the network.
pub struct End {
    inner: Arc<NetworkEnd>,
    counters: Arc<Counters>,
}

impl End {
    /// Counts what goes through `inner`.
    pub fn new(inner: Arc<NetworkEnd>, counters: &Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { inner, counters: Arc::clone(counters) })
    }
}

impl Peers for End {
    fn ask<'a>(
        &'a self,
        to: &'a Member,
        question: Bytes,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move {
            self.counters.add(What::Asked, 1);
            tokio::time::sleep(PEER_LATENCY).await;
            self.inner.ask(to, question, patience).await
        })
    }

    fn talk<'a>(
        &'a self,
        to: &'a Member,
        opening: Bytes,
        said: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'a, Result<mpsc::Receiver<Bytes>, PeerError>> {
        self.inner.talk(to, opening, said)
    }
}

impl Hints for End {
    fn publish(&self, hint: Hint) {
        self.counters.add(What::Hints, 1);
        self.inner.publish(hint);
    }

    fn listen(&self) -> mpsc::Receiver<Heard> {
        self.inner.listen()
    }

    fn connected(&self) -> bool {
        self.inner.connected()
    }
}
