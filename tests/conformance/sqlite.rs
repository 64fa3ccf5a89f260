//! The SQLite store: the suite, and that what was acknowledged is there after the file is opened again.

use std::sync::Arc;

use flexcore::sqlite::SqliteStore;
use flexcore_actors::domain::ids::{Position, Version};
use flexcore_actors::ports::event_store::{AppendOutcome, StoreError};
use flexcore_actors::ports::{BoxFuture, EventStore, IntegrityStore, SubscriptionStore};
use flexcore_actors::testkit::MemoryStore;
use flexcore_actors::testkit::conformance::{
    Fixture, IntegrityFixture, Store, SubscriptionFixture, Writer, pipeline,
};

pub(crate) struct Sqlite {
    pub(crate) store: Arc<SqliteStore>,
    folder: tempfile::TempDir,
}

impl Fixture for Sqlite {
    fn open() -> BoxFuture<'static, Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Arc::new(open(&folder).expect("open"));
        Box::pin(std::future::ready(Self { store, folder }))
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.folder.close().expect("remove the temporary folder") })
    }
}

fn open(folder: &tempfile::TempDir) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(folder.path().join("flexcore.db"))
}

impl IntegrityFixture for Sqlite {
    fn integrity(&self) -> Arc<dyn IntegrityStore> {
        Arc::clone(&self.store) as Arc<dyn IntegrityStore>
    }
}

flexcore_actors::event_store_conformance!(Sqlite);
flexcore_actors::integrity_store_conformance!(Sqlite);

/// S6, S3 and S4 over a restart: events, commands and epochs are in the file.
#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let stream = pipeline("kept");
    let first = Writer::claim_as(Arc::new(open(&folder).unwrap()), "node-a").await;
    let unit = first.unit(&stream, 0, 3);
    let committed = first.commit(&unit).await;
    let log = first.log().await;
    // the first store is closed before the file is opened again
    let closed = first.with(Arc::new(MemoryStore::new()));
    drop(first);

    let writer = closed.with(Arc::new(open(&folder).unwrap()));
    assert_eq!(writer.append(&unit).await, AppendOutcome::Duplicate(committed));
    assert_eq!(writer.log().await, log);
    let next = writer.commit(&writer.unit(&stream, 3, 1)).await;
    assert_eq!((next.first_version, next.position), (Version(3), Position(4)));
}

/// A crash of the process (no close, no checkpoint) loses nothing that was acknowledged: the copy of the files as
/// they are on disk at that moment is what a new process finds.
#[tokio::test]
async fn an_unclosed_file_is_whole() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let writer = Writer::claim_as(Arc::new(open(&folder).unwrap()), "node-a").await;
    for n in 0..20 {
        writer.commit(&writer.unit(&pipeline("crash"), n, 1)).await;
    }
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let found = open(&copy).unwrap();
    assert_eq!(found.read_stream(&pipeline("crash"), Version(0), 100).await.unwrap(), writer.log().await);
}

/// What is not a database is refused with the operation's name, and left as it was.
#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flexcore.db");
    std::fs::write(&path, "not a database, but somebody's only copy of something").unwrap();
    let error = open(&folder).err().unwrap();
    assert!(matches!(error, StoreError::Failed { .. }) && !error.retryable(), "{error:?}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("not a database"));
}

impl SubscriptionFixture for Sqlite {
    fn open() -> BoxFuture<'static, Self> {
        Fixture::open()
    }

    fn subscriptions(&self) -> Arc<dyn SubscriptionStore> {
        Arc::clone(&self.store) as Arc<dyn SubscriptionStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Fixture::close(self)
    }
}

mod subscriptions {
    use super::Sqlite;

    flexcore_actors::subscription_store_conformance!(Sqlite);
}
