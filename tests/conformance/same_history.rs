//! The same random batches give the same outcomes and the same log on every store.

use flexcore_actors::testkit::ManualClock;
use flexcore_actors::testkit::conformance::{Fixture, History, random_history};

use crate::memory::Memory;
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;

const SEEDS: u64 = 4;

async fn history<F: Fixture>(seed: u64) -> History {
    let fixture = F::open().await;
    let history = random_history(fixture.store(), seed).await;
    fixture.close().await;
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_stores_answer_alike() {
    let first = ManualClock::seeded().seed();
    for seed in (0..SEEDS).map(|n| first.wrapping_add(n)) {
        let expected = history::<Memory>(seed).await;
        compare("sqlite", seed, &history::<Sqlite>(seed).await, &expected);
        compare("postgresql", seed, &history::<Postgres>(seed).await, &expected);
    }
}

/// Batch by batch first: the first difference is what a person needs to see.
fn compare(store: &str, seed: u64, found: &History, expected: &History) {
    for (batch, (found, expected)) in found.outcomes.iter().zip(&expected.outcomes).enumerate() {
        assert_eq!(found, expected, "{store} differs in batch {batch} of seed {seed}");
    }
    for (found, expected) in found.log.iter().zip(&expected.log) {
        assert_eq!(found, expected, "{store} has another log, seed {seed}");
    }
    assert_eq!(found, expected, "{store} differs, seed {seed}");
}
