//! A snapshot that was damaged on disk while the node was down is ignored: what is shown comes from the events.

use std::path::Path;
use std::time::Duration;

use flexcore_actors::limits::SNAPSHOT_EVERY;
use flexcore_test_support::{Client, wait_for};
use serde_json::{Value, json};

use crate::rig::{API, Rig, STEP, Store};

const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(30);

async fn shown(client: &Client) -> [Value; 2] {
    let pipeline = client.get(&format!("{API}/pipelines/p")).await.expect(200).json;
    let bookmarks = client.get(&format!("{API}/pipelines/p/bookmarks")).await.expect(200).json;
    [pipeline, bookmarks["items"].clone()]
}

async fn counter(client: &Client, name: &str) -> u64 {
    let metrics = client.get("/metrics").await.expect(200).text;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("flexcore_{name}_total ")));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}

#[tokio::test]
async fn a_damaged_snapshot_is_ignored() {
    let mut rig = Rig::start(Store::Embedded).await;
    let client = rig.node.client();
    let steps =
        json!([{"name": STEP, "pipe": [{"plugin": crate::rig::TAP}, {"plugin": crate::rig::TARGET}]}]);
    client.post(&format!("{API}/pipelines"), &json!({"name": "p", "steps": steps})).await.expect(201);
    for n in 1..SNAPSHOT_EVERY + 10 {
        let bookmark = json!({"state": {"row": n}});
        client.put(&format!("{API}/pipelines/p/bookmarks/{STEP}"), &bookmark).await.expect(200);
    }
    wait_for("a snapshot is saved", SNAPSHOT_DEADLINE, async || {
        match counter(&client, "snapshots_saved").await {
            0 => Err("none yet"),
            _ => Ok(()),
        }
    })
    .await;
    let expected = shown(&client).await;

    rig.node.restart().await;
    assert_eq!(shown(&rig.node.client()).await, expected);
    assert_eq!(counter(&rig.node.client(), "snapshots_ignored").await, 0, "a good one is used");

    rig.node.kill9().await;
    damage(&rig.node.data_dir().join("flexcore.db"));
    rig.node.restart().await;
    assert_eq!(shown(&rig.node.client()).await, expected);
    assert_eq!(counter(&rig.node.client(), "snapshots_ignored").await, 1);
}

/// Changes one byte in the middle of the one snapshot.
fn damage(file: &Path) {
    let file = rusqlite::Connection::open(file).expect("open the store's file");
    let payload = file.query_row("select payload from snapshot", [], |row| row.get::<_, Vec<u8>>(0));
    let mut payload = payload.expect("the one snapshot");
    let middle = payload.len() / 2;
    payload[middle] ^= 1;
    assert_eq!(file.execute("update snapshot set payload = ?1", [payload]).expect("damage it"), 1);
}
