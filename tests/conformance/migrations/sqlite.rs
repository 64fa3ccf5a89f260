//! Migrations on SQLite.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flexcore::schema::State;
use flexcore::sqlite::SqliteStore;
use flexcore_actors::domain::ids::{Position, Version};
use flexcore_actors::testkit::conformance::{Writer, pipeline};
use refinery::Target;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{Catalogue, assert_equal, assert_refused, data};

mod embedded {
    //! The statements of `migrations/sqlite`, embedded.
    refinery::embed_migrations!("migrations/sqlite");
}

fn versions() -> Vec<i32> {
    let mut versions: Vec<i32> =
        embedded::migrations::runner().get_migrations().iter().map(refinery::Migration::version).collect();
    versions.sort_unstable();
    versions
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("flexcore.db")
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).expect("open the store")
}

/// A file of each version, grown migration by migration with data in it, becomes what a fresh one is when it is opened,
/// and keeps what is in it.
#[tokio::test]
async fn a_migrated_schema_equals_a_fresh_one() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&file(&folder)));
    let expected = catalogue(&Connection::open(file(&folder)).unwrap());
    assert!(expected.len() > 7, "the catalogue is read: {expected:#?}");
    for start in versions() {
        let folder = tempfile::tempdir().unwrap();
        grow(&file(&folder), start);
        let writer = Writer::claim_as(Arc::new(open(&file(&folder))), "node-b").await;
        assert_equal(&catalogue(&Connection::open(file(&folder)).unwrap()), &expected);

        let kept = writer.log().await;
        assert_eq!(kept.len(), 3, "from V{start}");
        let committed = writer.commit(&writer.unit(&pipeline("kept"), 2, 1)).await;
        assert_eq!((committed.first_version, committed.position), (Version(2), Position(4)));
    }
}

/// Looking changes nothing, and creates nothing.
#[test]
fn an_absent_file_lacks_everything() {
    let folder = tempfile::tempdir().unwrap();
    let found = SqliteStore::migrations(file(&folder)).unwrap();
    assert_eq!(found.len(), versions().len());
    assert!(found.iter().all(|m| m.state == State::Pending && m.applied_at.is_none()), "{found:?}");
    assert!(!file(&folder).exists());

    let before = SqliteStore::migrate(file(&folder)).unwrap();
    assert_eq!(before, found);
    let now = SqliteStore::migrations(file(&folder)).unwrap();
    assert!(now.iter().all(|m| m.state == State::Applied && m.applied_at.is_some()), "{now:?}");
}

/// A file of another history is refused, by the name of the migration, and not touched.
#[test]
fn another_history_is_refused() {
    for (change, why) in [
        (
            "update refinery_schema_history set checksum = '1' where version = 1",
            "migration V1 event_store was changed",
        ),
        (
            "insert into refinery_schema_history select 9999, 'of_the_future', applied_on, '1' \
             from refinery_schema_history where version = 1",
            "it has migration V9999 of_the_future",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        drop(open(&file(&folder)));
        let operator = Connection::open(file(&folder)).unwrap();
        operator.execute_batch(change).unwrap();
        let before = catalogue(&operator);
        assert_refused(SqliteStore::open(file(&folder)).err().unwrap(), why);
        assert_refused(SqliteStore::migrate(file(&folder)).unwrap_err(), why);
        assert_eq!(catalogue(&operator), before);
    }
}

/// Migrates to `last` one version at a time, with what a node of each left.
fn grow(path: &Path, last: i32) {
    let mut connection = Connection::open(path).expect("open the file");
    for version in versions().into_iter().filter(|version| *version <= last) {
        let runner = embedded::migrations::runner().set_target(Target::Version(version));
        runner.run(&mut connection).expect("the migration is applied");
        if let Some(rows) = data(version, "sqlite") {
            connection.execute_batch(&rows).unwrap_or_else(|e| panic!("data of V{version}: {e}"));
        }
    }
}

fn catalogue(connection: &Connection) -> Catalogue {
    let mut things = connection
        .prepare("select type || ' ' || name || ' on ' || tbl_name || ': ' || coalesce(sql, '') from sqlite_schema")
        .expect("the catalogue can be read");
    let rows = things.query_map([], |row| row.get(0)).expect("the catalogue can be read");
    rows.collect::<rusqlite::Result<_>>().expect("it is text")
}
