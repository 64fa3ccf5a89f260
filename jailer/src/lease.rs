//! How long the tree may run without news of its node: after that it is stopped, so that nothing of it happens while another
//! node may go on with its work, and later killed. What renews it and what follows from an end is `supervise`'s.

use crate::limits::{FREEZE_ROUNDS, FROZEN_MAX, LEASE_LOOK};
use crate::process_tree::{descendants, signal};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};
use std::collections::BTreeSet;
use std::time::Duration;

/// The lease of one tree; without one it runs for as long as the daemon holds the socket.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    until: Option<Duration>,
    frozen: bool,
}

/// What a lease has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lapse {
    /// It runs, or there is none.
    None,
    /// It has run out: nothing of the tree may run.
    Freeze,
    /// It ran out so long ago that nobody will renew it.
    Kill,
}

impl Lease {
    /// Lets it run until this moment of [`since_boot`]. Absolute, so that news which came late renews nothing.
    pub(crate) fn renew(&mut self, until: Duration) {
        self.until = Some(until);
    }

    /// How long to wait at most before the next look: `poll` does not count the machine's sleep, the lease does.
    pub(crate) fn due(&self, now: Duration) -> Option<Duration> {
        let until = self.until?;
        let next = if now < until { until } else { until + FROZEN_MAX };
        Some(next.saturating_sub(now).min(LEASE_LOOK))
    }

    pub(crate) fn lapse(&self, now: Duration) -> Lapse {
        match self.until {
            Some(until) if now >= until + FROZEN_MAX => Lapse::Kill,
            Some(until) if now >= until => Lapse::Freeze,
            _ => Lapse::None,
        }
    }

    /// Whether the tree is stopped now.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Stops the tree, or lets it go on, as the lease says; false if it has to be killed. Init is left running: it does
    /// nothing of its own, and has to reap.
    pub(crate) fn enforce(&mut self, now: Duration, init: Option<Pid>) -> bool {
        match (self.lapse(now), self.frozen) {
            (Lapse::Kill, _) => return false,
            (Lapse::Freeze, false) => {
                self.frozen = true;
                return stop(init);
            }
            (Lapse::None, true) => {
                self.frozen = false;
                send(init, Signal::SIGCONT);
            }
            (Lapse::Freeze, true) | (Lapse::None, false) => {}
        }
        true
    }
}

/// Stops every process. One that was just forked is found in the next round; who outruns all rounds is not to be stopped.
fn stop(init: Option<Pid>) -> bool {
    let mut stopped = BTreeSet::new();
    (0..FREEZE_ROUNDS).any(|_| {
        let found = send(init, Signal::SIGSTOP);
        let is_quiet = found.is_subset(&stopped);
        stopped.extend(found);
        is_quiet
    })
}

/// Signals everyone but init; answers who that was.
fn send(init: Option<Pid>, what: Signal) -> BTreeSet<Pid> {
    let mut found = BTreeSet::new();
    for descendant in descendants(getpid()) {
        if Some(descendant.pid) != init {
            signal(getpid(), descendant, what);
            found.insert(descendant.pid);
        }
    }
    found
}

/// How long the machine has been up, its sleep included: the clock of leases, the same for daemon and launcher.
#[must_use]
pub fn since_boot() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec to the place it is given, which lives until it returns. It cannot fail: every
    // kernel that the launcher runs on has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_runs_out_then_its_tree_is_given_up_and_news_in_between_renew_it() {
        let mut lease = Lease::default();
        assert_eq!((lease.lapse(100 * SECOND), lease.due(100 * SECOND)), (Lapse::None, None));
        lease.renew(104 * SECOND);
        assert_eq!(lease.lapse(103 * SECOND), Lapse::None);
        assert_eq!(lease.lapse(104 * SECOND), Lapse::Freeze);
        assert_eq!(lease.lapse(104 * SECOND + FROZEN_MAX), Lapse::Kill);
        assert_eq!(lease.due(104 * SECOND + FROZEN_MAX), Some(Duration::ZERO));
        lease.renew(109 * SECOND);
        assert_eq!(lease.lapse(108 * SECOND), Lapse::None);
    }
}
