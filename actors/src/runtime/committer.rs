//! The group committer: takes everything that waits when a commit has returned, and stores it in one transaction. No
//! timer: under load batches grow by themselves, idle a single append goes at once. While one commit is at the store
//! the next one is prepared and sent after it, so that the store never waits for us.
//!
//! An ambiguous commit (the connection was lost between commit and answer) is resolved by sending the identical
//! batch again: the ids in it make the store answer with the first outcome. Who asked for that waits; who waits for
//! their turn meanwhile, or for a store that is away, is told soon that nothing was stored.

mod send;
mod waiting;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use self::send::send_until_known;
use self::waiting::{Turn, Waiting, take_batch};
use super::inspect::Probe;
use super::supervisor::{Child, SupervisorHandle};
use crate::domain::ids::Position;
use crate::domain::integrity::leaf::LeafHash;
use crate::limits::{COMMIT_BESIDE, COMMIT_PATIENCE, COMMIT_QUEUE, COMMITS_IN_FLIGHT};
use crate::ports::batch::{Batch, whole_micros};
use crate::ports::event_store::{Append, AppendOutcome};
use crate::ports::{Clock, EventStore};

/// Why an append has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Certainly not stored: the store is away.
    #[error("the event store is unavailable")]
    Unavailable,
    /// It may or may not be stored: the store went away and did not come back in time. The state must be reloaded.
    #[error("the event store went away while it stored the request")]
    Unknown,
    /// The store refused it for good.
    #[error("the event store failed")]
    Failed,
}

/// What became of an append.
#[derive(Debug)]
pub struct Commit {
    /// The store's answer.
    pub outcome: AppendOutcome,
    /// The last leaf of the unit's own stream, if the unit is stored.
    pub leaf: LeafHash,
}

/// What an append's caller gets.
pub type CommitResult = Result<Commit, CommitError>;

/// Counters of the committer.
#[derive(Debug, Default)]
pub struct CommitMetrics {
    /// Group commits.
    pub commits: AtomicU64,
    /// Events stored.
    pub events: AtomicU64,
    position: AtomicU64,
}

impl CommitMetrics {
    /// Position of the last event that this node stored.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.position.load(Relaxed))
    }
}

/// Stores appends through the node's one committer.
#[derive(Clone)]
pub struct Committer {
    slot: Arc<std::sync::RwLock<Option<ActorRef<CommitMsg>>>>,
    room: Arc<Semaphore>,
    probe: Arc<Probe>,
    metrics: Arc<CommitMetrics>,
}

/// What the committer can be told; made by [`Committer`] alone.
pub struct CommitMsg(Kind);

enum Kind {
    Enqueue(Box<Waiting>),
    Done,
}

impl Committer {
    /// Starts the committer of `node` below `supervisor`; `head` is the store's last position.
    pub async fn start(
        node: &str,
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        supervisor: &SupervisorHandle,
        head: Position,
    ) -> Self {
        let committer = Self {
            slot: Arc::default(),
            room: Arc::new(Semaphore::new(COMMIT_QUEUE)),
            probe: supervisor.probe("committer", "committer"),
            metrics: Arc::default(),
        };
        committer.metrics.position.store(head.0, Relaxed);
        let this = committer.clone();
        let times = Arc::new(Times { clock, last: Mutex::default() });
        let node: Arc<str> = Arc::from(node);
        let spawn = Arc::new(move |supervisor| {
            let this = this.clone();
            let actor = CommitterActor {
                node: Arc::clone(&node),
                store: Arc::clone(&store),
                times: Arc::clone(&times),
                probe: Arc::clone(&this.probe),
                metrics: Arc::clone(&this.metrics),
            };
            let spawned: crate::ports::BoxFuture<'static, _> = Box::pin(async move {
                let (actor, _) = Actor::spawn_linked(None, actor, (), supervisor).await?;
                let cell = actor.get_cell();
                *this.slot.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
                Ok(cell)
            });
            spawned
        });
        supervisor.start(Child { probe: Arc::clone(&committer.probe), spawn }).await;
        committer
    }

    /// Stores one unit; returns when it is durable or refused. Waits while [`COMMIT_QUEUE`] others wait.
    ///
    /// # Errors
    /// When there is no outcome: [`CommitError::Unavailable`] about [`COMMIT_PATIENCE`] after the call, the others when
    /// the store has answered or the committer gives up.
    pub async fn append(&self, append: Append) -> CommitResult {
        let patience = Instant::now() + COMMIT_PATIENCE;
        let room = timeout_at(patience, Arc::clone(&self.room).acquire_owned()).await;
        let room = room.map_err(|_| CommitError::Unavailable)?.map_err(|_| CommitError::Unavailable)?;
        let (reply, mut outcome) = oneshot::channel();
        let actor = self.slot.read().unwrap_or_else(PoisonError::into_inner).clone();
        let actor = actor.ok_or(CommitError::Unavailable)?;
        self.probe.enqueued();
        let turn = Turn::default();
        let waiting = Waiting { append, reply, turn: turn.clone(), patience, room };
        actor.cast(CommitMsg(Kind::Enqueue(Box::new(waiting)))).map_err(|_| CommitError::Unavailable)?;
        let answered = match timeout_at(patience, &mut outcome).await {
            Ok(answered) => answered,
            // its turn has not come
            Err(_) if turn.take() => return Err(CommitError::Unavailable),
            Err(_) => outcome.await,
        };
        answered.unwrap_or(Err(CommitError::Unknown))
    }

    /// The committer's counters.
    #[must_use]
    pub fn metrics(&self) -> &CommitMetrics {
        &self.metrics
    }
}

struct CommitterActor {
    node: Arc<str>,
    store: Arc<dyn EventStore>,
    times: Arc<Times>,
    probe: Arc<Probe>,
    metrics: Arc<CommitMetrics>,
}

/// The times of commits: each later than the one before, also when the clock stands still or is set back.
struct Times {
    clock: Arc<dyn Clock>,
    last: Mutex<Timestamp>,
}

impl Times {
    fn next(&self) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let after = last.checked_add(SignedDuration::from_micros(1)).unwrap_or(*last);
        *last = whole_micros(self.clock.now()).max(after);
        *last
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    in_flight: usize,
}

impl Actor for CommitterActor {
    type Msg = CommitMsg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<CommitMsg>, (): ()) -> Result<State, ActorProcessingErr> {
        Ok(State::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<CommitMsg>,
        message: CommitMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message.0 {
            Kind::Enqueue(waiting) => {
                let _busy = self.probe.busy();
                state.waiting.push_back(*waiting);
            }
            Kind::Done => state.in_flight -= 1,
        }
        // beside another a commit pays off only when it is large: small ones cost the store as much each
        let beside = state.in_flight > 0 && state.waiting.len() < COMMIT_BESIDE;
        if state.in_flight == COMMITS_IN_FLIGHT || beside {
            return Ok(());
        }
        let waiting = take_batch(&mut state.waiting);
        if !waiting.is_empty() {
            state.in_flight += 1;
            let (node, store, times) =
                (Arc::clone(&self.node), Arc::clone(&self.store), Arc::clone(&self.times));
            let metrics = Arc::clone(&self.metrics);
            tokio::spawn(async move {
                // the guard tells the actor also when this task is torn down
                let _done = Done(myself);
                commit(&node, &*store, &times, &metrics, waiting).await;
            });
        }
        Ok(())
    }
}

struct Done(ActorRef<CommitMsg>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.cast(CommitMsg(Kind::Done)).unwrap_or_default();
    }
}

async fn commit(
    node: &str,
    store: &dyn EventStore,
    times: &Times,
    metrics: &CommitMetrics,
    waiting: Vec<Waiting>,
) {
    let patience = waiting.iter().map(|waiting| waiting.patience).min().unwrap_or_else(Instant::now);
    let (appends, replies): (Vec<Append>, Vec<_>) =
        waiting.into_iter().map(|w| (w.append, (w.reply, w.room))).unzip();
    let stored = match Batch::new(node, times.next(), appends) {
        Ok(batch) => {
            let batch = Arc::new(batch);
            send_until_known(store, &batch, patience).await.map(|outcomes| (batch, outcomes))
        }
        Err(fault) => {
            tracing::error!(error = &fault as &dyn std::error::Error, "a batch is malformed");
            Err(CommitError::Failed)
        }
    };
    match stored {
        Ok((batch, outcomes)) => {
            metrics.commits.fetch_add(1, Relaxed);
            for (unit, ((reply, _), outcome)) in replies.into_iter().zip(outcomes).enumerate() {
                if let AppendOutcome::Committed(committed) = &outcome {
                    metrics.events.fetch_add(u64::from(committed.events), Relaxed);
                    metrics.position.fetch_max(committed.position.0, Relaxed);
                }
                let leaf = batch.own_leaf(unit);
                // whoever does not wait any more needs no answer
                reply.send(Ok(Commit { outcome, leaf })).unwrap_or_default();
            }
        }
        Err(error) => {
            for (reply, _) in replies {
                reply.send(Err(error.clone())).unwrap_or_default();
            }
        }
    }
}
