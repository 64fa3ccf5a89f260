//! A writer that owns all shards of a store and builds units, so that a promise reads as its story. No assertions
//! about a promise of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use uuid::Uuid;

use super::{Fixture, Store};
use crate::domain::event::{NewEvent, Origin, RecordedEvent};
use crate::domain::ids::{
    CommandId, CorrelationId, Epoch, EventId, Incarnation, Name, Position, Shard, StreamId, Version,
};
use crate::domain::integrity::leaf::LeafHash;
use crate::ports::batch::Batch;
use crate::ports::cluster::{Join, Joined};
use crate::ports::event_store::{
    Append, AppendOutcome, CommandRecord, Committed, EventFilter, StoreError, StreamAppend,
};
use crate::ports::{Clock, ClusterStore, EventStore, IdSource};
use crate::testkit::ManualClock;

/// A writer with the epochs it was given.
#[derive(Clone)]
pub struct Writer {
    /// The name it claimed under.
    pub node: String,
    /// The store it writes to.
    pub store: Arc<dyn EventStore>,
    /// Its epochs, by shard.
    pub epochs: Vec<Epoch>,
    /// Where its ids and times come from.
    pub ids: Arc<ManualClock>,
    /// The leaf of each event that was stored, on which the next one of its stream is chained.
    pub leaves: Arc<DashMap<(StreamId, Version), LeafHash>>,
}

impl Writer {
    /// Claims all shards of the fixture's store for `node-a`.
    pub async fn claim<F: Fixture>(fixture: &F) -> Self {
        Self::claim_as(fixture.store(), "node-a").await
    }

    /// Claims all shards for a node.
    pub async fn claim_as(store: Arc<dyn Store>, node: &str) -> Self {
        let epochs = own_all(&*store, node).await;
        let ids = Arc::new(ManualClock::seeded());
        Self { node: node.to_owned(), store, epochs, ids, leaves: Arc::default() }
    }

    /// The same owner with another handle.
    pub fn with(&self, store: Arc<dyn EventStore>) -> Self {
        Self { store, ..self.clone() }
    }

    /// A unit that expects `stream` at version `expected` and adds `events` events.
    pub fn unit(&self, stream: &StreamId, expected: u64, events: usize) -> Append {
        self.unit_of(&[(stream, expected, events)])
    }

    /// A unit over several streams; the command belongs to the first, further ones without events are guards.
    pub fn unit_of(&self, parts: &[(&StreamId, u64, usize)]) -> Append {
        let streams = parts
            .iter()
            .enumerate()
            .map(|(n, &(stream, expected, events))| self.part(stream, expected, events, n == 0));
        Append {
            command: Some(CommandRecord {
                id: CommandId(self.ids.uuid()),
                request_hash: [7; 32],
                answer: Bytes::from_static(b"\x80"),
            }),
            origin: Origin {
                actor: "user:ada".to_owned(),
                correlation_id: CorrelationId(self.ids.uuid()),
                causation_id: None,
            },
            streams: streams.collect(),
            wakeups: Vec::new(),
        }
    }

    fn part(&self, stream: &StreamId, expected: u64, events: usize, own: bool) -> StreamAppend {
        let epoch = (own || events > 0).then(|| self.epochs[usize::from(stream.shard().0)]);
        let events = (0..events).map(|_| self.event("Tested", Bytes::from_static(b"\x81\xa1n\x01")));
        StreamAppend {
            stream: stream.clone(),
            epoch,
            expected: Version(expected),
            previous: LeafHash::NONE,
            events: events.collect(),
        }
    }

    /// A new event.
    pub fn event(&self, kind: &'static str, payload: Bytes) -> NewEvent {
        NewEvent { id: EventId(self.ids.uuid()), kind, schema_version: 1, payload }
    }

    /// Appends one unit.
    pub async fn append(&self, unit: &Append) -> AppendOutcome {
        let outcomes = self.append_all(std::slice::from_ref(unit)).await.expect("append");
        assert_eq!(outcomes.len(), 1, "one outcome for each unit");
        outcomes.into_iter().next().expect("counted")
    }

    /// Appends a batch.
    pub async fn append_all(&self, units: &[Append]) -> Result<Vec<AppendOutcome>, StoreError> {
        self.send(&self.batch(units)).await
    }

    /// A batch whose events are chained on those that this writer has stored.
    pub fn batch(&self, units: &[Append]) -> Arc<Batch> {
        let mut units = units.to_vec();
        for part in units.iter_mut().flat_map(|unit| &mut unit.streams) {
            let known = self.leaves.get(&(part.stream.clone(), part.expected));
            part.previous = known.map_or(LeafHash::NONE, |leaf| *leaf);
        }
        self.ids.advance(Duration::from_micros(1));
        Arc::new(Batch::new(&self.node, self.ids.now(), units).expect("a well-formed batch"))
    }

    /// Sends a batch, perhaps again.
    pub async fn send(&self, batch: &Arc<Batch>) -> Result<Vec<AppendOutcome>, StoreError> {
        let outcomes = self.store.append(Arc::clone(batch)).await?;
        for (unit, outcome) in outcomes.iter().enumerate() {
            if let AppendOutcome::Committed(_) = outcome {
                for (stream, version, _, hashes) in batch.events(unit) {
                    self.leaves.insert((stream.clone(), version), hashes.leaf);
                }
            }
        }
        Ok(outcomes)
    }

    /// Appends one unit that must be stored.
    pub async fn commit(&self, unit: &Append) -> Committed {
        match self.append(unit).await {
            AppendOutcome::Committed(committed) => committed,
            other => panic!("expected the unit to be stored, got {other:?}"),
        }
    }

    /// All events of a stream.
    pub async fn stream(&self, stream: &StreamId) -> Vec<RecordedEvent> {
        self.store.read_stream(stream, Version(0), 10_000).await.expect("read_stream")
    }

    /// All events of the store.
    pub async fn log(&self) -> Vec<RecordedEvent> {
        self.store.read_all(Position(0), 100_000, &EventFilter::default()).await.expect("read_all")
    }
}

/// Makes a node the owner of all shards, whoever had them from here before; answers their epochs, by index.
///
/// # Panics
/// When the store does not let it.
pub async fn own_all(store: &(impl ClusterStore + ?Sized), node: &str) -> Vec<Epoch> {
    let join = Join {
        name: Name::new(node).expect("a test's name"),
        incarnation: Incarnation(Uuid::now_v7()),
        // the same for all: each supersedes the one before
        home: Uuid::nil(),
        address: None,
        labels: BTreeMap::new(),
        lease: Duration::from_secs(3_600),
    };
    assert_eq!(store.join(&join).await.expect("join"), Joined::Member);
    let shards: Vec<Shard> = (0..=u8::MAX).map(Shard).collect();
    let mut claimed = store.claim(join.incarnation, &shards).await.expect("claim");
    claimed.sort_by_key(|(shard, _)| shard.0);
    assert_eq!(claimed.len(), shards.len(), "nobody else owns a shard");
    claimed.into_iter().map(|(_, epoch)| epoch).collect()
}

/// The stream of a pipeline.
pub fn pipeline(name: &str) -> StreamId {
    StreamId::pipeline(&Name::new(name).expect("a test's name"))
}

/// The stream of a plugin.
pub fn plugin(name: &str) -> StreamId {
    StreamId::plugin(&Name::new(name).expect("a test's name"))
}

/// The command of a unit that has one.
pub fn command(unit: &mut Append) -> &mut CommandRecord {
    unit.command.as_mut().expect("the kit's units carry commands unless a test takes them away")
}
