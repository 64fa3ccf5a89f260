//! The actor itself: decide, commit, apply, reply. How a state is recovered stands in `recover.rs`.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinHandle;

use super::directory::Shared;
use super::handle::{Slot, Submission, SubmitError, Submitted};
use super::recover::{recover, unreadable};
use crate::domain::aggregate::{Aggregate, Answer, Decision, Recorded};
use crate::domain::codec::{Encoded, EventSet, from_bytes, to_bytes};
use crate::domain::event::NewEvent;
use crate::domain::ids::{Epoch, EventId, StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;
use crate::limits::{
    CONFLICT_RETRIES, MAX_EVENT_BYTES, RELOAD_PAUSE, SNAPSHOT_EVERY, SNAPSHOT_MIN_EVENTS,
    SNAPSHOT_SLOW_RECOVERY,
};
use crate::ports::event_store::{Append, AppendOutcome, CommandRecord, Committed, StreamAppend, Wakeup};
use crate::runtime::cluster::Standing;
use crate::runtime::committer::CommitError;

/// Why a node that owns an aggregate does not serve it.
const UNSURE: &str = "this node cannot renew its lease: the event store";

/// What an aggregate can be told. A permit is held from the sender to the end of the handling.
pub enum Msg<A: Aggregate> {
    Submit(
        Box<Submission<A::Command>>,
        oneshot::Sender<Result<Submitted, SubmitError>>,
        OwnedSemaphorePermit,
    ),
    Read(oneshot::Sender<Result<Arc<A>, SubmitError>>, OwnedSemaphorePermit),
    /// The aggregate's own: load the state that was dropped, for those who follow it.
    Reload,
}

pub struct AggregateActor<A: Aggregate> {
    pub(super) slot: Arc<Slot<A>>,
    pub(super) shared: Arc<Shared>,
}

/// The folded state, or nothing while it has to be (re)loaded.
pub struct Folded<A> {
    state: Option<Arc<A>>,
    version: Version,
    /// The leaf of the event at that version.
    leaf: LeafHash,
    /// The epoch under which the state was loaded: what others have stored since it ended is not in it.
    epoch: Epoch,
    /// Whether a [`Msg::Reload`] is on its way.
    reloads: bool,
    kept: Kept,
}

/// What is known of the aggregate's snapshot.
#[derive(Default)]
struct Kept {
    /// The version of the last one, 0 without one.
    version: Version,
    /// Whether the next is due early, because the last recovery was slow.
    early: bool,
    /// The task that saves it: one at a time.
    saving: Option<JoinHandle<()>>,
}

impl<A: Aggregate> Actor for AggregateActor<A> {
    type Msg = Msg<A>;
    type State = Folded<A>;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg<A>>, (): ()) -> Result<Folded<A>, ActorProcessingErr> {
        // recovery waits for the first message: a failure here would yield no supervision event
        let (version, leaf, kept) = (Version(0), LeafHash::NONE, Kept::default());
        let mut folded = Folded { state: None, version, leaf, epoch: Epoch(0), reloads: false, kept };
        self.reload_for_followers(&myself, &mut folded);
        Ok(folded)
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg<A>>,
        message: Msg<A>,
        folded: &mut Folded<A>,
    ) -> Result<(), ActorProcessingErr> {
        let _busy = self.slot.probe.busy();
        match message {
            Msg::Submit(submission, reply, _permit) => {
                let result = self.submit(&submission, folded).await;
                reply.send(result).unwrap_or_default();
            }
            Msg::Read(reply, _permit) => {
                let state = self.load(folded).await;
                reply.send(state).unwrap_or_default();
            }
            Msg::Reload => {
                self.slot.probe.enqueued();
                folded.reloads = false;
                // without a state it is tried again
                self.load(folded).await.map(drop).unwrap_or_default();
            }
        }
        self.reload_for_followers(&myself, folded);
        self.keep(folded, if folded.kept.early { SNAPSHOT_MIN_EVENTS } else { SNAPSHOT_EVERY });
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Msg<A>>, folded: &mut Folded<A>) -> Result<(), ActorProcessingErr> {
        self.keep(folded, SNAPSHOT_MIN_EVENTS);
        Ok(())
    }
}

impl<A: Aggregate> AggregateActor<A> {
    /// What was stored without an answer has to reach those who follow the state, even if nobody asks again.
    fn reload_for_followers(&self, myself: &ActorRef<Msg<A>>, folded: &mut Folded<A>) {
        let followed = self.slot.state.receiver_count() > 0;
        let owned = self.shared.cluster.shards.owns(self.slot.stream.shard());
        if folded.state.is_none() && followed && !folded.reloads && owned {
            folded.reloads = true;
            myself.send_after(RELOAD_PAUSE, || Msg::Reload);
        }
    }

    /// Takes a snapshot when at least `events` came since the last one; after the reply, and never waited for.
    fn keep(&self, folded: &mut Folded<A>, events: usize) {
        let (Some(state), kept) = (&folded.state, &mut folded.kept) else { return };
        let due = folded.version.0.saturating_sub(kept.version.0) >= events as u64;
        let saves = kept.saving.as_ref().is_some_and(|task| !task.is_finished());
        if !due || saves || self.shared.cluster.superseded.is_cancelled() {
            return;
        }
        let (head, now) = ((folded.version, folded.leaf), self.shared.clock.now());
        let task = self.shared.snapshots.take(&self.slot.stream, head, Arc::clone(state), now);
        if task.is_some() {
            *kept = Kept { version: folded.version, early: false, saving: task };
        }
    }

    async fn submit(
        &self,
        submission: &Submission<A::Command>,
        folded: &mut Folded<A>,
    ) -> Result<Submitted, SubmitError> {
        for _ in 0..=CONFLICT_RETRIES {
            let state = self.load(folded).await?;
            let decided = match submission.if_match.filter(|expected| *expected != folded.version) {
                Some(expected) => Err(SubmitError::PreconditionFailed { expected, actual: folded.version }),
                None => state.decide(submission.command.clone(), self.shared.clock.now()).map_err(Into::into),
            };
            let decision = match decided {
                Ok(decision) => decision,
                Err(refusal) => return self.repeated(submission, folded).await?.ok_or(refusal),
            };
            if let Some(done) = self.commit(submission, decision, folded).await? {
                return Ok(done);
            }
        }
        Err(SubmitError::Unavailable(format!("{} is written by someone else all the time", self.slot.stream)))
    }

    /// Commits a decision. `None` when another writer was first: the state was dropped, decide again.
    async fn commit(
        &self,
        submission: &Submission<A::Command>,
        decision: Decision<A::Event>,
        folded: &mut Folded<A>,
    ) -> Result<Option<Submitted>, SubmitError> {
        let answer = decision.answer.clone();
        let events = decision.events.clone();
        if events.is_empty()
            && submission.identity.is_none_or(|identity| !identity.idempotent)
            && decision.opens.is_empty()
            && decision.wakeups.is_empty()
        {
            let position = self.shared.committer.metrics().position();
            return Ok(Some(Submitted { version: folded.version, position, events: 0, answer }));
        }
        let append = self.append(submission, decision, folded)?;
        let epoch = folded.epoch;
        let commit = match self.shared.committer.append(append).await {
            Ok(commit) => commit,
            Err(error) => {
                if error == CommitError::Unknown {
                    folded.state = None;
                }
                return Err(SubmitError::Unavailable(error.to_string()));
            }
        };
        match commit.outcome {
            AppendOutcome::Committed(committed) => {
                folded.leaf = commit.leaf;
                self.apply(folded, &events, &committed);
                Ok(Some(submitted(&committed, folded.version, answer)))
            }
            AppendOutcome::Duplicate(committed) => {
                let first = match submission.identity {
                    Some(_) => from_first(&committed),
                    None => {
                        let after = Version(committed.first_version.0 + events.len() as u64);
                        submitted(&committed, after, answer)
                    }
                };
                if first.version > folded.version {
                    // stored by an earlier sending that had no answer: the state does not hold it yet
                    folded.state = None;
                    self.load(folded).await?;
                }
                Ok(Some(first))
            }
            AppendOutcome::CommandReused => Err(SubmitError::CommandReused),
            AppendOutcome::Conflict { stream, .. }
                if submission.guard.as_ref().is_some_and(|g| g.0 == stream) =>
            {
                Err(SubmitError::GuardFailed)
            }
            AppendOutcome::Conflict { .. } => {
                folded.state = None;
                Ok(None)
            }
            AppendOutcome::Fenced { .. } => {
                folded.state = None;
                self.shared.cluster.shards.refused(self.slot.stream.shard(), epoch);
                Err(SubmitError::Fenced)
            }
        }
    }

    fn append(
        &self,
        submission: &Submission<A::Command>,
        decision: Decision<A::Event>,
        folded: &Folded<A>,
    ) -> Result<Append, SubmitError> {
        let encoded: Vec<Encoded> = decision.events.iter().map(EventSet::encode).collect();
        let after = Version(folded.version.0 + encoded.len() as u64);
        let (own, epoch) = ((folded.version, folded.leaf), folded.epoch);
        let mut streams = vec![self.stream_append(self.slot.stream.clone(), epoch, own, encoded)?];
        for (stream, events) in decision.opens {
            // it lies in the same shard; one of before ids were chosen so may not
            let epoch = self.shared.cluster.shards.epoch(stream.shard()).ok_or(SubmitError::Fenced)?;
            streams.push(self.stream_append(stream, epoch, (Version(0), LeafHash::NONE), events)?);
        }
        if let Some((stream, version)) = submission.guard.clone() {
            let previous = LeafHash::NONE;
            streams.push(StreamAppend {
                stream,
                epoch: None,
                expected: version,
                previous,
                events: Vec::new(),
            });
        }
        let wakeups = decision.wakeups.into_iter().map(|(stream, due)| Wakeup { stream, due }).collect();
        let command = submission.identity.map(|identity| CommandRecord {
            id: identity.id,
            request_hash: identity.request_hash,
            answer: to_bytes(&FirstAnswer { version: after, answer: decision.answer }),
        });
        Ok(Append { command, origin: submission.origin.clone(), streams, wakeups })
    }

    fn stream_append(
        &self,
        stream: StreamId,
        epoch: Epoch,
        (expected, previous): (Version, LeafHash),
        events: Vec<Encoded>,
    ) -> Result<StreamAppend, SubmitError> {
        if let Some(large) = events.iter().find(|e| e.payload.len() > MAX_EVENT_BYTES) {
            let (kind, size) = (large.kind, large.payload.len());
            let mut problems = crate::domain::problem::Problems::default();
            problems
                .add("", format!("{kind} would be {size} bytes; at most {MAX_EVENT_BYTES} can be stored"));
            return Err(crate::domain::aggregate::Rejection::Invalid(problems).into());
        }
        let fresh = |e: Encoded| NewEvent {
            id: EventId(self.shared.ids.uuid()),
            kind: e.kind,
            schema_version: e.schema_version,
            payload: e.payload,
        };
        let epoch = Some(epoch);
        let events = events.into_iter().map(fresh).collect();
        Ok(StreamAppend { stream, epoch, expected, previous, events })
    }

    fn apply(&self, folded: &mut Folded<A>, events: &[A::Event], committed: &Committed) {
        let mut state = folded.state.take().unwrap_or_default();
        if !events.is_empty() {
            let state = Arc::make_mut(&mut state);
            for event in events {
                folded.version = Version(folded.version.0 + 1);
                state.apply(event, Recorded { version: folded.version, at: committed.at });
            }
        }
        self.publish(folded, state);
    }

    fn publish(&self, folded: &mut Folded<A>, state: Arc<A>) {
        self.slot.probe.set_version(folded.version, folded.epoch.0);
        folded.state = Some(Arc::clone(&state));
        self.slot.state.send_replace(state);
    }

    /// The epoch under which this node owns the aggregate.
    fn epoch(&self) -> Result<Epoch, SubmitError> {
        match self.shared.cluster.shards.standing(self.slot.stream.shard()) {
            Standing::Serving(epoch) | Standing::Leaving(epoch) => Ok(epoch),
            Standing::Unsure => Err(SubmitError::Unavailable(UNSURE.to_owned())),
            Standing::Elsewhere => Err(SubmitError::Fenced),
        }
    }

    /// The state, recovered when it is not in memory under this epoch.
    async fn load(&self, folded: &mut Folded<A>) -> Result<Arc<A>, SubmitError> {
        let epoch = self.epoch()?;
        if let Some(state) = folded.state.as_ref().filter(|_| folded.epoch == epoch) {
            return Ok(Arc::clone(state));
        }
        folded.state = None;
        let _recovering = self.shared.recoveries.acquire().await;
        let recovered = recover(&self.shared, &self.slot.stream).await?;
        // what was read is the newest only if nobody else could write meanwhile (S5)
        if self.epoch()? != epoch {
            return Err(SubmitError::Fenced);
        }
        folded.epoch = epoch;
        (folded.version, folded.leaf) = (recovered.fold.version(), recovered.fold.leaf());
        folded.kept.version = recovered.snapshot;
        folded.kept.early = recovered.took >= SNAPSHOT_SLOW_RECOVERY;
        let state = Arc::new(recovered.fold.state);
        self.publish(folded, Arc::clone(&state));
        Ok(state)
    }

    /// The first answer of a command that may have been carried out before, for one that is refused now. One that is
    /// accepted is recognised by the store itself, so that what comes for the first time is never looked up.
    async fn repeated(
        &self,
        submission: &Submission<A::Command>,
        folded: &Folded<A>,
    ) -> Result<Option<Submitted>, SubmitError> {
        let known = submission.identity.filter(|identity| identity.idempotent && folded.version > Version(0));
        let Some(identity) = known else { return Ok(None) };
        let found = self.shared.store.find_command(&self.slot.stream, identity.id).await;
        match found.map_err(|error| unreadable(&self.slot.stream, &error))? {
            Some((hash, _)) if hash != identity.request_hash => Err(SubmitError::CommandReused),
            Some((_, committed)) => Ok(Some(from_first(&committed))),
            None => Ok(None),
        }
    }
}

fn submitted(committed: &Committed, version: Version, answer: Answer) -> Submitted {
    Submitted { version, position: committed.position, events: committed.events, answer }
}

/// What is stored with a command, so that its repetition gets the first answer.
#[derive(serde::Serialize, serde::Deserialize)]
struct FirstAnswer {
    version: Version,
    #[serde(flatten)]
    answer: Answer,
}

/// The first answer of a repeated command.
pub fn from_first(committed: &Committed) -> Submitted {
    let first = from_bytes(&committed.answer);
    let FirstAnswer { version, answer } =
        first.unwrap_or(FirstAnswer { version: committed.first_version, answer: Answer::default() });
    submitted(committed, version, answer)
}
