//! Loading an aggregate that is not in memory: from the beginning of its stream against from a snapshot and the longest
//! tail that is left without one, through the directory as every command does it, on SQLite and PostgreSQL.
//!
//! Run it with `cargo xtask services -- cargo bench --profile dist --bench recovery`; a number after `--` is the length
//! of the longest stream.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "support/figures.rs"]
mod figures;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flexcore::postgres::PostgresStore;
use flexcore::sqlite::SqliteStore;
use flexcore_actors::domain::codec::EventSet;
use flexcore_actors::domain::event::{NewEvent, Origin};
use flexcore_actors::domain::ids::{CorrelationId, EventId, Name, StreamId, Version};
use flexcore_actors::domain::integrity::leaf::LeafHash;
use flexcore_actors::domain::pipeline::{
    BookmarkSet, Pipeline, PipelineCreated, PipelineEvent, read_definition,
};
use flexcore_actors::limits::SNAPSHOT_EVERY;
use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::event_store::{Append, AppendOutcome, StoreError, StreamAppend};
use flexcore_actors::ports::snapshot_store::Snapshot;
use flexcore_actors::ports::{BoxFuture, Clock, IdSource, SnapshotStore};
use flexcore_actors::runtime::aggregate::{Directory, Shared, Snapshots};
use flexcore_actors::runtime::cluster::Cluster;
use flexcore_actors::runtime::committer::Committer;
use flexcore_actors::runtime::inspect::Inspector;
use flexcore_actors::runtime::supervisor::SupervisorHandle;
use flexcore_actors::testkit::conformance::{self, own_all};
use flexcore_test_support::TestDatabase;
use serde_json::json;
use tokio::sync::Semaphore;

use self::figures::percentile;

/// Loads of each kind; one more before them warms up.
const ROUNDS: usize = 20;
/// Loads of a stream from its beginning, where that takes long.
const FEW: usize = 3;
/// A stream from which on a load from the beginning counts as long.
const LONG: u64 = 10_000;
/// The streams' lengths, the last unless another is asked for.
const LENGTHS: [u64; 3] = [50, 100_000, 1_000_000];
/// Events of one append while a stream is written.
const CHUNK: u64 = 2_000;
/// Events after the snapshot: one more, and the next would be taken.
const TAIL: u64 = SNAPSHOT_EVERY as u64 - 1;
/// How long the longest stream may take to be folded and its snapshot to be saved.
const DEADLINE: Duration = Duration::from_secs(600);

/// A store of events and of snapshots.
struct Store {
    name: &'static str,
    events: Arc<dyn conformance::Store>,
    snapshots: Arc<dyn SnapshotStore>,
}

/// Snapshots that are read but not taken, so that every round finds the same; or none.
struct Fixed(Option<Arc<dyn SnapshotStore>>);

impl SnapshotStore for Fixed {
    fn load<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>> {
        match &self.0 {
            Some(store) => store.load(stream),
            None => Box::pin(async { Ok(None) }),
        }
    }

    fn save<'a>(&'a self, _: &'a StreamId, _: &'a Snapshot) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Loads pipelines as a node does.
struct Loader {
    supervisor: SupervisorHandle,
    shared: Arc<Shared>,
}

impl Loader {
    async fn new(events: &Arc<dyn conformance::Store>, snapshots: Arc<dyn SnapshotStore>) -> Result<Self> {
        let (inspector, ids) = (Inspector::new("bench"), Arc::new(System));
        let supervisor = SupervisorHandle::spawn("pipelines", inspector, ids.clone(), None).await?;
        let (epochs, head) = (own_all(&**events, "bench").await, events.head().await?);
        let cluster = Cluster::owning(Name::new("bench")?, Arc::clone(events) as _, &epochs);
        let clock = Arc::new(System);
        let committer =
            Committer::start("bench", Arc::clone(events) as _, clock.clone(), &supervisor, head).await;
        let shared = Shared {
            store: Arc::clone(events) as _,
            committer,
            clock,
            ids,
            cluster,
            snapshots: Snapshots::new(snapshots),
            recoveries: Semaphore::new(1),
            replays: Semaphore::new(1),
        };
        Ok(Self { supervisor, shared: Arc::new(shared) })
    }

    /// How many milliseconds it takes to load the pipeline of a stream into a directory that has none.
    async fn load(&self, stream: &StreamId, expected: u64) -> Result<f64> {
        let directory = Directory::<Pipeline>::new(self.supervisor.clone(), Arc::clone(&self.shared));
        let began = Instant::now();
        let state = directory.read(stream).await?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        ensure!(state.version == Version(expected), "{stream} is at {}, not {expected}", state.version);
        Ok(took)
    }

    async fn loads(&self, stream: &StreamId, expected: u64, rounds: usize) -> Result<Vec<f64>> {
        self.load(stream, expected).await?;
        let mut took = Vec::new();
        for _ in 0..rounds {
            took.push(self.load(stream, expected).await?);
        }
        Ok(took)
    }
}

/// Appends to one stream.
struct Writer<'s> {
    store: &'s dyn conformance::Store,
    stream: StreamId,
    version: u64,
    leaf: LeafHash,
}

impl Writer<'_> {
    /// Goes on until the stream has `length` events: a definition, then bookmarks as a tap sets them.
    async fn write(&mut self, length: u64) -> Result<()> {
        let epochs = own_all(self.store, "bench").await;
        let epoch = epochs[usize::from(self.stream.shard().0)];
        while self.version < length {
            let upto = length.min(self.version + CHUNK);
            let events = (self.version..upto).map(event).collect::<Result<Vec<_>>>()?;
            let (expected, previous) = (Version(self.version), self.leaf);
            let part =
                StreamAppend { stream: self.stream.clone(), epoch: Some(epoch), expected, previous, events };
            let correlation_id = CorrelationId(System.uuid());
            let origin = Origin { actor: "node:bench".to_owned(), correlation_id, causation_id: None };
            let unit = Append { command: None, origin, streams: vec![part], wakeups: Vec::new() };
            let batch = Arc::new(Batch::new("bench", System.now(), vec![unit])?);
            let outcomes = self.store.append(Arc::clone(&batch)).await?;
            ensure!(matches!(outcomes[..], [AppendOutcome::Committed(_)]), "not stored: {outcomes:?}");
            (self.version, self.leaf) = (upto, batch.own_leaf(0));
        }
        Ok(())
    }
}

fn event(before: u64) -> Result<NewEvent> {
    let step = Name::new("load")?;
    let event: PipelineEvent = if before == 0 {
        let steps = json!([{"name": "load", "plugin": "tap", "config": {"files": ["a.csv", "b.csv"]}}]);
        let definition = read_definition(&json!({"name": "bench", "steps": steps}));
        PipelineCreated { definition: definition.map_err(|problems| anyhow::anyhow!("{problems}"))? }.into()
    } else {
        let at = json!({"replication_key": "updated_at", "replication_key_value": "2026-11-22T02:00:00Z"});
        let state = json!({"bookmarks": {"customers": at, "orders": {"row": before}}});
        BookmarkSet { name: "bench/load".to_owned(), step, state }.into()
    };
    let encoded = event.encode();
    Ok(NewEvent {
        id: EventId(System.uuid()),
        kind: encoded.kind,
        schema_version: encoded.schema_version,
        payload: encoded.payload,
    })
}

/// Writes a stream, has its snapshot taken, and writes the tail that a snapshot never leaves longer; how many
/// milliseconds the first load took.
async fn prepare(store: &Store, stream: &StreamId, length: u64) -> Result<f64> {
    let mut writer =
        Writer { store: &*store.events, stream: stream.clone(), version: 0, leaf: LeafHash::NONE };
    let taken = length.saturating_sub(TAIL).max(SNAPSHOT_EVERY as u64);
    writer.write(taken).await?;
    let loader = Loader::new(&store.events, Arc::clone(&store.snapshots)).await?;
    let took = loader.load(stream, taken).await?;
    let began = Instant::now();
    while store.snapshots.load(stream).await?.is_none_or(|kept| kept.version != Version(taken)) {
        ensure!(began.elapsed() < DEADLINE, "no snapshot of {stream} was taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writer.write(length.max(taken)).await?;
    Ok(took)
}

async fn measure(store: &Store, lengths: &[u64]) -> Result<()> {
    for &length in lengths {
        let stream = StreamId::pipeline(&Name::new(format!("of-{length}"))?);
        let short = length < SNAPSHOT_EVERY as u64;
        let first = if short {
            let events = &*store.events;
            Writer { store: events, stream: stream.clone(), version: 0, leaf: LeafHash::NONE }
                .write(length)
                .await?;
            None
        } else {
            Some(prepare(store, &stream, length).await?)
        };
        let without = Loader::new(&store.events, Arc::new(Fixed(None))).await?;
        let rounds = if length < LONG { ROUNDS } else { FEW };
        let folded = match first {
            // once is enough of what takes so long
            Some(took) if length == lengths[lengths.len() - 1] && length >= LONG => vec![took],
            _ => without.loads(&stream, length, rounds).await?,
        };
        row(store.name, length, "from the beginning", &folded, None);
        if !short {
            let fixed = Fixed(Some(Arc::clone(&store.snapshots)));
            let with = Loader::new(&store.events, Arc::new(fixed)).await?;
            let recovered = with.loads(&stream, length, ROUNDS).await?;
            let ignored = with.shared.snapshots.metrics().ignored.load(std::sync::atomic::Ordering::Relaxed);
            ensure!(ignored == 0, "the snapshot was not used");
            row(store.name, length, "snapshot and tail", &recovered, Some(&folded));
        }
    }
    Ok(())
}

fn row(store: &str, length: u64, kind: &str, took: &[f64], folded: Option<&[f64]>) {
    let at = |q| percentile(took, q);
    let ratio = folded.map_or_else(String::new, |folded| format!("{:.0}", percentile(folded, 0.5) / at(0.5)));
    let times = format!("{:>10.2}{:>10.2}{:>10.2}", at(0.5), at(0.95), at(1.0));
    println!("{store:<12}{length:>10}  {kind:<20}{times}{ratio:>10}{:>8}", took.len());
}

#[tokio::main]
async fn main() -> Result<()> {
    let longest = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let mut lengths = LENGTHS.to_vec();
    if let Some(longest) = longest {
        lengths.retain(|length| *length < longest);
        lengths.push(longest);
    }
    let folder = tempfile::tempdir()?;
    let sqlite = Arc::new(SqliteStore::open(folder.path().join("bench.db"))?);
    let sqlite = Store { name: "sqlite", events: sqlite.clone(), snapshots: sqlite };
    let database = TestDatabase::create().await;
    let postgres = PostgresStore::connect(&database.url()).await.context("open the store")?;
    let postgres = Arc::new(postgres);
    let postgres = Store { name: "postgresql", events: postgres.clone(), snapshots: postgres };

    println!(
        "milliseconds to load one pipeline; ratio = from the beginning / snapshot and a tail of {TAIL} events"
    );
    println!(
        "{:<12}{:>10}  {:<20}{:>10}{:>10}{:>10}{:>10}{:>8}",
        "store", "events", "loaded", "median", "p95", "longest", "ratio", "loads"
    );
    for store in [&sqlite, &postgres] {
        measure(store, &lengths).await?;
    }
    Ok(())
}
