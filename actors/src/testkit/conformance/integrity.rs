//! Promises of [`IntegrityStore`], one function each, run against every adapter by [`integrity_store_conformance!`], and
//! that a sealed tree can be read back from it.
//!
//! [`integrity_store_conformance!`]: crate::integrity_store_conformance

use std::sync::Arc;

use jiff::Timestamp;

use super::Fixture;
use super::kit::{Writer, pipeline};
use crate::domain::ids::Position;
use crate::domain::integrity::leaf::next_digest;
use crate::domain::integrity::merkle::{
    Hash, ProofPlan, TILE_WIDTH, Tile, TreeBuilder, empty_root, verify_consistency, verify_inclusion,
};
use crate::ports::integrity_store::{LogState, Seal, SealOutcome, StoredCheckpoint, StreamEnd};
use crate::ports::{BoxFuture, IntegrityStore};
use crate::runtime::integrity::tree::{SealedTree, leaves};

/// A store that is sealed too.
pub trait IntegrityFixture: Fixture {
    /// Where tiles and checkpoints are kept.
    fn integrity(&self) -> Arc<dyn IntegrityStore>;

    /// A handle as another node would have.
    fn another_integrity(&self) -> BoxFuture<'_, Arc<dyn IntegrityStore>> {
        Box::pin(std::future::ready(self.integrity()))
    }
}

/// Runs every promise of the integrity store as a test of its own against the given [`IntegrityFixture`].
#[macro_export]
macro_rules! integrity_store_conformance {
    ($fixture:ty) => {
        $crate::event_store_conformance! { @each $fixture:
            the_log_state_follows_the_log,
            leaves_are_those_of_the_events,
            the_records_of_streams_follow_them,
            a_seal_is_stored_whole,
            a_seal_on_another_checkpoint_is_refused,
            of_seals_at_the_same_time_one_is_stored,
            a_sealed_tree_gives_its_proofs,
        }
    };
}

/// A tile of made-up hashes.
fn tile(level: u8, index: u64) -> Tile {
    let hash = |n: usize| -> Hash {
        let mut hash = [level; 32];
        hash[..8].copy_from_slice(&(index * 256 + n as u64).to_be_bytes());
        hash
    };
    Tile { level, index, hashes: (0..TILE_WIDTH).map(hash).collect() }
}

fn seal(previous: u64, size: u64, tiles: Vec<Tile>) -> Seal {
    let sealed_at = Timestamp::from_microsecond(1_767_225_600_000_001).expect("a constant in range");
    let note = format!("a note over {size} events — signed\n");
    Seal { previous, tiles, checkpoint: StoredCheckpoint { size, root: [7; 32], note, sealed_at } }
}

/// Position and digest follow every commit, and the latest checkpoint every seal.
pub async fn the_log_state_follows_the_log<F: IntegrityFixture>(fixture: &F) {
    let store = fixture.integrity();
    assert_eq!(store.log_state().await.expect("log_state"), LogState::default());
    let writer = Writer::claim(fixture).await;
    let mut digest = None;
    for n in 0..3 {
        writer.commit(&writer.unit(&pipeline("p"), n * 2, 2)).await;
        let log = writer.log().await;
        digest = Some(next_digest(digest, log[log.len() - 2..].iter().map(|event| event.hashes.leaf)));
        let state = store.log_state().await.expect("log_state");
        assert_eq!(state, LogState { position: Position((n + 1) * 2), digest, sealed: None });
    }
    for (previous, size) in [(0, 3), (3, 6)] {
        let seal = Arc::new(seal(previous, size, Vec::new()));
        assert_eq!(store.seal(Arc::clone(&seal)).await.expect("seal"), SealOutcome::Sealed);
        let state = store.log_state().await.expect("log_state");
        assert_eq!(state.sealed.as_ref(), Some(&seal.checkpoint));
        assert_eq!((state.position, state.digest), (Position(6), digest));
    }
}

/// Leaves by index, in order; those beyond the end are left out.
pub async fn leaves_are_those_of_the_events<F: IntegrityFixture>(fixture: &F) {
    let (store, writer) = (fixture.integrity(), Writer::claim(fixture).await);
    writer.commit(&writer.unit(&pipeline("a"), 0, 7)).await;
    writer.commit(&writer.unit(&pipeline("b"), 0, 3)).await;
    let all: Vec<Hash> = writer.log().await.iter().map(|event| event.hashes.leaf.0).collect();
    for (range, expected) in
        [(0..10, 0..10), (0..1, 0..1), (3..8, 3..8), (8..20, 8..10), (10..20, 10..10), (4..4, 4..4)]
    {
        assert_eq!(store.leaves(range.clone()).await.expect("leaves"), all[expected], "{range:?}");
    }
}

/// Each stream's record names its last event; they come by name, in pages.
pub async fn the_records_of_streams_follow_them<F: IntegrityFixture>(fixture: &F) {
    let (store, writer) = (fixture.integrity(), Writer::claim(fixture).await);
    assert_eq!(store.stream_ends(None, 9).await.expect("stream_ends"), []);
    let names = ["b", "a", "c", "a-b"].map(pipeline);
    for (n, stream) in (1..).zip(&names) {
        writer.commit(&writer.unit(stream, 0, n)).await;
    }
    writer.commit(&writer.unit(&names[0], 1, 2)).await;
    let mut expected: Vec<StreamEnd> = Vec::new();
    for stream in &names {
        let last = writer.stream(stream).await.pop().expect("it has events");
        expected.push(StreamEnd { stream: last.stream, version: last.version, leaf: last.hashes.leaf });
    }
    expected.sort_by(|a, b| a.stream.cmp(&b.stream));
    assert_eq!(store.stream_ends(None, 9).await.expect("stream_ends"), expected);
    let mut paged = store.stream_ends(None, 1).await.expect("stream_ends");
    while let Some(next) =
        store.stream_ends(paged.last().map(|end| &end.stream), 1).await.expect("more").pop()
    {
        paged.push(next);
    }
    assert_eq!(paged, expected);
}

/// Tiles, their roots and checkpoints come back as they were stored, in order and in pages.
pub async fn a_seal_is_stored_whole<F: IntegrityFixture>(fixture: &F) {
    let store = fixture.integrity();
    let first = seal(0, 700, vec![tile(0, 0), tile(0, 1)]);
    let second = seal(700, 70_000, vec![tile(0, 2), tile(0, 3), tile(1, 0)]);
    for seal in [&first, &second] {
        assert_eq!(store.seal(Arc::new(seal.clone())).await.expect("seal"), SealOutcome::Sealed);
    }
    for (level, from, limit, expected) in [
        (0, 0, 10, vec![0, 1, 2, 3]),
        (0, 1, 2, vec![1, 2]),
        (0, 4, 9, vec![]),
        (1, 0, 1, vec![0]),
        (2, 0, 1, vec![]),
    ] {
        let expected: Vec<Tile> = expected.into_iter().map(|index| tile(level, index)).collect();
        let roots: Vec<Hash> = expected.iter().map(Tile::root).collect();
        assert_eq!(store.tile_roots(level, from, limit).await.expect("tile_roots"), roots);
        assert_eq!(store.tiles(level, from, limit).await.expect("tiles"), expected);
    }
    let (a, b) = (first.checkpoint, second.checkpoint);
    for (after, limit, expected) in [
        (0, 10, vec![&a, &b]),
        (0, 1, vec![&a]),
        (699, 9, vec![&a, &b]),
        (700, 9, vec![&b]),
        (70_000, 9, vec![]),
    ] {
        let found = store.checkpoints(after, limit).await.expect("checkpoints");
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "after {after}");
    }
}

/// A seal that was made on another checkpoint than the latest stores nothing.
pub async fn a_seal_on_another_checkpoint_is_refused<F: IntegrityFixture>(fixture: &F) {
    let store = fixture.integrity();
    assert_eq!(store.seal(Arc::new(seal(5, 9, vec![tile(0, 0)]))).await.expect("seal"), SealOutcome::Behind);
    assert_eq!(store.log_state().await.expect("log_state").sealed, None);
    store.seal(Arc::new(seal(0, 5, Vec::new()))).await.expect("seal");
    for stale in [seal(0, 9, vec![tile(0, 0)]), seal(4, 9, vec![tile(0, 0)]), seal(0, 5, Vec::new())] {
        assert_eq!(store.seal(Arc::new(stale)).await.expect("seal"), SealOutcome::Behind);
    }
    assert_eq!(store.tiles(0, 0, 9).await.expect("tiles"), []);
    assert_eq!(store.checkpoints(0, 9).await.expect("checkpoints").len(), 1);
}

/// Nodes that seal on the same checkpoint at the same time: one is stored, the others learn that they are behind.
pub async fn of_seals_at_the_same_time_one_is_stored<F: IntegrityFixture>(fixture: &F) {
    for round in 0..10 {
        let mut nodes = Vec::new();
        for _ in 0..4 {
            let store = fixture.another_integrity().await;
            let seal = Arc::new(seal(round * 10, (round + 1) * 10, vec![tile(0, round)]));
            nodes.push(tokio::spawn(async move { store.seal(seal).await }));
        }
        let mut stored = 0;
        for node in nodes {
            let outcome = node.await.expect("a node failed").expect("seal");
            stored += usize::from(outcome == SealOutcome::Sealed);
        }
        assert_eq!(stored, 1, "round {round}");
    }
    assert_eq!(fixture.integrity().checkpoints(0, 99).await.expect("checkpoints").len(), 10);
}

/// What was sealed in several steps can be proved from what is stored: inclusion, consistency, and where it goes on.
pub async fn a_sealed_tree_gives_its_proofs<F: IntegrityFixture>(fixture: &F) {
    const EVENTS: u64 = 700;
    let (store, writer) = (fixture.integrity(), Writer::claim(fixture).await);
    for n in 0..7 {
        writer.commit(&writer.unit(&pipeline("p"), n * 100, 100)).await;
    }
    let all = leaves(&*store, 0, EVENTS).await.expect("leaves");
    assert!(leaves(&*store, 0, EVENTS + 1).await.is_err(), "a missing leaf is noticed");
    let mut tree = TreeBuilder::default();
    let mut roots = vec![empty_root()];
    for (from, to) in [(0, 100), (100, 256), (256, 600)] {
        let mut tiles = Vec::new();
        for leaf in &all[from..to] {
            tree.append(*leaf, |tile| tiles.push(tile));
            roots.push(tree.root());
        }
        store.seal(Arc::new(seal(from as u64, to as u64, tiles))).await.expect("seal");
    }
    let size = tree.size();
    let mut sealed = SealedTree::new(&*store, size);
    let resumed = sealed.builder().await.expect("builder");
    assert_eq!((resumed.size(), resumed.root()), (size, tree.root()));
    for (index, leaf) in all[..600].iter().enumerate().step_by(37).chain([(599, &all[599])]) {
        let plan = ProofPlan::inclusion(index as u64, size).expect("in range");
        let proof = sealed.prove(&plan).await.expect("prove");
        verify_inclusion(leaf, index as u64, size, &proof, &tree.root()).expect("inclusion");
        assert_eq!(sealed.leaf(index as u64).await.expect("leaf"), *leaf);
    }
    for from in [0_usize, 1, 100, 255, 256, 257, 511, 512, 513, 599, 600] {
        let root = sealed.root_at(from as u64).await.expect("root_at");
        assert_eq!(root, roots[from], "size {from}");
        let plan = ProofPlan::consistency(from as u64, size).expect("in range");
        let proof = sealed.prove(&plan).await.expect("prove");
        verify_consistency(from as u64, size, &root, &tree.root(), &proof).expect("consistency");
    }
}
