//! `migrate` and `migrate status` on both stores: what is shown, what is refused, and with which exit code.

use flexcore_test_support::TestDatabase;
use rusqlite::Connection;
use serde_json::Value;

use crate::world::{Done, World, flexcore, items};

/// The number of migrations in an answer, all of them in `state`.
fn all(done: &Done, state: &str) -> usize {
    let answer = done.json();
    let items: &[Value] = items(&answer);
    assert!(items.iter().all(|item| item["state"] == state), "{answer:#}");
    assert!(items.iter().all(|item| item["applied_at"].is_string() == (state == "applied")), "{answer:#}");
    items.len()
}

#[tokio::test]
async fn the_embedded_store_is_migrated_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |words: &[&str]| flexcore(folder.path(), words).await;
    let status = ["migrate", "status", "--data-dir", "data"];

    let fresh = run(&[&status[..], &["-o", "json"]].concat()).await.expect(1);
    let count = all(&fresh, "pending");
    fresh.says("pending").says("flexcore migrate");
    assert!(!folder.path().join("data").exists(), "looking creates nothing");

    run(&["migrate", "--data-dir", "data"]).await.expect(0).prints("event_store").says("applied");
    let done = run(&[&status[..], &["-o", "json"]].concat()).await.expect(0);
    assert_eq!(all(&done, "applied"), count);
    run(&status).await.expect(0).prints("VERSION   NAME").prints("1   event_store").prints("applied   20");
    run(&["migrate", "--data-dir", "data"]).await.expect(0).says("the store was up to date");

    let file = Connection::open(folder.path().join("data/flexcore.db")).unwrap();
    file.execute("update refinery_schema_history set checksum = '1' where version = 1", []).unwrap();
    let changed = "migration V1 event_store was changed";
    run(&status).await.expect(4).prints("changed").says(changed);
    run(&["migrate", "--data-dir", "data"]).await.expect(4).says(changed);
    run(&["serve", "--data-dir", "data", "--http-listen", "127.0.0.1:0"]).await.expect(1).says(changed);
}

#[tokio::test]
async fn a_running_node_is_shown_and_not_disturbed() {
    let world = World::start().await;
    let data_dir = world.node.data_dir();
    let data_dir = data_dir.to_str().unwrap();
    world.cli(&["migrate", "status", "--data-dir", data_dir]).await.expect(0);
    world.cli(&["migrate", "--data-dir", data_dir]).await.expect(1).says("another node runs in it");
    world.get("/pipelines").await.expect(200);
}

/// Several at once on an empty database take turns; a database that is away is told from one that is wrong.
#[tokio::test]
async fn a_database_is_migrated_by_several_at_once() {
    let (database, folder) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
    let url = database.url();
    let status = ["migrate", "status", "--database-url", &url, "-o", "json"];
    let count = all(&flexcore(folder.path(), &status).await.expect(1), "pending");

    let migrate = ["migrate", "--database-url", &url];
    let all_at_once = futures::future::join_all((0..4).map(|_| flexcore(folder.path(), &migrate))).await;
    let applied =
        all_at_once.into_iter().map(|done| done.expect(0)).filter(|done| done.err.contains("applied"));
    assert_eq!(applied.count(), 1, "one of them did it");
    assert_eq!(all(&flexcore(folder.path(), &status).await.expect(0), "applied"), count);

    drop(database);
    flexcore(folder.path(), &migrate).await.expect(1).says("does not exist");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = format!("postgres://ada:hunter2@{closed}/none");
    let refused = flexcore(folder.path(), &["migrate", "status", "--database-url", &away]).await.expect(6);
    assert!(!refused.err.contains("hunter2"), "{}", refused.err);
    flexcore(folder.path(), &["migrate", "--database-url", &away, "--data-dir", "data"]).await.expect(2);
}
