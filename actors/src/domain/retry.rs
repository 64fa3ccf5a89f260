//! When a failed attempt is followed by another, and after which pause.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outcome::CauseKind;
use super::quantity::duration_text;
use crate::limits::MAX_LOST_ATTEMPTS;

/// A step's retry policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all; 1 is no retry.
    pub attempts: u32,
    /// The pause after the first failed attempt.
    #[serde(with = "duration_text")]
    pub initial: Duration,
    /// What each further pause is multiplied by.
    pub factor: f64,
    /// The longest pause, before jitter.
    #[serde(with = "duration_text")]
    pub max: Duration,
    /// The random share by which a pause is longer or shorter, 0 to 1.
    pub jitter: f64,
    /// Which failures are tried again.
    pub on: Vec<RetryOn>,
}

/// A class of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// Signal, oom, protocol error or failed start.
    Crash,
    /// A time limit passed.
    Timeout,
    /// The program ended with another code than 0.
    Exit,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            initial: Duration::from_secs(1),
            factor: 2.0,
            max: Duration::from_secs(60),
            jitter: 0.2,
            on: vec![RetryOn::Crash, RetryOn::Timeout, RetryOn::Exit],
        }
    }
}

impl RetryPolicy {
    /// No second attempt, whatever happens (a lost node apart).
    #[must_use]
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// The pause before the next attempt, or `None` when there is none. `counted` attempts have failed by the
    /// program's doing, this one included unless it was lost; `lost` were lost with their node or worker, which
    /// always leads to another attempt at once and uses up none of the policy's. `fraction` is random in 0..1.
    #[must_use]
    pub fn pause(&self, cause: CauseKind, counted: u32, lost: u32, fraction: f64) -> Option<Duration> {
        let class = match cause {
            CauseKind::LostNode => return (lost <= MAX_LOST_ATTEMPTS).then_some(Duration::ZERO),
            CauseKind::Exit => RetryOn::Exit,
            CauseKind::Timeout => RetryOn::Timeout,
            CauseKind::Signal | CauseKind::Oom | CauseKind::ProtocolError | CauseKind::StartFailed => {
                RetryOn::Crash
            }
            CauseKind::SandboxDenied | CauseKind::CountsDiffer | CauseKind::Cancelled => return None,
        };
        (self.on.contains(&class) && counted < self.attempts).then(|| self.backoff(counted, fraction))
    }

    /// The longest that [`Self::pause`] answers.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        self.max.mul_f64(1.0 + self.jitter)
    }

    /// `min(initial · factor^(failures−1), max)`, made longer or shorter by up to `jitter` of itself.
    fn backoff(&self, failures: u32, fraction: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let base = (self.initial.as_secs_f64() * self.factor.powi(exponent)).min(self.max.as_secs_f64());
        Duration::from_secs_f64(base * (1.0 + self.jitter * fraction.mul_add(2.0, -1.0)).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        let policy =
            RetryPolicy { attempts: 10, max: Duration::from_secs(5), jitter: 0.0, ..RetryPolicy::default() };
        let pauses: Vec<_> =
            (1..=5).map(|n| policy.pause(CauseKind::Exit, n, 0, 0.5).unwrap().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let policy = RetryPolicy::default();
        let pause = |fraction| policy.pause(CauseKind::Signal, 1, 0, fraction).unwrap().as_millis();
        assert_eq!((pause(0.0), pause(0.5)), (800, 1000));
        assert!((1190..=1200).contains(&pause(0.999)));
    }

    #[test]
    fn a_lost_node_uses_up_no_attempt() {
        let policy = RetryPolicy::never();
        assert_eq!(policy.pause(CauseKind::LostNode, 0, 1, 0.5), Some(Duration::ZERO));
        assert_eq!(policy.pause(CauseKind::LostNode, 0, MAX_LOST_ATTEMPTS + 1, 0.5), None);
        assert_eq!(policy.pause(CauseKind::Exit, 1, 5, 0.5), None);
    }

    #[test]
    fn only_named_classes_are_tried_again() {
        let policy = RetryPolicy { on: vec![RetryOn::Timeout], ..RetryPolicy::default() };
        assert!(policy.pause(CauseKind::Timeout, 1, 0, 0.5).is_some());
        for kind in [
            CauseKind::Exit,
            CauseKind::Signal,
            CauseKind::Oom,
            CauseKind::SandboxDenied,
            CauseKind::Cancelled,
        ] {
            assert_eq!(policy.pause(kind, 1, 0, 0.5), None, "{kind:?}");
        }
    }
}
