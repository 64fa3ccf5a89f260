//! The directory: finds the one actor of an aggregate, spawns it when it is not in memory, and lets idle ones go.
//!
//! An aggregate leaves memory only when nobody waits for it: all permits of its mailbox are taken at once, then
//! the permits are closed, so that whoever still holds the handle asks the directory again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use ractor::Actor;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::actor::AggregateActor;
use super::handle::{Closed, Handle, Slot, Submission, SubmitError, Submitted};
use super::snapshots::Snapshots;
use crate::domain::aggregate::Aggregate;
use crate::domain::ids::{Epoch, StreamId};
use crate::limits::{CONFLICT_RETRIES, MAILBOX, MAX_RESIDENT};
use crate::ports::{BoxFuture, Clock, EventStore, IdSource};
use crate::runtime::committer::Committer;
use crate::runtime::inspect::Life;
use crate::runtime::supervisor::{Child, SupervisorHandle};

/// What all aggregates of a node need.
pub struct Shared {
    /// Where events are read.
    pub store: Arc<dyn EventStore>,
    /// Where events are written.
    pub committer: Committer,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
    /// The epoch of each shard, by index, under which this node owns it.
    pub epochs: Vec<Epoch>,
    /// Where aggregates keep what makes their next recovery faster.
    pub snapshots: Snapshots,
    /// Bounds how many aggregates recover at the same time.
    pub recoveries: Semaphore,
    /// Bounds how many streams are folded up to a moment of the past at the same time.
    pub replays: Semaphore,
    /// Cancelled when a write was fenced: another node has taken over and this one must end.
    pub superseded: CancellationToken,
}

/// The aggregates of one kind that are in memory.
pub struct Directory<A: Aggregate> {
    supervisor: SupervisorHandle,
    shared: Arc<Shared>,
    slots: DashMap<StreamId, Arc<Slot<A>>>,
    /// When room was last made, in milliseconds after `began`.
    made_room: AtomicU64,
    began: Instant,
}

impl<A: Aggregate> Directory<A> {
    /// An empty directory whose aggregates are supervised by `supervisor`.
    #[must_use]
    pub fn new(supervisor: SupervisorHandle, shared: Arc<Shared>) -> Self {
        Self {
            supervisor,
            shared,
            slots: DashMap::new(),
            made_room: AtomicU64::default(),
            began: Instant::now(),
        }
    }

    /// Submits a command to the aggregate of `stream`.
    ///
    /// # Errors
    /// Every kind of [`SubmitError`].
    pub async fn submit(
        &self,
        stream: &StreamId,
        submission: Submission<A::Command>,
    ) -> Result<Submitted, SubmitError> {
        for _ in 0..=CONFLICT_RETRIES {
            match self.find(stream).await?.submit(submission.clone()).await {
                Ok(submitted) => return Ok(submitted),
                Err(Closed::Answer(error)) => return Err(error),
                Err(Closed::Passivated) => {}
            }
        }
        Err(SubmitError::Overloaded)
    }

    /// The state of the aggregate of `stream`, as of every acknowledged command, and its changes from then on.
    ///
    /// # Errors
    /// When it cannot be loaded now.
    pub async fn follow(&self, stream: &StreamId) -> Result<(Arc<A>, watch::Receiver<Arc<A>>), SubmitError> {
        for _ in 0..=CONFLICT_RETRIES {
            let handle = self.find(stream).await?;
            // subscribed before the read, so that no change between the two is missed
            let changes = handle.watch();
            match handle.read().await {
                Ok(state) => return Ok((state, changes)),
                Err(Closed::Answer(error)) => return Err(error),
                Err(Closed::Passivated) => {}
            }
        }
        Err(SubmitError::Overloaded)
    }

    /// The state of the aggregate of `stream`, as of every acknowledged command.
    ///
    /// # Errors
    /// When it cannot be loaded now.
    pub async fn read(&self, stream: &StreamId) -> Result<Arc<A>, SubmitError> {
        self.follow(stream).await.map(|(state, _)| state)
    }

    /// Lets go of aggregates that nobody spoke to for `idle` and nobody follows.
    pub fn passivate(&self, idle: Duration) {
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        self.slots.retain(|_, slot| {
            let wanted = slot.probe.idle_ms() < idle_ms
                || slot.probe.life() != Life::Running
                || slot.state.receiver_count() > 0;
            wanted || !let_go(slot)
        });
    }

    /// Ends a quarantined aggregate's quarantine; false when it is not in quarantine.
    pub async fn release(&self, stream: &StreamId) -> bool {
        self.supervisor.release(stream.as_str()).await
    }

    async fn find(&self, stream: &StreamId) -> Result<Handle<A>, SubmitError> {
        let found = self.slots.get(stream).map(|slot| Arc::clone(&slot));
        let slot = match found {
            Some(slot) => slot,
            None => {
                self.make_room()?;
                let probe = || self.supervisor.probe(stream.as_str(), A::CATEGORY.as_str());
                let make = || Slot::new(stream.clone(), probe());
                Arc::clone(&self.slots.entry(stream.clone()).or_insert_with(make))
            }
        };
        if slot.probe.life() == Life::Starting {
            let child = Child { probe: Arc::clone(&slot.probe), spawn: self.spawner(&slot) };
            self.supervisor.start(child).await;
        }
        Ok(Handle(slot))
    }

    /// Bounds how many aggregates are in memory, also against someone who asks for ever new names: when there are
    /// too many, those that were not used for a second go; that is looked for at most once a second.
    fn make_room(&self) -> Result<(), SubmitError> {
        if self.slots.len() < MAX_RESIDENT {
            return Ok(());
        }
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.made_room.load(Relaxed);
        let due = now.saturating_sub(last) >= 1_000;
        if due && self.made_room.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            self.passivate(Duration::from_secs(1));
        }
        if self.slots.len() < MAX_RESIDENT { Ok(()) } else { Err(SubmitError::Overloaded) }
    }

    fn spawner(&self, slot: &Arc<Slot<A>>) -> crate::runtime::supervisor::Spawn {
        let (slot, shared) = (Arc::clone(slot), Arc::clone(&self.shared));
        Arc::new(move |supervisor| {
            let (slot, shared) = (Arc::clone(&slot), Arc::clone(&shared));
            let spawned: BoxFuture<'static, _> = Box::pin(async move {
                let actor = AggregateActor { slot: Arc::clone(&slot), shared };
                let (actor, _) = Actor::spawn_linked(None, actor, (), supervisor).await?;
                let cell = actor.get_cell();
                *slot.actor.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(actor);
                Ok(cell)
            });
            spawned
        })
    }
}

/// Ends an aggregate that nobody waits for; false when somebody does.
fn let_go<A: Aggregate>(slot: &Slot<A>) -> bool {
    let all = u32::try_from(MAILBOX).unwrap_or(u32::MAX);
    let Ok(permits) = slot.permits.try_acquire_many(all) else { return false };
    slot.permits.close();
    drop(permits);
    let actor = slot.actor.write().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(actor) = actor {
        actor.stop(None);
    }
    true
}
