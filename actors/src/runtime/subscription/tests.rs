//! Durable subscriptions on the in-memory stores: at least once, in order, poison put aside, one owner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Handler, HandlerError, ReplayError, Replayed, Subscriptions};
use crate::domain::event::RecordedEvent;
use crate::domain::ids::{Name, Position};
use crate::limits::HANDLE_ATTEMPTS;
use crate::ports::clock::System;
use crate::ports::event_store::EventFilter;
use crate::ports::subscription_store::{Claim, Grant, Subscription};
use crate::ports::{BoxFuture, Clock, EventStore, SubscriptionStore};
use crate::runtime::inspect::Inspector;
use crate::runtime::supervisor::SupervisorHandle;
use crate::testkit::conformance::{Writer, pipeline};
use crate::testkit::{MemoryStore, MemorySubscriptions};

mod takeover;

const DEADLINE: Duration = Duration::from_secs(20);

/// Notes what it handled; fails at the positions it is told to, and waits while it is held.
#[derive(Default)]
struct Notes {
    handled: watch::Sender<Vec<u64>>,
    attempts: Mutex<HashMap<u64, u32>>,
    begun: watch::Sender<u64>,
    held: watch::Sender<bool>,
    poison: Mutex<Vec<u64>>,
}

impl Handler for Notes {
    fn name(&self) -> Name {
        Name::new("notes").unwrap()
    }

    fn filter(&self) -> EventFilter {
        EventFilter::default()
    }

    fn handle<'a>(&'a self, event: &'a RecordedEvent) -> BoxFuture<'a, Result<(), HandlerError>> {
        Box::pin(async move {
            let position = event.position.0;
            *self.attempts.lock().unwrap().entry(position).or_default() += 1;
            self.begun.send_replace(position);
            self.held.subscribe().wait_for(|held| !held).await.unwrap();
            let poison = self.poison.lock().unwrap().clone();
            match poison.iter().position(|p| *p == position) {
                None => {
                    self.handled.send_modify(|handled| handled.push(position));
                    Ok(())
                }
                Some(0) => panic!("poison"),
                Some(_) => Err(HandlerError::Failed(format!("poison at {position}"))),
            }
        })
    }
}

impl Notes {
    async fn until(&self, what: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        let mut changes = self.handled.subscribe();
        let reached = tokio::time::timeout(DEADLINE, changes.wait_for(|handled| what(handled))).await;
        reached.expect("handled in time").unwrap().clone()
    }

    async fn until_begun(&self, position: u64) {
        let mut begun = self.begun.subscribe();
        let reached = tokio::time::timeout(DEADLINE, begun.wait_for(|begun| *begun == position)).await;
        reached.expect("begun in time").unwrap();
    }
}

struct Rig {
    writer: Writer,
    events: Arc<dyn EventStore>,
    places: Arc<MemorySubscriptions>,
}

struct Running {
    subscriptions: Arc<Subscriptions>,
    supervisor: SupervisorHandle,
    superseded: CancellationToken,
}

impl Rig {
    async fn new() -> Self {
        Self::timed(Arc::new(System)).await
    }

    /// Its leases run on this clock.
    async fn timed(clock: Arc<dyn Clock>) -> Self {
        let events = Arc::new(MemoryStore::new());
        let writer = Writer::claim_as(Arc::clone(&events) as _, "n1").await;
        Self { writer, events, places: Arc::new(MemorySubscriptions::new(clock)) }
    }

    /// `count` more events of the stream `p`.
    async fn append(&self, from: u64, count: usize) {
        self.writer.commit(&self.writer.unit(&pipeline("p"), from, count)).await;
    }

    async fn run(&self, owner: &str, handler: &Arc<Notes>) -> Running {
        self.run_on(owner, handler, Arc::clone(&self.places) as Arc<dyn SubscriptionStore>).await
    }

    async fn run_on(&self, owner: &str, handler: &Arc<Notes>, places: Arc<dyn SubscriptionStore>) -> Running {
        let superseded = CancellationToken::new();
        let subscriptions =
            Arc::new(Subscriptions::new(owner, Arc::clone(&self.events), places, superseded.clone()));
        let supervisor =
            SupervisorHandle::spawn("subscriptions", Inspector::new(owner), Arc::new(System), None)
                .await
                .unwrap();
        subscriptions.start(&supervisor, Arc::clone(handler) as Arc<dyn Handler>).await;
        Running { subscriptions, supervisor, superseded }
    }

    async fn place(&self) -> Subscription {
        self.places.subscriptions().await.unwrap().remove(0)
    }

    /// Waits until the checkpoint has come to `position`.
    async fn until(&self, position: Position) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while self.place().await.position < position {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the checkpoint stays behind: {:?}",
                self.place().await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn name() -> Name {
    Name::new("notes").unwrap()
}

#[tokio::test]
async fn what_is_stored_is_handled_in_order_and_a_stop_keeps_the_place() {
    let (rig, notes) = (Rig::new().await, Arc::new(Notes::default()));
    rig.append(0, 700).await;
    let running = rig.run("n1", &notes).await;
    assert_eq!(notes.until(|handled| handled.len() >= 700).await, (1..=700).collect::<Vec<_>>());
    rig.append(700, 5).await;
    running.supervisor.drain(DEADLINE).await;
    assert_eq!(
        notes.handled.borrow().len(),
        705,
        "what was stored before the stop is handled before the end"
    );
    let place = rig.place().await;
    assert_eq!((place.position, place.owner), (Position(705), None));

    rig.append(705, 1).await;
    let again = rig.run("n2", &notes).await;
    let all = notes.until(|handled| handled.len() >= 706).await;
    assert_eq!(all, (1..=706).collect::<Vec<_>>(), "nothing came twice, nothing was left out");
    again.supervisor.drain(DEADLINE).await;
}

#[tokio::test]
async fn poison_is_parked_and_replayed() {
    let (rig, notes) = (Rig::new().await, Arc::new(Notes::default()));
    *notes.poison.lock().unwrap() = vec![2, 4];
    rig.append(0, 6).await;
    let running = rig.run("n1", &notes).await;
    assert_eq!(notes.until(|handled| handled.contains(&6)).await, [1, 3, 5, 6]);
    assert_eq!(notes.attempts.lock().unwrap()[&2], HANDLE_ATTEMPTS);
    let parked = rig.places.parked(&name(), Position(0), 9).await.unwrap();
    let shown: Vec<_> = parked.iter().map(|p| (p.position.0, p.attempts, p.error.as_str())).collect();
    let panicked = "its handler panicked; the node's log has the details";
    assert_eq!(shown, [(2, HANDLE_ATTEMPTS, panicked), (4, HANDLE_ATTEMPTS, "poison at 4")]);

    let replay = async |position| running.subscriptions.replay(&name(), position).await;
    assert_eq!(replay(Some(Position(3))).await, Err(ReplayError::NotParked(Position(3))));
    assert_eq!(replay(Some(Position(4))).await, Ok(Replayed { handled: 0, failed: 1 }));
    notes.poison.lock().unwrap().clear();
    assert_eq!(replay(None).await, Ok(Replayed { handled: 2, failed: 0 }));
    assert_eq!(rig.places.parked(&name(), Position(0), 9).await.unwrap(), []);
    assert_eq!(*notes.handled.borrow(), [1, 3, 5, 6, 2, 4]);
    let other = Name::new("other").unwrap();
    assert_eq!(running.subscriptions.replay(&other, None).await, Err(ReplayError::NoHandler));
    running.supervisor.drain(DEADLINE).await;
}

#[tokio::test]
async fn another_node_takes_over_when_the_lease_is_given_back() {
    let (rig, first, second) = (Rig::new().await, Arc::new(Notes::default()), Arc::new(Notes::default()));
    rig.append(0, 3).await;
    let one = rig.run("n1", &first).await;
    first.until(|handled| handled.len() == 3).await;
    let two = rig.run("n2", &second).await;
    let elsewhere = two.subscriptions.replay(&name(), None).await;
    assert_eq!(elsewhere, Err(ReplayError::Elsewhere("n1".to_owned())));
    assert!(second.handled.borrow().is_empty());

    one.superseded.cancel();
    rig.append(3, 2).await;
    let handled = second.until(|handled| handled.contains(&5)).await;
    assert!(handled.ends_with(&[4, 5]), "{handled:?}");
    assert!(rig.place().await.owner.as_deref() == Some("n2"));
    two.supervisor.drain(DEADLINE).await;
    one.supervisor.drain(DEADLINE).await;
}

#[tokio::test]
async fn who_lost_the_lease_moves_nothing_and_claims_it_again() {
    let (rig, notes) = (Rig::new().await, Arc::new(Notes::default()));
    rig.append(0, 2).await;
    let running = rig.run("n1", &notes).await;
    notes.until(|handled| handled.len() == 2).await;
    // another life of the same node, which fences the first and then ends
    let Claim::Granted { epoch, .. } =
        rig.places.claim(&name(), "n1", Duration::from_secs(600)).await.unwrap()
    else {
        panic!("an owner's own lease is granted")
    };
    rig.append(2, 1).await;
    rig.places.release(Grant { name: &name(), epoch }).await.unwrap();
    rig.append(3, 1).await;
    notes.until(|handled| handled.contains(&4)).await;
    rig.until(Position(4)).await;
    assert!(rig.place().await.epoch > epoch, "it works under a grant of its own again");
    running.supervisor.drain(DEADLINE).await;
}
