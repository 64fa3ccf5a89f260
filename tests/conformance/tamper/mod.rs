//! Tampering with real stores, as somebody with every right on the database would: triggers are switched off first. For
//! each attack, what verification says, and where. Never in here: the promises of untouched stores.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flexcore::integrity::CheckpointDirectory;
use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::{Position, StreamId, Version};
use flexcore_actors::domain::integrity::leaf::{LeafHash, next_digest};
use flexcore_actors::domain::integrity::verify::{Fault, FaultKind, Source};
use flexcore_actors::ports::event_store::EventFilter;
use flexcore_actors::ports::{BoxFuture, IntegrityStore, OutsideCheckpoints};
use flexcore_actors::runtime::integrity::verification::{Progress, Subject, Verdict, verify};
use flexcore_actors::testkit::conformance::{Store, Writer, pipeline};
use flexcore_actors::testkit::{MemoryCheckpoints, TestSigner, seal_log};

/// A position that no event has, in the first partition.
const ASIDE: u64 = 20_000_000;

/// Somebody with every right on the database.
trait Attacker: Send + Sync {
    /// The store, as the node uses it.
    fn events(&self) -> Arc<dyn Store>;
    /// The records beside the events.
    fn integrity(&self) -> Arc<dyn IntegrityStore>;
    /// Carries out statements, with triggers off.
    fn sql<'a>(&'a self, text: &'a str) -> BoxFuture<'a, ()>;
    /// Bytes as a literal.
    fn blob(&self, bytes: &[u8]) -> String;
    /// An expression for a time one second later.
    fn later(&self) -> &'static str;
}

/// A sealed log: 12 events of three streams, a checkpoint over 6 and one over 10 of them, both copied outside.
struct Log<A> {
    attacker: A,
    outside: tempfile::TempDir,
    events: Vec<RecordedEvent>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<A: Attacker> Log<A> {
    async fn write(attacker: A) -> Self {
        let log = Self { attacker, outside: tempfile::tempdir().unwrap(), events: Vec::new() };
        let writer = Writer::claim_as(log.attacker.events(), "node-a").await;
        // positions: a1 a2 | b1 b2 | c1 c2 || a3 b3 | a4 c3 || c4 c5
        let (a, b, c) = (pipeline("a"), pipeline("b"), pipeline("c"));
        for stream in [&a, &b, &c] {
            writer.commit(&writer.unit(stream, 0, 2)).await;
        }
        log.seal(1, log.directory()).await;
        writer.commit(&writer.unit_of(&[(&a, 2, 1), (&b, 2, 1)])).await;
        writer.commit(&writer.unit_of(&[(&a, 3, 1), (&c, 2, 1)])).await;
        log.seal(1, log.directory()).await;
        writer.commit(&writer.unit(&c, 3, 2)).await;
        let events = writer.log().await;
        Self { events, ..log }
    }

    fn directory(&self) -> CheckpointDirectory {
        CheckpointDirectory::open(self.outside.path(), false).unwrap()
    }

    /// Seals what is there with a key of this number, and copies the checkpoint outside.
    async fn seal(&self, key: u8, outside: impl OutsideCheckpoints) {
        seal_log(self.attacker.integrity(), TestSigner::new("example.com/log", key), outside).await;
    }

    async fn verdict(&self, key: u8, outside: bool) -> Verdict {
        let (events, integrity) = (self.attacker.events(), self.attacker.integrity());
        let directory = self.directory();
        let subject = Subject {
            events: &*events,
            integrity: &*integrity,
            outside: outside.then_some(&directory as &dyn OutsideCheckpoints),
            trusted: vec![(TestSigner::new("example.com/log", key).key(), None)],
        };
        verify(subject, &Progress::default()).await.unwrap()
    }

    async fn fault(&self) -> Fault {
        self.verdict(1, true).await.fault.expect("it was tampered with")
    }

    async fn sql(&self, text: &str) {
        self.attacker.sql(text).await;
    }

    /// Makes all records of the store fit these events: their hashes, the ends of streams and log, the digest.
    async fn forge(&self, events: &mut [RecordedEvent]) {
        let mut ends: BTreeMap<StreamId, (u64, LeafHash)> = BTreeMap::new();
        self.sql("delete from stream where name not like 'external%'").await;
        for event in events.iter_mut() {
            let previous = ends.get(&event.stream).map_or(LeafHash::NONE, |end| end.1);
            event.hashes = event.computed_hashes(previous);
            ends.insert(event.stream.clone(), (event.version.0, event.hashes.leaf));
            let text = format!(
                "update event set payload = {}, payload_hash = {}, leaf_hash = {} where position = {}",
                self.attacker.blob(&event.payload),
                self.attacker.blob(&event.hashes.payload),
                self.attacker.blob(&event.hashes.leaf.0),
                event.position
            );
            self.sql(&text).await;
        }
        for (stream, (version, leaf)) in ends {
            let text = format!(
                "insert into stream (name, category, shard, head_version, leaf_hash) \
                 values ('{stream}', 'pipeline', {}, {version}, {})",
                stream.shard().0,
                self.attacker.blob(&leaf.0)
            );
            self.sql(&text).await;
        }
        let commits = events.chunk_by(|a, b| a.recorded_at == b.recorded_at);
        let digest = commits
            .fold(None, |digest, commit| Some(next_digest(digest, commit.iter().map(|e| e.hashes.leaf))));
        let digest = self.attacker.blob(&digest.unwrap());
        let next = events.len() + 1;
        self.sql(&format!("update log_head set next_position = {next}, digest = {digest}")).await;
    }

    fn place(&self, fault: &Fault) -> (Option<String>, Option<u64>, Option<u64>) {
        let stream = fault.stream.as_ref().map(|stream| stream.to_string().replace("pipeline-", ""));
        (stream, fault.version.map(|v| v.0), fault.position.map(|p| p.0))
    }

    async fn assert_found(
        &self,
        what: &str,
        kind: FaultKind,
        place: (Option<&str>, Option<u64>, Option<u64>),
    ) {
        let fault = self.fault().await;
        assert_eq!(fault.kind, kind, "{what}: {fault}");
        let expected = (place.0.map(str::to_owned), place.1, place.2);
        assert_eq!(self.place(&fault), expected, "{what}: {fault}");
    }
}

const fn inside(size: u64) -> FaultKind {
    FaultKind::Root { size, source: Source::Inside }
}

/// Nothing was changed: everything is counted and agrees.
async fn an_untouched_store_is_intact<A: Attacker>(log: Log<A>) {
    let verdict = log.verdict(1, true).await;
    assert_eq!(verdict.fault, None);
    let counts = verdict.counts;
    assert_eq!((counts.events, counts.streams, counts.commits, counts.sealed), (12, 3, 6, 10));
    assert_eq!(counts.checkpoints, 2);
    // the last one also stands in the file `latest`
    assert_eq!(counts.outside, 3);
}

/// One byte of a payload, a field of the header, a time: by its place.
async fn a_changed_event_is_named<A: Attacker>(log: Log<A>) {
    let original = log.events[6].clone();
    let mut payload = original.payload.to_vec();
    payload[3] ^= 1;
    let payload = log.attacker.blob(&payload);
    let later = format!("recorded_at = {}", log.attacker.later());
    let changes = [
        (format!("payload = {payload}"), FaultKind::Payload),
        (format!("payload_hash = {}", log.attacker.blob(&[7; 32])), FaultKind::Payload),
        (format!("leaf_hash = {}", log.attacker.blob(&[7; 32])), FaultKind::Leaf),
        ("actor = 'user:eve'".to_owned(), FaultKind::Leaf),
        ("kind = 'Texted'".to_owned(), FaultKind::Leaf),
        ("node = 'node-b'".to_owned(), FaultKind::Leaf),
        ("schema_version = 2".to_owned(), FaultKind::Leaf),
        (later, FaultKind::Leaf),
    ];
    for (change, kind) in changes {
        log.sql("create table kept as select * from event where position = 7").await;
        log.sql(&format!("update event set {change} where position = 7")).await;
        log.assert_found(&change, kind, (Some("a"), Some(3), Some(7))).await;
        log.sql("delete from event where position = 7").await;
        log.sql("insert into event select * from kept").await;
        log.sql("drop table kept").await;
        assert_eq!(log.verdict(1, true).await.fault, None, "{change} is undone");
    }
    // what cannot even be read
    log.sql("update event set stream = 'no stream at all' where position = 7").await;
    let fault = log.fault().await;
    assert!(matches!(fault.kind, FaultKind::Unreadable(_)), "{fault}");
    assert_eq!(fault.position, Some(Position(7)));
}

/// The last event alone, and with every record of it.
async fn a_deleted_last_event_is_named<A: Attacker>(log: Log<A>) {
    log.sql("delete from event where position = 12").await;
    log.assert_found("last", FaultKind::LogEnd(Position(12)), (Some("c"), Some(5), Some(12))).await;
    log.sql("update log_head set next_position = 12").await;
    let fault = log.fault().await;
    assert_eq!(fault.kind, FaultKind::Digest, "{fault}");
}

/// The events of a stream, with and without its record, with and without closing the gaps.
async fn a_deleted_stream_is_named<A: Attacker>(log: Log<A>) {
    log.sql("delete from event where stream = 'pipeline-b'").await;
    log.assert_found("events", FaultKind::Gap(Position(3)), (Some("b"), Some(1), Some(3))).await;
    for (n, event) in (1..).zip(log.events.iter().filter(|event| event.stream != pipeline("b"))) {
        log.sql(&format!("update event set position = {n} where position = {}", event.position)).await;
    }
    let mut left = log.attacker.events().read_all(Position(0), 99, &EventFilter::default()).await.unwrap();
    log.forge(&mut left).await;
    let fault = log.fault().await;
    assert_eq!(fault.kind, FaultKind::Cut { size: 10, source: Source::Inside }, "{fault}");
    // and the checkpoints: those outside are left
    log.sql("delete from checkpoint").await;
    let fault = log.fault().await;
    assert_eq!(fault.kind, FaultKind::Cut { size: 10, source: Source::Outside }, "{fault}");
}

/// Of one stream, of different streams, sealed and not.
async fn exchanged_events_are_named<A: Attacker>(log: Log<A>) {
    let swap = async |a: u64, b: u64| {
        for (from, to) in [(a, ASIDE), (b, a), (ASIDE, b)] {
            log.sql(&format!("update event set position = {to} where position = {from}")).await;
        }
    };
    swap(1, 2).await;
    log.assert_found("one stream", FaultKind::Version(Version(1)), (Some("a"), Some(2), Some(1))).await;
    swap(1, 2).await;
    swap(2, 3).await;
    log.assert_found("two streams", inside(6), (Some("b"), Some(1), Some(2))).await;
    swap(2, 3).await;
    // within one commit times tell nothing: a range is named
    swap(7, 8).await;
    log.assert_found("one commit", inside(10), (Some("b"), Some(3), Some(7))).await;
}

/// The end of the log, with all records and checkpoints of it: only the copies outside know.
async fn a_truncated_log_is_known_outside<A: Attacker>(log: Log<A>) {
    log.sql("delete from event where position > 6").await;
    log.assert_found("events", FaultKind::LogEnd(Position(12)), (Some("a"), Some(3), Some(7))).await;
    let mut left = log.events[..6].to_vec();
    log.forge(&mut left).await;
    log.assert_found("records", FaultKind::Cut { size: 10, source: Source::Inside }, (None, None, Some(7)))
        .await;
    log.sql("delete from checkpoint where size > 6").await;
    assert_eq!(log.verdict(1, false).await.fault, None, "inside, everything agrees");
    log.assert_found("all", FaultKind::Cut { size: 10, source: Source::Outside }, (None, None, Some(7)))
        .await;
}

/// Every hash, record and checkpoint made again: with the key only the copies outside know; without it, everybody.
async fn rewritten_history_is_known_outside<A: Attacker>(log: Log<A>) {
    let mut forged = log.events.clone();
    forged[3].payload = Bytes::from_static(b"\x81\xa1n\x02");
    log.forge(&mut forged).await;
    log.assert_found("hashes and records", inside(6), (Some("a"), Some(1), Some(1))).await;
    for (key, kind) in [(2, None), (1, Some(FaultKind::CheckpointGone(10)))] {
        log.sql("delete from checkpoint").await;
        log.sql("delete from merkle_tile").await;
        if let Some(kind) = kind {
            assert_eq!(log.fault().await.kind, kind);
        }
        log.seal(key, MemoryCheckpoints::default()).await;
        assert_eq!(log.verdict(key, false).await.fault, None, "inside, everything agrees");
        let fault = log.fault().await;
        match key {
            1 => assert_eq!(fault.kind, FaultKind::Root { size: 6, source: Source::Outside }, "{fault}"),
            _ => {
                assert!(matches!(fault.kind, FaultKind::Signature { source: Source::Inside, .. }), "{fault}")
            }
        }
    }
    let fault = log.fault().await;
    assert_eq!((fault.position, fault.until), (Some(Position(1)), Some(Position(6))));
    assert_eq!(hex(&forged[3].payload), "81a16e02");
}

/// Records of checkpoints that do not fit their notes, and notes that were changed.
async fn changed_checkpoints_are_found<A: Attacker>(log: Log<A>) {
    log.sql(&format!("update checkpoint set root = {} where size = 6", log.attacker.blob(&[7; 32]))).await;
    let fault = log.fault().await;
    assert!(matches!(fault.kind, FaultKind::Checkpoint { source: Source::Inside, .. }), "{fault}");
    log.sql(
        "update checkpoint set note = replace(note, 'example.com/log', 'example.com/lag') where size = 6",
    )
    .await;
    let fault = log.fault().await;
    assert!(matches!(fault.kind, FaultKind::Signature { size: 6, .. }), "{fault}");
    log.sql("update checkpoint set note = 'nothing' where size = 6").await;
    let fault = log.fault().await;
    assert!(matches!(fault.kind, FaultKind::Checkpoint { source: Source::Inside, .. }), "{fault}");
}

/// Makes a test of each attack against a kind of store.
macro_rules! attacks {
    ($attacker:ty: $($attack:ident,)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $attack() {
            super::$attack(super::Log::write(<$attacker>::open().await).await).await;
        }
    )+};
    ($attacker:ty) => {
        $crate::tamper::attacks! { $attacker:
            an_untouched_store_is_intact,
            a_changed_event_is_named,
            a_deleted_last_event_is_named,
            a_deleted_stream_is_named,
            exchanged_events_are_named,
            a_truncated_log_is_known_outside,
            rewritten_history_is_known_outside,
            changed_checkpoints_are_found,
        }
    };
}
use attacks;
