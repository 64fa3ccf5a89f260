//! Appends through the node's committer against raw `unnest` inserts and against `COPY` of the same events on the same
//! PostgreSQL, into tables with the same columns, indexes and partitions, in batches of the size that the committer made;
//! and the committer on SQLite beside it. It compares and prints; it never judges: a figure is no test.
//!
//! Run it with `cargo xtask services -- cargo bench --profile dist --bench append`.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "support/figures.rs"]
mod figures;
#[path = "support/raw_events.rs"]
mod raw_events;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flexcore::postgres::PostgresStore;
use flexcore::sqlite::SqliteStore;
use flexcore_actors::domain::event::{NewEvent, Origin};
use flexcore_actors::domain::ids::{
    CommandId, CorrelationId, Epoch, EventId, ExecutionId, StreamId, Version,
};
use flexcore_actors::domain::integrity::leaf::LeafHash;
use flexcore_actors::ports::IdSource;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::event_store::{Append, AppendOutcome, CommandRecord, StreamAppend};
use flexcore_actors::runtime::committer::Committer;
use flexcore_actors::runtime::inspect::Inspector;
use flexcore_actors::runtime::supervisor::SupervisorHandle;
use flexcore_actors::testkit::conformance::{Store, own_all};
use flexcore_test_support::TestDatabase;

use self::figures::percentile;
use self::raw_events::RawEvents;

/// How long the committers have to end.
const DRAIN: Duration = Duration::from_secs(10);
/// Times that both sides are measured, in turns; one more round before them warms up.
const ROUNDS: usize = 9;
/// Characters in each event's payload: about 300 bytes, as most of FlexCore's own events have.
const PAYLOAD_CHARS: usize = 290;

/// What is appended in one round.
struct Case {
    name: &'static str,
    /// Writers that wait for their append before they send the next.
    writers: usize,
    /// Appends of each writer.
    appends: usize,
    /// Events of one append.
    events: usize,
    /// Whether each append begins a stream, or each writer goes on with one.
    fresh: bool,
    /// Whether a command of a user is recorded with it, as with requests over HTTP; most of what the runtime itself
    /// appends has none.
    command: bool,
}

impl Case {
    const fn known(name: &'static str, events: usize, command: bool) -> Self {
        Self {
            name,
            writers: 1_000,
            appends: if events == 1 { 10 } else { 5 },
            events,
            fresh: false,
            command,
        }
    }

    const fn fresh(name: &'static str, events: usize, command: bool) -> Self {
        Self { fresh: true, ..Self::known(name, events, command) }
    }
}

const CASES: [Case; 9] = [
    Case::known("1 event, known streams", 1, false),
    Case::known("3 events, known streams", 3, false),
    Case::fresh("1 event, new streams", 1, false),
    Case::fresh("3 events, new streams", 3, false),
    Case::known("1 event, command, known", 1, true),
    Case::known("3 events, command, known", 3, true),
    Case::fresh("1 event, command, new", 1, true),
    Case::fresh("3 events, command, new", 3, true),
    Case { writers: 1, appends: 500, ..Case::known("1 event, one writer", 1, false) },
];

/// A committer on a store.
struct Ours {
    committer: Committer,
    supervisor: SupervisorHandle,
    epochs: Vec<Epoch>,
}

impl Ours {
    async fn start(store: Arc<dyn Store>) -> Result<Self> {
        let epochs = own_all(&*store, "bench").await;
        let head = store.head().await?;
        let supervisor =
            SupervisorHandle::spawn("node", Inspector::new("bench"), Arc::new(System), None).await?;
        let committer = Committer::start("bench", store as _, Arc::new(System), &supervisor, head).await;
        Ok(Self { committer, supervisor, epochs })
    }

    fn commits(&self) -> u64 {
        self.committer.metrics().commits.load(Relaxed)
    }

    /// Appends what each writer has, all writers at once; how long it took until everything was durable.
    async fn append(&self, work: Vec<Vec<Append>>) -> Result<Duration> {
        let began = Instant::now();
        let writers = work.into_iter().map(|appends| {
            let committer = self.committer.clone();
            tokio::spawn(async move {
                for append in appends {
                    let commit = committer.append(append).await?;
                    ensure!(matches!(commit.outcome, AppendOutcome::Committed(_)), "not stored: {commit:?}");
                }
                Ok(())
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await??;
        }
        Ok(began.elapsed())
    }
}

/// Where the streams of a case's writers are.
struct Streams {
    names: Vec<StreamId>,
    version: u64,
}

/// The leaf before the events of an append: to the benchmark one is as good as another.
const PREVIOUS: LeafHash = LeafHash([1; 32]);

impl Streams {
    fn new(case: &Case) -> Self {
        Self { names: (0..case.writers).map(|_| stream()).collect(), version: 0 }
    }

    /// The next round's work, by writer.
    fn work(&mut self, case: &Case, epochs: &[Epoch], payload: &Bytes) -> Vec<Vec<Append>> {
        let before = self.version;
        self.version += (case.appends * case.events) as u64;
        let writer = |name: &StreamId| {
            let append = |n: usize| {
                let known = || (name.clone(), before + (n * case.events) as u64);
                let (stream, version) = if case.fresh { (stream(), 0) } else { known() };
                unit(case, stream, version, epochs, payload)
            };
            (0..case.appends).map(append).collect()
        };
        self.names.iter().map(writer).collect()
    }
}

/// A stream as the runtime names most of them.
fn stream() -> StreamId {
    StreamId::execution(ExecutionId(System.uuid()))
}

fn unit(case: &Case, stream: StreamId, expected: u64, epochs: &[Epoch], payload: &Bytes) -> Append {
    let event = |_| NewEvent {
        id: EventId(System.uuid()),
        kind: "StepStarted",
        schema_version: 1,
        payload: payload.clone(),
    };
    let command = case.command.then(|| CommandRecord {
        id: CommandId(System.uuid()),
        request_hash: [7; 32],
        answer: Bytes::from_static(b"\x80"),
    });
    let origin = Origin {
        actor: "node:bench".to_owned(),
        correlation_id: CorrelationId(System.uuid()),
        causation_id: Some(System.uuid()),
    };
    let epoch = epochs[usize::from(stream.shard().0)];
    let events = (0..case.events).map(event).collect();
    let part =
        StreamAppend { stream, epoch: Some(epoch), expected: Version(expected), previous: PREVIOUS, events };
    Append { command, origin, streams: vec![part], wakeups: Vec::new() }
}

/// The figures of one case.
#[derive(Default)]
struct Figures {
    ours: Vec<f64>,
    raw: Vec<f64>,
    copy: Vec<f64>,
    to_raw: Vec<f64>,
    to_copy: Vec<f64>,
    units_per_commit: f64,
}

async fn compare(case: &Case, ours: &Ours, raw: &mut RawEvents<'_>, payload: &Bytes) -> Result<Figures> {
    let mut streams = Streams::new(case);
    let mut figures = Figures::default();
    let events = (case.writers * case.appends * case.events) as f64;
    for round in 0..=ROUNDS {
        let work = streams.work(case, &ours.epochs, payload);
        // the order in which the writers' appends reach the committer: each writer's first, each one's second …
        let in_order = (0..case.appends).flat_map(|n| work.iter().map(move |appends| appends[n].clone()));
        let same: Vec<Append> = in_order.collect();
        let before = ours.commits();
        let our_time = ours.append(work).await?.as_secs_f64();
        let commits = (ours.commits() - before).max(1);
        let batch = same.len().div_ceil(usize::try_from(commits)?);
        let raw_time = raw.insert(&same, batch).await?.as_secs_f64();
        let copy_time = raw.copy(&same, batch).await?.as_secs_f64();
        if round > 0 {
            figures.ours.push(events / our_time);
            figures.raw.push(events / raw_time);
            figures.copy.push(events / copy_time);
            figures.to_raw.push(raw_time / our_time);
            figures.to_copy.push(copy_time / our_time);
            figures.units_per_commit += same.len() as f64 / commits as f64 / ROUNDS as f64;
        }
    }
    Ok(figures)
}

async fn alone(case: &Case, ours: &Ours, payload: &Bytes) -> Result<Vec<f64>> {
    let mut streams = Streams::new(case);
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        let work = streams.work(case, &ours.epochs, payload);
        let time = ours.append(work).await?.as_secs_f64();
        if round > 0 {
            rates.push((case.writers * case.appends * case.events) as f64 / time);
        }
    }
    Ok(rates)
}

#[tokio::main]
async fn main() -> Result<()> {
    let payload = serde_json::json!({"text": "x".repeat(PAYLOAD_CHARS)});
    let payload = Bytes::from(rmp_serde::to_vec_named(&payload)?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bench.db");
    let sqlite = Ours::start(Arc::new(SqliteStore::open(file)?)).await?;
    let database = TestDatabase::create().await;
    let store = PostgresStore::connect(&database.url()).await.context("open the store")?;
    let ours = Ours::start(Arc::new(store)).await?;
    let client = database.connect().await;
    let mut raw = RawEvents::create(&client).await?;

    println!(
        "events per second; ratios = committer / the others, median [lowest, highest] of {ROUNDS} rounds"
    );
    println!(
        "{:<26}{:>10}{:>10}{:>10}  {:<20}{:<20}{:>14}{:>10}",
        "case", "committer", "unnest", "copy", "to unnest", "to copy", "appends/commit", "sqlite"
    );
    for case in &CASES {
        let figures = compare(case, &ours, &mut raw, &payload).await?;
        let on_sqlite = alone(case, &sqlite, &payload).await?;
        let spread = |ratios: &[f64]| {
            let at = |q| percentile(ratios, q);
            format!("{:.2} [{:.2}, {:.2}]", at(0.5), at(0.0), at(1.0))
        };
        println!(
            "{:<26}{:>10.0}{:>10.0}{:>10.0}  {:<20}{:<20}{:>14.0}{:>10.0}",
            case.name,
            percentile(&figures.ours, 0.5),
            percentile(&figures.raw, 0.5),
            percentile(&figures.copy, 0.5),
            spread(&figures.to_raw),
            spread(&figures.to_copy),
            figures.units_per_commit,
            percentile(&on_sqlite, 0.5),
        );
    }

    let counts = "select (select count(*) from event), (select count(*) from raw_event),
                         (select count(*) from copied_event)";
    let row = client.query_one(counts, &[]).await?;
    let (stored, inserted, copied): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    ensure!(
        stored == inserted && stored == copied,
        "the committer stored {stored} events, unnest {inserted}, copy {copied}"
    );
    ours.supervisor.drain(DRAIN).await;
    sqlite.supervisor.drain(DRAIN).await;
    Ok(())
}
