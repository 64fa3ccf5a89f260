//! The typed handle of an aggregate: what others hold instead of an actor.

use std::sync::{Arc, PoisonError, RwLock};

use ractor::ActorRef;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::actor::Msg;
use crate::domain::aggregate::{Aggregate, Answer, Rejection};
use crate::domain::event::Origin;
use crate::domain::ids::{CommandId, Position, StreamId, Version};
use crate::limits::MAILBOX;
use crate::runtime::inspect::{Life, Probe};

/// A command with everything that goes along.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submission<C> {
    /// What to do.
    pub command: C,
    /// Its identity, by which a repeat is known; commands of the runtime that cannot be repeated have none.
    pub identity: Option<Identity>,
    /// Who and why.
    pub origin: Origin,
    /// The version the caller saw.
    pub if_match: Option<Version>,
    /// Another stream that must still be at this version for the command to commit.
    pub guard: Option<(StreamId, Version)>,
}

/// What makes a command happen once.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub id: CommandId,
    /// Whether the id comes from the caller, so that a first answer may exist: it is looked up before a refusal.
    pub idempotent: bool,
    /// A digest of what was asked.
    pub request_hash: [u8; 32],
}

/// The answer to a command that is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// The aggregate's version after it.
    pub version: Version,
    /// The store's position after it.
    pub position: Position,
    /// How many events it recorded.
    pub events: u32,
    /// What else the caller is told.
    pub answer: Answer,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubmitError {
    /// The aggregate refused it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The caller saw another version.
    #[error("the version is {actual}, not {expected}")]
    PreconditionFailed {
        /// What the caller saw.
        expected: Version,
        /// What it is.
        actual: Version,
    },
    /// The guarded stream has moved on.
    #[error("the guarded stream has moved on")]
    GuardFailed,
    /// The command id was used for another request.
    #[error("the command id was used for another request")]
    CommandReused,
    /// Too many messages wait for the aggregate.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The aggregate or the store cannot answer now; the command may or may not have been carried out.
    #[error("{0}")]
    Unavailable(String),
    /// This node does not own the aggregate; the command was not carried out.
    #[error("this node does not own the aggregate")]
    Fenced,
}

/// What the directory, the supervisor and the handles of one aggregate share.
pub(super) struct Slot<A: Aggregate> {
    pub(super) stream: StreamId,
    pub(super) probe: Arc<Probe>,
    pub(super) actor: RwLock<Option<ActorRef<Msg<A>>>>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) state: watch::Sender<Arc<A>>,
}

impl<A: Aggregate> Slot<A> {
    pub(super) fn new(stream: StreamId, probe: Arc<Probe>) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(MAILBOX));
        Arc::new(Self { stream, probe, actor: RwLock::default(), permits, state: watch::Sender::default() })
    }
}

/// Speaks with one aggregate. Cheap to clone.
pub(super) struct Handle<A: Aggregate>(pub(super) Arc<Slot<A>>);

impl<A: Aggregate> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Aggregate> Handle<A> {
    /// Submits a command of the outside: refused at once when too many wait.
    pub(super) async fn submit(
        &self,
        submission: Submission<A::Command>,
    ) -> Result<Submitted, Closed<SubmitError>> {
        let permit = self.permit()?;
        let (reply, answer) = oneshot::channel();
        self.send(Msg::Submit(Box::new(submission), reply, permit))?;
        answer.await.unwrap_or_else(|_| Err(self.gone())).map_err(Closed::Answer)
    }

    /// The state as of every acknowledged command.
    pub(super) async fn read(&self) -> Result<Arc<A>, Closed<SubmitError>> {
        let permit = self.permit()?;
        let (reply, answer) = oneshot::channel();
        self.send(Msg::Read(reply, permit))?;
        answer.await.unwrap_or_else(|_| Err(self.gone())).map_err(Closed::Answer)
    }

    /// Follows the state: the receiver changes with each commit. Reads nothing.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<A>> {
        self.0.state.subscribe()
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Closed<SubmitError>> {
        use tokio::sync::TryAcquireError;
        Arc::clone(&self.0.permits).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::Closed => Closed::Passivated,
            TryAcquireError::NoPermits => Closed::Answer(SubmitError::Overloaded),
        })
    }

    fn send(&self, message: Msg<A>) -> Result<(), Closed<SubmitError>> {
        let actor = self.0.actor.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.0.probe.enqueued();
        let sent = actor.is_some_and(|actor| actor.cast(message).is_ok());
        if sent { Ok(()) } else { Err(Closed::Answer(self.gone())) }
    }

    fn gone(&self) -> SubmitError {
        let (stream, error) = (&self.0.stream, self.0.probe.last_error().unwrap_or_default());
        SubmitError::Unavailable(match self.0.probe.life() {
            Life::Quarantined => {
                format!("{stream} is quarantined after repeated failures, the last with: {error}")
            }
            _ => format!("{stream} is being started again"),
        })
    }
}

/// Why a handle has no answer: its aggregate left memory (ask the directory again), or a real one.
pub(super) enum Closed<E> {
    Passivated,
    Answer(E),
}
