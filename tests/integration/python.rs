//! Programs that others wrote, from the Python package index: a tap and a target, each in an environment of its own
//! that is built once. Needs the index (as pip is configured here) and python3 with its venv module.

use std::path::Path;
use std::time::SystemTime;

use flexcore_test_support::wait_for;
use serde_json::{Value, json};

use crate::world::{World, items, text};

/// Two installations from a cold cache, on a busy machine.
const BUILD_DEADLINE: std::time::Duration = std::time::Duration::from_secs(600);
/// The data set that ships with FlexCore.
const DATA_SET: &str = include_str!("../../plugins/data/seattle-weather.csv");

fn manifest(name: &str, kind: &str, requirement: &str, capabilities: Value) -> Value {
    json!({"name": name, "version": "1.0.0", "type": kind, "protocol": "singer", "command": [name],
           "environment": {"python": {"requirements": [requirement]}}, "capabilities": capabilities})
}

/// The data set as JSON Lines, which is what the tap reads; its number of records.
fn write_data(folder: &Path) -> usize {
    let mut lines = DATA_SET.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let records: Vec<String> = lines
        .map(|line| {
            columns
                .iter()
                .zip(line.split(','))
                .map(|(k, v)| ((*k).to_owned(), json!(v)))
                .collect::<serde_json::Map<_, _>>()
        })
        .map(|record| Value::Object(record).to_string() + "\n")
        .collect();
    std::fs::write(folder.join("seattle.jsonl"), records.concat()).unwrap();
    records.len()
}

/// How many lines the target's files have together. It names them by the time.
fn lines_written(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap().lines().count()).sum()
}

/// When each environment's installation was finished.
fn environments(world: &World) -> Vec<(String, SystemTime)> {
    let root = world.node.data_dir().join("environments");
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let whole = entries.filter_map(|path| {
        let built = path.join(".complete").metadata().ok()?.modified().unwrap();
        Some((path.to_string_lossy().into_owned(), built))
    });
    let mut whole: Vec<_> = whole.collect();
    whole.sort();
    whole
}

async fn run(world: &World) -> Value {
    let id = world.launch("weather").await;
    wait_for("the run ends", BUILD_DEADLINE, async || {
        let execution = world.get(&format!("/executions/{id}")).await.expect(200).json;
        if execution["ended_at"].is_null() { Err(execution) } else { Ok(execution) }
    })
    .await
}

#[tokio::test]
async fn a_tap_and_a_target_of_others_run_in_environments_built_once() {
    let world = World::start().await;
    let (data, out) = (world.node.folder().join("in"), world.node.folder().join("out"));
    for folder in [&data, &out] {
        std::fs::create_dir(folder).unwrap();
    }
    let records = write_data(&data);
    assert!(records > 1_000);
    for manifest in [
        manifest("tap-jsonl", "extractor", "tap-jsonl==0.3.1", json!({"read": [data]})),
        manifest("target-jsonl", "loader", "target-jsonl==0.1.4", json!({"write": [out]})),
    ] {
        world.post("/plugins", &manifest).await.expect(201);
    }
    let tap = json!({"path": data.join("*.jsonl"), "stream_name": "weather", "primary_keys": ["date"]});
    let target = json!({"destination_path": out});
    world
        .define(
            "weather",
            &json!([{"name": "load", "retry": {"attempts": 1},
            "pipe": [{"plugin": "tap-jsonl", "config": tap}, {"plugin": "target-jsonl", "config": target}]}]),
        )
        .await;

    let first = run(&world).await;
    assert_eq!(first["status"], "completed", "{first:#}");
    let streams = &first["steps"][0]["attempts"][0]["streams"];
    assert_eq!(*streams, json!({"weather": {"read": records, "written": records, "rejected": 0}}));
    assert_eq!(lines_written(&out), records, "every record of the source is in the target");
    let bookmarks = world.get("/pipelines/weather/bookmarks").await.json;
    assert!(items(&bookmarks)[0]["state"]["bookmarks"]["weather"].is_object(), "{bookmarks:#}");
    let built = environments(&world);
    assert_eq!(built.len(), 2, "one environment each: {built:?}");
    assert_eq!(builds(&world, &first).await, 2);

    for file in std::fs::read_dir(&out).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    world.client.delete(&format!("{}/pipelines/weather/bookmarks/load", crate::world::API)).await.expect(200);
    let second = run(&world).await;
    assert_eq!(second["status"], "completed", "{second:#}");
    assert_eq!(lines_written(&out), records);
    assert_eq!(environments(&world), built, "the same environments, not built again");
    assert_eq!(builds(&world, &second).await, 0, "pip did not run again");

    let ahead = wait_for("both have an interpreter that was started ahead", BUILD_DEADLINE, async || {
        let execution = run(&world).await;
        let programs = &execution["steps"][0]["attempts"][0]["programs"];
        let warm = (0..2).all(|n| programs[n]["warm"] == true);
        if warm { Ok(execution) } else { Err(execution) }
    });
    let third = ahead.await;
    assert_eq!(third["status"], "completed", "{third:#}");
    assert!(third["steps"][0]["attempts"][0]["programs"][0]["pid"].is_u64());
}

/// How many environments an execution had to build, by its own log.
async fn builds(world: &World, execution: &Value) -> usize {
    let log = world.get(&format!("/executions/{}/logs", text(&execution["id"]))).await.expect(200).text;
    log.matches("its Python environment was built").count()
}

#[tokio::test]
async fn a_requirement_that_cannot_be_installed_is_a_start_that_failed() {
    let world = World::start().await;
    // refused by pip before it asks any index
    let broken = manifest("broken", "extractor", "tap-jsonl==not.a.version", json!({}));
    world.post("/plugins", &broken).await.expect(201);
    let early = world.client.clone().with_header("prefer", "respond-async");
    let path = format!("{}/plugins/broken/execute", crate::world::API);
    let started = early.post(&path, &json!({})).await.expect(202).json;
    let execution = world.ended(&text(&started["execution_id"])).await;
    assert_eq!(execution["cause"]["kind"], "start_failed", "{execution:#}");
    let message = text(&execution["cause"]["message"]);
    for part in ["broken", "pip install failed", "tap-jsonl==not.a.version"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    // who waits is told for what
    let run = world.cli(&["exec", "broken"]).await.expect(1);
    run.says("waiting: the Python environment of broken is being built").says("pip install failed");
}
