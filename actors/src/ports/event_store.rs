//! The event store: immutable streams with one gapless global order, written by batches.
//!
//! The promises, each with its conformance test in the testkit:
//! - **S1** an event commits only under its shard's current epoch;
//! - **S2** the versions of a stream are contiguous;
//! - **S3** `(stream, command id)` is unique: a repeat is answered with the first outcome, never stored again;
//! - **S4** epochs only rise;
//! - **S6** what was acknowledged is durable;
//! - positions are 1, 2, 3 … in commit order: a reader that saw position *n* never meets a new one at or below *n*;
//! - whoever waits for the end of the log to move learns of every commit, and never of less than before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;

use super::BoxFuture;
use super::batch::{Batch, next_micro, whole_micros};
use crate::domain::event::{NewEvent, Origin, RecordedEvent};
use crate::domain::ids::{Category, CommandId, Epoch, Position, Shard, StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;

/// One atomic unit: all of it commits or none.
#[derive(Debug, Clone)]
pub struct Append {
    /// The command it answers, recorded with the first stream, also when there are no events. Without one a repeat of
    /// the identical unit is still known by the ids of its events.
    pub command: Option<CommandRecord>,
    /// Who and why; the same for all events of the unit.
    pub origin: Origin,
    /// The streams it writes or guards: first the one whose aggregate was commanded; each stream at most once.
    pub streams: Vec<StreamAppend>,
    /// What a node that starts has to look at, set or cleared with the append; of several for one stream the last.
    pub wakeups: Vec<Wakeup>,
}

impl Append {
    /// The stream whose aggregate was commanded.
    #[must_use]
    pub fn own(&self) -> &StreamAppend {
        // a batch without it is refused when it is made
        &self.streams[0]
    }

    /// How many events it stores, in all its streams.
    #[must_use]
    pub fn events(&self) -> usize {
        self.streams.iter().map(|part| part.events.len()).sum()
    }
}

/// The row that makes a command idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// The command.
    pub id: CommandId,
    /// A digest of what was asked; the same id with another digest is refused.
    pub request_hash: [u8; 32],
    /// What the command's caller is told beyond versions and positions (MessagePack, may be empty).
    pub answer: Bytes,
}

/// The part of an [`Append`] that concerns one stream.
#[derive(Debug, Clone)]
pub struct StreamAppend {
    /// The stream.
    pub stream: StreamId,
    /// The epoch under which the writer owns the stream's shard. `None` for a guard, whose shard may be another
    /// node's, and for the audit stream of one life of a node, which nobody else writes: there the version alone is
    /// checked.
    pub epoch: Option<Epoch>,
    /// The version the stream must have now.
    pub expected: Version,
    /// The leaf of the event at that version, on which the first new one is chained; unused without events.
    pub previous: LeafHash,
    /// What is added; empty makes this a guard: only the version is checked.
    pub events: Vec<NewEvent>,
}

/// An open aggregate that a starting node must load: set while there is work in it, cleared when there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wakeup {
    /// The stream of the aggregate.
    pub stream: StreamId,
    /// When it is due; `None` clears the row.
    pub due: Option<Timestamp>,
}

/// What became of one [`Append`] of a batch. When several apply, the first in this order: a repeated command (also
/// from a writer that was fenced since, which learns so what became of its append), fenced, conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Stored.
    Committed(Committed),
    /// This `(stream, command id)`, or this unit by the id of its first event, was stored before; nothing was
    /// stored now.
    Duplicate(Committed),
    /// The command id was used before for another request; nothing was stored.
    CommandReused,
    /// A stream has another version than expected; nothing of the unit was stored.
    Conflict {
        /// The first such stream.
        stream: StreamId,
        /// Its version.
        actual: Version,
    },
    /// The shard's epoch is not the writer's, or nobody has claimed the shard yet: it does not own it. Nothing of
    /// the unit was stored.
    Fenced {
        /// The shard.
        shard: Shard,
        /// Its epoch in the store.
        current: Epoch,
    },
}

/// Where a unit was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The version of the unit's own stream before its first event of this unit.
    pub first_version: Version,
    /// How many events the unit stored, in all its streams.
    pub events: u32,
    /// The position of its last event; without events, the store's last position at that moment.
    pub position: Position,
    /// When.
    pub at: Timestamp,
    /// The answer recorded with the command; empty without one.
    pub answer: Bytes,
}

/// A command that was stored before: the digest of its request, and its first outcome.
pub type StoredCommand = ([u8; 32], Committed);

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request is certainly not stored; trying again may help.
    #[error("event store unavailable: {operation}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// The adapter's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection was lost between commit and answer: it may or may not be stored. Sending the identical
    /// batch again finds out.
    #[error("outcome unknown: {operation}")]
    Unknown {
        /// What was tried.
        operation: &'static str,
        /// The adapter's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store refuses or is damaged; trying again does not help.
    #[error("event store failed: {operation}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// The adapter's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Would the same request help later?
    #[must_use]
    pub const fn retryable(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }

    /// Is it certain that nothing was stored?
    #[must_use]
    pub const fn certainly_not_stored(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Failed { .. })
    }
}

/// Which events [`EventStore::read_all`] returns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only this stream.
    pub stream: Option<StreamId>,
    /// Only these event types; none means all.
    pub kinds: Vec<String>,
    /// Recorded at or after.
    pub from: Option<Timestamp>,
    /// Recorded before.
    pub to: Option<Timestamp>,
}

/// By how much the clocks of nodes may differ for a read by time to find every event.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

impl EventFilter {
    /// The bounds of time, each moved outwards by [`CLOCK_SKEW`]: the part of the log that lies between them holds
    /// every event that passes.
    #[must_use]
    pub fn widened(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let earlier = |time| whole_micros(time).saturating_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN);
        let later = |time| next_micro(time).saturating_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX);
        (self.from.map(earlier), self.to.map(later))
    }
}

/// A page of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamOrder {
    /// By name, ascending.
    Ascending,
    /// By name, descending: executions, newest first.
    Descending,
}

/// Where events are kept.
pub trait EventStore: Send + Sync + 'static {
    /// Stores a batch in order, in one transaction. Units that conflict, repeat or are fenced are left out and
    /// answered as such; the others are stored. Each stream occurs at most once in a batch (guards included).
    /// The answer has one outcome for each unit. A unit is fenced when the batch's node does not own its shards.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when it may have been stored: the caller sends the identical batch again.
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Vec<AppendOutcome>, StoreError>>;

    /// Events of `stream` with a version above `after`, in order, at most `limit`.
    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        after: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>>;

    /// Events of the whole store with a position above `after`, in order, at most `limit`.
    fn read_all<'a>(
        &'a self,
        after: Position,
        limit: usize,
        filter: &'a EventFilter,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>>;

    /// A command that was stored before, `None` when it was not.
    fn find_command<'a>(
        &'a self,
        stream: &'a StreamId,
        id: CommandId,
    ) -> BoxFuture<'a, Result<Option<StoredCommand>, StoreError>>;

    /// Names of streams of a category beyond `after` (exclusive) in the given order, at most `limit`.
    fn list_streams<'a>(
        &'a self,
        category: Category,
        after: Option<&'a StreamId>,
        order: StreamOrder,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamId>, StoreError>>;

    /// Streams with a wake-up row, by name, at most `limit`, beyond `after` (exclusive).
    fn wakeups<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Wakeup>, StoreError>>;

    /// The position of the last event.
    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>>;

    /// The last position known here: it rises after every commit, by anyone, to a position that can be read, and
    /// never goes back. It may lag (a second, or as long as the store is away) and skip steps, but the last one
    /// always arrives.
    fn head_changes(&self) -> watch::Receiver<Position>;
}
