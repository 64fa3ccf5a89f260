//! Cancel is durable when it is acknowledged and final, whatever happens to the node right after it.

use std::time::Duration;

use flexcore_test_support::Client;
use serde_json::Value;

use crate::checker::Log;
use crate::processes;
use crate::random::Random;
use crate::rig::{API, PROGRESS_DEADLINE, Rig, Store, is_over};

const RECORDS: u64 = 100_000;
/// Records a second: nothing here ends by itself.
const RATE: u64 = 1_000;
const ROUNDS: usize = 5;
/// How far apart a cancel and the kill of the node are at most, either way.
const APART: Duration = Duration::from_millis(60);

#[tokio::test]
async fn a_cancel_outlives_the_node_that_acknowledged_it() {
    for store in [Store::Embedded, Store::Postgres] {
        let mut rig = Rig::start(store).await;
        rig.write_source(RECORDS);
        rig.pipeline("copy", RATE).await;
        let execution = rig.execute("copy").await;
        rig.running_programs(&execution).await;
        rig.bookmark_beyond("copy", 0).await;

        let accepted = cancel(&rig.node.client(), &execution).await.expect("the node answers");
        rig.node.kill9().await;
        assert_eq!(accepted, 202);
        processes::all_gone(rig.node.folder(), 0).await;

        rig.node.restart().await;
        let end = rig.ended(&execution, "cancelled", PROGRESS_DEADLINE).await;
        assert_eq!(end["cancel_requested"], true);
        assert_eq!(
            end["steps"][0]["attempts"].as_array().map(Vec::len),
            Some(1),
            "nothing was tried again: {end}"
        );
        rig.must_be_tidy().await;
        Log::settled(&rig.node.client()).await.check();
        assert_eq!(cancel(&rig.node.client(), &execution).await, Ok(409), "it has ended");
    }
}

#[tokio::test]
async fn a_cancel_that_races_with_kills_of_the_node_is_kept_or_was_never_acknowledged() {
    let mut random = Random::seeded();
    let mut rig = Rig::start(Store::Embedded).await;
    rig.write_source(RECORDS);
    for round in 0..ROUNDS {
        let pipeline = format!("copy-{round}");
        rig.pipeline(&pipeline, RATE).await;
        let execution = rig.execute(&pipeline).await;
        if round % 2 == 0 {
            rig.running_programs(&execution).await;
        }
        let acknowledged = race(&mut rig, &execution, &mut random).await;
        rig.node.restart().await;
        let seen = rig.execution(&execution).await;
        if acknowledged {
            assert_eq!(seen["cancel_requested"], true, "an acknowledged cancel is lost: {seen}");
        } else if seen["cancel_requested"] != true {
            assert_eq!(cancel(&rig.node.client(), &execution).await, Ok(202));
        }
        // and once more, while what was cancelled is being ended
        tokio::time::sleep(random.moment(APART)).await;
        rig.node.kill9().await;
        rig.node.restart().await;
        rig.ended(&execution, "cancelled", PROGRESS_DEADLINE).await;
    }
    Log::settled(&rig.node.client()).await.check();
    rig.must_be_tidy().await;
}

/// Cancels and kills at nearly the same time; gives whether the cancel was acknowledged.
async fn race(rig: &mut Rig, execution: &str, random: &mut Random) -> bool {
    let (client, pause) = (rig.node.client(), random.moment(APART));
    let id = execution.to_owned();
    let cancelled = tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        cancel(&client, &id).await
    });
    tokio::time::sleep(random.moment(APART)).await;
    rig.node.kill9().await;
    let answer = cancelled.await.expect("the request does not panic");
    eprintln!("cancel: {answer:?}");
    answer == Ok(202)
}

/// The status of a cancel; `Err` when the node did not answer.
async fn cancel(client: &Client, execution: &str) -> Result<u16, String> {
    let path = format!("{API}/executions/{execution}/cancel");
    let reply = client.request(http::Method::POST, &path, Some("application/json"), "{}").await?;
    let shown: &Value = &reply.json;
    assert!(reply.status != 202 || shown["cancel_requested"] == true || is_over(shown), "{}", reply.text);
    Ok(reply.status)
}
