//! The database goes away while pipelines run: its connections are cut again and again, its server is killed. Nothing
//! acknowledged is lost, nothing happens twice, and everything completes.

use std::time::Duration;

use flexcore_test_support::{Client, TestDatabase};
use serde_json::json;

use crate::checker::Log;
use crate::random::Random;
use crate::rig::{API, PROGRESS_DEADLINE, Rig};
use crate::server::Server;

const RECORDS: u64 = 20_000;
/// Records a second: the run outlasts the disturbances.
const RATE: u64 = 2_500;
/// Small executions that are asked for meanwhile.
const REQUESTS: usize = 30;
/// The longest pause between two of these requests, and between two cuts.
const PAUSE: Duration = Duration::from_millis(300);
const CUTS: usize = 30;
/// How long the server stays away at most.
const AWAY: Duration = Duration::from_millis(1_500);
const SERVER_KILLS: usize = 3;
/// How long everything may take once the database is back.
const REST: Duration = Duration::from_secs(90);

#[tokio::test]
async fn cut_connections_lose_nothing_acknowledged() {
    let mut random = Random::seeded();
    let database = TestDatabase::create().await;
    let rig = Rig::on(database.url()).await;
    let observer = database.connect().await;
    let cut_all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut cut = 0;
    weathers(&rig, async || {
        for _ in 0..CUTS {
            tokio::time::sleep(random.moment(PAUSE)).await;
            cut += observer.query_one(cut_all, &[]).await.expect("the server lives").get::<_, i64>(0);
        }
    })
    .await;
    eprintln!("{cut} connections were cut");
    assert!(cut >= 10, "only {cut} connections were there to be cut");
}

#[tokio::test]
async fn a_killed_database_server_loses_nothing_acknowledged() {
    let mut random = Random::seeded();
    let mut server = Server::start().await;
    let rig = Rig::on(server.url()).await;
    weathers(&rig, async || {
        for _ in 0..SERVER_KILLS {
            tokio::time::sleep(random.moment(AWAY)).await;
            server.kill9();
            tokio::time::sleep(random.moment(AWAY)).await;
            server.restart().await;
        }
    })
    .await;
}

/// Copies records and accepts small executions while `storm` goes on; then looks whether everything is there, once.
async fn weathers(rig: &Rig, storm: impl AsyncFnOnce()) {
    rig.write_source(RECORDS);
    rig.pipeline("copy", RATE).await;
    small_pipeline(&rig.node.client()).await;
    let copy = rig.execute("copy").await;
    rig.running_programs(&copy).await;

    let requests = tokio::spawn(ask_for_small_ones(rig.node.client()));
    storm().await;
    let asked = requests.await.expect("the requests do not panic");
    assert!(!crate::rig::is_over(&rig.patient_execution(&copy).await), "the run outlasts the storm");

    rig.ended(&copy, "completed", REST).await;
    rig.must_hold_all("copy", RECORDS);
    // the same keys again: what was acknowledged is known, what was not happens now or had happened
    let acknowledged = asked.iter().filter(|(_, answer)| answer.is_some()).count();
    eprintln!("{acknowledged} of {} requests were acknowledged in the storm", asked.len());
    for (key, answer) in &asked {
        let id = ask(&rig.node.client(), key).await.expect("the database is back");
        assert!(answer.as_ref().is_none_or(|first| *first == id), "{key}: first {answer:?}, then {id}");
        rig.ended(&id, "completed", PROGRESS_DEADLINE).await;
    }
    let log = Log::read(&rig.node.client()).await;
    log.check();
    assert_eq!(log.executions().len(), REQUESTS + 1, "each key started one execution");
    rig.must_be_tidy().await;
}

/// A pipeline whose executions are over in no time.
async fn small_pipeline(client: &Client) {
    let plugin = json!({
        "kind": "Plugin", "name": "nothing", "version": "1.0.0", "type": "processor", "protocol": "command",
        "command": ["true"],
    });
    client.post(&format!("{API}/plugins"), &plugin).await.expect(201);
    let pipeline = json!({
        "kind": "Pipeline", "name": "small", "concurrency": {"executions": 4},
        "steps": [{"name": "nothing", "plugin": "nothing"}],
    });
    client.post(&format!("{API}/pipelines"), &pipeline).await.expect(201);
}

/// Keys, with the execution that was acknowledged for them.
async fn ask_for_small_ones(client: Client) -> Vec<(String, Option<String>)> {
    let mut random = Random::seeded();
    let mut asked = Vec::new();
    for _ in 0..REQUESTS {
        tokio::time::sleep(random.moment(PAUSE)).await;
        let key = uuid::Uuid::now_v7().to_string();
        let answer = ask(&client, &key).await;
        asked.push((key, answer));
    }
    asked
}

/// The execution that is acknowledged for a key; `None` when the node says that it cannot now.
async fn ask(client: &Client, key: &str) -> Option<String> {
    let client = client.clone().with_header("idempotency-key", key);
    let reply = client.post(&format!("{API}/pipelines/small/execute"), &json!({})).await;
    match reply.status {
        202 => Some(reply.json["execution_id"].as_str().expect("an execution has an id").to_owned()),
        503 => None,
        _ => panic!("unexpected answer: {} {}", reply.status, reply.text),
    }
}
