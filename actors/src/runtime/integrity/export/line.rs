//! The lines of an export: JSON objects with one key each that says what the line is. Wire types and their conversion;
//! nothing here reads or writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::event::{Origin, RecordedEvent};
use crate::domain::ids::{CorrelationId, EventId, Position, StreamId, Version};
use crate::domain::integrity::leaf::{EventHashes, LeafHash};
use crate::domain::integrity::merkle::Hash;

/// The format's number; another one would be refused.
pub const FORMAT: u32 = 1;

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first one.
    Export(Header),
    /// An event.
    Event(Box<EventLine>),
    /// A checkpoint, behind the last event that it covers; before all events in the export of a stream.
    Checkpoint(CheckpointLine),
    /// The last one: a file without it was cut.
    End(Footer),
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was made.
    pub exported_at: Timestamp,
    /// The one stream; all when there is none.
    pub stream: Option<StreamId>,
    /// Only what is beyond this position.
    pub after: Position,
    /// The position of the log's last event.
    pub position: Position,
    /// The digest over all commits of the log.
    pub digest: Option<Encoded>,
    /// The complete subtrees over the events up to `after`, from left to right.
    pub tree: Vec<Encoded>,
}

/// An event with everything that is hashed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventLine {
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub version: Version,
    /// Its place in the store.
    pub position: Position,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of its payload's shape.
    pub schema_version: u16,
    /// When it was recorded.
    pub timestamp: Timestamp,
    /// Who, where and why.
    pub metadata: Metadata,
    /// The payload, readable.
    pub data: Value,
    /// The payload's bytes as they were hashed.
    pub payload: Encoded<Bytes>,
    /// Their hash.
    pub payload_hash: Encoded,
    /// The event's leaf.
    pub leaf_hash: Encoded,
    /// The leaf before it in its stream, with the first event of a stream that begins earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_leaf: Option<Encoded>,
    /// In the export of a stream: that the event is in the log of the checkpoint (RFC 6962, section 2.1.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Vec<Encoded>>,
}

/// Who, where and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Who asked.
    pub actor: String,
    /// The node that recorded it.
    pub node: String,
    /// What belongs together.
    pub correlation_id: CorrelationId,
    /// The event or command that led to it.
    pub causation_id: Option<Uuid>,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointLine {
    /// The signed note.
    pub note: String,
    /// When it was made.
    pub sealed_at: Timestamp,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// Events.
    pub events: u64,
    /// Checkpoints.
    pub checkpoints: u64,
}

/// Bytes as base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded<T = Hash>(pub T);

impl<T: AsRef<[u8]>> Serialize for Encoded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de, T: TryFrom<Vec<u8>>> Deserialize<'de> for Encoded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(|_| serde::de::Error::custom("expected base64"))?;
        bytes.try_into().map(Self).map_err(|_| serde::de::Error::custom("expected the base64 of 32 bytes"))
    }
}

impl EventLine {
    /// An event as a line.
    #[must_use]
    pub fn of(event: RecordedEvent) -> Self {
        Self {
            data: event.data().unwrap_or(Value::Null),
            id: event.id,
            stream: event.stream,
            version: event.version,
            position: event.position,
            kind: event.kind,
            schema_version: event.schema_version,
            timestamp: event.recorded_at,
            metadata: Metadata {
                actor: event.origin.actor,
                node: event.node,
                correlation_id: event.origin.correlation_id,
                causation_id: event.origin.causation_id,
            },
            payload: Encoded(event.payload),
            payload_hash: Encoded(event.hashes.payload),
            leaf_hash: Encoded(event.hashes.leaf.0),
            previous_leaf: None,
            proof: None,
        }
    }

    /// The event of a line.
    ///
    /// # Errors
    /// When what a person reads in it is not what was hashed.
    pub fn event(self) -> Result<RecordedEvent, &'static str> {
        let event = RecordedEvent {
            id: self.id,
            stream: self.stream,
            version: self.version,
            position: self.position,
            kind: self.kind,
            schema_version: self.schema_version,
            recorded_at: self.timestamp,
            node: self.metadata.node,
            origin: Origin {
                actor: self.metadata.actor,
                correlation_id: self.metadata.correlation_id,
                causation_id: self.metadata.causation_id,
            },
            payload: self.payload.0,
            hashes: EventHashes { payload: self.payload_hash.0, leaf: LeafHash(self.leaf_hash.0) },
        };
        if event.data().unwrap_or(Value::Null) == self.data {
            Ok(event)
        } else {
            Err("its data is not what its payload says")
        }
    }
}
