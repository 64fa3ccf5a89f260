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

use super::actor::AggregateActor;
use super::handle::{Closed, Handle, Identity, Slot, Submission, SubmitError, Submitted};
use super::snapshots::Snapshots;
use crate::domain::aggregate::Aggregate;
use crate::domain::ids::{CommandId, Shard, StreamId};
use crate::limits::{CONFLICT_RETRIES, MAILBOX, MAX_RESIDENT, REMOTE_POLL};
use crate::ports::{BoxFuture, Clock, EventStore, IdSource};
use crate::runtime::cluster::{Asked, Cluster, Route};
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
    /// What this node owns, and who else there is.
    pub cluster: Arc<Cluster>,
    /// Where aggregates keep what makes their next recovery faster.
    pub snapshots: Snapshots,
    /// Bounds how many aggregates recover at the same time.
    pub recoveries: Semaphore,
    /// Bounds how many streams are folded up to a moment of the past at the same time.
    pub replays: Semaphore,
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

    /// Submits a command to the aggregate of `stream`, on whatever node it is.
    ///
    /// # Errors
    /// Every kind of [`SubmitError`] but [`SubmitError::Fenced`] as long as this node lives.
    pub async fn submit(
        &self,
        stream: &StreamId,
        mut submission: Submission<A::Command>,
    ) -> Result<Submitted, SubmitError> {
        let cluster = &self.shared.cluster;
        let (mut journey, mut lost) = (cluster.journey(), false);
        loop {
            match cluster.route(stream.shard()) {
                Route::Here => match self.submit_here(stream, submission.clone()).await {
                    Err(SubmitError::Fenced) => {}
                    answer => return answer,
                },
                Route::There(member) => {
                    // a request whose answer is lost is sent again: its id makes it happen once
                    let fresh = || Identity {
                        id: CommandId(self.shared.ids.uuid()),
                        idempotent: false,
                        request_hash: [0; 32],
                    };
                    submission.identity.get_or_insert_with(fresh);
                    match cluster.submit_to(&member, stream, &submission).await {
                        Asked::Answered(answer) => return answer,
                        Asked::Moved => {}
                        Asked::Lost => {
                            lost = true;
                            submission.identity.iter_mut().for_each(|id| id.idempotent = true);
                        }
                    }
                }
                Route::Nowhere => {}
            }
            if !journey.goes_on().await {
                return Err(self.out_of_reach(lost));
            }
        }
    }

    /// The same, only on this node.
    ///
    /// # Errors
    /// Every kind of [`SubmitError`].
    pub async fn submit_here(
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

    /// A command that another node asks for: fenced unless this node serves the aggregate now.
    pub(in crate::runtime) async fn submit_once(
        &self,
        stream: &StreamId,
        submission: Submission<A::Command>,
    ) -> Result<Submitted, SubmitError> {
        self.served_here(stream)?;
        self.submit_here(stream, submission).await
    }

    /// The state that another node asks for.
    pub(in crate::runtime) async fn read_once(&self, stream: &StreamId) -> Result<Arc<A>, SubmitError> {
        self.served_here(stream)?;
        self.follow_here(stream).await.map(|(state, _)| state)
    }

    fn served_here(&self, stream: &StreamId) -> Result<(), SubmitError> {
        match self.shared.cluster.route(stream.shard()) {
            Route::Here => Ok(()),
            Route::There(_) | Route::Nowhere => Err(SubmitError::Fenced),
        }
    }

    /// The state of the aggregate of `stream`, as of every acknowledged command, and its changes from then on; those of
    /// another node's aggregate are looked for now and then. The changes end when the aggregate moves to another node.
    ///
    /// # Errors
    /// When it cannot be loaded now.
    pub async fn follow(&self, stream: &StreamId) -> Result<(Arc<A>, watch::Receiver<Arc<A>>), SubmitError> {
        let cluster = &self.shared.cluster;
        let mut journey = cluster.journey();
        loop {
            match cluster.route(stream.shard()) {
                Route::Here => match self.follow_here(stream).await {
                    Err(SubmitError::Fenced) => {}
                    answer => return answer,
                },
                Route::There(member) => match cluster.read_from::<A>(&member, stream).await {
                    Asked::Answered(Ok(state)) => {
                        let (changes, seen) = watch::channel(Arc::new(state));
                        let state = Arc::clone(&changes.borrow());
                        tokio::spawn(look_again(Arc::clone(cluster), stream.clone(), changes));
                        return Ok((state, seen));
                    }
                    Asked::Answered(Err(error)) => return Err(error),
                    Asked::Moved | Asked::Lost => {}
                },
                Route::Nowhere => {}
            }
            if !journey.goes_on().await {
                return Err(self.out_of_reach(false));
            }
        }
    }

    /// The same, only on this node.
    ///
    /// # Errors
    /// When it cannot be loaded now, or another node owns it.
    pub async fn follow_here(
        &self,
        stream: &StreamId,
    ) -> Result<(Arc<A>, watch::Receiver<Arc<A>>), SubmitError> {
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

    /// Why a request ends without an answer.
    fn out_of_reach(&self, lost: bool) -> SubmitError {
        if self.shared.cluster.superseded.is_cancelled() && !lost {
            return SubmitError::Fenced;
        }
        let what = A::CATEGORY.as_str();
        SubmitError::Unavailable(if lost {
            format!(
                "the node that serves the {what} did not answer: the command may or may not have been carried out, and the {what}"
            )
        } else {
            format!("no node serves the {what} at the moment: it")
        })
    }

    /// Lets go of the aggregates of a shard, whoever follows them; false while somebody waits for one.
    pub(in crate::runtime) fn evict(&self, shard: Shard) -> bool {
        let mut all = true;
        self.slots.retain(|stream, slot| {
            let stays = stream.shard() == shard && {
                let quarantined = slot.probe.life() == Life::Quarantined;
                !quarantined && !let_go(slot)
            };
            all &= !stays;
            stays || stream.shard() != shard
        });
        all
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

/// Asks for the state of another node's aggregate now and then, for as long as anybody follows it and it stays there.
async fn look_again<A: Aggregate>(cluster: Arc<Cluster>, stream: StreamId, changes: watch::Sender<Arc<A>>) {
    loop {
        tokio::select! {
            () = changes.closed() => return,
            () = cluster.superseded.cancelled() => return,
            () = tokio::time::sleep(REMOTE_POLL) => {}
        }
        let Route::There(member) = cluster.route(stream.shard()) else { return };
        match cluster.read_from::<A>(&member, &stream).await {
            Asked::Answered(Ok(state)) => drop(changes.send_replace(Arc::new(state))),
            // it is tried again, or the route will have changed
            Asked::Answered(Err(_)) | Asked::Moved | Asked::Lost => {}
        }
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
