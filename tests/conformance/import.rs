//! Taking a log from elsewhere: whole, in pages, broken off and gone on with; and what takes nothing. Both stores, one
//! into the other.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::sync::Arc;

use flexcore::postgres::PostgresStore;
use flexcore::sqlite::SqliteStore;
use flexcore_actors::domain::ids::Position;
use flexcore_actors::ports::{ClusterStore, EventStore, ImportStore, IntegrityStore};
use flexcore_actors::runtime::integrity::export::{ExportQuery, Exporter, ImportError, Importer};
use flexcore_actors::runtime::integrity::verification::{Progress, Subject, verify};
use flexcore_actors::testkit::conformance::{Writer, pipeline};
use flexcore_actors::testkit::{MemoryCheckpoints, TestSigner, seal_log};
use flexcore_test_support::TestDatabase;
use jiff::Timestamp;

use crate::postgres::store;

/// More than two pages of an import, and more than one tile.
const EVENTS: usize = 2_600;

trait Store: EventStore + ClusterStore + IntegrityStore + ImportStore {}
impl<S: EventStore + ClusterStore + IntegrityStore + ImportStore> Store for S {}

fn signer() -> TestSigner {
    TestSigner::new("example.com/log", 1)
}

/// Writes and seals a log, and gives the lines of its export.
async fn written(store: Arc<impl Store>) -> Vec<String> {
    let writer = Writer::claim_as(Arc::clone(&store) as _, "node-a").await;
    for n in 0..EVENTS / 20 {
        let stream = pipeline(&format!("p{}", n % 50));
        writer.commit(&writer.unit(&stream, (n / 50 * 20) as u64, 20)).await;
        if n % 40 == 39 {
            seal_log(Arc::clone(&store) as _, signer(), MemoryCheckpoints::default()).await;
        }
    }
    lines(store).await
}

async fn lines(store: Arc<impl Store>) -> Vec<String> {
    let now = Timestamp::UNIX_EPOCH;
    let mut exporter =
        Exporter::begin(Arc::clone(&store) as _, store, ExportQuery::default(), now).await.unwrap();
    let mut text = String::new();
    while let Some(page) = exporter.next().await.unwrap() {
        text.push_str(&page);
    }
    text.lines().map(str::to_owned).collect()
}

async fn import(store: &impl Store, lines: &[String]) -> Result<Position, ImportError> {
    let mut importer = Importer::begin(store, vec![(signer().key(), None)]).await?;
    for line in lines {
        importer.line(line).await?;
    }
    Ok(importer.stored())
}

/// The whole story of a store that takes an export.
async fn takes_a_log_once(target: Arc<impl Store>, lines_of_a: &[String], lines_of_b: &[String]) {
    // broken off in the middle of a page, then of another
    for part in [1_700, 2_300] {
        let mut importer = Importer::begin(&*target, vec![(signer().key(), None)]).await.unwrap();
        for line in &lines_of_a[..part] {
            importer.line(line).await.unwrap();
        }
        let stored = importer.stored().0;
        assert!(stored >= 1_000 && stored < part as u64 && stored % 20 == 0, "{stored}");
        assert_eq!(target.head().await.unwrap(), Position(stored));
    }
    // another log does not go on where this one was broken off
    assert!(matches!(import(&*target, lines_of_b).await, Err(ImportError::Other(_))));
    assert_eq!(import(&*target, lines_of_a).await.unwrap(), Position(EVENTS as u64));
    assert_eq!(lines(Arc::clone(&target)).await, lines_of_a);
    assert_eq!(import(&*target, lines_of_a).await.unwrap(), Position(EVENTS as u64), "again changes nothing");
    assert!(matches!(import(&*target, lines_of_b).await, Err(ImportError::Other(_))));
    let (events, integrity): (&dyn EventStore, &dyn IntegrityStore) = (&*target, &*target);
    let trusted = vec![(signer().key(), None)];
    let verdict =
        verify(Subject { events, integrity, outside: None, trusted }, &Progress::default()).await.unwrap();
    assert_eq!((verdict.fault, verdict.counts.events, verdict.counts.sealed), (None, EVENTS as u64, 2_400));

    // a node goes on with it: versions, leaves, digest and tree fit
    let writer = Writer::claim_as(Arc::clone(&target) as _, "node-b").await;
    for event in writer.log().await {
        writer.leaves.insert((event.stream, event.version), event.hashes.leaf);
    }
    writer.commit(&writer.unit(&pipeline("p0"), 60, 3)).await;
    seal_log(Arc::clone(&target) as _, signer(), MemoryCheckpoints::default()).await;
    let (events, integrity): (&dyn EventStore, &dyn IntegrityStore) = (&*target, &*target);
    let trusted = vec![(signer().key(), None)];
    let verdict =
        verify(Subject { events, integrity, outside: None, trusted }, &Progress::default()).await.unwrap();
    assert_eq!((verdict.fault, verdict.counts.sealed), (None, EVENTS as u64 + 3));
    // and then it takes nothing any more
    assert!(matches!(import(&*target, lines_of_a).await, Err(ImportError::Claimed)));
}

fn file(folder: &tempfile::TempDir, name: &str) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(folder.path().join(name)).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_moves_from_store_to_store() {
    let (folder, database) = (tempfile::tempdir().unwrap(), TestDatabase::create().await);
    let from_sqlite = written(file(&folder, "a")).await;
    let postgres: Arc<PostgresStore> = Arc::new(store(&database).await);
    let other = TestDatabase::create().await;
    let from_postgres = written(Arc::new(store(&other).await)).await;
    takes_a_log_once(postgres, &from_sqlite, &from_postgres).await;
    takes_a_log_once(file(&folder, "b"), &from_postgres, &from_sqlite).await;
}

/// What does not verify is not stored from the first bad page on.
#[tokio::test]
async fn a_forged_export_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = written(file(&folder, "a")).await;
    let target = file(&folder, "b");
    lines[1_500] = lines[1_500].replace("user:ada", "user:eve");
    assert!(matches!(import(&*target, &lines).await, Err(ImportError::Fault(_))));
    assert!(target.head().await.unwrap() < Position(1_500));
}
