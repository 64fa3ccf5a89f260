//! Migrations on PostgreSQL.

use std::sync::Arc;

use flexcore::postgres::PostgresStore;
use flexcore::schema::State;
use flexcore_actors::domain::ids::{Position, Version};
use flexcore_actors::testkit::conformance::{Writer, pipeline};
use flexcore_test_support::TestDatabase;
use refinery::Target;
use tokio_postgres::{Client, NoTls};

use super::{Catalogue, assert_equal, assert_refused, data};
use crate::postgres::store;

mod embedded {
    //! The statements of `migrations/postgres`, embedded.
    refinery::embed_migrations!("migrations/postgres");
}

fn versions() -> Vec<i32> {
    let mut versions: Vec<i32> =
        embedded::migrations::runner().get_migrations().iter().map(refinery::Migration::version).collect();
    versions.sort_unstable();
    versions
}

/// A store of each version, grown migration by migration with data in it, becomes what a fresh one is when it is
/// opened, and keeps what is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migrated_schema_equals_a_fresh_one() {
    let fresh = TestDatabase::create().await;
    drop(store(&fresh).await);
    let expected = catalogue(&fresh.connect().await).await;
    assert!(expected.len() > 50, "the catalogue is read: {expected:#?}");
    for start in versions() {
        let database = TestDatabase::create().await;
        grow(&database, start).await;
        let writer = Writer::claim_as(Arc::new(store(&database).await), "node-b").await;
        assert_equal(&catalogue(&database.connect().await).await, &expected);

        let kept = writer.log().await;
        assert_eq!(kept.len(), 3, "from V{start}");
        let committed = writer.commit(&writer.unit(&pipeline("kept"), 2, 1)).await;
        assert_eq!((committed.first_version, committed.position), (Version(2), Position(4)));
    }
}

/// The check above would see a difference.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_of_any_kind_is_seen() {
    let database = TestDatabase::create().await;
    drop(store(&database).await);
    let operator = database.connect().await;
    for change in [
        "alter table wakeup add column note text",
        "alter table wakeup alter column due drop not null",
        "alter table wakeup add constraint later check (due > '2020-01-01')",
        "create index extra on wakeup (due)",
        "comment on table wakeup is 'something else'",
        "revoke all on wakeup from public; grant select on wakeup to public",
        "create or replace function flexcore_leave(n_incarnation uuid) returns void language sql as ''",
        "create view extra_view as select 1 as one",
        "create table event_extra partition of event for values from (9000000000) to (9100000000)",
    ] {
        let before = catalogue(&operator).await;
        operator.batch_execute(change).await.unwrap();
        assert_ne!(catalogue(&operator).await, before, "{change}");
    }
}

/// Nodes that start at the same time on an empty database take turns; all of them start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_migrate_once() {
    let database = TestDatabase::create().await;
    let stores = futures::future::join_all((0..8).map(|_| store(&database))).await;
    assert_eq!(stores.len(), 8);
    let applied = PostgresStore::migrations(&database.url()).await.unwrap();
    assert!(applied.iter().all(|migration| migration.state == State::Applied), "{applied:?}");
    let rows = database.connect().await.query("select version from refinery_schema_history", &[]).await;
    assert_eq!(rows.unwrap().len(), versions().len());
}

/// Looking changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_lacks_everything() {
    let database = TestDatabase::create().await;
    let found = PostgresStore::migrations(&database.url()).await.unwrap();
    assert_eq!(found.len(), versions().len());
    assert!(found.iter().all(|m| m.state == State::Pending && m.applied_at.is_none()), "{found:?}");
    assert!(catalogue(&database.connect().await).await.is_empty());
}

/// A database of another history is refused, by the name of the migration, and not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_history_is_refused() {
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
        let database = TestDatabase::create().await;
        drop(store(&database).await);
        let operator = database.connect().await;
        operator.batch_execute(change).await.unwrap();
        let before = catalogue(&operator).await;
        assert_refused(PostgresStore::connect_with(database.config()).await.err().unwrap(), why);
        assert_refused(PostgresStore::migrate(&database.url()).await.unwrap_err(), why);
        assert_eq!(catalogue(&operator).await, before);
    }
}

/// Migrates to `last` one version at a time, with what a node of each left.
async fn grow(database: &TestDatabase, last: i32) {
    let (mut client, connection) = database.config().connect(NoTls).await.expect("connect");
    tokio::spawn(connection);
    for version in versions().into_iter().filter(|version| *version <= last) {
        let runner = embedded::migrations::runner().set_target(Target::Version(version));
        runner.run_async(&mut client).await.expect("the migration is applied");
        if let Some(rows) = data(version, "postgres") {
            client.batch_execute(&rows).await.unwrap_or_else(|e| panic!("data of V{version}: {e:?}"));
        }
    }
}

async fn catalogue(client: &Client) -> Catalogue {
    let rows =
        client.query(include_str!("catalogue.postgres.sql"), &[]).await.expect("the catalogue can be read");
    rows.iter().map(|row| row.get(0)).collect()
}
