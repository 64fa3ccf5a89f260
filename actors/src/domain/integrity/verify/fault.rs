//! What is wrong with a log, where, and what to do about it. In words for people; the place in fields for programs.

use std::fmt;

use crate::domain::event::RecordedEvent;
use crate::domain::ids::{Position, StreamId, Version};

/// Where checkpoints come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The store, or the export, that is verified.
    Inside,
    /// A checkpoint directory, which whoever changed the store may not have reached.
    Outside,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inside => "stored beside the events",
            Self::Outside => "of the checkpoint directory",
        })
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// The event at a position is missing; what follows is at this one.
    Gap(Position),
    /// An event cannot even be read.
    Unreadable(String),
    /// The payload is not the one that was hashed.
    Payload,
    /// The header, the hash of the payload, or the event before it in its stream is not what was hashed.
    Leaf,
    /// Versions of a stream do not follow each other; this one was to come.
    Version(Version),
    /// The stream's own record says that it ends at this version, or with another event at that version.
    StreamEnd(Version),
    /// The stream has events and no record.
    StreamRecord,
    /// The log's own record says that it ends here.
    LogEnd(Position),
    /// The digest over all commits is another one.
    Digest,
    /// The tree over the first events has another root than the one that was signed.
    Root {
        /// How many events.
        size: u64,
        /// Which checkpoint says so.
        source: Source,
    },
    /// A checkpoint was signed over more events than there are.
    Cut {
        /// How many events it covers.
        size: u64,
        /// Which checkpoint says so.
        source: Source,
    },
    /// A checkpoint cannot be read, or its record says something else.
    Checkpoint {
        /// Where it is.
        source: Source,
        /// What is wrong.
        why: String,
    },
    /// No key that is trusted has signed a checkpoint, or a signature is wrong.
    Signature {
        /// How many events it covers.
        size: u64,
        /// Where it is.
        source: Source,
        /// What is wrong.
        why: String,
    },
    /// A checkpoint was copied outside and is not in the store any more.
    CheckpointGone(u64),
    /// There are events, and no checkpoint at all.
    Unsigned,
    /// An export ends before it says that it does, or is otherwise not one.
    Export(String),
}

/// The first thing that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// The first bad event's stream, as far as it can be told.
    pub stream: Option<StreamId>,
    /// Its version.
    pub version: Option<Version>,
    /// Its position.
    pub position: Option<Position>,
    /// When only a range can be told: its last position. `position` is then its first, or the likeliest one.
    pub until: Option<Position>,
}

impl Fault {
    /// A fault of the log as a whole.
    #[must_use]
    pub const fn of(kind: FaultKind) -> Self {
        Self { kind, stream: None, version: None, position: None, until: None }
    }

    /// A fault of one event.
    #[must_use]
    pub fn at(kind: FaultKind, place: &Place) -> Self {
        let Place { stream, version, position } = place.clone();
        Self { kind, stream: Some(stream), version: Some(version), position: Some(position), until: None }
    }

    /// What can be done about it.
    #[must_use]
    pub const fn cure(&self) -> &'static str {
        match &self.kind {
            FaultKind::Signature { .. } => {
                "if the key was replaced on purpose, give all its public keys (flexcore integrity public); if not, somebody signed with a key of their own: compare with a backup or an export"
            }
            FaultKind::Unsigned => {
                "nothing in it is signed: without a checkpoint whole histories can be made up; seal the log (a node does, every second) and try again"
            }
            FaultKind::Export(_) => "make the export again, and compare the files",
            FaultKind::Checkpoint { source: Source::Outside, .. } => {
                "look at the files of the checkpoint directory: they are only ever added to"
            }
            _ => {
                "stop writing to this store, keep it as it is for the inquiry, and restore the events from a backup or an export that verifies"
            }
        }
    }
}

impl fmt::Display for Fault {
    /// What is wrong, in a sentence; the place is in the fields.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Gap(position) => {
                write!(f, "the event at position {position} is missing: it was deleted or moved")
            }
            FaultKind::Unreadable(why) => write!(f, "the event cannot be read ({why}): its row was changed"),
            FaultKind::Payload => write!(f, "the payload is not the one that was recorded"),
            FaultKind::Leaf => {
                write!(
                    f,
                    "the event is not the one that was recorded: its header, its hashes or the event before it in its stream was changed"
                )
            }
            FaultKind::Version(expected) => {
                write!(
                    f,
                    "version {expected} of the stream was to come here: an event was removed, inserted or moved"
                )
            }
            FaultKind::StreamEnd(version) => {
                write!(
                    f,
                    "the stream's record says that it ends at version {version} with another event: events or the record were changed"
                )
            }
            FaultKind::StreamRecord => write!(f, "the stream has events and its record is gone"),
            FaultKind::LogEnd(position) => {
                write!(
                    f,
                    "the log's record says that it ends at position {position}: events were cut off or added"
                )
            }
            FaultKind::Digest => {
                write!(
                    f,
                    "the digest over all commits is another one: events were moved, exchanged or rewritten"
                )
            }
            FaultKind::Root { size, source } => write!(
                f,
                "the first {size} events are not those that the checkpoint {source} was signed over: history was rewritten"
            ),
            FaultKind::Cut { size, source } => write!(
                f,
                "a checkpoint {source} was signed over {size} events and fewer are there: the log was cut or rolled back"
            ),
            FaultKind::Checkpoint { source, why } => write!(f, "a checkpoint {source} was changed: {why}"),
            FaultKind::Signature { size, source, why } => {
                write!(f, "the checkpoint {source} over {size} events is not to be believed: {why}")
            }
            FaultKind::CheckpointGone(size) => write!(
                f,
                "the checkpoint over {size} events was copied outside and is gone from the store: checkpoints were deleted, or the store was rolled back"
            ),
            FaultKind::Unsigned => write!(f, "there are events and not one checkpoint"),
            FaultKind::Export(why) => write!(f, "the export is damaged: {why}"),
        }
    }
}

/// An event's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its stream.
    pub stream: StreamId,
    /// Its version.
    pub version: Version,
    /// Its position.
    pub position: Position,
}

impl Place {
    /// Where an event is.
    #[must_use]
    pub fn of(event: &RecordedEvent) -> Self {
        Self { stream: event.stream.clone(), version: event.version, position: event.position }
    }
}
