//! What grows with the number of nodes and of aggregates, and how: clusters of up to 100 real nodes in one thread, on the
//! in-memory store and network and in simulated time, with a million pipelines stored. It counts and prints; what the
//! counts mean is in docs/scaling.md, and that they grow so is tested by `actors/tests/scaling.rs`.
//!
//! Run it with `cargo bench -p flexcore-actors --bench scaling`; a number after `--` is how many pipelines are stored,
//! and the word `plot` draws docs/scaling.svg anew.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "simulation/plot.rs"]
mod plot;
#[expect(dead_code, reason = "the test of the laws shares it")]
mod simulation;

use std::path::Path;
use std::time::Instant;

use self::simulation::measured::{LAWS, Measured};
use self::simulation::{Change, Simulation, What, simulate};

/// Sizes of clusters.
const NODES: [usize; 4] = [3, 10, 30, 100];
/// Pipelines stored unless told otherwise.
const AGGREGATES: usize = 1_000_000;
/// Commands sent to each cluster.
const COMMANDS: usize = 1_000;
/// The size at which the number of stored pipelines is varied, in tenths.
const VARIED: usize = 10;
/// More pipelines than may be in memory of three nodes.
const READ: usize = 150_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let aggregates = words.iter().find_map(|word| word.parse().ok()).unwrap_or(AGGREGATES).max(1_000);
    let began = Instant::now();
    let few = [aggregates / 100, aggregates / 10].map(|fewer| measure(VARIED, fewer.max(1_000)));
    let measured: Vec<Measured> = NODES.iter().map(|nodes| measure(*nodes, aggregates)).collect();
    laws(&measured);
    changes(&measured);
    balance(few.iter().chain(&measured));
    memory(aggregates);
    println!("\nall of it took {:.0} s", began.elapsed().as_secs_f64());
    if words.iter().any(|word| word == "plot") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scaling.svg");
        std::fs::write(&path, plot::drawing(&measured)).expect("docs/ can be written");
        println!("drawn: {}", path.display());
    }
}

fn measure(nodes: usize, aggregates: usize) -> Measured {
    simulate(Measured::of(nodes, aggregates, COMMANDS))
}

/// The laws with what was measured beside them, as docs/scaling.md has them.
fn laws(measured: &[Measured]) {
    println!("measured / by the law");
    let sizes: Vec<String> = measured.iter().map(|cluster| format!("{} nodes", cluster.nodes)).collect();
    println!("| | law | {} |\n|---|---|{}", sizes.join(" | "), "---|".repeat(measured.len()));
    for law in LAWS {
        let seen =
            |cluster: &Measured| format!("{} / {:.0}", (law.seen)(cluster), (law.law)(cluster.nodes as f64));
        let seen: Vec<String> = measured.iter().map(seen).collect();
        println!("| {} | {} | {} |", law.what, law.says, seen.join(" | "));
    }
}

/// What each change of each cluster cost.
fn changes(measured: &[Measured]) {
    println!("\nuntil the shards stood still, in simulated time");
    println!(
        "| change | nodes | after | shards moved (claims) | of them between others | hints sent | heard | missed | queries of the shard table | claims, releases |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for cluster in measured {
        row("the others start at once", cluster.nodes, &cluster.formed);
        row("one joins", cluster.nodes, &cluster.joined);
        row("one leaves", cluster.nodes + 1, &cluster.left);
        row("one is lost", cluster.nodes, &cluster.lost);
    }
}

fn row(what: &str, nodes: usize, change: &Change) {
    let Change { counts, heard, missed, took, moved, claimed, reshuffled } = change;
    let (hints, views) = (counts.of(What::Hints), counts.of(What::Views));
    let calls = counts.of(What::Claims) + counts.of(What::Releases) + counts.of(What::Burials);
    let took = took.as_secs_f64();
    println!(
        "| {what} | {nodes} | {took:.2} s | {moved} ({claimed}) | {reshuffled} | {hints} | {heard} | {missed} | {views} | {calls} |"
    );
}

/// How stored pipelines are spread, what they change, and what a node keeps to find them.
fn balance<'m>(measured: impl Iterator<Item = &'m Measured>) {
    println!(
        "\n| nodes | pipelines stored | shards a node, fewest to most (bound) | pipelines a node, most / even | in memory after 1,000 commands | appends, aggregates loaded, log pages read of these | quiet minute: shard table, open work, log pages | bytes a node for routing |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for cluster in measured {
        let (fewest, most) = (cluster.shards.iter().min(), cluster.shards.iter().max());
        let (commands, minute) = (&cluster.commands.0, &cluster.minute);
        println!(
            "| {} | {} | {} to {} ({}) | {:.2} | {} | {}, {}, {} | {}, {}, {} | {} |",
            cluster.nodes,
            cluster.aggregates,
            fewest.copied().unwrap_or_default(),
            most.copied().unwrap_or_default(),
            cluster.most_shards(),
            cluster.imbalance(),
            cluster.resident,
            commands.of(What::Appends),
            commands.of(What::Loads),
            commands.of(What::Pages),
            minute.of(What::Views),
            minute.of(What::OpenPages),
            minute.of(What::Pages),
            cluster.routing_bytes,
        );
    }
}

/// How many of the stored pipelines stay in memory when more of them are read than may, and what each costs.
fn memory(aggregates: usize) {
    let (read, before, after, resident) = simulate(async {
        let mut simulation = Simulation::new(aggregates).await;
        simulation.join(NODES[0] - 1).await;
        let (read, before) = (READ.min(aggregates), resident_bytes());
        simulation.read(read).await;
        (read, before, resident_bytes(), simulation.resident())
    });
    let all: u64 = resident.iter().sum();
    let each = after.saturating_sub(before) as f64 / all.max(1) as f64 / 1024.0;
    println!(
        "\n{read} of {aggregates} pipelines were read through {} nodes: {resident:?} stay in memory, {each:.1} KiB each",
        NODES[0]
    );
}

/// Memory of this process.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
    const PAGE: u64 = 4_096;
    pages.unwrap_or_default() * PAGE
}
