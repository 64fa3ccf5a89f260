//! What every aggregate is: a state, commands that it accepts or refuses, and events that change it.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::codec::{Encoded, EventSet};
use super::ids::{Category, ExecutionId, StreamId, Version};
use super::problem::Problems;

/// A consistency boundary with its own event stream.
pub trait Aggregate: Default + Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// What it can be asked to do.
    type Command: Clone + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// What can happen to it.
    type Event: EventSet + Clone;
    /// What its stream's name begins with.
    const CATEGORY: Category;
    /// The number of the state's shape and of what its events mean to it; raised whenever either changes, so that no
    /// snapshot of an earlier shape is taken for one of today's. A fixture of the state fails when this was forgotten.
    const SHAPE: u32;

    /// Decides a command against the state: what happens, or why not. Pure; `now` is the only time there is.
    ///
    /// # Errors
    /// The reason why the command is refused; nothing has changed then.
    fn decide(&self, command: Self::Command, now: Timestamp) -> Result<Decision<Self::Event>, Rejection>;

    /// Changes the state by an event that happened. Never fails: what was recorded is true.
    fn apply(&mut self, event: &Self::Event, recorded: Recorded);
}

/// What stands with a snapshot of `A` and tells which states can be read from it.
#[must_use]
pub fn fingerprint<A: Aggregate>() -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(A::CATEGORY.as_str());
    hasher.update(A::SHAPE.to_be_bytes());
    hasher.finalize().into()
}

/// Where and when an event was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the stream.
    pub version: Version,
    /// When.
    pub at: Timestamp,
}

/// What a command leads to. Everything in it commits together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<E> {
    /// Events of the aggregate; none when nothing has to change.
    pub events: Vec<E>,
    /// First events of streams that begin with this command.
    pub opens: Vec<(StreamId, Vec<Encoded>)>,
    /// Streams that a starting node must look at (due time), or no longer has to (`None`).
    pub wakeups: Vec<(StreamId, Option<Timestamp>)>,
    /// What the caller is told beyond versions.
    pub answer: Answer,
}

impl<E> Decision<E> {
    /// These events and nothing else.
    #[must_use]
    pub fn events(events: Vec<E>) -> Self {
        Self { events, opens: Vec::new(), wakeups: Vec::new(), answer: Answer::default() }
    }

    /// Nothing has to change.
    #[must_use]
    pub fn nothing() -> Self {
        Self::events(Vec::new())
    }
}

/// What the caller of a command is told beyond versions.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// The execution that the command started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The aggregate does not exist.
    #[error("it does not exist")]
    NotFound,
    /// It exists already, or its name is reserved by an archived one.
    #[error("{0}")]
    Exists(String),
    /// Its state does not allow it.
    #[error("{0}")]
    WrongState(String),
    /// The command's content is wrong.
    #[error("{0}")]
    Invalid(Problems),
    /// There is no room now; the same command may succeed later.
    #[error("{0}")]
    Wait(String),
    /// Too much is waiting already.
    #[error("{0}")]
    Overloaded(String),
    /// The sender is no longer the one who may do this: its attempt was replaced or its execution has ended.
    #[error("{0}")]
    Stale(String),
}
