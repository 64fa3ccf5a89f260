//! The exploration: clean with all guards, and broken without any one of them.

use stateright::{Checker, HasDiscoveries, Model};

use crate::model::{Guard, Shard};

#[test]
fn with_every_guard_all_invariants_hold_in_every_order() {
    let checker = Shard::default().checker().threads(2).spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    assert!(checker.unique_state_count() > 100_000, "the guards leave too little to explore");
}

/// Explores the world without `guard` until `invariant` is broken; the shortest way there is printed.
#[track_caller]
fn breaks(guard: Guard, invariant: &'static str) {
    let wanted = HasDiscoveries::AnyOf([invariant].into());
    let world = Shard { without: Some(guard) };
    let checker = world.checker().finish_when(wanted).spawn_bfs().join();
    let path = checker.discovery(invariant);
    let path =
        path.unwrap_or_else(|| panic!("{invariant} holds without {guard:?}: the model does not need it"));
    let steps = path.into_actions();
    println!("without {guard:?}, {invariant} is broken in {} steps: {steps:?}", steps.len());
}

#[test]
fn without_the_fence_an_event_commits_under_an_old_epoch() {
    breaks(Guard::Fence, "S1");
}

#[test]
fn without_expected_versions_two_events_have_one_version() {
    breaks(Guard::ExpectedVersion, "S2");
}

#[test]
fn without_dedupe_a_repeat_happens_twice() {
    breaks(Guard::Dedupe, "S3");
}

#[test]
fn without_rising_epochs_two_owners_hold_one() {
    breaks(Guard::Rise, "S4");
}

#[test]
fn without_burial_a_dead_node_lives_again() {
    breaks(Guard::Burial, "S4");
}

#[test]
fn without_waiting_for_the_commit_an_answer_may_be_lost() {
    breaks(Guard::AnswerAfterCommit, "S6");
}

#[test]
fn without_the_guard_on_the_execution_a_bookmark_moves_after_the_cancel() {
    breaks(Guard::ExecutionVersion, "S7");
}

#[test]
fn without_final_cancels_an_attempt_starts_after_it() {
    breaks(Guard::CancelIsFinal, "S7");
}

#[test]
fn without_a_holder_an_earlier_attempt_moves_the_bookmark() {
    breaks(Guard::Holder, "S9");
}

#[test]
fn without_forward_moves_a_bookmark_goes_back() {
    breaks(Guard::Forward, "S9");
}
