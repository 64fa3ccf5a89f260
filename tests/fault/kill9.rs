//! `kill -9` of the node at random moments of a running pipeline of 100,000 records: it completes, every record is in
//! the target, and each attempt began where the bookmark was.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use crate::checker::Log;
use crate::random::Random;
use crate::rig::{Rig, Store, is_over};

const RECORDS: u64 = 100_000;
/// Records a second: a run takes longer than all of its kills.
const RATE: u64 = 10_000;
/// Kills of one execution: with those of its restarts below the ten lost attempts after which a step fails.
const KILLS_OF_ONE: u32 = 7;
/// The longest time between a restart and the next kill.
const LONGEST_LIFE: Duration = Duration::from_millis(2_500);
/// One kill in so many waits for the bookmark to move first, so that no run of bad luck makes the test prove nothing.
const KILL_BEHIND_BOOKMARK: u32 = 3;
/// One restart in so many is itself killed, at a random moment of this time.
const KILL_WHILE_STARTING: u32 = 3;
const START: Duration = Duration::from_millis(400);
/// How long the rest of a run may take after its last kill.
const REST: Duration = Duration::from_secs(90);

#[tokio::test]
async fn twenty_kills_on_the_embedded_store_lose_no_record() {
    survives(Store::Embedded, 20).await;
}

#[tokio::test]
async fn ten_kills_on_postgres_lose_no_record() {
    survives(Store::Postgres, 10).await;
}

async fn survives(store: Store, kills: u32) {
    let mut random = Random::seeded();
    let mut rig = Rig::start(store).await;
    rig.write_source(RECORDS);
    let mut left = kills;
    let mut runs = Vec::new();
    // a run that ends before its kills are used up leaves them to the next: more runs than kills there cannot be
    while left > 0 {
        let pipeline = format!("copy-{}", runs.len() + 1);
        rig.pipeline(&pipeline, RATE).await;
        let execution = rig.execute(&pipeline).await;
        let killed =
            kill_at_random(&mut rig, &pipeline, &execution, left.min(KILLS_OF_ONE), &mut random).await;
        assert!(killed > 0, "the run ended before it was killed once");
        left -= killed;
        let end = rig.ended(&execution, "completed", REST).await;
        eprintln!("{pipeline}: killed {killed} times, {} attempts", attempts(&end).len());
        rig.must_hold_all(&pipeline, RECORDS);
        runs.push((pipeline, execution, end));
    }
    let log = Log::settled(&rig.node.client()).await;
    log.check();
    for (pipeline, execution, end) in &runs {
        went_on_from_its_bookmarks(&rig, &log, pipeline, execution, end);
    }
    rig.must_be_tidy().await;
}

/// Kills and restarts the node up to `most` times while the execution runs; gives how often.
async fn kill_at_random(
    rig: &mut Rig,
    pipeline: &str,
    execution: &str,
    most: u32,
    random: &mut Random,
) -> u32 {
    let mut line = 0;
    for kill in 0..most {
        if kill % KILL_BEHIND_BOOKMARK == KILL_BEHIND_BOOKMARK - 1 {
            line = rig.bookmark_beyond(pipeline, line).await;
        }
        // not waiting for anything: the moment is what is random
        tokio::time::sleep(random.moment(LONGEST_LIFE)).await;
        if is_over(&rig.execution(execution).await) {
            return kill;
        }
        rig.node.kill9().await;
        if kill % KILL_WHILE_STARTING == 1 {
            // ready or not, the next restart kills it: while it takes over, or just after
            let ready = timeout(random.moment(START), rig.node.restart()).await;
            eprintln!(
                "killed again {}",
                if ready.is_ok() { "when it was ready" } else { "while it started" }
            );
        }
        rig.node.restart().await;
    }
    most
}

/// Each attempt began at the bookmark that it found, and that moved.
fn went_on_from_its_bookmarks(rig: &Rig, log: &Log, pipeline: &str, execution: &str, end: &Value) {
    let beginnings = log.beginnings(execution);
    let (last, line) = *beginnings.last().expect("an attempt held the bookmark");
    assert!(line > 0, "{pipeline}: no bookmark moved before the last attempt: {beginnings:?}");
    let attempts = attempts(end);
    assert_eq!(attempts.len() as u64, last, "{pipeline}: the last attempt completed");
    for lost in &attempts[..attempts.len() - 1] {
        assert_eq!(lost["cause"]["kind"], "lost_node", "{pipeline}: {lost}");
    }
    // what the last attempt read is exactly what was behind the bookmark
    let completed = &attempts[attempts.len() - 1];
    assert_eq!(completed["streams"]["rows"]["written"], RECORDS - line, "{pipeline}: {completed}");
    // whatever an attempt wrote begins where a bookmark was, or goes on from what was written before
    let lines: Vec<u64> = beginnings.iter().map(|(_, line)| *line).collect();
    let written = rig.written(pipeline);
    assert_eq!(written[0], 1);
    for pair in written.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
        assert!(
            lines.contains(&(pair[1] - 1)),
            "{pipeline}: from {} to {}, bookmarks {lines:?}",
            pair[0],
            pair[1]
        );
    }
}

fn attempts(execution: &Value) -> &Vec<Value> {
    execution["steps"][0]["attempts"].as_array().expect("a step has attempts")
}
