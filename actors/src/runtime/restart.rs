//! When a supervisor starts a failed child again, and when it gives up. Pure: time is an argument.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::limits::{
    ESCALATION_CHILDREN, ESCALATION_SHARE, ESCALATION_WINDOW, RESTART_BACKOFF, RESTART_BACKOFF_MAX,
    RESTART_WINDOW, RESTARTS,
};

/// What to do with a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after this pause.
    Restart(Duration),
    /// Leave it until an operator releases it.
    Quarantine,
}

/// The recent failures of one child.
#[derive(Debug, Default)]
pub struct RestartWindow {
    failures: VecDeque<Instant>,
}

impl RestartWindow {
    /// The child failed `now`. `fraction` in 0..1 spreads restarts of many children by up to a quarter.
    pub fn failed(&mut self, now: Instant, fraction: f64) -> Verdict {
        forget_before(&mut self.failures, now, RESTART_WINDOW, |at| *at);
        self.failures.push_back(now);
        let failures = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        if failures >= RESTARTS {
            return Verdict::Quarantine;
        }
        let pause =
            RESTART_BACKOFF.saturating_mul(2_u32.saturating_pow(failures - 1)).min(RESTART_BACKOFF_MAX);
        Verdict::Restart(pause.mul_f64(0.25f64.mul_add(fraction, 1.0)))
    }

    /// An operator released the child: it begins anew.
    pub fn forgive(&mut self) {
        self.failures.clear();
    }
}

/// The recent failures of all children of a supervisor.
#[derive(Debug, Default)]
pub struct Escalation {
    /// When which child failed.
    failures: VecDeque<(Instant, u64)>,
}

impl Escalation {
    /// The child `child` failed `now`; `children` is how many there are. True when so many of them failed lately that
    /// the cause is likely not theirs: the supervisor itself has to fail. One that fails again and again counts once.
    pub fn failed(&mut self, now: Instant, child: u64, children: usize) -> bool {
        forget_before(&mut self.failures, now, ESCALATION_WINDOW, |(at, _)| *at);
        self.failures.push_back((now, child));
        let failed = self.failures.iter().map(|(_, child)| child).collect::<HashSet<_>>().len();
        failed >= ESCALATION_CHILDREN && failed * ESCALATION_SHARE > children
    }
}

fn forget_before<T>(failures: &mut VecDeque<T>, now: Instant, window: Duration, at: fn(&T) -> Instant) {
    while failures.front().is_some_and(|failure| now.duration_since(at(failure)) >= window) {
        failures.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_failure_in_a_minute_quarantines() {
        let (mut window, start) = (RestartWindow::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let pauses: Vec<_> = (0..4).map(|s| window.failed(at(s), 0.0)).collect();
        let expected = [200, 400, 800, 1600].map(|ms| Verdict::Restart(Duration::from_millis(ms)));
        assert_eq!(pauses, expected);
        assert_eq!(window.failed(at(4), 0.0), Verdict::Quarantine);
        window.forgive();
        assert_eq!(window.failed(at(5), 0.0), expected[0]);
    }

    #[test]
    fn failures_far_apart_never_quarantine() {
        let (mut window, start) = (RestartWindow::default(), Instant::now());
        for n in 0..100 {
            let verdict = window.failed(start + Duration::from_secs(n * 61), 0.5);
            assert!(matches!(verdict, Verdict::Restart(_)), "{n}: {verdict:?}");
        }
    }

    #[test]
    fn escalation_needs_many_and_a_share() {
        let start = Instant::now();
        let escalates = |children: usize, failures: u64| {
            let mut escalation = Escalation::default();
            (0..failures).map(|child| escalation.failed(start, child, children)).last().unwrap()
        };
        assert!(!escalates(9, 9), "fewer than ten failures never escalate");
        assert!(!escalates(100, 20), "a fifth is not over a fifth");
        assert!(escalates(100, 21));
        assert!(escalates(10, 10));
        let mut escalation = Escalation::default();
        assert!((0..100).all(|n| !escalation.failed(start, n % 2, 2)), "two sick children are not ten");
    }
}
