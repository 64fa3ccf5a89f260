//! What this node owns and whether it may serve, to be asked by everybody at any time without a lock: the epoch of each
//! shard, whether it admits requests, and the guard. Never in here: who should own a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::domain::ids::{Epoch, Shard};
use crate::ports::Uptime;

/// What may be done with a shard here and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Requests are served under this epoch.
    Serving(Epoch),
    /// It is this node's, but the last renewal of the lease was too long ago: neither read nor write (S5).
    Unsure,
    /// It is this node's still, and on its way to another.
    Leaving(Epoch),
    /// It is not this node's.
    Elsewhere,
}

#[derive(Debug, Default)]
struct Slot {
    /// 0: not owned.
    epoch: AtomicU64,
    leaving: AtomicBool,
}

/// The shards of this node.
pub struct Shards {
    slots: Vec<Slot>,
    uptime: Arc<dyn Uptime>,
    /// Milliseconds of uptime until which this node may serve.
    guard: AtomicU64,
    changes: watch::Sender<u64>,
    /// Somebody was refused by the store as no owner.
    pub(super) fenced: Notify,
}

impl Shards {
    /// None, and no guard yet.
    #[must_use]
    pub fn new(uptime: Arc<dyn Uptime>) -> Self {
        let slots = (0..=u8::MAX).map(|_| Slot::default()).collect();
        let (guard, changes) = (AtomicU64::new(0), watch::Sender::new(0));
        Self { slots, uptime, guard, changes, fenced: Notify::new() }
    }

    /// What may be done with a shard.
    #[must_use]
    pub fn standing(&self, shard: Shard) -> Standing {
        let slot = self.slot(shard);
        match slot.epoch.load(Ordering::SeqCst) {
            0 => Standing::Elsewhere,
            _ if self.guard_left().is_zero() => Standing::Unsure,
            epoch if slot.leaving.load(Ordering::SeqCst) => Standing::Leaving(Epoch(epoch)),
            epoch => Standing::Serving(Epoch(epoch)),
        }
    }

    /// The epoch under which the node writes to a shard; `None` when it must not. What was admitted before a shard began
    /// to leave is still written.
    #[must_use]
    pub fn epoch(&self, shard: Shard) -> Option<Epoch> {
        match self.standing(shard) {
            Standing::Serving(epoch) | Standing::Leaving(epoch) => Some(epoch),
            Standing::Unsure | Standing::Elsewhere => None,
        }
    }

    /// Whether the shard is this node's, may it serve now or not.
    #[must_use]
    pub fn owns(&self, shard: Shard) -> bool {
        self.slot(shard).epoch.load(Ordering::SeqCst) != 0
    }

    /// The shards of this node.
    #[must_use]
    pub fn owned(&self) -> Vec<Shard> {
        (0..=u8::MAX).map(Shard).filter(|shard| self.owns(*shard)).collect()
    }

    /// Whether a shard is on its way to another node.
    pub(super) fn is_leaving(&self, shard: Shard) -> bool {
        self.slot(shard).leaving.load(Ordering::SeqCst)
    }

    /// How many shards are on their way to another node.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.slots.iter().filter(|slot| slot.leaving.load(Ordering::SeqCst)).count()
    }

    /// How long the node may go on to serve without a renewal.
    #[must_use]
    pub fn guard_left(&self) -> Duration {
        let until = Duration::from_millis(self.guard.load(Ordering::SeqCst));
        until.saturating_sub(self.uptime.uptime())
    }

    /// The uptime until which the node may serve.
    #[must_use]
    pub fn guard_until(&self) -> Duration {
        Duration::from_millis(self.guard.load(Ordering::SeqCst))
    }

    /// These were claimed.
    pub fn gain(&self, claimed: &[(Shard, Epoch)]) {
        for (shard, epoch) in claimed {
            let slot = self.slot(*shard);
            slot.leaving.store(false, Ordering::SeqCst);
            slot.epoch.store(epoch.0, Ordering::SeqCst);
        }
        self.changed();
    }

    /// A shard is no longer this node's.
    pub(super) fn lose(&self, shard: Shard) {
        let slot = self.slot(shard);
        slot.epoch.store(0, Ordering::SeqCst);
        slot.leaving.store(false, Ordering::SeqCst);
        self.changed();
    }

    /// The store refused an append under this epoch: somebody else owns the shard. The membership finds out more.
    pub fn refused(&self, shard: Shard, epoch: Epoch) {
        let slot = &self.slot(shard).epoch;
        if slot.compare_exchange(epoch.0, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.changed();
        }
        self.fenced.notify_one();
    }

    /// Whether a shard admits requests.
    pub(super) fn set_leaving(&self, shard: Shard, leaving: bool) {
        self.slot(shard).leaving.store(leaving, Ordering::SeqCst);
        self.changed();
    }

    /// The lease was renewed: the node may serve until this uptime.
    pub fn serve_until(&self, until: Duration) {
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        let over = self.guard_left().is_zero();
        self.guard.fetch_max(until, Ordering::SeqCst);
        if over {
            self.changed();
        }
    }

    /// The node may serve no longer, and will not again.
    pub(super) fn give_up(&self) {
        for shard in (0..=u8::MAX).map(Shard) {
            self.lose(shard);
        }
    }

    /// Changes whenever something about a shard, the guard or the owners has.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wakes those who wait for a change.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    fn slot(&self, shard: Shard) -> &Slot {
        &self.slots[usize::from(shard.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::ManualClock;

    #[test]
    fn a_node_serves_what_it_owns_until_its_guard_ends() {
        let clock = Arc::new(ManualClock::new(1));
        let shards = Shards::new(Arc::clone(&clock) as _);
        shards.gain(&[(Shard(3), Epoch(7))]);
        assert_eq!(shards.standing(Shard(3)), Standing::Unsure, "no lease yet");
        shards.serve_until(Duration::from_secs(4));
        assert_eq!(shards.standing(Shard(3)), Standing::Serving(Epoch(7)));
        assert_eq!(shards.standing(Shard(4)), Standing::Elsewhere);
        clock.advance(Duration::from_millis(3_999));
        assert_eq!(shards.epoch(Shard(3)), Some(Epoch(7)));
        clock.advance(Duration::from_millis(1));
        assert_eq!((shards.standing(Shard(3)), shards.epoch(Shard(3))), (Standing::Unsure, None), "S5");
        shards.serve_until(Duration::from_secs(3));
        assert_eq!(shards.epoch(Shard(3)), None, "an answer that came late prolongs nothing");
        shards.serve_until(Duration::from_secs(8));
        assert_eq!(shards.epoch(Shard(3)), Some(Epoch(7)));
    }

    #[test]
    fn what_leaves_is_written_but_admits_nothing() {
        let shards = Shards::new(Arc::new(ManualClock::new(1)));
        shards.serve_until(Duration::from_secs(4));
        shards.gain(&[(Shard(0), Epoch(1)), (Shard(255), Epoch(2))]);
        shards.set_leaving(Shard(0), true);
        assert_eq!(shards.standing(Shard(0)), Standing::Leaving(Epoch(1)));
        assert_eq!((shards.epoch(Shard(0)), shards.leaving()), (Some(Epoch(1)), 1));
        shards.lose(Shard(0));
        assert_eq!((shards.standing(Shard(0)), shards.leaving()), (Standing::Elsewhere, 0));
        shards.refused(Shard(255), Epoch(1));
        assert!(shards.owns(Shard(255)), "a refusal under an earlier epoch says nothing of this one");
        shards.refused(Shard(255), Epoch(2));
        assert_eq!(shards.owned(), []);
    }
}
