//! The database goes away while pipelines run: answers and requests are lost, its connections are cut again and again,
//! its server is killed. Nothing acknowledged is lost, nothing happens twice, whoever reads the log meets every event
//! once and in order, and everything completes.

use std::time::Duration;

use flexcore_test_support::{Client, PostgresProxy, TestDatabase};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::checker::Log;
use crate::random::Random;
use crate::rig::{API, PROGRESS_DEADLINE, Rig};
use crate::server::Server;

/// Records to copy and how many a second, so that the run outlasts thirty cuts.
const THROUGH_CUTS: (u64, u64) = (20_000, 2_000);
/// The same for ten kills of the server.
const THROUGH_KILLS: (u64, u64) = (50_000, 1_000);
/// Small executions that are asked for meanwhile, at most.
const REQUESTS: usize = 100;
/// The longest pause between two of these requests, and between two cuts.
const PAUSE: Duration = Duration::from_millis(300);
const CUTS: usize = 30;
/// How long the server stays away at most.
const AWAY: Duration = Duration::from_millis(1_500);
const SERVER_KILLS: usize = 10;
/// Answers and requests that are lost, by turns.
const LOSSES: usize = 20;
/// The pause of who reads the log, when it has come to its end or the database is away.
const POLL: Duration = Duration::from_millis(50);
/// How long everything may take once the database is back.
const REST: Duration = Duration::from_secs(90);

/// An append whose answer is lost after the commit, or that never arrives, is resolved before its caller is answered:
/// the caller notices nothing, and nothing is there twice.
#[tokio::test]
async fn a_lost_answer_or_request_is_resolved_unseen() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::start(&database.config(), "flexcore_append").await;
    let rig = Rig::on(proxy.url()).await;
    let client = rig.node.client();
    small_pipeline(&client).await;
    for lost in 0..LOSSES {
        if lost % 2 == 0 {
            proxy.lose_next_answer();
        } else {
            proxy.lose_next_request();
        }
        let key = uuid::Uuid::now_v7().to_string();
        let id = ask(&client, &key).await.expect("the batch is sent again, then acknowledged");
        assert_eq!(proxy.lost(), lost as u64 + 1, "the request went through the proxy");
        assert_eq!(ask(&client, &key).await, Some(id.clone()), "a repeat is answered as the first");
        rig.ended(&id, "completed", PROGRESS_DEADLINE).await;
    }
    let log = Log::settled(&client).await;
    log.check();
    assert_eq!(log.executions().len(), LOSSES, "each request started one execution");
    assert!(rig.node.log().contains("commit is sent again"), "{}", rig.node.log());
}

#[tokio::test]
async fn cut_connections_lose_nothing_acknowledged() {
    let mut random = Random::seeded();
    let database = TestDatabase::create().await;
    let rig = Rig::on(database.url()).await;
    let observer = database.connect().await;
    let cut_all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut cut = 0;
    weathers(&rig, THROUGH_CUTS, async || {
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
    weathers(&rig, THROUGH_KILLS, async || {
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
async fn weathers(rig: &Rig, (records, rate): (u64, u64), storm: impl AsyncFnOnce()) {
    rig.write_source(records);
    rig.pipeline("copy", rate).await;
    small_pipeline(&rig.node.client()).await;
    let copy = rig.execute("copy").await;
    rig.running_programs(&copy).await;

    let (over, is_over) = watch::channel(false);
    let requests = tokio::spawn(ask_for_small_ones(rig.node.client(), is_over.clone()));
    let reader = tokio::spawn(read_along(rig.node.client(), is_over));
    storm().await;
    assert!(!crate::rig::is_over(&rig.patient_execution(&copy).await), "the run outlasts the storm");
    over.send_replace(true);
    let asked = requests.await.expect("the requests do not panic");
    let read = reader.await.expect("who reads recovers by itself");

    rig.ended(&copy, "completed", REST).await;
    rig.must_hold_all("copy", records);
    // the same keys again: what was acknowledged is known, what was not happens now or had happened
    let acknowledged = asked.iter().filter(|(_, answer)| answer.is_some()).count();
    eprintln!("{acknowledged} of {} requests were acknowledged in the storm", asked.len());
    assert!(acknowledged > 0, "not one request was acknowledged");
    for (key, answer) in &asked {
        let id = ask(&rig.node.client(), key).await.expect("the database is back");
        assert!(answer.as_ref().is_none_or(|first| *first == id), "{key}: first {answer:?}, then {id}");
        rig.ended(&id, "completed", PROGRESS_DEADLINE).await;
    }
    let log = Log::settled(&rig.node.client()).await;
    log.check();
    assert_eq!(log.executions().len(), asked.len() + 1, "each key started one execution");
    let ids: Vec<&str> = log.0.iter().map(|event| event.id.as_str()).collect();
    assert!(
        ids.starts_with(&read.iter().map(String::as_str).collect::<Vec<_>>()),
        "who read along read another log"
    );
    rig.must_be_tidy().await;
}

/// A pipeline whose executions are over in no time.
pub(crate) async fn small_pipeline(client: &Client) {
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
async fn ask_for_small_ones(client: Client, over: watch::Receiver<bool>) -> Vec<(String, Option<String>)> {
    let mut random = Random::seeded();
    let mut asked = Vec::new();
    while asked.len() < REQUESTS && !*over.borrow() {
        tokio::time::sleep(random.moment(PAUSE)).await;
        let key = uuid::Uuid::now_v7().to_string();
        let answer = ask(&client, &key).await;
        asked.push((key, answer));
    }
    asked
}

/// Reads the log as it grows, until the storm is over; gives the ids of its events. No event is missed, none is met
/// twice, and an error is nothing but a 503.
async fn read_along(client: Client, over: watch::Receiver<bool>) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let last_look = *over.borrow();
        let reply = client.get(&format!("{API}/events?after={}&limit=100", ids.len())).await;
        if reply.status != 503 {
            let page = reply.expect(200).json;
            let items: &[Value] = page["items"].as_array().expect("a list has items");
            for item in items {
                assert_eq!(item["position"].as_u64(), Some(ids.len() as u64 + 1), "{item}");
                ids.push(item["id"].as_str().expect("an event has an id").to_owned());
            }
            if !items.is_empty() {
                continue;
            }
            if last_look {
                return ids;
            }
        }
        tokio::time::sleep(POLL).await;
    }
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
