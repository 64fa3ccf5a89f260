//! Seeded randomness: a failed run is repeated with its seed.

use std::time::Duration;

/// Repeats a run; without it each run has a seed of its own.
const SEED_VARIABLE: &str = "FLEXCORE_TEST_SEED";

/// SplitMix64: enough for moments in time, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    /// From the environment or fresh; the seed is printed, and shown by the test runner when the test fails.
    pub(crate) fn seeded() -> Self {
        let seed = match std::env::var(SEED_VARIABLE) {
            Ok(text) => text.parse().unwrap_or_else(|e| panic!("{SEED_VARIABLE}={text}: {e}")),
            Err(_) => uuid::Uuid::now_v7().as_u64_pair().1,
        };
        eprintln!("repeat with {SEED_VARIABLE}={seed}");
        Self(seed)
    }

    /// A moment up to `longest` from now.
    pub(crate) fn moment(&mut self, longest: Duration) -> Duration {
        longest.mul_f64((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// One of them; `None` of none.
    pub(crate) fn choice<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(all.len()).ok().filter(|count| *count > 0)?;
        all.get(usize::try_from(self.next() % count).ok()?)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[test]
fn the_same_seed_gives_the_same_moments_and_all_within_bounds() {
    let longest = Duration::from_secs(2);
    let moments = |seed| {
        let mut random = Random(seed);
        (0..100).map(|_| random.moment(longest)).collect::<Vec<_>>()
    };
    assert_eq!(moments(7), moments(7));
    assert_ne!(moments(7), moments(8));
    assert!(moments(7).iter().all(|moment| *moment < longest));
    assert!(moments(7).iter().any(|moment| *moment > longest / 2), "they are spread");
}
