//! Two nodes want the same data: of one data directory the second is refused, of one database too, until the
//! lease of the first has ended.

use std::process::Stdio;
use std::time::Duration;

use flexcore_test_support::TestDatabase;

use crate::checker::Log;
use crate::rig::{Rig, Store, execution, is_over, node};

const RECORDS: u64 = 12_000;
const RATE: u64 = 2_000;
/// How long a refused node may take to say so.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(20);
/// How long the newer node may take to finish what the older one began.
const REST: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_second_node_in_a_data_directory_is_refused_and_harms_nothing() {
    let rig = Rig::start(Store::Embedded).await;
    rig.write_source(RECORDS);
    rig.pipeline("copy", RATE).await;
    let id = rig.execute("copy").await;
    rig.running_programs(&id).await;

    let second = tokio::process::Command::new(env!("CARGO_BIN_EXE_flexcore"))
        .arg("serve")
        .env("FLEXCORE_DATA_DIR", rig.node.data_dir())
        .env("FLEXCORE_HTTP_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let second = tokio::time::timeout(REFUSAL_DEADLINE, second).await.expect("it ends by itself").unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another node runs in it") && said.contains("data_dir"), "{said}");

    let end = rig.ended(&id, "completed", REST).await;
    assert_eq!(end["steps"][0]["attempts"].as_array().map(Vec::len), Some(1), "it was not disturbed: {end}");
    rig.must_hold_all("copy", RECORDS);
}

#[tokio::test]
async fn a_second_node_on_the_same_database_waits_for_the_lease_of_the_first() {
    let database = TestDatabase::create().await;
    let mut older = Rig::on(database.url()).await;
    older.write_source(RECORDS);
    older.pipeline("copy", RATE).await;
    let id = older.execute("copy").await;
    older.running_programs(&id).await;
    older.bookmark_beyond("copy", 0).await;

    // while the first lives, another is none of its cluster and harms nothing
    let folder = tempfile::tempdir().unwrap();
    let second = tokio::process::Command::new(env!("CARGO_BIN_EXE_flexcore"))
        .arg("serve")
        .env("FLEXCORE_DATA_DIR", folder.path())
        .env("FLEXCORE_NODE_NAME", "newer")
        .env("FLEXCORE_DATABASE_URL", database.url())
        .env("FLEXCORE_HTTP_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let second = tokio::time::timeout(REFUSAL_DEADLINE, second).await.expect("it ends by itself").unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("runs on this event store") && said.contains("cluster.redis_url"), "{said}");

    // when it has died, the newer one begins once its lease has ended, and goes on with its work
    older.node.kill9().await;
    let newer =
        node().env("FLEXCORE_DATABASE_URL", database.url()).env("FLEXCORE_NODE_NAME", "newer").start().await;
    let client = newer.client();
    let end = flexcore_test_support::wait_for("the newer node finishes", REST, async || {
        match execution(&client, &id).await {
            execution if is_over(&execution) => Ok(execution),
            execution => Err(format!("{execution:#}\n{}", newer.log())),
        }
    })
    .await;
    assert_eq!(end["status"], "completed", "{end:#}");
    older.must_hold_all("copy", RECORDS);
    crate::processes::all_gone(older.node.folder(), 0).await;
    Log::settled(&client).await.check();
}
