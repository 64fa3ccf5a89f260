//! A throttle by records per second. It decides how long to wait; it neither sleeps nor writes.

use std::time::{Duration, Instant};

/// Shorter waits are saved up, because a sleep costs more than a record.
const SHORTEST_WAIT: Duration = Duration::from_millis(2);

/// Spreads records evenly over time; without a rate it never asks for a wait.
#[derive(Debug)]
pub(crate) struct Pace {
    seconds_per_record: Option<f64>,
    started: Instant,
    records: u64,
}

impl Pace {
    /// `rate` in records per second, greater than zero; `None` for no limit.
    pub fn new(rate: Option<f64>, now: Instant) -> Self {
        Self { seconds_per_record: rate.map(f64::recip), started: now, records: 0 }
    }

    /// Counts one record and says how long to wait before the next, if it is worth waiting.
    #[inline]
    pub fn record(&mut self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        let each = self.seconds_per_record?;
        self.records += 1;
        // A rate of one record in many years is a wait that overflows: wait as long as can be said.
        let due = Duration::try_from_secs_f64(each * self.records as f64).unwrap_or(Duration::MAX);
        let wait = due.saturating_sub(now().saturating_duration_since(self.started));
        (wait >= SHORTEST_WAIT).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up_to_the_rate() {
        let start = Instant::now();
        let mut now = start;
        let mut pace = Pace::new(Some(10_000.0), start);
        for _ in 0..50_000 {
            if let Some(wait) = pace.record(|| now) {
                now += wait;
            }
        }
        let taken = now - start;
        assert!(taken > Duration::from_millis(4_990) && taken < Duration::from_millis(5_010), "{taken:?}");
    }

    #[test]
    fn no_rate_means_no_wait_and_no_clock() {
        let mut pace = Pace::new(None, Instant::now());
        assert_eq!(pace.record(|| unreachable!("the clock costs time")), None);
    }

    #[test]
    fn an_absurdly_low_rate_does_not_overflow() {
        let now = Instant::now();
        assert_eq!(Pace::new(Some(f64::MIN_POSITIVE), now).record(|| now), Some(Duration::MAX));
    }
}
