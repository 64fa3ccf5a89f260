//! Pages of lists over many executions, through the ports that the node reads them by, on PostgreSQL and SQLite; beside
//! each the time to look up as many rows by their keys, which is the least that a page can cost. It prints; it never
//! judges.
//!
//! Run it with `cargo xtask services -- cargo bench --profile dist --bench lists`; the number of executions follows
//! after `--` (1,000,000 unless given).
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "support/figures.rs"]
mod figures;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use flexcore::postgres::PostgresStore;
use flexcore::sqlite::SqliteReadModels;
use flexcore_actors::domain::codec;
use flexcore_actors::domain::execution::{Execution, Phase};
use flexcore_actors::domain::ids::{CorrelationId, EventId, ExecutionId, Name, Position, Version};
use flexcore_actors::domain::projection::{AggregateRow, Executions, Projection, Row, View, read_document};
use flexcore_actors::ports::ReadModels;
use flexcore_actors::ports::read_models::{Advance, Advanced, Progress, RowCursor, RowQuery};
use flexcore_test_support::TestDatabase;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use self::figures::percentile;

/// Executions unless the command line says otherwise.
const EXECUTIONS: u64 = 1_000_000;
/// Most that may be asked for: about 10 GB of rows.
const MOST: u64 = 20_000_000;
/// Rows stored in one transaction.
const PAGE: u64 = 1_000;
/// Times each list is read.
const ROUNDS: usize = 200;
/// Rows of a list.
const LIMIT: usize = 100;
/// Pipelines among which the executions are spread.
const PIPELINES: u64 = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let given = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let executions = given.unwrap_or(EXECUTIONS);
    ensure!((1_000..=MOST).contains(&executions), "from 1000 to {MOST} executions");
    let database = TestDatabase::create().await;
    let store = PostgresStore::connect(&database.url()).await?;
    measure("postgresql", Arc::new(store.read_models()?), executions, &database).await?;
    let folder = tempfile::tempdir()?;
    let models = SqliteReadModels::open(folder.path().join("read-models.db"))?;
    measure("sqlite", Arc::new(models), executions, &database).await
}

async fn measure(
    name: &str,
    models: Arc<dyn ReadModels>,
    executions: u64,
    database: &TestDatabase,
) -> Result<()> {
    let began = Instant::now();
    let live = fill(&*models, executions).await?;
    let per_second = executions as f64 / began.elapsed().as_secs_f64();
    println!("{name}: {executions} executions stored, {per_second:.0} a second");
    if name == "postgresql" {
        database.connect().await.batch_execute("vacuum analyze").await?;
    }
    let keys: Vec<String> =
        (0..LIMIT as u64).map(|n| id(n * (executions / LIMIT as u64)).to_string()).collect();
    let mut least = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let rows = models.load(View::Executions, live.generation, &keys).await?;
        ensure!(rows.len() == LIMIT, "every key is there");
        least.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let least = percentile(&least, 0.5);
    println!("  {:<34} {least:>8.2} ms", format!("{LIMIT} rows by key, p50"));
    for (what, query) in queries(executions) {
        let (mut times, mut found) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let page = models.list(&query).await?;
            for row in &page.rows {
                read_document::<Executions>(row)?;
            }
            times.push(began.elapsed().as_secs_f64() * 1e3);
            found = page.rows.len();
        }
        let (p50, p95) = (percentile(&times, 0.5), percentile(&times, 0.95));
        println!(
            "  {what:<34} p50 {p50:>7.2} ms   p95 {p95:>7.2} ms   {:>5.1}× by key   {found} rows",
            p50 / least
        );
    }
    Ok(())
}

/// The lists that are read: each filter alone, together, where hardly anything is found, and far from the newest.
fn queries(executions: u64) -> Vec<(&'static str, RowQuery)> {
    let tagged = |tags: &[(&'static str, &str)]| RowQuery {
        view: View::Executions,
        tags: tags.iter().map(|(tag, value)| (*tag, (*value).to_owned())).collect(),
        from: None,
        to: None,
        after: None,
        limit: LIMIT,
    };
    let middle = executions / 2;
    let after = Some(RowCursor { at: queued(middle), key: id(middle).to_string() });
    let (from, to) = (Some(queued(middle)), Some(queued(middle + executions / 100)));
    vec![
        ("newest", tagged(&[])),
        ("status=failed (1 in 49)", tagged(&[("status", "failed")])),
        ("status=running (1 in 100,000)", tagged(&[("status", "running")])),
        ("status=paused (none)", tagged(&[("status", "paused")])),
        ("one pipeline", tagged(&[("pipeline", "pipeline-7")])),
        ("one pipeline, status=failed", tagged(&[("pipeline", "pipeline-7"), ("status", "failed")])),
        ("one pipeline, status=paused (none)", tagged(&[("pipeline", "pipeline-7"), ("status", "paused")])),
        ("kind=plugin (1 in 1,000)", tagged(&[("kind", "plugin")])),
        ("one plugin", tagged(&[("plugin", "tap")])),
        ("from the middle", RowQuery { after: after.clone(), ..tagged(&[]) }),
        ("one pipeline, from the middle", RowQuery { after, ..tagged(&[("pipeline", "pipeline-7")]) }),
        ("a hundredth of the time", RowQuery { from, to, ..tagged(&[]) }),
        (
            "the same, one pipeline, failed",
            RowQuery { from, to, ..tagged(&[("pipeline", "pipeline-7"), ("status", "failed")]) },
        ),
    ]
}

async fn fill(models: &dyn ReadModels, executions: u64) -> Result<Progress> {
    let mut at = models.open(View::Executions, Executions::SHAPE).await?.live;
    while at.position.0 < executions {
        let until = (at.position.0 + PAGE).min(executions);
        let rows = (at.position.0..until).map(execution).collect::<Result<_>>()?;
        let (position, last_event) = (Position(until), EventId(Uuid::from_u128(u128::from(until))));
        let (view, deletes) = (View::Executions, Vec::new());
        let advance =
            Advance { view, from: at, position, last_event, upserts: rows, deletes, parked: Vec::new() };
        ensure!(models.advance(&advance).await? == Advanced::Yes, "nobody else projects");
        at = Progress { position, last_event: Some(last_event), ..at };
    }
    Ok(at)
}

fn id(number: u64) -> ExecutionId {
    // as version 7 has it: by time, then by chance
    let time = u128::from(number) << 80;
    ExecutionId(Uuid::from_u128(time | u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
}

fn queued(number: u64) -> Timestamp {
    let since = SignedDuration::from_millis(i64::try_from(number).unwrap_or(i64::MAX) * 10);
    Timestamp::from_second(1_700_000_000).expect("a constant in range") + since
}

fn execution(number: u64) -> Result<Row> {
    let phase = match number {
        n if n % 100_000 == 7 => Phase::Running,
        n if n % 49 == 3 => Phase::Failed,
        _ => Phase::Completed,
    };
    let alone = number % 1_000 == 11;
    let state = Execution {
        id: Some(id(number)),
        pipeline: (!alone).then(|| Name::new(format!("pipeline-{}", number % PIPELINES))).transpose()?,
        plugin: alone.then(|| Name::new("tap")).transpose()?,
        revision: Some(1),
        phase: Some(phase),
        queued_at: Some(queued(number)),
        started_at: Some(queued(number)),
        version: Version(5),
        parameters: serde_json::from_value(serde_json::json!({"text": "x".repeat(600)}))?,
        ..Execution::default()
    };
    let row =
        AggregateRow { state, correlation_id: CorrelationId(id(number).0), position: Position(number + 1) };
    let (indexed, document) = (Executions::indexed(&row), codec::to_bytes(&row));
    Ok(Row { key: id(number).to_string(), indexed, document })
}
