//! What tamper evidence costs, as a share of the append, and how fast a log is verified.
//!
//! The share: of the time from making a batch until it is stored, the part that is hashing. Both are taken from the same
//! batches in one run: the leaf hashes alone (the function that `Batch::new` calls for every event), the digest as the
//! store computes it (on PostgreSQL the same expression, measured inside the server), and the whole of making and storing
//! the batch. One batch after the other, nothing overlaps: so this is the largest share that a caller can feel. What sealing does
//! once a second beside it is measured as its own line. The 64 bytes that a row is longer are in both.
//!
//! Run it with `cargo xtask services -- cargo bench --profile dist --bench integrity -- [EVENTS]`.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flexcore::postgres::PostgresStore;
use flexcore::sqlite::SqliteStore;
use flexcore_actors::domain::ids::{Position, StreamId};
use flexcore_actors::domain::integrity::leaf::{LeafHash, next_digest};
use flexcore_actors::domain::integrity::merkle::TreeBuilder;
use flexcore_actors::ports::IntegrityStore;
use flexcore_actors::ports::event_store::{Append, EventFilter};
use flexcore_actors::runtime::integrity::export::{ExportQuery, ExportReader, Exporter};
use flexcore_actors::runtime::integrity::verification::{Progress, Subject, verify};
use flexcore_actors::testkit::conformance::{Store, Writer, pipeline};
use flexcore_test_support::TestDatabase;
use jiff::Timestamp;

/// Events of each store unless the command line says otherwise.
const EVENTS: usize = 100_000;
/// Appends of one event each in a batch: what a group commit holds under load.
const UNITS: usize = 500;
/// Bytes of a payload: as most of FlexCore's own events have.
const PAYLOAD: usize = 300;
/// How often the digest is computed inside the server.
const DIGESTS: u32 = 2_000;

/// What was measured of a store.
#[derive(Default)]
struct Times {
    hashing: Duration,
    digest: Duration,
    whole: Duration,
}

#[tokio::main]
async fn main() -> Result<()> {
    let events = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(EVENTS);
    let folder = tempfile::tempdir()?;
    let sqlite = Arc::new(SqliteStore::open(folder.path().join("flexcore.db"))?);
    let times = fill(sqlite.clone(), events, None).await?;
    report("sqlite", &times, events);
    speeds("sqlite", sqlite.clone(), sqlite, folder.path(), events).await?;

    let database = TestDatabase::create().await;
    let postgres = Arc::new(PostgresStore::connect(&database.url()).await?);
    let digest = digest_in_the_server(&database).await?;
    let times = fill(postgres.clone(), events, Some(digest)).await?;
    report("postgres", &times, events);
    speeds("postgres", postgres.clone(), postgres, folder.path(), events).await
}

fn report(name: &str, times: &Times, events: usize) {
    let share = |part: Duration| part.as_secs_f64() / times.whole.as_secs_f64() * 100.0;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let each = |part: Duration| part.as_secs_f64() * 1e6 / events as f64;
    println!(
        "{name}: append {:.2} µs an event, of which hashing {:.2} µs ({:.1} %) and the digest {:.3} µs ({:.1} %): {:.1} % together (aim < 10 %)",
        each(times.whole),
        each(times.hashing),
        share(times.hashing),
        each(times.digest),
        share(times.digest),
        share(times.hashing + times.digest)
    );
}

/// Appends the events and measures both sides of every batch.
async fn fill(store: Arc<dyn Store>, events: usize, digest: Option<Duration>) -> Result<Times> {
    let writer = Writer::claim_as(store, "bench").await;
    let streams: Vec<StreamId> = (0..UNITS).map(|n| pipeline(&format!("p{n}"))).collect();
    let payload = Bytes::from(vec![0x41_u8; PAYLOAD]);
    let mut times = Times::default();
    let mut before = None;
    for round in 0..events.div_ceil(UNITS) {
        let units: Vec<Append> = streams
            .iter()
            .map(|stream| {
                let mut unit = writer.unit(stream, round as u64, 1);
                unit.streams[0].events[0].payload = payload.clone();
                unit
            })
            .collect();
        let began = Instant::now();
        let batch = writer.batch(&units);
        writer.send(&batch).await.context("append")?;
        let took = began.elapsed();

        let stored =
            writer.store.read_all(Position((round * UNITS) as u64), 1, &EventFilter::default()).await?;
        let sample = stored.first().context("an event was stored")?;
        let began = Instant::now();
        for _ in 0..UNITS {
            black_box(black_box(sample).computed_hashes(LeafHash::NONE));
        }
        let hashing = began.elapsed();
        let leaves: Vec<LeafHash> =
            (0..UNITS).flat_map(|unit| batch.hashes(unit).iter().map(|h| h.leaf)).collect();
        let began = Instant::now();
        before = Some(black_box(next_digest(before, leaves)));
        let digesting = digest.unwrap_or(began.elapsed());
        // the first rounds fill caches and prepare statements
        if round > 2 {
            times.hashing += hashing;
            times.digest += digesting;
            times.whole += took;
        }
    }
    Ok(times)
}

/// How long PostgreSQL takes for the digest of one batch.
async fn digest_in_the_server(database: &TestDatabase) -> Result<Duration> {
    let client = database.connect().await;
    let leaves = vec![7_u8; UNITS * 32];
    let sql = |expression: &str| {
        format!(
            "do $$ declare d bytea := ''; l bytea := decode(repeat('07', {}), 'hex'); begin for n in 1..{DIGESTS} loop d := {expression}; end loop; end $$",
            leaves.len()
        )
    };
    let mut taken = [Duration::ZERO; 2];
    for (taken, expression) in taken.iter_mut().zip(["sha256(d || l)", "substr(l, 1, 32)"]) {
        let began = Instant::now();
        client.batch_execute(&sql(expression)).await?;
        *taken = began.elapsed();
    }
    Ok(taken[0].saturating_sub(taken[1]) / DIGESTS)
}

/// Sealing, verifying, exporting, and verifying the export: events a second.
async fn speeds(
    name: &str,
    events: Arc<dyn Store>,
    integrity: Arc<dyn IntegrityStore>,
    folder: &std::path::Path,
    count: usize,
) -> Result<()> {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = |what: &str, began: Instant| {
        println!("{name}: {what} {:.0} events/s", count as f64 / began.elapsed().as_secs_f64());
    };
    let began = Instant::now();
    let mut tree = TreeBuilder::default();
    integrity.leaves(0..count as u64).await?.into_iter().for_each(|leaf| tree.append(leaf, drop));
    black_box(tree.root());
    rate("leaves to tree (what sealing does)", began);

    let began = Instant::now();
    let subject = Subject { events: &*events, integrity: &*integrity, outside: None, trusted: Vec::new() };
    let verdict = verify(subject, &Progress::default()).await?;
    ensure!(verdict.fault.is_none(), "the log verifies: {:?}", verdict.fault);
    rate("verify", began);

    let began = Instant::now();
    let path = folder.join("export.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    let mut exporter = Exporter::begin(events, integrity, ExportQuery::default(), Timestamp::now()).await?;
    while let Some(lines) = exporter.next().await? {
        file.write_all(lines.as_bytes())?;
    }
    file.flush()?;
    rate("export", began);

    let began = Instant::now();
    let mut reader = ExportReader::new(Vec::new());
    for line in std::io::BufRead::lines(std::io::BufReader::new(std::fs::File::open(&path)?)) {
        reader.line(&line?).map_err(|fault| anyhow::anyhow!("{fault}"))?;
    }
    rate("verify the export", began);
    Ok(())
}
