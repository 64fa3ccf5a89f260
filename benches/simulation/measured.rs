//! One cluster from its forming to the loss of a node, with what each step cost, and the laws that say what it should.
//! Never in here: how figures are shown.

use std::time::Duration;

use super::{Change, Counts, Simulation, What, routing_bytes};

/// What nothing happens for.
const QUIET: Duration = Duration::from_secs(60);
/// How many shards there are.
const SHARDS: f64 = 256.0;

/// What one size of cluster was seen to do.
#[derive(Debug, Clone)]
pub struct Measured {
    /// How many nodes formed it.
    pub nodes: usize,
    /// How many pipelines its store held.
    pub aggregates: usize,
    /// All nodes but the first start at once.
    pub formed: Change,
    /// A minute in which nothing happens.
    pub minute: Counts,
    /// Commands, and how many.
    pub commands: (Counts, usize),
    /// Another node joins.
    pub joined: Change,
    /// A node leaves.
    pub left: Change,
    /// A node is lost.
    pub lost: Change,
    /// Shards by node when it had formed.
    pub shards: Vec<usize>,
    /// Stored pipelines by node when it had formed.
    pub stored: Vec<usize>,
    /// Pipelines in memory after the commands, on all nodes.
    pub resident: u64,
    /// What one node keeps to find the owner of anything.
    pub routing_bytes: usize,
}

impl Measured {
    /// Takes one cluster through its life, with so many commands in it.
    pub async fn of(nodes: usize, aggregates: usize, commands: usize) -> Self {
        let mut simulation = Simulation::new(aggregates).await;
        let formed = simulation.join(nodes - 1).await;
        let minute = simulation.idle(QUIET).await;
        let commands = (simulation.command(commands).await, commands);
        let resident = simulation.resident().iter().sum();
        let (shards, stored) = (simulation.shards().await, simulation.stored().await);
        let routing_bytes = routing_bytes(&simulation.view().await);
        let joined = simulation.join(1).await;
        let left = simulation.leave().await;
        let lost = simulation.lose().await;
        Self {
            nodes,
            aggregates,
            formed,
            minute,
            commands,
            joined,
            left,
            lost,
            shards,
            stored,
            resident,
            routing_bytes,
        }
    }

    /// The most shards that a node may own, by the bound of the placement.
    pub fn most_shards(&self) -> usize {
        flexcore_actors::runtime::cluster::most_shards(self.nodes)
    }

    /// The largest share of the stored pipelines that a node owns, as a multiple of the even share.
    pub fn imbalance(&self) -> f64 {
        let most = self.stored.iter().max().copied().unwrap_or_default();
        most as f64 * self.nodes as f64 / self.aggregates as f64
    }
}

/// How something grows with the number of nodes, and how often it was seen.
pub struct Law {
    /// What grows.
    pub what: &'static str,
    /// How, for people; n is the number of nodes.
    pub says: &'static str,
    /// The same to be computed.
    pub law: fn(f64) -> f64,
    /// What was measured of it.
    pub seen: fn(&Measured) -> f64,
    /// By which factor what is seen may differ, either way.
    pub within: f64,
}

/// The laws. A store's call and a hint's arrival are counted, never times.
pub const LAWS: [Law; 7] = [
    Law {
        what: "renewals a minute",
        says: "60 n",
        law: |n| 60.0 * n,
        seen: |m| m.minute.of(What::Renewals) as f64,
        within: 1.05,
    },
    Law {
        what: "queries of the shard table a quiet minute",
        says: "6 n",
        law: |n| 6.0 * n,
        seen: |m| m.minute.of(What::Views) as f64,
        within: 1.2,
    },
    Law {
        what: "rows that these answer",
        says: "6 n (256 + n)",
        law: |n| 6.0 * n * (SHARDS + n),
        seen: |m| m.minute.of(What::ViewRows) as f64,
        within: 1.2,
    },
    Law {
        what: "forwarded of 1,000 commands",
        says: "1,000 (1 − 1/n)",
        law: |n| 1e3 * (1.0 - 1.0 / n),
        seen: |m| 1e3 * m.commands.0.of(What::Asked) as f64 / m.commands.1 as f64,
        within: 1.15,
    },
    Law {
        what: "shards moved by a join",
        says: "256 / (n + 1)",
        law: |n| SHARDS / (n + 1.0),
        seen: |m| m.joined.moved as f64,
        within: 2.0,
    },
    Law {
        what: "hints heard of a join",
        says: "n (256 / (n + 1) + 3)",
        law: |n| n * (SHARDS / (n + 1.0) + 3.0),
        seen: |m| m.joined.heard as f64,
        within: 2.0,
    },
    Law {
        what: "queries of the shard table at a join",
        says: "3 n + 20",
        law: |n| 3.0 * n + 20.0,
        seen: |m| m.joined.counts.of(What::Views) as f64,
        within: 2.0,
    },
];
