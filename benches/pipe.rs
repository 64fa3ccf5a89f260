//! A pipeline through a FlexCore node against the bare shell pipe of the same programs, in turns: the programs that
//! ship with FlexCore, trivial ends that cost nothing (what is left is the engine), and with `-- pypi` a pair that
//! others wrote. Every run's records are counted. It compares and prints; it never judges: a figure is no test.
//!
//! Run it with `cargo build --profile dist && cargo bench --profile dist --bench pipe [-- own ends pypi]`.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "support/bench_node.rs"]
mod bench_node;
#[path = "support/figures.rs"]
mod figures;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::bench_node::{BenchNode, config_file, program, shell};
use self::figures::percentile;

/// Times that both sides are measured, in turns; one more round before them warms up.
const ROUNDS: usize = 5;
const RECORDS: usize = 1_000_000;
/// Python programs are slower by far.
const PYTHON_RECORDS: usize = 20_000;
/// How often an execution's end is looked for: runs take seconds, and asking costs the machine.
const POLL: Duration = Duration::from_millis(10);
const STREAM: &str = "orders";
/// A tap and a target that others wrote, by their pinned requirements.
const TAP: (&str, &str) = ("tap-jsonl", "tap-jsonl==0.3.1");
const TARGET: (&str, &str) = ("target-jsonl", "target-jsonl==0.1.4");

/// One pair of programs.
struct Pair<'a> {
    name: &'static str,
    records: usize,
    tap: Program<'a>,
    target: Program<'a>,
    /// Where the target writes, looked at and removed after each run; `None` when it keeps nothing.
    output: Option<PathBuf>,
    /// What its programs are made of, beside the folder of the measurement.
    read: Vec<String>,
}

/// A program: its command line without options, and its configuration.
struct Program<'a> {
    command: Vec<&'a str>,
    config: Value,
}

/// The times of one pair, in seconds, by round.
#[derive(Default)]
struct Times {
    bare: Vec<f64>,
    ours: Vec<f64>,
    node_cpu: Vec<f64>,
}

async fn compare(node: &BenchNode, folder: &Path, pair: &Pair<'_>) -> Result<Times> {
    let (tap, target) = (format!("{}-tap", pair.name), format!("{}-target", pair.name));
    node.plugin(&tap, "extractor", &pair.tap.command, folder, &pair.read).await;
    node.plugin(&target, "loader", &pair.target.command, folder, &pair.read).await;
    let side = |name: &str, program: &Program<'_>| -> Result<String> {
        let config = config_file(folder, &format!("{name}.json"), &program.config)?;
        let words = program.command.iter().map(|word| format!("'{word}'"));
        Ok(format!("{} --config '{}'", words.collect::<Vec<_>>().join(" "), config.display()))
    };
    let line = format!("{} | {}", side(&tap, &pair.tap)?, side(&target, &pair.target)?);
    let mut times = Times::default();
    for round in 0..=ROUNDS {
        let bare = shell(&line)?;
        take_output(pair)?;
        // a pipeline of its own for each run, so that none goes on from another's bookmark
        let pipeline = format!("{}-{round}", pair.name);
        node.pipeline(&pipeline, &[(&tap, &pair.tap.config), (&target, &pair.target.config)]).await;
        let cpu = node.cpu_time()?;
        let (ours, execution) = node.run(&pipeline).await?;
        let cpu = node.cpu_time()? - cpu;
        take_output(pair)?;
        let streams = &execution["steps"][0]["attempts"][0]["streams"];
        let counted: u64 =
            streams.as_object().into_iter().flatten().filter_map(|(_, s)| s["read"].as_u64()).sum();
        ensure!(counted == pair.records as u64, "{} records of {} were relayed", counted, pair.records);
        if round > 0 {
            times.bare.push(bare.as_secs_f64());
            times.ours.push(ours.as_secs_f64());
            times.node_cpu.push(cpu.as_secs_f64());
        }
    }
    Ok(times)
}

/// Counts the lines that the target wrote and removes them.
fn take_output(pair: &Pair<'_>) -> Result<()> {
    let Some(folder) = &pair.output else { return Ok(()) };
    let mut lines = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        fs::remove_file(path)?;
    }
    ensure!(lines == pair.records, "{}: the target wrote {lines} of {} records", pair.name, pair.records);
    Ok(())
}

fn report(pair: &Pair<'_>, times: &Times) {
    let ratios: Vec<f64> = times.bare.iter().zip(&times.ours).map(|(bare, ours)| bare / ours).collect();
    let cost = |seconds: f64| seconds * 1e6 / pair.records as f64;
    let extra: Vec<f64> = times.ours.iter().zip(&times.bare).map(|(ours, bare)| cost(ours - bare)).collect();
    let cpu: Vec<f64> = times.node_cpu.iter().map(|cpu| cost(*cpu)).collect();
    let range = |values: &[f64]| {
        let at = |q| percentile(values, q);
        format!("{:.2} [{:.2}, {:.2}]", at(0.5), at(0.0), at(1.0))
    };
    println!(
        "{:<6}{:>9}{:>10.3}{:>12.3}  {:<20}  {:<22}{:>12.2}",
        pair.name,
        pair.records,
        percentile(&times.bare, 0.5),
        percentile(&times.ours, 0.5),
        range(&ratios),
        range(&extra),
        percentile(&cpu, 0.5),
    );
}

/// Rows as a shop has them: about 110 bytes as a RECORD line.
fn row(n: usize) -> (usize, String, usize) {
    (n, format!("customer-{:05}", n % 50_021), n * 7 % 100_000)
}

fn write_csv(path: &Path, records: usize) -> Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    writeln!(file, "id,customer,cents")?;
    for n in 0..records {
        let (id, customer, cents) = row(n);
        writeln!(file, "{id},{customer},{cents}")?;
    }
    Ok(file.flush()?)
}

fn write_jsonl(path: &Path, records: usize) -> Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for n in 0..records {
        let (id, customer, cents) = row(n);
        writeln!(file, r#"{{"id":{id},"customer":"{customer}","cents":{cents}}}"#)?;
    }
    Ok(file.flush()?)
}

/// A tap's whole output, each RECORD line of 110 bytes with its newline.
fn write_messages(path: &Path, records: usize) -> Result<()> {
    const LINE: usize = 110;
    let mut file = BufWriter::new(fs::File::create(path)?);
    let schema = json!({"type": "SCHEMA", "stream": STREAM, "schema": {}, "key_properties": []});
    writeln!(file, "{schema}")?;
    let mut line = String::new();
    for n in 0..records {
        let (id, customer, cents) = row(n);
        line.clear();
        let record = format!(r#"{{"id":{id},"customer":"{customer}","cents":{cents},"note":""#);
        write!(line, r#"{{"type":"RECORD","stream":"{STREAM}","record":{record}"#)?;
        let padding = LINE.saturating_sub(line.len() + 4);
        writeln!(line, r#"{}"}}}}"#, "x".repeat(padding))?;
        file.write_all(line.as_bytes())?;
    }
    Ok(file.flush()?)
}

async fn own(node: &BenchNode, folder: &Path) -> Result<()> {
    let (tap, target) = (program("flexcore-tap-file")?, program("flexcore-target-file")?);
    let (source, out) = (folder.join("orders.csv"), folder.join("own-out"));
    write_csv(&source, RECORDS)?;
    fs::create_dir(&out)?;
    let files = json!([{"path": source, "stream": STREAM, "key_properties": ["id"]}]);
    let pair = Pair {
        name: "own",
        records: RECORDS,
        tap: Program { command: vec![text(&tap)?], config: json!({"files": files}) },
        target: Program { command: vec![text(&target)?], config: json!({"destination_path": out}) },
        output: Some(out),
        read: Vec::new(),
    };
    report(&pair, &compare(node, folder, &pair).await?);
    Ok(())
}

async fn ends(node: &BenchNode, folder: &Path) -> Result<()> {
    let source = folder.join("messages.jsonl");
    write_messages(&source, RECORDS)?;
    let cat = format!("exec cat {}", text(&source)?);
    // the shell takes the options of a Singer program as its own arguments, which the line does not use
    let pair = Pair {
        name: "ends",
        records: RECORDS,
        tap: Program { command: vec!["/bin/sh", "-c", &cat], config: json!({}) },
        target: Program { command: vec!["/bin/sh", "-c", "exec tail -n 1 >/dev/null"], config: json!({}) },
        output: None,
        read: Vec::new(),
    };
    report(&pair, &compare(node, folder, &pair).await?);
    Ok(())
}

async fn pypi(node: &BenchNode, folder: &Path) -> Result<()> {
    let install = |(name, requirement): (&str, &str)| -> Result<PathBuf> {
        let venv = folder.join(format!("venv-{name}"));
        let pip = "bin/pip install --quiet --disable-pip-version-check 'setuptools<81'";
        let at = text(&venv)?;
        shell(&format!("python3 -m venv '{at}' && '{at}'/{pip} '{requirement}'"))?;
        Ok(venv.join("bin").join(name))
    };
    let (tap, target) = (install(TAP)?, install(TARGET)?);
    let (source, out) = (folder.join("orders.jsonl"), folder.join("pypi-out"));
    write_jsonl(&source, PYTHON_RECORDS)?;
    fs::create_dir(&out)?;
    let source = json!({"path": source, "stream_name": STREAM, "primary_keys": ["id"]});
    let pair = Pair {
        name: "pypi",
        records: PYTHON_RECORDS,
        tap: Program { command: vec![text(&tap)?], config: source },
        target: Program { command: vec![text(&target)?], config: json!({"destination_path": out}) },
        output: Some(out),
        read: vec![printed_by("python3 -c 'import sys; print(sys.base_prefix)'")?],
    };
    report(&pair, &compare(node, folder, &pair).await?);
    Ok(())
}

fn printed_by(command: &str) -> Result<String> {
    let output = std::process::Command::new("sh").args(["-c", command]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| {
        if chosen.is_empty() { name != "pypi" } else { chosen.iter().any(|word| word == name) }
    };
    let folder = tempfile::tempdir()?;
    let node = BenchNode::start(POLL, &[]).await?;
    println!(
        "median [lowest, highest] of {ROUNDS} rounds; extra and node's own processor time in µs per record"
    );
    println!(
        "{:<6}{:>9}{:>10}{:>12}  {:<20}  {:<22}{:>12}",
        "pair", "records", "bare s", "flexcore s", "bare / flexcore", "extra µs", "node cpu µs"
    );
    if wanted("own") {
        own(&node, folder.path()).await?;
    }
    if wanted("ends") {
        ends(&node, folder.path()).await?;
    }
    if wanted("pypi") {
        pypi(&node, folder.path()).await?;
    }
    Ok(())
}
