//! Programs of a running step die, or their node is asked to stop: the step is tried again and completes.

use std::fs::File;
use std::time::Duration;

use flexcore_test_support::wait_for;
use serde_json::Value;

use crate::checker::Log;
use crate::processes;
use crate::rig::{Rig, Store, TAP, TARGET};

const RECORDS: u64 = 6_000;
/// Records a second: slow enough to be struck in the middle.
const RATE: u64 = 2_000;
/// How long a struck run may take in all.
const REST: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_killed_tap_is_started_again() {
    let end = struck(|tap, _| tap).await;
    assert_eq!(first_cause(&end)["kind"], "signal", "{end:#}");
    assert_eq!(first_cause(&end)["detail"]["plugin"], TAP);
}

#[tokio::test]
async fn a_killed_target_is_started_again() {
    let end = struck(|_, target| target).await;
    assert_eq!(first_cause(&end)["kind"], "signal", "{end:#}");
    assert_eq!(first_cause(&end)["detail"]["plugin"], TARGET);
}

/// A program's parent is the first process of its namespaces, whose parent is the launcher.
fn launcher(program: u32) -> u32 {
    processes::parent(processes::parent(program))
}

#[tokio::test]
async fn a_killed_launcher_of_the_tap_takes_it_along_and_both_are_started_again() {
    let end = struck(|tap, _| launcher(tap)).await;
    assert_eq!(first_cause(&end)["kind"], "lost_node", "{end:#}");
}

#[tokio::test]
async fn a_killed_launcher_of_the_target_takes_it_along_and_both_are_started_again() {
    let end = struck(|_, target| launcher(target)).await;
    assert_eq!(first_cause(&end)["kind"], "lost_node", "{end:#}");
}

#[tokio::test]
async fn a_stopped_node_goes_on_at_its_next_start() {
    let mut rig = Rig::start(Store::Embedded).await;
    rig.write_source(RECORDS);
    rig.pipeline("copy", RATE).await;
    let execution = rig.execute("copy").await;
    rig.running_programs(&execution).await;
    rig.bookmark_beyond("copy", 0).await;

    let status = rig.node.sigterm().await;
    assert_eq!(status.code(), Some(0), "{status}: {}", rig.node.log());
    assert!(processes::left(rig.node.folder(), 0).is_empty(), "a stopped node has ended its programs before");

    rig.node.restart().await;
    let end = rig.ended(&execution, "completed", REST).await;
    assert_eq!(first_cause(&end)["kind"], "lost_node", "{end:#}");
    let log = finished(&rig, &execution).await;
    let (_, line) = log.beginnings(&execution)[1];
    assert!(line > 0, "it went on from its bookmark");
}

#[tokio::test]
async fn a_restarted_node_waits_for_programs_of_its_former_life() {
    let mut rig = Rig::start(Store::Embedded).await;
    rig.write_source(RECORDS);
    rig.pipeline("copy", RATE).await;
    let execution = rig.execute("copy").await;
    rig.running_programs(&execution).await;
    rig.bookmark_beyond("copy", 0).await;
    rig.node.kill9().await;
    // in the place of a launcher that the machine gives no time to end its program: it would hold this lock too
    let file = File::open(rig.node.data_dir().join("programs.lock")).expect("the launchers' lock is there");
    wait_for("the launchers end", REST, async || file.try_lock().map_err(|e| e.to_string())).await;

    let second_log = rig.node.folder().join("node-2.log");
    let address = rig.node.data_dir().join("http.address");
    let released = async {
        wait_for("the restarted node waits", REST, async || match std::fs::read_to_string(&second_log) {
            Ok(log) if log.contains("former life") => Ok(()),
            log => Err(log),
        })
        .await;
        let served = address.exists();
        file.unlock().expect("a lock can be given back");
        served
    };
    let (served, ()) = tokio::join!(released, rig.node.restart());
    assert!(!served, "it took up work before its former life had ended");

    let end = rig.ended(&execution, "completed", REST).await;
    assert_eq!(end["steps"][0]["attempts"].as_array().map(Vec::len), Some(2), "{end:#}");
    assert_eq!(first_cause(&end)["kind"], "lost_node", "{end:#}");
    finished(&rig, &execution).await;
}

/// Kills one process in the middle of a run, chosen by the tap's and the target's; gives the completed execution.
async fn struck(choose: impl Fn(u32, u32) -> u32) -> Value {
    let rig = Rig::start(Store::Embedded).await;
    rig.write_source(RECORDS);
    rig.pipeline("copy", RATE).await;
    let execution = rig.execute("copy").await;
    let programs = rig.running_programs(&execution).await;
    rig.bookmark_beyond("copy", 0).await;
    processes::kill9(choose(programs[TAP], programs[TARGET]));
    let end = rig.ended(&execution, "completed", REST).await;
    assert_eq!(end["steps"][0]["attempts"].as_array().map(Vec::len), Some(2), "{end:#}");
    finished(&rig, &execution).await;
    end
}

/// What holds after any of these runs.
async fn finished(rig: &Rig, execution: &str) -> Log {
    rig.must_hold_all("copy", RECORDS);
    rig.must_be_tidy().await;
    let log = Log::settled(&rig.node.client()).await;
    log.check();
    assert_eq!(log.beginnings(execution).len(), 2);
    log
}

/// Why the first attempt failed.
fn first_cause(execution: &Value) -> &Value {
    &execution["steps"][0]["attempts"][0]["cause"]
}
