//! What starting costs: a run of ten records through a node against the bare shell pipe of the same programs, and one
//! program under the launcher against a plain `posix_spawn`, in turns. It compares and prints; it never judges: a
//! figure is no test.
//!
//! Run it with `cargo build --profile dist && cargo bench --profile dist --bench start`.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "support/bench_node.rs"]
mod bench_node;
#[path = "support/figures.rs"]
mod figures;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flexcore::sandbox::{Jail, Launcher, Program, ProgramLimits};
use serde_json::json;

use self::bench_node::{BenchNode, config_file, program, shell};
use self::figures::percentile;

const RUNS: usize = 50;
const STARTS: usize = 200;
const RECORDS: usize = 10;
/// How often an execution's end is looked for: it is a part of what is measured.
const POLL: Duration = Duration::from_millis(1);
const PROGRAM: &str = "/bin/true";
const MEMORY: u64 = 512 << 20;
const OPEN_FILES: u64 = 256;

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// `p50 / p95` of times in milliseconds.
fn figures(values: &[f64]) -> String {
    format!("{:.2} / {:.2}", percentile(values, 0.5), percentile(values, 0.95))
}

/// A small run, through a node and bare.
async fn small_run(folder: &Path) -> Result<()> {
    let (tap, target) = (program("flexcore-tap-file")?, program("flexcore-target-file")?);
    let source = folder.join("small.csv");
    let rows: String = (0..RECORDS).map(|n| format!("{n},name-{n}\n")).collect();
    fs::write(&source, format!("id,name\n{rows}"))?;
    let tap_config = json!({"files": [{"path": source, "stream": "small"}]});
    let target_config = json!({"destination_path": folder.join("out"), "mode": "replace"});
    let line = format!(
        "'{}' --config '{}' | '{}' --config '{}'",
        tap.display(),
        config_file(folder, "tap.json", &tap_config)?.display(),
        target.display(),
        config_file(folder, "target.json", &target_config)?.display(),
    );
    let node = BenchNode::start(POLL, &[]).await?;
    node.plugin("tap", "extractor", &[&tap.display().to_string()], folder, &[]).await;
    node.plugin("target", "loader", &[&target.display().to_string()], folder, &[]).await;
    let (mut bare, mut ours, mut over) = (Vec::new(), Vec::new(), Vec::new());
    let cpu = node.cpu_time()?;
    for run in 0..=RUNS {
        let without = ms(shell(&line)?);
        let pipeline = format!("small-{run}");
        node.pipeline(&pipeline, &[("tap", &tap_config), ("target", &target_config)]).await;
        let (took, _) = node.run(&pipeline).await?;
        if run > 0 {
            bare.push(without);
            ours.push(ms(took));
            over.push(ms(took) - without);
        }
    }
    println!("run of {RECORDS} records, p50 / p95 of {RUNS} in ms");
    println!("  bare pipe      {}", figures(&bare));
    println!("  flexcore       {}", figures(&ours));
    println!("  over the pipe  {}", figures(&over));
    // definitions and the looking for the end included
    println!("  node's own processor time a run: {:.2}", ms(node.cpu_time()? - cpu) / (RUNS + 1) as f64);
    Ok(())
}

/// One program: until it is executed, and until its end is known.
async fn one_program(folder: &Path) -> Result<()> {
    let launcher = Launcher::new(program("flexcore-jailer")?).with_spare();
    let [mut spawned, mut spawned_ended, mut launched, mut launched_ended] = [const { Vec::new() }; 4];
    for start in 0..=STARTS {
        let began = Instant::now();
        // without anything that runs between fork and exec the standard library takes posix_spawn
        let mut child =
            Command::new(PROGRAM).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let executed = began.elapsed();
        ensure!(child.wait()?.success(), "{PROGRAM} failed");
        let ended = began.elapsed();

        let sink = || fs::File::create("/dev/null").map(Into::into);
        let began = Instant::now();
        let limits = ProgramLimits {
            memory_bytes: MEMORY,
            cpu_time: None,
            open_files: OPEN_FILES,
            file_size: None,
            processes: 64,
            scratch_bytes: 1 << 28,
            millicpus: 1_000,
        };
        let workdir = folder.to_path_buf();
        let (argv, env) = (vec![PROGRAM.to_owned()], Vec::new());
        let jail = Some(Jail::default());
        let program =
            Program { argv, env, workdir, stdin: None, stdout: sink()?, stderr: sink()?, limits, jail };
        let mut running = launcher.start(program).await?;
        let ours_executed = began.elapsed();
        running.wait().await;
        let ours_ended = began.elapsed();
        if start > 0 {
            spawned.push(ms(executed));
            spawned_ended.push(ms(ended));
            launched.push(ms(ours_executed));
            launched_ended.push(ms(ours_ended));
        }
    }
    println!("{PROGRAM}, p50 / p95 of {STARTS} in ms: until executed, until its end is known");
    println!("  posix_spawn    {:<16}{}", figures(&spawned), figures(&spawned_ended));
    println!("  launcher       {:<16}{}", figures(&launched), figures(&launched_ended));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    small_run(folder.path()).await?;
    one_program(folder.path()).await
}
