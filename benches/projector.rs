//! How far lists lag behind the log while it grows at a given rate, whether or not the projectors keep up (an open
//! loop): a node projects on PostgreSQL what a writer beside it stores, executions of five events each. Beside it the
//! rate at which the log is read and folded by a rebuild. It prints; it never judges.
//!
//! Run it with `cargo xtask services -- cargo bench --profile dist --bench projector`; events a second and seconds
//! follow after `--` (10000 20 unless given).
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "support/figures.rs"]
mod figures;
#[path = "support/idle_node.rs"]
mod idle_node;
#[path = "support/postgres_node.rs"]
mod postgres_node;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flexcore::postgres::PostgresStore;
use flexcore_actors::domain::codec::EventSet;
use flexcore_actors::domain::event::{NewEvent, Origin};
use flexcore_actors::domain::execution::{
    ExecutionCompleted, ExecutionEvent, ExecutionQueued, ExecutionStarted, StepCompleted, StepStarted,
};
use flexcore_actors::domain::ids::{CorrelationId, Epoch, EventId, ExecutionId, Name, StreamId, Version};
use flexcore_actors::domain::integrity::leaf::LeafHash;
use flexcore_actors::domain::outcome::{AttemptReport, StreamCounts, Usage};
use flexcore_actors::domain::projection::View;
use flexcore_actors::ports::EventStore;
use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::event_store::{Append, AppendOutcome, StreamAppend};
use flexcore_actors::runtime::api::Api;
use flexcore_actors::testkit::conformance::own_all;
use flexcore_test_support::TestDatabase;
use jiff::Timestamp;
use uuid::Uuid;

use self::figures::percentile;

/// Events of one execution.
const EVENTS: u64 = 5;
/// How often a batch is due.
const TICK: Duration = Duration::from_millis(20);
/// Between two looks at the lag.
const LOOK: Duration = Duration::from_millis(50);
/// How long lists may take to come to a position.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> Result<()> {
    let given: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (rate, seconds) = (given.first().copied().unwrap_or(10_000), given.get(1).copied().unwrap_or(20));
    ensure!(
        (EVENTS..=100_000).contains(&rate) && (1..=600).contains(&seconds),
        "5 to 100000 events/s, 1 to 600 s"
    );
    let database = TestDatabase::create().await;
    let store = Arc::new(PostgresStore::connect(&database.url()).await?);
    let node = postgres_node::start_on(&store).await?;
    let api = node.api();
    // takes the shards from the node, which writes nothing here
    let epochs = own_all(&*store, "bench").await;
    let writer = tokio::spawn(write(Arc::clone(&store), epochs, rate, seconds));
    let mut lags: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    while !writer.is_finished() {
        let head = *store.head_changes().borrow();
        let came = View::ALL.iter().map(|view| async {
            let began = Instant::now();
            let reached = api.reflects(*view, head, PATIENCE).await;
            reached.map(|()| (view.as_str(), began.elapsed().as_secs_f64() * 1e3))
        });
        for (view, lag) in futures::future::try_join_all(came).await? {
            lags.entry(view).or_default().push(lag);
        }
        tokio::time::sleep(LOOK).await;
    }
    let (events, took) = writer.await??;
    println!("{events} events in {:.1} s: {:.0} a second, asked for {rate}", took, events as f64 / took);
    for (view, lags) in &lags {
        let at = |q| percentile(lags, q);
        println!(
            "  {view:<12} lag p50 {:>7.1} ms   p95 {:>7.1} ms   p99 {:>7.1} ms   most {:>7.1} ms",
            at(0.5),
            at(0.95),
            at(0.99),
            at(1.0)
        );
    }
    rebuild(&api, events).await?;
    node.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

async fn rebuild(api: &Api, events: u64) -> Result<()> {
    let shown = |api: &Api| api.projections().into_iter().find(|view| view.name == "executions");
    let (began, begun) = (Instant::now(), api.rebuild("executions").await?);
    while shown(api).is_some_and(|view| view.generation == begun.generation) {
        ensure!(began.elapsed() < PATIENCE, "the rebuild did not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let per_second = events as f64 / began.elapsed().as_secs_f64();
    println!("  rebuild of executions: {per_second:.0} events a second");
    Ok(())
}

/// Stores whole executions, as many as are due, for so many seconds; how many events it stored, and how long it took.
async fn write(store: Arc<PostgresStore>, epochs: Vec<Epoch>, rate: u64, seconds: u64) -> Result<(u64, f64)> {
    let (began, mut stored) = (Instant::now(), 0);
    while began.elapsed().as_secs() < seconds {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small number of events"
        )]
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64 / EVENTS * EVENTS;
        let units: Vec<Append> =
            (stored..due).step_by(5).map(|_| execution(&epochs)).collect::<Result<_>>()?;
        if !units.is_empty() {
            let batch = Arc::new(Batch::new("bench", Timestamp::now(), units)?);
            let outcomes = store.append(batch).await?;
            ensure!(outcomes.iter().all(|o| matches!(o, AppendOutcome::Committed(_))), "{outcomes:?}");
            stored = due;
        }
        tokio::time::sleep(TICK).await;
    }
    Ok((stored, began.elapsed().as_secs_f64()))
}

fn execution(epochs: &[Epoch]) -> Result<Append> {
    let id = ExecutionId(Uuid::now_v7());
    let (stream, step) = (StreamId::execution(id), Name::new("load")?);
    let mut report = AttemptReport { bytes: 1_000, ..AttemptReport::default() };
    report.streams.insert("customers".to_owned(), StreamCounts { read: 9, written: 9, rejected: 0 });
    let queued = ExecutionQueued {
        execution: id,
        pipeline: Some(Name::new("customers")?),
        plugin: None,
        revision: Some(1),
        steps: Vec::new(),
        parameters: serde_json::Map::new(),
        from_scratch: false,
    };
    let events: [ExecutionEvent; 5] = [
        queued.into(),
        ExecutionStarted { node: "bench".to_owned() }.into(),
        StepStarted { step: step.clone(), attempt: 1, node: "bench".to_owned() }.into(),
        StepCompleted { step, attempt: 1, report }.into(),
        ExecutionCompleted { usage: Usage::default(), records: 9 }.into(),
    ];
    let events = events.iter().map(|event| {
        let encoded = event.encode();
        let (kind, schema_version, payload) = (encoded.kind, encoded.schema_version, encoded.payload);
        NewEvent { id: EventId(Uuid::now_v7()), kind, schema_version, payload }
    });
    let part = StreamAppend {
        epoch: Some(epochs[usize::from(stream.shard().0)]),
        stream,
        expected: Version(0),
        previous: LeafHash::NONE,
        events: events.collect(),
    };
    let origin = Origin {
        actor: "ada@127.0.0.1".to_owned(),
        correlation_id: CorrelationId(id.0),
        causation_id: Some(id.0),
    };
    Ok(Append { command: None, origin, streams: vec![part], wakeups: Vec::new() })
}
