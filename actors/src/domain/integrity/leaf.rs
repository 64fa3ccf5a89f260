//! The leaf hash of an event and the digest over commits: the two chains that every append extends.
//!
//! A leaf hash is an RFC 6962 leaf (`SHA-256(0x00 ‖ data)`, section 2.1), so that the Merkle tree over the log is built
//! from it as it is. Its data is the event's header in the order of [`Header`]: texts and bytes with their length as
//! 8 bytes before them, numbers as 8 bytes, both big-endian; ids as their 16 bytes; an absent causation as 16 zeros;
//! the time in microseconds since 1970; at the end the previous leaf of the stream and the payload's SHA-256. The
//! position is not in it: the leaf's place in the tree and the digest bind it.

use std::fmt;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::super::event::{Origin, RecordedEvent};
use super::super::ids::{StreamId, Version};

/// What data of the first format begins with; another format would begin with another text.
const FORMAT: &[u8] = b"flexcore event 1";
/// The prefix of a leaf (RFC 6962, section 2.1).
const LEAF: u8 = 0;

/// The hash of an event in its stream: over its header, its payload and the leaf before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafHash(pub [u8; 32]);

impl LeafHash {
    /// What stands for the leaf before a stream's first event.
    pub const NONE: Self = Self([0; 32]);
}

impl fmt::Display for LeafHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LeafHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeafHash({self})")
    }
}

/// The hashes that are stored with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHashes {
    /// SHA-256 of the payload.
    pub payload: [u8; 32],
    /// The event's leaf.
    pub leaf: LeafHash,
}

/// What a leaf covers besides the payload and the leaf before it.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// The stream.
    pub stream: &'a StreamId,
    /// The event's place in it.
    pub version: Version,
    /// The event's id.
    pub id: Uuid,
    /// The event's type.
    pub kind: &'a str,
    /// The version of its payload's shape.
    pub schema_version: u16,
    /// When it was recorded, in whole microseconds.
    pub recorded_at: Timestamp,
    /// The node that recorded it.
    pub node: &'a str,
    /// Who and why.
    pub origin: &'a Origin,
}

impl Header<'_> {
    /// The hashes of an event with this header, by the leaf before it ([`LeafHash::NONE`] for the first).
    #[must_use]
    pub fn hashes(&self, payload: &[u8], previous: LeafHash) -> EventHashes {
        let payload: [u8; 32] = Sha256::digest(payload).into();
        let mut data = Data(Sha256::new_with_prefix([LEAF]));
        data.bytes(FORMAT);
        data.bytes(self.stream.as_str().as_bytes());
        data.number(self.version.0);
        data.0.update(self.id.as_bytes());
        data.bytes(self.kind.as_bytes());
        data.number(u64::from(self.schema_version));
        data.0.update(self.recorded_at.as_microsecond().to_be_bytes());
        data.bytes(self.node.as_bytes());
        data.bytes(self.origin.actor.as_bytes());
        data.0.update(self.origin.correlation_id.0.as_bytes());
        data.0.update(self.origin.causation_id.unwrap_or_default().as_bytes());
        data.0.update(previous.0);
        data.0.update(payload);
        EventHashes { payload, leaf: LeafHash(data.0.finalize().into()) }
    }
}

struct Data(Sha256);

impl Data {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    /// The length keeps ["ab", "c"] apart from ["a", "bc"].
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }
}

impl RecordedEvent {
    /// What the hashes of this event must be, by the leaf before it. They differ from [`Self::hashes`] when the event
    /// was changed after it was recorded.
    #[must_use]
    pub fn computed_hashes(&self, previous: LeafHash) -> EventHashes {
        let Self { stream, version, kind, schema_version, recorded_at, node, origin, .. } = self;
        let (version, schema_version, recorded_at) = (*version, *schema_version, *recorded_at);
        let header =
            Header { stream, version, id: self.id.0, kind, schema_version, recorded_at, node, origin };
        header.hashes(&self.payload, previous)
    }
}

/// The digest of the log after a commit: `SHA-256(digest before ‖ leaves of the commit)`; before the first commit it is
/// empty. A commit is a run of events with the same node and time of recording: a node never gives two commits the
/// same time.
#[must_use]
pub fn next_digest(before: Option<[u8; 32]>, leaves: impl IntoIterator<Item = LeafHash>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(before.as_ref().map_or(&[][..], |digest| &digest[..]));
    leaves.into_iter().for_each(|leaf| hasher.update(leaf.0));
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::event::NewEvent;
    use crate::domain::ids::{CorrelationId, EventId, Name};

    fn event() -> NewEvent {
        NewEvent {
            id: EventId(Uuid::from_u128(1)),
            kind: "PipelineCreated",
            schema_version: 1,
            payload: Bytes::from_static(b"\x80"),
        }
    }

    fn origin() -> Origin {
        Origin {
            actor: "user:ada".to_owned(),
            correlation_id: CorrelationId(Uuid::from_u128(2)),
            causation_id: None,
        }
    }

    fn hashes(
        event: &NewEvent,
        version: u64,
        node: &str,
        origin: &Origin,
        previous: LeafHash,
    ) -> EventHashes {
        let header = Header {
            stream: &StreamId::pipeline(&Name::new("orders").unwrap()),
            version: Version(version),
            id: event.id.0,
            kind: event.kind,
            schema_version: event.schema_version,
            recorded_at: Timestamp::UNIX_EPOCH,
            node,
            origin,
        };
        header.hashes(&event.payload, previous)
    }

    /// The format must never change: what was stored under it would no longer verify.
    #[test]
    fn the_format_is_as_it_was() {
        let found = hashes(&event(), 1, "node-a", &origin(), LeafHash::NONE);
        // computed by a script of its own from the format's description
        assert_eq!(
            found.leaf.to_string(),
            "aa7e0c37428e23bfde8da1973d60029ed6436c36bf5740cbb12efe6255caa8c4"
        );
    }

    #[test]
    fn every_part_of_the_header_counts() {
        let base = hashes(&event(), 1, "node-a", &origin(), LeafHash::NONE).leaf;
        let (event, origin) = (event(), origin());
        let events = [
            NewEvent { id: EventId(Uuid::from_u128(3)), ..event.clone() },
            NewEvent { kind: "PipelineRevised", ..event.clone() },
            NewEvent { schema_version: 2, ..event.clone() },
            NewEvent { payload: Bytes::from_static(b"\x81"), ..event.clone() },
        ];
        let origins = [
            Origin { actor: "user:eve".to_owned(), ..origin.clone() },
            Origin { correlation_id: CorrelationId(Uuid::from_u128(5)), ..origin.clone() },
            Origin { causation_id: Some(Uuid::from_u128(4)), ..origin.clone() },
        ];
        let places =
            [(2, "node-a", LeafHash::NONE), (1, "node-b", LeafHash::NONE), (1, "node-a", LeafHash([1; 32]))];
        let changed = events
            .iter()
            .map(|event| hashes(event, 1, "node-a", &origin, LeafHash::NONE))
            .chain(origins.iter().map(|origin| hashes(&event, 1, "node-a", origin, LeafHash::NONE)))
            .chain(places.map(|(version, node, previous)| hashes(&event, version, node, &origin, previous)));
        for (n, changed) in changed.enumerate() {
            assert_ne!(changed.leaf, base, "change {n}");
        }
    }

    #[test]
    fn the_digest_chains_commits() {
        let (a, b) = (LeafHash([1; 32]), LeafHash([2; 32]));
        let both = next_digest(None, [a, b]);
        let apart = next_digest(Some(next_digest(None, [a])), [b]);
        assert_ne!(both, apart);
        assert_eq!(next_digest(None, [a, b]), both);
    }
}
