//! Single-event commands at a fixed rate on PostgreSQL, sent when they are due whether or not earlier ones are answered
//! (an open loop): the time from when a command was due until it was answered as durable, through actors, committer and
//! store, while the projectors fill the read models as they do on every node. Nothing may be lost: the log must have
//! grown by exactly the commands that were answered. It prints; it never judges.
//!
//! Run it with `cargo xtask services -- cargo bench --profile dist --bench open_loop`; rates follow after `--` (1000
//! 10000 20000 unless given).
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "support/commands.rs"]
mod commands;
#[path = "support/figures.rs"]
mod figures;
#[path = "support/idle_node.rs"]
mod idle_node;
#[path = "support/postgres_node.rs"]
mod postgres_node;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flexcore::postgres::PostgresStore;
use flexcore_actors::domain::ids::CommandId;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::{EventStore, IdSource};
use flexcore_actors::runtime::api::{Api, CommandKind};
use flexcore_test_support::TestDatabase;
use serde_json::json;
use tokio::sync::mpsc;

use self::figures::percentile;

/// Rates unless given, commands a second.
const RATES: [u64; 3] = [1_000, 10_000, 20_000];
/// Of one rate; as long a time before it warms up and is not counted.
const SECONDS: u64 = 10;
/// Pipelines that the commands pause and resume in turn.
const PIPELINES: u64 = 2_000;
/// How often due commands are sent.
const TICK: Duration = Duration::from_millis(1);
/// Commands without an answer at which the rate is given up: the node does not keep up.
const MOST_OPEN: usize = 100_000;

/// What became of one command: after how many milliseconds, or the refusal.
type Answer = (u64, Result<f64, String>);

#[tokio::main]
async fn main() -> Result<()> {
    let given: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let rates = if given.is_empty() { RATES.to_vec() } else { given };
    ensure!(rates.iter().all(|rate| (1..=200_000).contains(rate)), "1 to 200000 commands a second");
    let database = TestDatabase::create().await;
    let store = Arc::new(PostgresStore::connect(&database.url()).await?);
    let node = postgres_node::start_on(&store).await?;
    let api = node.api();
    prepare(&api).await?;
    println!(
        "{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "asked/s", "answered", "refused", "lost", "p50 ms", "p99 ms", "most ms"
    );
    let mut sent = 0;
    for rate in rates {
        let (_, next) = send(&api, rate, sent).await;
        let before = store.head().await?.0;
        let (answers, next) = send(&api, rate, next).await;
        sent = next;
        let stored = store.head().await?.0 - before;
        let took: Vec<f64> = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok().copied()).collect();
        let at = |q| percentile(&took, q);
        println!(
            "{rate:>9}{:>10}{:>10}{:>10}{:>10.1}{:>10.1}{:>10.1}",
            took.len(),
            answers.len() - took.len(),
            took.len() as u64 - stored.min(took.len() as u64),
            at(0.5),
            at(0.99),
            at(1.0)
        );
        if let Some((_, Err(refusal))) = answers.iter().find(|(_, answer)| answer.is_err()) {
            println!("          for instance: {refusal}");
        }
    }
    node.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

fn pipeline(n: u64) -> String {
    format!("p{:04}", n % PIPELINES)
}

async fn prepare(api: &Api) -> Result<()> {
    let plugin =
        json!({"name": "tap", "version": "1", "type": "extractor", "protocol": "singer", "command": ["tap"]});
    api.submit(commands::command(CommandKind::RegisterPlugin, "tap", plugin)).await?;
    for n in 0..PIPELINES {
        let steps = json!({"steps": [{"name": "load", "plugin": "tap"}]});
        api.submit(commands::command(CommandKind::CreatePipeline, &pipeline(n), steps)).await?;
        api.submit(commands::command(CommandKind::ActivatePipeline, &pipeline(n), json!({}))).await?;
    }
    Ok(())
}

/// Sends at `rate` from the command `first` on; all answers, and the number of the next command.
async fn send(api: &Api, rate: u64, first: u64) -> (Vec<Answer>, u64) {
    let (answers, mut answered) = mpsc::channel(MOST_OPEN);
    let (began, total) = (Instant::now(), rate * SECONDS);
    let (mut sent, mut all) = (0, Vec::with_capacity(usize::try_from(total).unwrap_or_default()));
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while sent < total {
        tick.tick().await;
        while let Ok(answer) = answered.try_recv() {
            all.push(answer);
        }
        if usize::try_from(sent).unwrap_or(usize::MAX) - all.len() >= MOST_OPEN {
            println!("{rate:>9} given up: {MOST_OPEN} commands wait for an answer");
            break;
        }
        let due =
            u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_mul(rate) / 1_000_000;
        for n in sent..due.min(total) {
            let was_due = began + Duration::from_micros(n * 1_000_000 / rate);
            tokio::spawn(one(api.clone(), first + n, was_due, answers.clone()));
        }
        sent = sent.max(due.min(total));
    }
    drop(answers);
    while let Some(answer) = answered.recv().await {
        all.push(answer);
    }
    (all, first + sent)
}

async fn one(api: Api, n: u64, was_due: Instant, answers: mpsc::Sender<Answer>) {
    // each round over all pipelines pauses them, the next resumes them
    let kind = if (n / PIPELINES).is_multiple_of(2) {
        CommandKind::PausePipeline
    } else {
        CommandKind::ResumePipeline
    };
    let mut command = commands::command(kind, &pipeline(n), json!({}));
    command.context.command_id = Some(CommandId(System.uuid()));
    let answer = api.submit(command).await;
    let took = was_due.elapsed().as_secs_f64() * 1e3;
    let answer = answer.map(|_| took).map_err(|error| error.to_string());
    answers.send((n, answer)).await.unwrap_or_default();
}
