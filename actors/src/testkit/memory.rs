//! The event store in memory, for tests: the reference that the real adapters are compared with, so it is written to
//! be read, not to be fast. It forgets everything when it is dropped and must never be offered to users.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::domain::event::RecordedEvent;
use crate::domain::ids::{Category, CommandId, Epoch, Incarnation, Position, Shard, StreamId, Version};
use crate::domain::integrity::leaf::next_digest;
use crate::ports::batch::{Batch, whole_micros};
use crate::ports::cluster::{ClusterView, Join, Joined, MemberState, Ownership, Renewed};
use crate::ports::event_store::{
    Append, AppendOutcome, Committed, EventFilter, StoreError, StoredCommand, StreamOrder, Wakeup,
};
use crate::ports::head::Head;
use crate::ports::registry::Registry;
use crate::ports::{BoxFuture, ClusterStore, EventStore};

/// What goes wrong with an append of a [`MemoryStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is stored, but the answer is lost: [`StoreError::Unknown`].
    AnswerLost,
    /// It is not stored, and the answer is lost: [`StoreError::Unknown`].
    RequestLost,
    /// It is refused before it is stored: [`StoreError::Unavailable`].
    Refused,
    /// It fails for good: [`StoreError::Failed`].
    Broken,
}

/// An event store that keeps everything in memory.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    faults: Mutex<VecDeque<Fault>>,
    head: Head,
}

#[derive(Default)]
struct State {
    events: Vec<RecordedEvent>,
    /// Indexes into `events`.
    streams: BTreeMap<StreamId, Vec<usize>>,
    commands: HashMap<(StreamId, CommandId), StoredCommand>,
    cluster: Registry,
    digest: Option<[u8; 32]>,
    wakeups: BTreeMap<StreamId, Timestamp>,
}

impl MemoryStore {
    /// An empty store; every shard is unclaimed at epoch 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the appends to come fail, one fault each, in order.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().expect("no holder of this lock panics").extend(faults);
    }

    /// The faults that are left do not happen.
    pub fn heal(&self) {
        self.faults.lock().expect("no holder of this lock panics").clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn append_now(&self, batch: &Batch) -> Result<Vec<AppendOutcome>, StoreError> {
        const OPERATION: &str = "append";
        let fault = self.faults.lock().expect("no holder of this lock panics").pop_front();
        let lost = || StoreError::Unknown { operation: OPERATION, source: "an injected fault".into() };
        match fault {
            None => Ok(self.store(batch)),
            Some(Fault::AnswerLost) => {
                self.store(batch);
                Err(lost())
            }
            Some(Fault::RequestLost) => Err(lost()),
            Some(Fault::Refused) => {
                Err(StoreError::Unavailable { operation: OPERATION, source: "an injected fault".into() })
            }
            Some(Fault::Broken) => {
                Err(StoreError::Failed { operation: OPERATION, source: "an injected fault".into() })
            }
        }
    }

    fn store(&self, batch: &Batch) -> Vec<AppendOutcome> {
        let mut state = self.state();
        let outcomes = state.append(batch);
        self.head.raise(state.head());
        outcomes
    }
}

impl State {
    fn append(&mut self, batch: &Batch) -> Vec<AppendOutcome> {
        let before = self.events.len();
        let outcomes = (0..batch.units().len()).map(|unit| self.unit(batch, unit)).collect();
        let leaves = self.events[before..].iter().map(|event| event.hashes.leaf);
        if self.events.len() > before {
            self.digest = Some(next_digest(self.digest, leaves));
        }
        outcomes
    }

    fn unit(&mut self, batch: &Batch, number: usize) -> AppendOutcome {
        let unit = &batch.units()[number];
        if let Some(refused) = self.refuse(unit, batch.node()) {
            return refused;
        }
        let first_version = unit.own().expected;
        self.record(batch, number);
        for wakeup in &unit.wakeups {
            match wakeup.due {
                Some(due) => self.wakeups.insert(wakeup.stream.clone(), whole_micros(due)),
                None => self.wakeups.remove(&wakeup.stream),
            };
        }
        let committed = Committed {
            first_version,
            events: u32::try_from(unit.events()).expect("a unit is far smaller"),
            position: self.head(),
            at: batch.at(),
            answer: unit.command.as_ref().map(|command| command.answer.clone()).unwrap_or_default(),
        };
        if let Some(command) = &unit.command {
            let key = (unit.own().stream.clone(), command.id);
            self.commands.insert(key, (command.request_hash, committed.clone()));
        }
        AppendOutcome::Committed(committed)
    }

    fn refuse(&self, unit: &Append, node: &str) -> Option<AppendOutcome> {
        if let Some(repeated) = self.repeated_command(unit) {
            return Some(repeated);
        }
        let refused = self.fenced(unit, node).or_else(|| {
            unit.streams.iter().find(|part| self.version(&part.stream) != part.expected).map(|part| {
                AppendOutcome::Conflict { stream: part.stream.clone(), actual: self.version(&part.stream) }
            })
        })?;
        Some(self.repeated_unit(unit).unwrap_or(refused))
    }

    fn repeated_command(&self, unit: &Append) -> Option<AppendOutcome> {
        let command = unit.command.as_ref()?;
        let (hash, first) = self.commands.get(&(unit.own().stream.clone(), command.id))?;
        Some(if *hash == command.request_hash {
            AppendOutcome::Duplicate(first.clone())
        } else {
            AppendOutcome::CommandReused
        })
    }

    fn fenced(&self, unit: &Append, node: &str) -> Option<AppendOutcome> {
        unit.streams.iter().find_map(|part| {
            let shard = part.stream.shard();
            let Ownership { owner, epoch: current } = self.cluster.owner(shard);
            let owned = part.epoch.is_none_or(|epoch| {
                epoch == *current && owner.as_ref().is_some_and(|owner| owner.as_str() == node)
            });
            (!owned).then_some(AppendOutcome::Fenced { shard, current: *current })
        })
    }

    /// The unit was stored before when its first event stands where it would be put.
    fn repeated_unit(&self, unit: &Append) -> Option<AppendOutcome> {
        let part = unit.streams.iter().find(|part| !part.events.is_empty())?;
        let index = *self.streams.get(&part.stream)?.get(usize::try_from(part.expected.0).ok()?)?;
        let stored = &self.events[index];
        (unit.command.is_none() && stored.id == part.events[0].id).then(|| {
            AppendOutcome::Duplicate(Committed {
                first_version: unit.own().expected,
                events: u32::try_from(unit.events()).expect("a unit is far smaller"),
                position: Position((index + unit.events()) as u64),
                at: stored.recorded_at,
                answer: Bytes::new(),
            })
        })
    }

    fn record(&mut self, batch: &Batch, number: usize) {
        for (stream, version, event, hashes) in batch.events(number) {
            self.streams.entry(stream.clone()).or_default().push(self.events.len());
            self.events.push(RecordedEvent {
                id: event.id,
                stream: stream.clone(),
                version,
                position: Position(self.head().0 + 1),
                kind: event.kind.to_owned(),
                schema_version: event.schema_version,
                recorded_at: batch.at(),
                node: batch.node().to_owned(),
                origin: batch.units()[number].origin.clone(),
                payload: event.payload.clone(),
                hashes: *hashes,
            });
        }
    }

    fn version(&self, stream: &StreamId) -> Version {
        Version(self.streams.get(stream).map_or(0, Vec::len) as u64)
    }

    fn head(&self) -> Position {
        Position(self.events.len() as u64)
    }
}

/// Positions and versions are indexes here; one beyond the machine's words is beyond every event too.
fn skip(after: u64) -> usize {
    usize::try_from(after).unwrap_or(usize::MAX)
}

fn admits(filter: &EventFilter, event: &RecordedEvent) -> bool {
    filter.stream.as_ref().is_none_or(|stream| *stream == event.stream)
        && (filter.kinds.is_empty() || filter.kinds.contains(&event.kind))
        && filter.from.is_none_or(|from| event.recorded_at >= from)
        && filter.to.is_none_or(|to| event.recorded_at < to)
}

/// By the runtime's clock, which a simulation moves by itself; leases run by it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl EventStore for MemoryStore {
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Vec<AppendOutcome>, StoreError>> {
        Box::pin(async move { self.append_now(&batch) })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        after: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        let state = self.state();
        let indexes = state.streams.get(stream).into_iter().flatten();
        ready(Ok(indexes.skip(skip(after.0)).take(limit).map(|&i| state.events[i].clone()).collect()))
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        limit: usize,
        filter: &'a EventFilter,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        let state = self.state();
        let events = state.events.iter().skip(skip(after.0)).filter(|event| admits(filter, event));
        ready(Ok(events.take(limit).cloned().collect()))
    }

    fn find_command<'a>(
        &'a self,
        stream: &'a StreamId,
        id: CommandId,
    ) -> BoxFuture<'a, Result<Option<StoredCommand>, StoreError>> {
        ready(Ok(self.state().commands.get(&(stream.clone(), id)).cloned()))
    }

    fn list_streams<'a>(
        &'a self,
        category: Category,
        after: Option<&'a StreamId>,
        order: StreamOrder,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamId>, StoreError>> {
        let state = self.state();
        let of_category = |stream: &&StreamId| stream.category() == category;
        let beyond = after.map_or(Bound::Unbounded, Bound::Excluded);
        let streams = match order {
            StreamOrder::Ascending => {
                let range = state.streams.range((beyond, Bound::Unbounded));
                range.map(|(stream, _)| stream).filter(of_category).take(limit).cloned().collect()
            }
            StreamOrder::Descending => {
                let range = state.streams.range((Bound::Unbounded, beyond)).rev();
                range.map(|(stream, _)| stream).filter(of_category).take(limit).cloned().collect()
            }
        };
        ready(Ok(streams))
    }

    fn wakeups<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Wakeup>, StoreError>> {
        let state = self.state();
        let beyond = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = state.wakeups.range((beyond, Bound::Unbounded)).take(limit);
        ready(Ok(rows.map(|(stream, due)| Wakeup { stream: stream.clone(), due: Some(*due) }).collect()))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        ready(Ok(self.state().head()))
    }

    fn head_changes(&self) -> watch::Receiver<Position> {
        self.head.changes()
    }
}

impl ClusterStore for MemoryStore {
    fn join<'a>(&'a self, join: &'a Join) -> BoxFuture<'a, Result<Joined, StoreError>> {
        ready(Ok(self.state().cluster.join(join, now())))
    }

    fn renew(
        &self,
        member: Incarnation,
        state: MemberState,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Renewed, StoreError>> {
        ready(Ok(self.state().cluster.renew(member, state, lease, now())))
    }

    fn leave(&self, member: Incarnation) -> BoxFuture<'_, Result<(), StoreError>> {
        self.state().cluster.leave(member);
        ready(Ok(()))
    }

    fn mark_dead(&self, by: Incarnation, member: Incarnation) -> BoxFuture<'_, Result<bool, StoreError>> {
        ready(Ok(self.state().cluster.mark_dead(by, member, now())))
    }

    fn claim<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<Vec<(Shard, Epoch)>, StoreError>> {
        ready(Ok(self.state().cluster.claim(member, shards)))
    }

    fn release<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.state().cluster.release(member, shards);
        ready(Ok(()))
    }

    fn view(&self) -> BoxFuture<'_, Result<ClusterView, StoreError>> {
        ready(Ok(self.state().cluster.view(now())))
    }
}
