//! Events that were moved to files: reads are the same as before, and what prevents a move says so. The partitions are
//! made small by hand; archiving takes their bounds from the catalog.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;

use flexcore::postgres::{ArchiveReport, ArchiveRequest, Keep, PostgresStore};
use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::{Position, StreamId, Version};
use flexcore_actors::domain::integrity::merkle::{Hash, ProofPlan, TreeBuilder, verify_inclusion};
use flexcore_actors::ports::IntegrityStore;
use flexcore_actors::ports::event_store::{EventFilter, StoreError};
use flexcore_actors::ports::integrity_store::{Seal, SealOutcome, StoredCheckpoint};
use flexcore_actors::testkit::conformance::{Writer, pipeline};
use flexcore_test_support::TestDatabase;
use jiff::Timestamp;

use super::store;

mod guards;

/// The first partition holds the positions before this one.
const SEAM: u64 = 600;
/// Events of the whole log: more than the complete tiles over the first partition.
const EVENTS: u64 = 1_000;

/// A log over two partitions: one long stream over both, and one for each half.
struct Log {
    writer: Writer,
    dir: tempfile::TempDir,
    database: TestDatabase, // after the store
}

impl Log {
    async fn written() -> Self {
        let (database, dir) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
        let small = format!(
            "create table event_p000000 (like event including all); \
             alter table event attach partition event_p000000 for values from (0) to ({SEAM}); \
             create table event_rest (like event including all); \
             alter table event attach partition event_rest for values from ({SEAM}) to (25000000)"
        );
        let store = store(&database).await.with_archive_dir(dir.path());
        let operator = database.connect().await;
        operator.batch_execute(&format!("drop table event_p000000; {small}")).await.unwrap();
        let writer = Writer::claim_as(Arc::new(store), "node-a").await;
        for (stream, expected, events) in
            [("long", 0, 250), ("early", 0, 250), ("long", 250, 250), ("late", 0, 250)]
        {
            writer.commit(&writer.unit(&pipeline(stream), expected, events)).await;
        }
        Self { writer, dir, database }
    }

    async fn sealed() -> Self {
        let log = Self::written().await;
        let store = log.open().await;
        let (mut tree, mut tiles) = (TreeBuilder::default(), Vec::new());
        for leaf in store.leaves(0..EVENTS).await.unwrap() {
            tree.append(leaf, |tile| tiles.push(tile));
        }
        let sealed_at = Timestamp::from_second(1).unwrap();
        let checkpoint =
            StoredCheckpoint { size: EVENTS, root: tree.root(), note: "a note".to_owned(), sealed_at };
        let outcome = store.seal(Arc::new(Seal { previous: 0, tiles, checkpoint })).await.unwrap();
        assert_eq!(outcome, SealOutcome::Sealed);
        log
    }

    async fn open(&self) -> PostgresStore {
        store(&self.database).await.with_archive_dir(self.dir.path())
    }

    async fn archive(&self) -> Result<ArchiveReport, StoreError> {
        let request = ArchiveRequest { keep: Keep::Partitions(1), dir: self.dir.path().to_path_buf() };
        PostgresStore::archive(&self.database.url(), &request).await
    }

    /// Archives nothing, and says why.
    async fn refusal(&self) -> String {
        let report = self.archive().await.unwrap();
        assert_eq!(report.archived, []);
        report.stopped_by
    }

    async fn execute(&self, sql: &str) {
        // as an owner could who wants to change what was recorded: triggers refuse it otherwise
        let sql = &format!("set session_replication_role = replica; {sql}");
        self.database.connect().await.batch_execute(sql).await.unwrap();
    }

    async fn in_database(&self) -> i64 {
        let operator = self.database.connect().await;
        operator.query_one("select count(*) from event", &[]).await.unwrap().get(0)
    }

    /// Everything that a reader may ask for, page by page.
    async fn reads(&self) -> Vec<Vec<RecordedEvent>> {
        let mut reads = Vec::new();
        for (stream, after) in
            [("long", 0), ("long", 240), ("early", 3), ("late", 0), ("late", 250), ("none", 0)]
        {
            reads.push(self.stream(&pipeline(stream), after).await);
        }
        let early = self.writer.store.read_all(Position(249), 1, &EventFilter::default()).await.unwrap();
        let from = early.first().map(|event| event.recorded_at);
        for filter in [
            EventFilter::default(),
            EventFilter { stream: Some(pipeline("long")), ..EventFilter::default() },
            EventFilter { kinds: vec!["Tested".to_owned()], to: from, ..EventFilter::default() },
            EventFilter {
                kinds: vec!["Tested".to_owned(), "Other".to_owned()],
                from,
                ..EventFilter::default()
            },
            EventFilter { kinds: vec!["Other".to_owned()], ..EventFilter::default() },
        ] {
            reads.push(self.all(&filter).await);
        }
        reads
    }

    async fn stream(&self, stream: &StreamId, after: u64) -> Vec<RecordedEvent> {
        self.writer.store.read_stream(stream, Version(after), 300).await.unwrap()
    }

    async fn all(&self, filter: &EventFilter) -> Vec<RecordedEvent> {
        let mut all: Vec<RecordedEvent> = Vec::new();
        loop {
            let after = all.last().map_or(Position(0), |event| event.position);
            let page = self.writer.store.read_all(after, 70, filter).await.unwrap();
            let done = page.len() < 70;
            all.extend(page);
            if done {
                return all;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archived_events_are_read_as_before() {
    let log = Log::sealed().await;
    let (before, leaves) = (log.reads().await, log.open().await.leaves(0..EVENTS).await.unwrap());
    assert_eq!(before[6].len() as u64, EVENTS);
    let report = log.archive().await.unwrap();
    let [part] = &report.archived[..] else { panic!("one partition is archived: {report:?}") };
    assert_eq!((part.first, part.last), (Position(1), Position(SEAM - 1)));
    assert_eq!(log.in_database().await.unsigned_abs(), EVENTS - part.last.0);
    assert_eq!(log.reads().await, before);
    assert!(log.archive().await.unwrap().archived.is_empty(), "the written partition stays");

    let store = log.open().await;
    assert_eq!(store.leaves(0..EVENTS).await.unwrap(), leaves);
    assert_eq!(store.leaves(SEAM - 3..SEAM + 3).await.unwrap(), leaves[597..603]);
    // the log goes on, and so does a stream whose events are all archived
    log.writer.commit(&log.writer.unit(&pipeline("early"), 250, 2)).await;
    let read = log.stream(&pipeline("early"), 240).await;
    assert_eq!(read.iter().map(|event| event.version.0).collect::<Vec<_>>(), (241..=252).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_of_an_archived_event_holds() {
    let log = Log::sealed().await;
    log.archive().await.unwrap();
    let store = log.open().await;
    let sealed = store.log_state().await.unwrap().sealed.unwrap();
    let event = &log.stream(&pipeline("long"), 41).await[0];
    let index = event.position.0 - 1;
    let tiles: Vec<Hash> =
        store.tiles(0, 0, 10).await.unwrap().into_iter().flat_map(|tile| tile.hashes).collect();
    let mut leaves = tiles;
    leaves.extend(store.leaves(leaves.len() as u64..EVENTS).await.unwrap());
    let plan = ProofPlan::inclusion(index, sealed.size).unwrap();
    let proof = plan
        .assemble(|part| {
            let first = usize::try_from(part.index << part.height).unwrap();
            let mut tree = TreeBuilder::default();
            leaves[first..first + (1 << part.height)].iter().for_each(|leaf| tree.append(*leaf, drop));
            Ok::<_, ()>(tree.root())
        })
        .unwrap();
    verify_inclusion(&event.hashes.leaf.0, index, sealed.size, &proof, &sealed.root).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_file_is_an_error_that_names_it() {
    let log = Log::sealed().await;
    let before = log.reads().await;
    let file = log.dir.path().join(&log.archive().await.unwrap().archived[0].file);
    let away = log.dir.path().join("away");
    std::fs::rename(&file, &away).unwrap();
    let all = log.writer.store.read_all(Position(0), 10, &EventFilter::default()).await;
    let stream = log.writer.store.read_stream(&pipeline("long"), Version(0), 10).await;
    for error in [all.unwrap_err(), stream.unwrap_err()] {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.contains(&*name(&file)) && said.contains("put it back"), "{said}");
    }
    // what is in the database needs no file
    let after = Position(SEAM - 1);
    assert!(log.writer.store.read_all(after, 10, &EventFilter::default()).await.is_ok());
    assert_eq!(log.stream(&pipeline("late"), 0).await.len(), 250);
    std::fs::rename(&away, &file).unwrap();
    assert_eq!(log.reads().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_archive_is_finished_by_the_next() {
    let log = Log::sealed().await;
    let before = log.reads().await;
    // the file is whole, the partition is not removed
    log.execute("alter table archive add constraint not_now check (false)").await;
    log.archive().await.unwrap_err();
    assert_eq!(log.reads().await, before);
    let files: Vec<_> = std::fs::read_dir(log.dir.path()).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("one file: {files:?}") };
    // and a draft of it was left half written
    std::fs::write(log.dir.path().join(format!("{}.new", name(file))), "half").unwrap();
    log.execute("alter table archive drop constraint not_now").await;
    assert_eq!(log.archive().await.unwrap().archived.len(), 1);
    assert_eq!(log.reads().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_sealed_or_still_open_stays() {
    let log = Log::written().await;
    assert!(log.refusal().await.contains("no checkpoint covers"));
    drop(log);
    let log = Log::sealed().await;
    let open = StreamId::execution("018f0000-0000-7000-8000-000000000001".parse().unwrap());
    log.execute(&format!(
        "update event set stream = '{open}' where position = 5; insert into wakeup values ('{open}', now())",
        open = open.as_str()
    ))
    .await;
    assert!(log.refusal().await.contains("still open"));
    log.execute("delete from wakeup").await;
    assert_eq!(log.archive().await.unwrap().archived.len(), 1);
}

/// A partition whose events are not those that were sealed stays where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_event_is_not_archived() {
    let log = Log::sealed().await;
    log.execute("update event set payload = '\\x80' where position = 77").await;
    let error = log.archive().await.unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("event 77 is not as it was sealed"), "{said}");
    assert_eq!(log.in_database().await.unsigned_abs(), EVENTS);
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
