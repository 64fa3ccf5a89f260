//! What an interpreter that was started ahead saves: a tap of the Singer SDK says what it is (`--about`), by an interpreter that
//! waits, and by one that imports everything first. Two nodes in one run, in turns; it compares and prints, it never judges.
//!
//! Run it with `cargo build --profile dist && cargo bench --profile dist --bench warm`. Needs a package index.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "support/bench_node.rs"]
#[expect(dead_code, reason = "what other benchmarks need of it")]
mod bench_node;
#[path = "support/figures.rs"]
mod figures;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use self::bench_node::BenchNode;
use self::figures::percentile;

const ROUNDS: usize = 40;
const POLL: Duration = Duration::from_millis(1);
/// For an interpreter to be started ahead and import everything.
const AHEAD: Duration = Duration::from_secs(30);
const TAP: &str = "tap-jsonl==0.3.1";

/// From the fork of the program until its end, and from the request until the end was seen, ms.
#[derive(Default)]
struct Times {
    program: Vec<f64>,
    execution: Vec<f64>,
}

impl Times {
    fn add(&mut self, took: Duration, execution: &Value) {
        let usage = &program_of(execution)["usage"];
        self.program.push(usage["wall_ms"].as_f64().unwrap_or(f64::NAN));
        self.execution.push(took.as_secs_f64() * 1e3);
    }
}

fn program_of(execution: &Value) -> &Value {
    &execution["steps"][0]["attempts"][0]["programs"][0]
}

async fn node(warm: &str) -> Result<BenchNode> {
    let node = BenchNode::start(POLL, &[("FLEXCORE_SANDBOX_WARM_INTERPRETERS", warm)]).await?;
    let manifest = json!({"name": "about", "version": "1", "type": "processor", "protocol": "command",
        "command": ["tap-jsonl"], "environment": {"python": {"requirements": [TAP]}}});
    node.register(&manifest).await;
    node.pipeline("about", &[("about", &json!({"args": ["--about", "--format=json"]}))]).await;
    // builds the environment and, where it is wanted, has the next interpreter started
    node.run("about").await?;
    Ok(node)
}

/// Runs until an interpreter was there for it: one that is not ready yet is no part of the comparison.
async fn warm_run(node: &BenchNode) -> Result<(Duration, Value)> {
    let deadline = std::time::Instant::now() + AHEAD;
    while std::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (took, execution) = node.run("about").await?;
        if program_of(&execution)["warm"] == true {
            return Ok((took, execution));
        }
    }
    bail!("no interpreter was started ahead within {AHEAD:?}")
}

#[tokio::main]
async fn main() -> Result<()> {
    let (with, without) = (node("1").await?, node("0").await?);
    let (mut warm, mut cold) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        let (took, execution) = warm_run(&with).await?;
        warm.add(took, &execution);
        let (took, execution) = without.run("about").await?;
        ensure!(program_of(&execution)["warm"].is_null(), "the node without was not without");
        cold.add(took, &execution);
    }
    println!("{ROUNDS} rounds of {TAP} --about; p50 / p95, ms");
    println!("{:<28}{:>18}{:>20}{:>16}", "", "waiting", "imports first", "ratio of p50");
    let lines =
        [("program", &warm.program, &cold.program), ("whole execution", &warm.execution, &cold.execution)];
    for (name, warm, cold) in lines {
        let at = |values: &[f64]| (percentile(values, 0.5), percentile(values, 0.95));
        let ((warm, warm_tail), (cold, cold_tail)) = (at(warm), at(cold));
        let (left, right) = (format!("{warm:.0} / {warm_tail:.0}"), format!("{cold:.0} / {cold_tail:.0}"));
        println!("{name:<28}{left:>18}{right:>20}{:>16.2}", warm / cold);
    }
    Ok(())
}
