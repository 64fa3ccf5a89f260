//! The supervisor with children that fail: restarts, quarantine, release, escalation, drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use flexcore_actors::ports::BoxFuture;
use flexcore_actors::ports::clock::System;
use flexcore_actors::runtime::inspect::{Inspector, Life, Probe};
use flexcore_actors::runtime::supervisor::{Child, SupervisorHandle};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::world::DEADLINE;

/// Fails as soon as it lives, as long as there are failures left.
struct Fragile(Arc<AtomicU32>);

impl Actor for Fragile {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        myself.cast(()).unwrap();
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if left.is_ok() { Err("it broke".into()) } else { Ok(()) }
    }
}

async fn supervisor(inspector: &Inspector) -> SupervisorHandle {
    SupervisorHandle::spawn("root", inspector.clone(), Arc::new(System), None).await.unwrap()
}

/// Starts a child that fails so many times.
async fn child(supervisor: &SupervisorHandle, name: &str, failures: u32) -> Arc<Probe> {
    let probe = supervisor.probe(name, "fragile");
    let left = Arc::new(AtomicU32::new(failures));
    let spawn = Arc::new(move |supervisor| {
        let actor = Fragile(Arc::clone(&left));
        let spawned: BoxFuture<'static, _> =
            Box::pin(async move { Ok(Actor::spawn_linked(None, actor, (), supervisor).await?.0.get_cell()) });
        spawned
    });
    supervisor.start(Child { probe: Arc::clone(&probe), spawn }).await;
    probe
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "{what} was not reached in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_failed_child_is_started_again() {
    let inspector = Inspector::new("n1");
    let supervisor = supervisor(&inspector).await;
    let probe = child(&supervisor, "a", 2).await;
    until("the second restart", || probe.restarts() == 2 && probe.life() == Life::Running).await;
    assert_eq!(probe.last_error().as_deref(), Some("it broke"));
    assert_eq!(inspector.restarts(), 2);
}

#[tokio::test]
async fn a_child_that_fails_too_often_is_quarantined_alone() {
    let inspector = Inspector::new("n1");
    let supervisor = supervisor(&inspector).await;
    let well = child(&supervisor, "well", 0).await;
    let sick = child(&supervisor, "sick", 5).await;
    until("the quarantine", || sick.life() == Life::Quarantined).await;
    assert_eq!((well.life(), well.restarts()), (Life::Running, 0), "its sibling is left alone");
    assert!(!supervisor.release("well").await, "only what is in quarantine can be released");
    assert!(supervisor.release("sick").await);
    until("the restart after the release", || sick.life() == Life::Running).await;
    assert_eq!(inspector.one("sick").unwrap().state, "running");
}

#[tokio::test]
async fn a_supervisor_gives_up_only_when_many_children_fail() {
    let inspector = Inspector::new("n1");
    let supervisor = supervisor(&inspector).await;
    for n in 0..9 {
        child(&supervisor, &format!("c{n}"), 1).await;
    }
    until("nine restarts", || inspector.restarts() == 9).await;
    child(&supervisor, "c9", 1).await;
    tokio::time::timeout(DEADLINE, supervisor.ended()).await.expect("the tenth failure ends it");
}

#[tokio::test]
async fn draining_ends_all_children() {
    let inspector = Inspector::new("n1");
    let supervisor = supervisor(&inspector).await;
    child(&supervisor, "a", 0).await;
    child(&supervisor, "b", 0).await;
    tokio::time::timeout(DEADLINE, supervisor.drain(DEADLINE)).await.unwrap();
    tokio::time::timeout(DEADLINE, supervisor.ended()).await.unwrap();
}

#[tokio::test]
async fn a_supervisor_survives_few_children_that_fail_often() {
    let inspector = Inspector::new("n1");
    let supervisor = supervisor(&inspector).await;
    let (one, other) = (child(&supervisor, "one", 5).await, child(&supervisor, "other", 5).await);
    // together they fail ten times
    until("both quarantines", || [&one, &other].iter().all(|c| c.life() == Life::Quarantined)).await;
    assert!(supervisor.release("one").await, "the supervisor still answers");
    until("the restart after the release", || one.life() == Life::Running).await;
}
