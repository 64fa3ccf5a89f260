//! A batch of appends as the committer hands it to a store: checked, timed and hashed in one place, so that all
//! adapters agree. No I/O, and nothing that depends on what is stored.

use std::collections::HashSet;
use std::ops::Range;

use jiff::Timestamp;

use super::event_store::{Append, StreamAppend};
use crate::domain::event::NewEvent;
use crate::domain::ids::{Category, StreamId, Version};
use crate::domain::integrity::leaf::{EventHashes, Header, LeafHash};

/// Most bytes of all payloads of a batch: far more than a group commit needs, and well below what one message to a
/// database may hold (1 GiB).
pub const MAX_BATCH_BYTES: usize = 256 << 20;

/// Why a batch cannot be stored whatever the store holds: a mistake of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedBatch {
    /// A stream is written or guarded twice, so its order within the batch would be undefined.
    #[error("stream {0} occurs twice in one batch: put the second unit into the next batch")]
    StreamTwice(StreamId),
    /// A unit names no stream, so nothing would fence it.
    #[error("a unit names no stream: add the commanded one, without events if there are none")]
    NoStream,
    /// More bytes than one batch may carry.
    #[error("the payloads of one batch are {0} bytes, more than {MAX_BATCH_BYTES}: split it")]
    TooLarge(usize),
    /// What adds events, or answers a command, names no epoch under which its writer owns the shard.
    #[error("nothing would fence the append to stream {0}: name the epoch of its shard")]
    NoEpoch(StreamId),
    /// A text that no database can keep.
    #[error("the actor of a command on stream {0} holds a NUL character: refuse it where it comes in")]
    NulInActor(StreamId),
}

/// Units that are stored in one transaction, under one node and time, with the hashes of their events.
#[derive(Debug)]
pub struct Batch {
    node: String,
    at: Timestamp,
    units: Vec<Append>,
    hashes: Vec<EventHashes>,
    /// Where each unit's hashes begin; one more than units.
    begins: Vec<usize>,
}

impl Batch {
    /// Checks the units and computes the hashes of their events. `at` must be later than that of the node's batch
    /// before: the digest over the log tells commits apart by it.
    ///
    /// # Errors
    /// When the units cannot be stored together, whatever the store holds.
    pub fn new(node: &str, at: Timestamp, units: Vec<Append>) -> Result<Self, MalformedBatch> {
        if let Some(fault) = find_fault(&units) {
            return Err(fault);
        }
        let mut batch =
            Self { node: node.to_owned(), at: whole_micros(at), units, hashes: Vec::new(), begins: vec![0] };
        for unit in &batch.units {
            hash_unit(unit, node, batch.at, &mut batch.hashes);
            batch.begins.push(batch.hashes.len());
        }
        Ok(batch)
    }

    /// The node that stores it.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// When its events are recorded, in whole microseconds.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The units, in order.
    #[must_use]
    pub fn units(&self) -> &[Append] {
        &self.units
    }

    /// The hashes of a unit's events, in the order of its streams and their events.
    #[must_use]
    pub fn hashes(&self, unit: usize) -> &[EventHashes] {
        &self.hashes[self.range(unit)]
    }

    /// The events of a unit in order, each with its version and hashes.
    pub fn events(&self, unit: usize) -> impl Iterator<Item = (&StreamId, Version, &NewEvent, &EventHashes)> {
        let parts = self.units[unit].streams.iter();
        let events = parts.flat_map(|part| {
            let versions = (1..).map(|n| Version(part.expected.0.saturating_add(n)));
            versions.zip(&part.events).map(|(version, event)| (&part.stream, version, event))
        });
        events
            .zip(self.hashes(unit))
            .map(|((stream, version, event), hashes)| (stream, version, event, hashes))
    }

    /// The streams of a unit that get events, each with its last leaf once the unit is stored.
    pub fn heads(&self, unit: usize) -> impl Iterator<Item = (&StreamAppend, &LeafHash)> {
        let mut last = self.begins[unit];
        self.units[unit].streams.iter().filter_map(move |part| {
            last += part.events.len();
            (!part.events.is_empty()).then(|| (part, &self.hashes[last - 1].leaf))
        })
    }

    /// The leaf on which the next event of a unit's own stream is chained, once the unit is stored.
    #[must_use]
    pub fn own_leaf(&self, unit: usize) -> LeafHash {
        let own = self.units[unit].own();
        own.events.len().checked_sub(1).map_or(own.previous, |last| self.hashes(unit)[last].leaf)
    }

    fn range(&self, unit: usize) -> Range<usize> {
        self.begins[unit]..self.begins[unit + 1]
    }
}

fn hash_unit(unit: &Append, node: &str, at: Timestamp, hashes: &mut Vec<EventHashes>) {
    for part in &unit.streams {
        let mut previous = part.previous;
        for (added, event) in (1..).zip(&part.events) {
            let header = Header {
                stream: &part.stream,
                version: Version(part.expected.0.saturating_add(added)),
                id: event.id.0,
                kind: event.kind,
                schema_version: event.schema_version,
                recorded_at: at,
                node,
                origin: &unit.origin,
            };
            let computed = header.hashes(&event.payload, previous);
            previous = computed.leaf;
            hashes.push(computed);
        }
    }
}

/// The time cut to whole microseconds: the finest that every adapter keeps.
#[must_use]
pub fn whole_micros(time: Timestamp) -> Timestamp {
    // of the very last second that a time can have, only the whole second can be built from microseconds
    Timestamp::from_microsecond(time.as_microsecond())
        .or_else(|_| Timestamp::from_second(time.as_second()))
        .expect("cutting digits keeps a time in range")
}

/// The first whole microsecond at or after a time: recorded times lie at or after (before) both alike.
#[must_use]
pub fn next_micro(time: Timestamp) -> Timestamp {
    let cut = whole_micros(time);
    if cut < time { cut.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(cut) } else { cut }
}

fn find_fault(batch: &[Append]) -> Option<MalformedBatch> {
    let mut seen = HashSet::new();
    let events = batch.iter().flat_map(|unit| &unit.streams).flat_map(|part| &part.events);
    let bytes: usize = events.map(|event| event.payload.len()).sum();
    if bytes > MAX_BATCH_BYTES {
        return Some(MalformedBatch::TooLarge(bytes));
    }
    for unit in batch {
        let Some(own) = unit.streams.first() else { return Some(MalformedBatch::NoStream) };
        if unit.origin.actor.contains('\0') {
            return Some(MalformedBatch::NulInActor(own.stream.clone()));
        }
        let fenced = |(n, part): (usize, &StreamAppend)| {
            part.epoch.is_some()
                || part.stream.category() == Category::Audit
                || n > 0 && part.events.is_empty()
        };
        if let Some(open) = unit.streams.iter().enumerate().position(|part| !fenced(part)) {
            return Some(MalformedBatch::NoEpoch(unit.streams[open].stream.clone()));
        }
        if let Some(twice) = unit.streams.iter().find(|part| !seen.insert(&part.stream)) {
            return Some(MalformedBatch::StreamTwice(twice.stream.clone()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::domain::event::Origin;
    use crate::domain::ids::{CorrelationId, Epoch, EventId, Name};

    fn unit(parts: &[(&str, usize)]) -> Append {
        let event = |n| NewEvent {
            id: EventId(Uuid::from_u128(n)),
            kind: "Tested",
            schema_version: 1,
            payload: Bytes::from_static(b"\x80"),
        };
        let part = |&(name, events): &(&str, usize)| StreamAppend {
            stream: StreamId::pipeline(&Name::new(name).unwrap()),
            epoch: Some(Epoch(1)),
            expected: Version(4),
            previous: LeafHash([1; 32]),
            events: (0..events as u128).map(event).collect(),
        };
        let correlation_id = CorrelationId(Uuid::nil());
        let origin = Origin { actor: "user:ada".to_owned(), correlation_id, causation_id: None };
        Append { command: None, origin, streams: parts.iter().map(part).collect(), wakeups: Vec::new() }
    }

    fn make(units: Vec<Append>) -> Result<Batch, MalformedBatch> {
        Batch::new("node-a", Timestamp::UNIX_EPOCH, units)
    }

    #[test]
    fn malformed_batches_are_refused() {
        let a = StreamId::pipeline(&Name::new("a").unwrap());
        let twice = make(vec![unit(&[("a", 1)]), unit(&[("b", 1), ("a", 0)])]);
        assert_eq!(twice.unwrap_err(), MalformedBatch::StreamTwice(a.clone()));
        assert_eq!(make(vec![unit(&[])]).unwrap_err(), MalformedBatch::NoStream);
        let b = StreamId::pipeline(&Name::new("b").unwrap());
        let mut open = unit(&[("a", 1), ("b", 0)]);
        open.streams[1].epoch = None;
        assert!(make(vec![open.clone()]).is_ok(), "a guard");
        open.streams.reverse();
        assert_eq!(make(vec![open]).unwrap_err(), MalformedBatch::NoEpoch(b.clone()));
        let mut open = unit(&[("a", 1), ("b", 1)]);
        open.streams[1].epoch = None;
        assert_eq!(make(vec![open]).unwrap_err(), MalformedBatch::NoEpoch(b));
        let mut nul = unit(&[("a", 1)]);
        nul.origin.actor = "user:\0".to_owned();
        assert_eq!(make(vec![nul]).unwrap_err(), MalformedBatch::NulInActor(a));
        let mut large = unit(&[("a", 2)]);
        for event in &mut large.streams[0].events {
            event.payload = Bytes::from_static(&[0; MAX_BATCH_BYTES / 2 + 1]);
        }
        assert!(matches!(make(vec![large]), Err(MalformedBatch::TooLarge(_))));
    }

    #[test]
    fn events_are_chained_within_their_stream() {
        let batch = make(vec![unit(&[("a", 2), ("b", 1)]), unit(&[("c", 0)])]).unwrap();
        let events: Vec<_> = batch.events(0).collect();
        let versions: Vec<u64> = events.iter().map(|(_, version, ..)| version.0).collect();
        assert_eq!(versions, [5, 6, 5]);
        assert_eq!(batch.own_leaf(0), events[1].3.leaf);
        assert_eq!(batch.own_leaf(1), LeafHash([1; 32]), "a guard leaves the stream as it is");
        assert_eq!(batch.hashes(1), []);
        let mut shorter = unit(&[("a", 1), ("b", 1)]);
        shorter.streams[1].previous = LeafHash::NONE;
        let other = make(vec![shorter]).unwrap();
        assert_eq!(other.hashes(0)[0], *events[0].3);
        assert_ne!(other.hashes(0)[1].leaf, events[2].3.leaf);
    }

    #[test]
    fn bounds_of_times_keep_their_meaning() {
        let at = |nanos| Timestamp::from_nanosecond(nanos).unwrap();
        assert_eq!(whole_micros(at(1_999)), at(1_000));
        assert_eq!(next_micro(at(1_001)), at(2_000));
        assert_eq!(next_micro(at(2_000)), at(2_000));
        for extreme in [Timestamp::MIN, Timestamp::MAX] {
            assert!(whole_micros(extreme) <= extreme);
            assert_eq!(next_micro(extreme).as_second(), extreme.as_second());
        }
    }
}
