//! A lease that runs out under a worker that still works: the two of them at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::domain::ids::Epoch;
use crate::limits::LEASE;
use crate::ports::event_store::StoreError;
use crate::ports::subscription_store::ParkedEvent;
use crate::testkit::ManualClock;

/// One node's way to the store. While it is broken no checkpoint arrives.
struct Way {
    places: Arc<MemorySubscriptions>,
    broken: AtomicBool,
    /// Whether each checkpoint that arrived was taken.
    taken: watch::Sender<Vec<bool>>,
}

impl Way {
    fn of(places: &Arc<MemorySubscriptions>) -> Arc<Self> {
        let (broken, taken) = (AtomicBool::new(false), watch::Sender::default());
        Arc::new(Self { places: Arc::clone(places), broken, taken })
    }
}

impl SubscriptionStore for Way {
    fn claim<'a>(
        &'a self,
        name: &'a Name,
        owner: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.places.claim(name, owner, lease)
    }

    fn checkpoint<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            if self.broken.load(Ordering::SeqCst) {
                return Err(StoreError::Unavailable { operation: "checkpoint", source: "broken".into() });
            }
            let taken = self.places.checkpoint(grant, position, lease).await?;
            self.taken.send_modify(|all| all.push(taken));
            Ok(taken)
        })
    }

    fn release<'a>(&'a self, grant: Grant<'a>) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.places.release(grant)
    }

    fn park<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
        attempts: u32,
        error: &'a str,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.places.park(grant, position, attempts, error)
    }

    fn unpark<'a>(&'a self, grant: Grant<'a>, position: Position) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.places.unpark(grant, position)
    }

    fn subscriptions(&self) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        self.places.subscriptions()
    }

    fn parked<'a>(
        &'a self,
        name: &'a Name,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ParkedEvent>, StoreError>> {
        self.places.parked(name, after, limit)
    }
}

/// The store's clock runs past the lease while the first node handles events and none of its checkpoints arrives, as
/// when its host slept: what it says afterwards is not taken, and what it did is done again.
#[tokio::test(start_paused = true)]
async fn a_worker_whose_lease_ran_out_moves_nothing_and_its_events_are_handled_again() {
    let clock = Arc::new(ManualClock::seeded());
    let rig = Rig::timed(Arc::clone(&clock) as Arc<dyn Clock>).await;
    let (first, second) = (Arc::new(Notes::default()), Arc::new(Notes::default()));
    let way = Way::of(&rig.places);
    rig.append(0, 3).await;
    let one = rig.run_on("n1", &first, Arc::clone(&way) as Arc<dyn SubscriptionStore>).await;
    first.until(|handled| handled.len() == 3).await;
    rig.until(Position(3)).await;

    way.broken.store(true, Ordering::SeqCst);
    rig.append(3, 3).await;
    first.until(|handled| handled.len() == 6).await;
    second.held.send_replace(true);
    clock.advance(LEASE + Duration::from_secs(1));
    let two = rig.run("n2", &second).await;
    second.until_begun(4).await;
    let taken_over = rig.place().await;
    assert_eq!(
        (taken_over.owner.as_deref(), taken_over.epoch, taken_over.position),
        (Some("n2"), Epoch(2), Position(3))
    );

    // the stale one is heard again: it still takes the lease for its own, and is beyond the new owner
    let mut said = way.taken.subscribe();
    let before = said.borrow_and_update().len();
    way.broken.store(false, Ordering::SeqCst);
    let refused = tokio::time::timeout(DEADLINE, said.wait_for(|all| all.len() > before)).await;
    assert_eq!(refused.expect("said in time").unwrap()[before..], [false]);
    let still = rig.place().await;
    assert_eq!((still.owner, still.epoch, still.position), (taken_over.owner, Epoch(2), Position(3)));
    let elsewhere = Err(ReplayError::Elsewhere("n2".to_owned()));
    assert_eq!(one.subscriptions.replay(&name(), None).await, elsewhere, "it waits for the lease again");

    second.held.send_replace(false);
    rig.append(6, 2).await;
    assert_eq!(second.until(|handled| handled.contains(&8)).await, [4, 5, 6, 7, 8]);
    rig.until(Position(8)).await;
    assert_eq!(*first.handled.borrow(), [1, 2, 3, 4, 5, 6], "nothing new after the lease was lost");
    assert_eq!(way.taken.borrow()[before..], [false]);
    two.supervisor.drain(DEADLINE).await;
    one.supervisor.drain(DEADLINE).await;
}
