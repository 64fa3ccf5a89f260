//! The envelope of events: what is asked to be recorded and what was recorded. Payloads are opaque here; their
//! types stand with each aggregate.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{CorrelationId, EventId, Position, StreamId, Version};
use super::integrity::leaf::EventHashes;

/// Who, and by which chain of causes: the part of an event that does not depend on its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who asked: a user, token or `node:<name>` for reactions of the runtime.
    pub actor: String,
    /// What belongs together.
    pub correlation_id: CorrelationId,
    /// The event or command that led to this one.
    pub causation_id: Option<uuid::Uuid>,
}

/// An event that is asked to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its id, fresh (UUIDv7).
    pub id: EventId,
    /// Its type, such as `PipelineCreated`.
    pub kind: &'static str,
    /// The version of its payload's shape.
    pub schema_version: u16,
    /// A MessagePack map with named fields.
    pub payload: Bytes,
}

/// An event as it was recorded; immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub version: Version,
    /// Its place in the store.
    pub position: Position,
    /// Its type.
    pub kind: String,
    /// The version of its payload's shape.
    pub schema_version: u16,
    /// When it was committed.
    pub recorded_at: Timestamp,
    /// The node that recorded it.
    pub node: String,
    /// Who and why.
    pub origin: Origin,
    /// A MessagePack map with named fields.
    pub payload: Bytes,
    /// The hashes that were stored with it.
    pub hashes: EventHashes,
}

impl RecordedEvent {
    /// The payload as JSON, for people and for programs outside.
    ///
    /// # Errors
    /// When the payload is not MessagePack, which a store that was not tampered with never holds.
    pub fn data(&self) -> Result<serde_json::Value, rmp_serde::decode::Error> {
        rmp_serde::from_slice(&self.payload)
    }
}
