//! Time that moves only when a test moves it, and randomness from a seed that is printed, so that a failure can be
//! repeated: `FLEXCORE_TEST_SEED=<seed>`. Never a real clock.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use crate::ports::{Clock, IdSource, Uptime};

/// The variable that sets the seed of [`ManualClock::seeded`].
pub const SEED_VARIABLE: &str = "FLEXCORE_TEST_SEED";

/// 2026-01-01T00:00:00Z: where a manual clock begins.
const BEGINNING_SECONDS: i64 = 1_767_225_600;

/// A clock that stands still until it is told, and a source of ids that repeats itself from its seed.
#[derive(Debug)]
pub struct ManualClock {
    seed: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    random: u64,
}

impl ManualClock {
    /// A clock with a given seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let now = Timestamp::from_second(BEGINNING_SECONDS).expect("a constant in range");
        Self { seed, state: Mutex::new(State { now, random: seed }) }
    }

    /// A clock with the seed of the environment, else a fresh one; the seed is printed on standard error, which the
    /// test runner shows when the test fails.
    ///
    /// # Panics
    /// When the variable is set to something else than a whole number.
    #[must_use]
    pub fn seeded() -> Self {
        let seed = match std::env::var(SEED_VARIABLE) {
            Ok(text) => {
                text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE}={text:?} is not a whole number"))
            }
            Err(_) => {
                u64::from_le_bytes(Uuid::now_v7().as_bytes()[8..].try_into().expect("the last 8 of 16 bytes"))
            }
        };
        eprintln!("repeat with {SEED_VARIABLE}={seed}");
        Self::new(seed)
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Moves time on.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.now = state.now.checked_add(by).expect("a test stays within the range of times");
    }

    /// The next random number.
    pub fn random(&self) -> u64 {
        next(&mut self.state().random)
    }

    /// A random number below `bound`, which is above 0; the slight bias of the remainder does not matter to tests.
    pub fn below(&self, bound: u64) -> u64 {
        self.random() % bound
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state().now
    }
}

impl Uptime for ManualClock {
    fn uptime(&self) -> Duration {
        let beginning = Timestamp::from_second(BEGINNING_SECONDS).expect("a constant in range");
        self.now().duration_since(beginning).try_into().expect("time only moves on")
    }
}

/// The time since its making, for tests whose time is real.
#[derive(Debug, Clone, Copy)]
pub struct RunningTime(Instant);

impl Default for RunningTime {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Uptime for RunningTime {
    fn uptime(&self) -> Duration {
        self.0.elapsed()
    }
}

impl IdSource for ManualClock {
    fn uuid(&self) -> Uuid {
        let mut state = self.state();
        let millis = u64::try_from(state.now.as_millisecond()).expect("after 1970");
        let mut random = [0; 10];
        random[..8].copy_from_slice(&next(&mut state.random).to_le_bytes());
        random[8..].copy_from_slice(&next(&mut state.random).to_le_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn fraction(&self) -> f64 {
        let random = u32::try_from(self.random() >> 32).expect("32 bits are left");
        f64::from(random) / (f64::from(u32::MAX) + 1.0)
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, and good enough to choose test cases.
const fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_repeats_itself() {
        let (a, b) = (ManualClock::new(7), ManualClock::new(7));
        assert_eq!((a.uuid(), a.uuid(), a.random()), (b.uuid(), b.uuid(), b.random()));
        assert_ne!(a.uuid(), ManualClock::new(8).uuid());
    }

    #[test]
    fn time_moves_only_when_told() {
        let clock = ManualClock::new(1);
        let before = clock.now();
        assert_eq!(clock.now(), before);
        clock.advance(Duration::from_micros(3));
        assert_eq!(clock.now().as_microsecond() - before.as_microsecond(), 3);
        assert_eq!(clock.uuid().get_version_num(), 7);
    }

    #[test]
    fn fractions_stay_below_one() {
        let clock = ManualClock::new(2);
        assert!((0..10_000).all(|_| (0.0..1.0).contains(&clock.fraction())));
    }
}
