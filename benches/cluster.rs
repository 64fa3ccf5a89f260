//! Several real nodes against one PostgreSQL: commands per second of one, two and three nodes beside what a bare committer
//! stores, in turns; what the way to another node costs a command; how long a node with many pipelines takes to start, and
//! two of them to divide the shards; how long a claim of all shards takes; and how long a client waits at most while a node
//! is replaced, or killed. It prints; it never judges.
//!
//! Run it with `cargo xtask services -- cargo bench --profile dist --bench cluster`; a number after `--` is how many
//! pipelines are registered (10,000 unless given), the word `quick` makes few and short rounds, and `gaps` measures the
//! waits alone.
#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

#[path = "support/bench_cluster.rs"]
mod bench_cluster;
#[path = "support/committer.rs"]
mod committer;
#[path = "support/figures.rs"]
mod figures;
#[path = "support/lanes.rs"]
mod lanes;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flexcore::postgres::PostgresStore;
use flexcore_actors::domain::ids::{Incarnation, Name, Shard};
use flexcore_actors::ports::ClusterStore;
use flexcore_actors::ports::cluster::{Join, Joined};
use flexcore_test_support::TestDatabase;
use futures::FutureExt;
use uuid::Uuid;

use self::bench_cluster::{BenchCluster, shard, toggle};
use self::committer::BareCommitter;
use self::figures::percentile;
use self::lanes::Lanes;

/// Pipelines registered unless told otherwise, and at most.
const REGISTERED: usize = 10_000;
const MOST_REGISTERED: usize = 200_000;
/// Clients that wait for their answer before they send the next, and the pipelines that they share.
const CLIENTS: usize = 64;
const PIPELINES: usize = 640;
/// Claims of all shards.
const CLAIMS: usize = 20;
/// Clients that each wait for the shard of one pipeline, all shards different, while nodes come and go.
const WAITING: usize = 32;

/// How much is measured.
struct Plan {
    registered: usize,
    /// Rounds of load, one more before them warms up; of each a second of all four.
    rounds: usize,
    each: Duration,
    /// Pairs of commands.
    pairs: usize,
    /// Starts, joins and leaves with all pipelines registered.
    starts: usize,
    /// Replacements, and kills, of a node.
    losses: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let registered = words.iter().find_map(|word| word.parse().ok()).unwrap_or(REGISTERED);
    ensure!((1..=MOST_REGISTERED).contains(&registered), "1 to {MOST_REGISTERED} pipelines");
    let plan = if words.iter().any(|word| word == "quick") {
        Plan { registered, rounds: 2, each: Duration::from_secs(1), pairs: 50, starts: 1, losses: 1 }
    } else {
        Plan { registered, rounds: 7, each: Duration::from_secs(4), pairs: 1_000, starts: 5, losses: 8 }
    };
    if words.iter().any(|word| word == "gaps") {
        return gaps(&plan).await;
    }
    claim().await?;
    let three = throughput(&plan).await?;
    hop(&three, &plan).await?;
    drop(three);
    many(&plan).await?;
    gaps(&plan).await
}

/// Milliseconds as they are shown: median, and the share of 95 %.
fn spread(took: &[f64]) -> String {
    format!("median {:.1} ms, p95 {:.1} ms of {}", percentile(took, 0.5), percentile(took, 0.95), took.len())
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// All shards are claimed and given back in one call each, again and again.
async fn claim() -> Result<()> {
    let database = TestDatabase::create().await;
    let store = PostgresStore::connect(&database.url()).await?;
    let member = Join {
        name: Name::new("bench")?,
        incarnation: Incarnation(Uuid::now_v7()),
        home: Uuid::now_v7(),
        address: None,
        labels: BTreeMap::new(),
        lease: Duration::from_secs(3_600),
    };
    ensure!(store.join(&member).await? == Joined::Member, "the database is the benchmark's own");
    let shards: Vec<Shard> = (0..=u8::MAX).map(Shard).collect();
    let (mut claims, mut releases, mut views) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CLAIMS {
        let began = Instant::now();
        let claimed = store.claim(member.incarnation, &shards).await?;
        claims.push(ms(began));
        ensure!(claimed.len() == shards.len(), "only {} shards were free", claimed.len());
        let began = Instant::now();
        store.view().await?;
        views.push(ms(began));
        let began = Instant::now();
        store.release(member.incarnation, &shards).await?;
        releases.push(ms(began));
    }
    println!("claim of 256 shards    {}", spread(&claims));
    println!("release of 256 shards  {}", spread(&releases));
    println!("query of the shard table  {}", spread(&views));
    Ok(())
}

/// Commands per second of one, two and three nodes, and appends of one event and its command by a bare committer, in
/// turns on one server; the cluster of three.
async fn throughput(plan: &Plan) -> Result<BenchCluster> {
    let database = TestDatabase::create().await;
    let bare = BareCommitter::start(&database.url(), CLIENTS).await?;
    let mut clusters = Vec::new();
    for nodes in 1..=3 {
        let mut cluster = BenchCluster::start(nodes).await?;
        cluster.pipelines(PIPELINES, CLIENTS, true).await?;
        clusters.push(cluster);
    }
    let mut rates = vec![Vec::new(); 1 + clusters.len()];
    for round in 0..=plan.rounds {
        let mut now = vec![bare.load(plan.each).await?];
        for cluster in &mut clusters {
            now.push(cluster.load(CLIENTS, plan.each).await?);
        }
        if round > 0 {
            rates.iter_mut().zip(now).for_each(|(rates, rate)| rates.push(rate));
        }
    }
    println!(
        "\ncommands per second, {CLIENTS} clients over HTTP; median [lowest, highest] of {} rounds in turns",
        plan.rounds
    );
    println!("{:<16}{:>10}  {:<22}{:<22}{:<22}", "", "median", "", "to the committer", "to one node");
    let whole = |values: &[f64]| {
        let at = |q| percentile(values, q);
        format!("[{:.0}, {:.0}]", at(0.0), at(1.0))
    };
    let ratios = |values: &[f64], others: &[f64]| {
        let ratios: Vec<f64> = values.iter().zip(others).map(|(own, other)| own / other).collect();
        let at = |q| percentile(&ratios, q);
        format!("{:.2} [{:.2}, {:.2}]", at(0.5), at(0.0), at(1.0))
    };
    for (name, own) in ["bare committer", "1 node", "2 nodes", "3 nodes"].iter().zip(&rates) {
        let (to_bare, to_one) = (ratios(own, &rates[0]), ratios(own, &rates[1]));
        println!("{name:<16}{:>10.0}  {:<22}{to_bare:<22}{to_one:<22}", percentile(own, 0.5), whole(own));
    }
    bare.end().await;
    Ok(clusters.remove(2))
}

/// The same command sent to the node that owns its pipeline and to another, one after the other, in turns.
async fn hop(three: &BenchCluster, plan: &Plan) -> Result<()> {
    let owners = three.owners().await?;
    let (mut direct, mut forwarded, mut more) = (Vec::new(), Vec::new(), Vec::new());
    let clients: Vec<_> = (0..three.nodes.len()).map(|node| three.client(node)).collect();
    for pair in 0..plan.pairs {
        let pipeline = pair % PIPELINES;
        let owner = owners[shard(pipeline)?];
        let other = (owner + 1 + pair % (clients.len() - 1)) % clients.len();
        // one pauses, the next resumes; which of the two goes first changes
        let first = if pair.is_multiple_of(2) { [owner, other] } else { [other, owner] };
        let mut took = BTreeMap::new();
        for (more, node) in first.into_iter().enumerate() {
            let began = Instant::now();
            toggle(&clients[node], pipeline, three.turns[pipeline] + more).await?;
            took.insert(node, ms(began));
        }
        direct.push(took[&owner]);
        forwarded.push(took[&other]);
        more.push(took[&other] - took[&owner]);
    }
    println!("\none command at a time, to three nodes that do nothing else");
    println!("to its owner       {}", spread(&direct));
    println!("to another node    {}", spread(&forwarded));
    println!("the hop, paired    {}", spread(&more));
    Ok(())
}

/// Many pipelines are registered: how long that takes, then a start with them, a second node's joining, and its leaving.
async fn many(plan: &Plan) -> Result<()> {
    let mut cluster = BenchCluster::start(1).await?;
    let took = cluster.pipelines(plan.registered, CLIENTS, false).await?.as_secs_f64();
    println!(
        "\n{} pipelines registered in {took:.1} s, {:.0} a second",
        plan.registered,
        plan.registered as f64 / took
    );
    let (mut starts, mut joins, mut divided, mut leaves) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.starts {
        let status = cluster.nodes[0].sigterm().await;
        ensure!(status.success(), "the node ended with {status}");
        let began = Instant::now();
        cluster.nodes[0].restart().await;
        starts.push(ms(began));
        cluster.settled().await?;
    }
    for _ in 0..plan.starts {
        let began = Instant::now();
        cluster.join().await;
        joins.push(ms(began));
        let (at, _) = cluster.settled().await?;
        divided.push((at - began).as_secs_f64() * 1e3);
        let mut leaving = cluster.nodes.remove(1);
        let began = Instant::now();
        let status = leaving.sigterm().await;
        ensure!(status.success(), "the node ended with {status}");
        let (at, _) = cluster.settled().await?;
        leaves.push(at.saturating_duration_since(began).as_secs_f64() * 1e3);
    }
    println!("a node starts and is ready                  {}", spread(&starts));
    println!("a second node starts and is ready           {}", spread(&joins));
    println!("… and the last shard moved after its start  {}", spread(&divided));
    println!("it leaves and the last shard moved          {}", spread(&leaves));
    Ok(())
}

/// A node of three is replaced, then one is killed, again and again, while clients of every part go on: the longest wait of
/// each client whose shard it had or got, from the first request until it was answered with success, at whatever node.
async fn gaps(plan: &Plan) -> Result<()> {
    let mut cluster = BenchCluster::start(3).await?;
    cluster.pipelines(WAITING * 8, CLIENTS, true).await?;
    let lanes = Lanes::of_different_shards(WAITING)?;
    let took = |waits: Vec<(usize, f64)>| waits.into_iter().map(|(_, ms)| ms);
    let calm = lanes.during(&mut cluster, async |_| tokio::time::sleep(plan.each).map(Ok).await).await?;
    let calm: Vec<f64> = took(calm).collect();
    let (mut leaving, mut joining, mut killed) = (Vec::new(), Vec::new(), Vec::new());
    for loss in 0..plan.losses {
        let node = loss % 3;
        let owners = cluster.owners().await?;
        let had = |(shard, _): &(usize, f64)| owners[*shard] == node;
        let end = async |cluster: &mut BenchCluster| {
            let status = cluster.nodes[node].sigterm().await;
            ensure!(status.success(), "the node ended with {status}");
            Ok(())
        };
        leaving.extend(took(lanes.during(&mut cluster, end).await?.into_iter().filter(had).collect()));
        let waits = lanes.during(&mut cluster, async |cluster| cluster.back(node).await).await?;
        let owners = cluster.owners().await?;
        let had = |(shard, _): &(usize, f64)| owners[*shard] == node;
        joining.extend(took(waits.into_iter().filter(had).collect()));
        let kill = async |cluster: &mut BenchCluster| cluster.nodes[node].kill9().map(Ok).await;
        killed.extend(took(lanes.during(&mut cluster, kill).await?.into_iter().filter(had).collect()));
        cluster.back(node).await?;
    }
    println!("\nthe longest wait of each of {WAITING} clients, each of one shard");
    for (what, took) in [
        ("nothing happens", &calm),
        ("a node is asked to end, and ends", &leaving),
        ("it starts again, and gets shards", &joining),
        ("a node is killed", &killed),
    ] {
        let at = |q| percentile(took, q);
        println!(
            "{what:<34} {:>4} p50 {:>7.1} ms  p99 {:>7.1} ms  most {:>7.1} ms",
            took.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    Ok(())
}
