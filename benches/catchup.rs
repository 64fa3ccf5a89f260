//! Catching up: how fast a follower reads the whole log, against a bare `select` of the same rows through the same
//! client. Both sides in one run, in turns; the ratio is what counts.
//!
//! Run it with `cargo xtask services -- cargo bench --profile dist --bench catchup -- [EVENTS]`.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use flexcore::postgres::PostgresStore;
use flexcore_actors::domain::ids::Position;
use flexcore_actors::ports::event_store::EventFilter;
use flexcore_actors::runtime::subscription::Log;
use flexcore_actors::testkit::conformance::{Store, Writer, pipeline};
use flexcore_test_support::TestDatabase;
use tokio_postgres::Client;

/// Events in the log unless the command line says otherwise.
const EVENTS: u64 = 200_000;
/// Events of one append while the log is filled.
const BATCH: u64 = 1_000;
/// Rows the bare side reads in one go: what a follower's page holds.
const PAGE: i64 = 1_000;
/// Rounds of both sides.
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let events = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(EVENTS);
    let database = TestDatabase::create().await;
    let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(&database.url()).await?);
    fill(&store, events).await;
    let bare = database.connect().await;
    bare.batch_execute("vacuum analyze event").await?;

    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let follower = follow(&store, events).await?;
        let select = select(&bare, events).await?;
        let rate = |took: Duration| events as f64 / took.as_secs_f64();
        ratios.push(rate(follower) / rate(select));
        println!(
            "round {round}: follower {:>9.0} events/s, bare select {:>9.0} rows/s, ratio {:.2}",
            rate(follower),
            rate(select),
            rate(follower) / rate(select)
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("catch-up of {events} events: median ratio {:.2}", ratios[ROUNDS / 2]);
    Ok(())
}

async fn fill(store: &Arc<dyn Store>, events: u64) {
    let writer = Writer::claim_as(Arc::clone(store), "bench").await;
    for batch in 0..events.div_ceil(BATCH) {
        let count = BATCH.min(events - batch * BATCH);
        let stream = pipeline(&format!("p{batch}"));
        writer.commit(&writer.unit(&stream, 0, usize::try_from(count).expect("a batch is small"))).await;
    }
}

async fn follow(store: &Arc<dyn Store>, events: u64) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut follower = Log::new(Arc::clone(store) as _).follow(Position(0), EventFilter::default());
    let mut seen = 0;
    while seen < events {
        seen += follower.next().await?.events.len() as u64;
    }
    ensure!(seen == events, "{seen} of {events} events");
    Ok(began.elapsed())
}

async fn select(client: &Client, events: u64) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let statement =
        client.prepare("select * from event where position > $1 order by position limit $2").await?;
    let (mut last, mut seen) = (0_i64, 0);
    while seen < events {
        let rows = client.query(&statement, &[&last, &PAGE]).await?;
        last = rows.last().context("the log is shorter than it was filled")?.try_get("position")?;
        seen += rows.len() as u64;
    }
    Ok(began.elapsed())
}
