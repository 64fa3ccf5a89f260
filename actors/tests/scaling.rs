//! What nodes ask of the store and of each other grows with their number as docs/scaling.md says: clusters of 3, 8 and 24
//! real nodes on the in-memory adapters, in simulated time. Counts, never times; `benches/scaling.rs` goes up to 100.

#[path = "../../benches/simulation/mod.rs"]
#[expect(dead_code, reason = "the benchmark shares it")]
mod simulation;

use flexcore_actors::limits::HANDOFFS;

use self::simulation::measured::{LAWS, Measured};
use self::simulation::{What, simulate};

const NODES: [usize; 3] = [3, 8, 24];
const AGGREGATES: usize = 2_000;
const COMMANDS: usize = 100;

fn measure(nodes: usize, aggregates: usize) -> Measured {
    simulate(Measured::of(nodes, aggregates, COMMANDS))
}

#[test]
fn counts_grow_with_the_nodes_as_the_laws_say() {
    for nodes in NODES {
        let cluster = measure(nodes, AGGREGATES);
        for law in LAWS {
            let (seen, by_law) = ((law.seen)(&cluster), (law.law)(nodes as f64));
            let within = by_law / law.within..=by_law * law.within;
            assert!(within.contains(&seen), "{} of {nodes} nodes: {seen}, by the law {by_law}", law.what);
        }
        changes_cost_what_they_must(&cluster);
        let most = cluster.shards.iter().max().copied();
        assert!(most <= Some(cluster.most_shards()), "{:?}", cluster.shards);
        assert_eq!(cluster.shards.iter().sum::<usize>(), 256);
        assert_eq!(cluster.stored.iter().sum::<usize>(), AGGREGATES);
        assert_eq!(
            cluster.resident, COMMANDS as u64,
            "what was asked for is in memory, once, and nothing else"
        );
        assert_eq!(cluster.commands.0.of(What::Views), 0, "no command asks where a shard is");
    }
}

fn changes_cost_what_they_must(cluster: &Measured) {
    let Measured { nodes, joined, left, lost, formed, .. } = cluster;
    for (what, change) in [("formed", formed), ("joined", joined), ("left", left), ("lost", lost)] {
        assert_eq!(change.missed, 0, "{nodes} nodes, {what}: every hint finds room");
    }
    for (what, change) in [("joined", joined), ("left", left), ("lost", lost)] {
        assert_eq!(change.claimed, change.moved as u64, "{nodes} nodes, {what}: no shard moves twice");
        let table = change.counts.of(What::Claims) + change.counts.of(What::Releases);
        let most = change.moved + HANDOFFS + 2 * nodes;
        assert!(table <= most as u64, "{nodes} nodes, {what}: {table} claims and releases, at most {most}");
    }
    let even = 256 / nodes;
    assert!(left.moved <= 2 * even + 1, "{nodes} nodes: {} moved when one left", left.moved);
    assert!(lost.moved <= 2 * even + 1, "{nodes} nodes: {} moved when one was lost", lost.moved);
}

#[test]
fn counts_do_not_depend_on_what_is_stored() {
    let (few, many) = (measure(NODES[0], AGGREGATES), measure(NODES[0], 5 * AGGREGATES));
    for law in LAWS {
        let (few, many) = ((law.seen)(&few), (law.seen)(&many));
        assert!(many <= few * 1.2 + 5.0 && few <= many * 1.2 + 5.0, "{}: {few} and {many}", law.what);
    }
    assert_eq!(few.routing_bytes, many.routing_bytes, "routes are those of shards, not of aggregates");
    assert_eq!(few.resident, many.resident);
}
