//! Every kind of tampering with a small log, each found at its place.

use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::domain::event::Origin;
use crate::domain::ids::{CorrelationId, EventId, Name};
use crate::domain::integrity::leaf::{EventHashes, next_digest};
use crate::domain::integrity::note::NoteSignature;

/// A log of `commits` commits of two events each, over three streams, as a node makes it.
fn log(commits: u64) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    for n in 0..commits * 2 {
        events.push(RecordedEvent {
            id: EventId(Uuid::from_u128(n.into())),
            stream: stream(n % 3),
            version: Version(n / 3 + 1),
            position: Position(n + 1),
            kind: "Tested".to_owned(),
            schema_version: 1,
            recorded_at: Timestamp::from_microsecond(1_000 + i64::try_from(n / 2).unwrap()).unwrap(),
            node: "node-a".to_owned(),
            origin: Origin {
                actor: "user:ada".to_owned(),
                correlation_id: CorrelationId(Uuid::from_u128(7)),
                causation_id: None,
            },
            payload: Bytes::from(format!("payload {n}")),
            hashes: EventHashes { payload: [0; 32], leaf: LeafHash::NONE },
        });
    }
    rehash(&mut events);
    events
}

fn stream(n: u64) -> StreamId {
    StreamId::pipeline(&Name::new(format!("p{n}")).unwrap())
}

/// What a forger with full access does after a change.
fn rehash(events: &mut [RecordedEvent]) {
    let mut leaves: HashMap<StreamId, LeafHash> = HashMap::new();
    for event in events {
        let previous = leaves.get(&event.stream).copied().unwrap_or(LeafHash::NONE);
        event.hashes = event.computed_hashes(previous);
        leaves.insert(event.stream.clone(), event.hashes.leaf);
    }
}

fn digest_of(events: &[RecordedEvent]) -> Option<Hash> {
    events
        .chunk_by(|a, b| (a.recorded_at, &a.node) == (b.recorded_at, &b.node))
        .fold(None, |digest, commit| Some(next_digest(digest, commit.iter().map(|e| e.hashes.leaf))))
}

struct Key(SigningKey, KeyName);

impl Key {
    fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]), KeyName::new("example.com/log").unwrap())
    }

    fn public(&self) -> VerifierKey {
        VerifierKey::new(self.1.clone(), self.0.verifying_key().as_bytes()).unwrap()
    }

    fn note(&self, events: &[RecordedEvent]) -> String {
        let mut tree = CompactRange::default();
        events.iter().for_each(|event| tree.append(event.hashes.leaf.0));
        let origin = self.1.clone();
        let text = Checkpoint { origin, size: events.len() as u64, root: tree.root() }.to_string();
        let signature = self.0.sign(text.as_bytes()).to_bytes().to_vec();
        let signature = NoteSignature { name: self.1.clone(), id: self.public().id(), signature };
        SignedNote::new(text, vec![signature]).unwrap().to_string()
    }
}

/// A log with its records, as a store has them.
struct Stored {
    events: Vec<RecordedEvent>,
    end: (Position, Option<Hash>),
    heads: Vec<(StreamId, Version, LeafHash)>,
    notes: Vec<(String, Source)>,
}

impl Stored {
    fn new(events: Vec<RecordedEvent>) -> Self {
        let mut heads: Vec<(StreamId, Version, LeafHash)> = Vec::new();
        for n in 0..3 {
            if let Some(last) = events.iter().rfind(|event| event.stream == stream(n)) {
                heads.push((stream(n), last.version, last.hashes.leaf));
            }
        }
        let end = (Position(events.len() as u64), digest_of(&events));
        let half = events.len() / 2;
        let notes = vec![(Key::new(1).note(&events[..half]), Source::Inside)];
        Self { events, end, heads, notes }
    }

    fn verify(&self) -> Result<Counts, Fault> {
        self.verify_with(vec![(Key::new(1).public(), None)])
    }

    fn verify_with(&self, trusted: Vec<Trusted>) -> Result<Counts, Fault> {
        let mut verifier = Verifier::new(trusted);
        let mut notes = Vec::new();
        for (note, source) in &self.notes {
            notes.push((verifier.believe(note, *source)?, *source));
        }
        for event in &self.events {
            verifier.event(event)?;
            for (checkpoint, source) in &notes {
                if checkpoint.size == verifier.position().0 {
                    verifier.agree(checkpoint, *source)?;
                }
            }
        }
        for (checkpoint, source) in &notes {
            if checkpoint.size > verifier.position().0 {
                verifier.agree(checkpoint, *source)?;
            }
        }
        verifier.log_end(self.end.0, self.end.1)?;
        verifier.begin_stream_ends();
        for (stream, version, leaf) in &self.heads {
            verifier.stream_end(stream, *version, *leaf)?;
        }
        verifier.streams_ended()?;
        Ok(verifier.counts())
    }

    fn fault(&self) -> Fault {
        self.verify().unwrap_err()
    }
}

fn tampered(change: impl FnOnce(&mut Vec<RecordedEvent>)) -> Stored {
    let mut stored = Stored::new(log(6));
    change(&mut stored.events);
    stored
}

/// Stream, version and position of a fault.
fn place(fault: &Fault) -> (Option<StreamId>, Option<u64>, Option<u64>) {
    (fault.stream.clone(), fault.version.map(|v| v.0), fault.position.map(|p| p.0))
}

#[test]
fn what_was_recorded_is_intact() {
    let counts = Stored::new(log(6)).verify().unwrap();
    let expected = Counts { events: 12, streams: 3, commits: 6, checkpoints: 1, outside: 0, sealed: 6 };
    assert_eq!(counts, expected);
    assert_eq!(Stored { notes: Vec::new(), ..Stored::new(Vec::new()) }.verify(), Ok(Counts::default()));
}

#[test]
fn a_changed_event_is_named() {
    type Change = (&'static str, FaultKind, fn(&mut RecordedEvent));
    let changes: [Change; 10] = [
        ("payload", FaultKind::Payload, |e| e.payload = Bytes::from_static(b"payload X")),
        ("its hash", FaultKind::Payload, |e| e.hashes.payload[0] ^= 1),
        ("leaf", FaultKind::Leaf, |e| e.hashes.leaf.0[31] ^= 1),
        ("time", FaultKind::Leaf, |e| e.recorded_at = Timestamp::from_microsecond(1_001).unwrap()),
        ("kind", FaultKind::Leaf, |e| e.kind = "Texted".to_owned()),
        ("node", FaultKind::Leaf, |e| e.node = "node-b".to_owned()),
        ("actor", FaultKind::Leaf, |e| e.origin.actor = "user:eve".to_owned()),
        ("causation", FaultKind::Leaf, |e| e.origin.causation_id = Some(Uuid::from_u128(9))),
        ("id", FaultKind::Leaf, |e| e.id = EventId(Uuid::from_u128(99))),
        ("schema version", FaultKind::Leaf, |e| e.schema_version = 2),
    ];
    for (what, kind, change) in changes {
        let fault = tampered(|events| change(&mut events[7])).fault();
        assert_eq!(fault.kind, kind, "{what}");
        assert_eq!(place(&fault), (Some(stream(1)), Some(3), Some(8)), "{what}");
    }
}

#[test]
fn a_change_with_new_hashes_shows_at_what_follows() {
    // the event alone: the next one of its stream was chained on another
    let alone = tampered(|events| {
        events[6].payload = Bytes::from_static(b"forged");
        let before = events[3].hashes.leaf;
        events[6].hashes = events[6].computed_hashes(before);
    });
    assert_eq!(place(&alone.fault()), (Some(stream(0)), Some(4), Some(10)));
    // the last event of its stream: the stream's record, or where that is forged too, the digest
    let mut last = tampered(|events| events[11].payload = Bytes::from_static(b"forged"));
    rehash(&mut last.events);
    assert_eq!(last.fault().kind, FaultKind::Digest);
    last.end.1 = digest_of(&last.events);
    assert_eq!(last.fault().kind, FaultKind::StreamEnd(Version(4)));
    assert_eq!(place(&last.fault()), (Some(stream(2)), Some(4), Some(12)));
}

#[test]
fn what_is_missing_is_named() {
    let fault = tampered(|events| drop(events.remove(4))).fault();
    assert_eq!((fault.kind, fault.position), (FaultKind::Gap(Position(5)), Some(Position(5))));
    let close_up = |events: &mut Vec<RecordedEvent>| {
        (1..).zip(events).for_each(|(n, event)| event.position = Position(n));
    };
    // closing the gap leaves one in the stream
    let fault = tampered(|events| {
        events.remove(7);
        close_up(events);
    })
    .fault();
    assert_eq!(fault.kind, FaultKind::Version(Version(3)));
    assert_eq!(place(&fault), (Some(stream(1)), Some(4), Some(10)));
    // the last event
    let mut cut = tampered(|events| drop(events.pop()));
    assert_eq!(cut.fault().kind, FaultKind::LogEnd(Position(12)));
    cut.end = (Position(11), digest_of(&cut.events));
    assert_eq!(cut.fault().kind, FaultKind::StreamEnd(Version(4)));
    assert_eq!((cut.fault().stream, cut.fault().version), (Some(stream(2)), Some(Version(4))));
    // half of the log, with all records: only the checkpoint knows
    let mut half = Stored::new(log(6)).notes;
    half[0].0 = Key::new(1).note(&log(6)[..10]);
    let half = Stored { notes: half, ..Stored::new(log(2)) };
    assert_eq!(half.fault().kind, FaultKind::Cut { size: 10, source: Source::Inside });
    // a whole stream, with everything closed up and its record removed
    let mut gone = Stored::new(log(6));
    gone.events.retain(|event| event.stream != stream(1));
    close_up(&mut gone.events);
    gone.heads.remove(1);
    gone.end = (Position(8), digest_of(&gone.events));
    let fault = gone.fault();
    assert_eq!(fault.kind, FaultKind::Root { size: 6, source: Source::Inside });
    assert_eq!((fault.position, fault.until), (Some(Position(1)), Some(Position(6))));
    // or its record alone
    let mut record = Stored::new(log(6));
    record.heads.remove(1);
    assert_eq!(record.fault().kind, FaultKind::StreamRecord);
    assert_eq!(record.fault().position, Some(Position(11)));
}

#[test]
fn events_that_changed_places_are_found() {
    let swap = |events: &mut Vec<RecordedEvent>, a: usize, b: usize| {
        events.swap(a, b);
        (events[a].position, events[b].position) = (events[b].position, events[a].position);
    };
    let fault = tampered(|events| swap(events, 9, 10)).fault();
    // after the checkpoint, so that the digest tells; times tell where
    assert_eq!(fault.kind, FaultKind::Digest);
    assert_eq!(place(&fault), (Some(stream(1)), Some(4), Some(10)));
    let fault = tampered(|events| swap(events, 1, 3)).fault();
    assert_eq!(fault.kind, FaultKind::Root { size: 6, source: Source::Inside });
    assert_eq!(place(&fault), (Some(stream(0)), Some(2), Some(2)));
    let fault = tampered(|events| swap(events, 0, 3)).fault();
    assert_eq!(fault.kind, FaultKind::Version(Version(1)));
    assert_eq!(place(&fault), (Some(stream(0)), Some(2), Some(1)));
}

#[test]
fn rewritten_history_is_known_by_checkpoints_that_the_forger_did_not_reach() {
    let mut events = log(6);
    events[2].payload = Bytes::from_static(b"forged");
    rehash(&mut events);
    // with the key: the store agrees with itself
    let mut forged = Stored::new(events);
    assert!(forged.verify().is_ok());
    forged.notes.push((Key::new(1).note(&log(6)[..8]), Source::Outside));
    let fault = forged.fault();
    assert_eq!(fault.kind, FaultKind::Root { size: 8, source: Source::Outside });
    assert_eq!((fault.position, fault.until), (Some(Position(7)), Some(Position(8))));
    // with a key of the forger's own
    forged.notes = vec![(Key::new(2).note(&forged.events[..6]), Source::Inside)];
    assert!(matches!(forged.fault().kind, FaultKind::Signature { size: 6, source: Source::Inside, .. }));
    assert!(
        forged.verify_with(vec![(Key::new(2).public(), None)]).is_ok(),
        "whoever believes that key is fooled"
    );
}

#[test]
fn a_key_is_believed_as_long_as_it_signed() {
    let stored = Stored::new(log(6));
    let until = |size| stored.verify_with(vec![(Key::new(1).public(), Some(size))]);
    assert!(until(6).is_ok());
    assert!(matches!(until(5).unwrap_err().kind, FaultKind::Signature { size: 6, .. }));
    let mut garbled = Stored::new(log(6));
    garbled.notes[0].0 = garbled.notes[0].0.replace("\n6\n", "\n7\n");
    assert!(matches!(garbled.fault().kind, FaultKind::Signature { size: 7, .. }));
    garbled.notes[0].0 = "nothing".to_owned();
    assert!(matches!(garbled.fault().kind, FaultKind::Checkpoint { .. }));
}

#[test]
fn a_log_that_grows_meanwhile_is_no_fault() {
    let events = log(6);
    let mut verifier = Verifier::new(Vec::new());
    events[..4].iter().for_each(|event| verifier.event(event).unwrap());
    verifier.begin_stream_ends();
    for (n, last) in [(0, 9), (1, 10), (2, 11)] {
        verifier.stream_end(&stream(n), Version(4), events[last].hashes.leaf).unwrap();
    }
    let early = verifier.streams_ended().unwrap_err();
    assert_eq!((early.stream, early.version), (Some(stream(0)), Some(Version(3))));
    events[4..].iter().for_each(|event| verifier.event(event).unwrap());
    verifier.streams_ended().unwrap();
    // a record that is newer and wrong is found when the event comes
    let mut verifier = Verifier::new(Vec::new());
    verifier.begin_stream_ends();
    verifier.stream_end(&stream(0), Version(1), LeafHash([9; 32])).unwrap();
    assert_eq!(verifier.event(&events[0]).unwrap_err().kind, FaultKind::StreamEnd(Version(1)));
}

#[test]
fn a_part_of_a_log_is_verified_from_its_tree() {
    let events = log(6);
    let mut tree = CompactRange::default();
    events[..5].iter().for_each(|event| tree.append(event.hashes.leaf.0));
    let mut verifier = Verifier::resume(vec![(Key::new(1).public(), None)], tree);
    for event in &events[5..] {
        let before = events[..5].iter().rfind(|e| e.stream == event.stream).unwrap();
        verifier.introduce(&event.stream, before.version, before.hashes.leaf);
        verifier.event(event).unwrap();
    }
    let checkpoint = verifier.believe(&Key::new(1).note(&events), Source::Inside).unwrap();
    verifier.agree(&checkpoint, Source::Inside).unwrap();
    assert_eq!(verifier.counts().sealed, 12);
}
