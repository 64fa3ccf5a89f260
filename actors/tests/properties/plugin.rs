//! Plugins: permits stay within the concurrency and belong to one life of a node (S8); the circuit opens only for
//! crashes; an attempt ends once.

use std::collections::BTreeMap;

use flexcore_actors::domain::ids::Incarnation;
use flexcore_actors::domain::outcome::Usage;
use flexcore_actors::domain::plugin::{
    AttemptId, Granted, Manifest, Plugin, PluginCommand, PluginEvent, Policy, Status, read_manifest,
};
use flexcore_actors::limits::CIRCUIT_FAILURES;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::history::History;
use crate::{COMMANDS, config, execution_id, name};

fn manifest() -> impl Strategy<Value = Manifest> {
    let memory = select(vec!["1MiB", "1025KiB", "512MiB", "2GB"]);
    (1..6_u32, memory, 0.01..8.0_f64, any::<bool>()).prop_map(|(concurrency, memory, cpus, subprocess)| {
        read_manifest(&json!({
            "name": "copy", "version": "1.0", "type": "processor", "protocol": "command", "command": ["copy", "é"],
            "environment": {"python": {"requirements": ["copy==1.0"]}}, "concurrency": concurrency,
            "config_schema": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}},
            "capabilities": {"read": ["/data"], "connect": ["db:5432"], "subprocess": subprocess},
            "limits": {"memory": memory, "cpus": cpus, "wall_time": "1h0.5s", "file_size": "1GiB"},
        }))
        .unwrap()
    })
}

fn attempt() -> impl Strategy<Value = AttemptId> {
    (0..4_u128, 1..3_u32).prop_map(|(n, attempt)| AttemptId {
        execution: execution_id(n),
        step: name("load"),
        attempt,
    })
}

fn life() -> impl Strategy<Value = Incarnation> {
    (1..4_u128).prop_map(|n| Incarnation(uuid::Uuid::from_u128(n)))
}

/// What some manifest is granted: at times not the one that is registered.
fn granted() -> impl Strategy<Value = Granted> {
    manifest().prop_map(|manifest| Policy::default().judge(&manifest).granted)
}

fn registration() -> impl Strategy<Value = (Box<Manifest>, Granted)> {
    manifest().prop_map(|manifest| (Box::new(manifest.clone()), Policy::default().judge(&manifest).granted))
}

fn command() -> impl Strategy<Value = PluginCommand> {
    let usage = any::<(u64, u64, u64)>().prop_map(|(wall_ms, cpu_ms, peak_memory_bytes)| Usage {
        wall_ms,
        cpu_ms,
        peak_memory_bytes,
    });
    prop_oneof![
        1 => registration().prop_map(|(m, granted)| PluginCommand::Register(m, granted)),
        4 => registration().prop_map(|(m, granted)| PluginCommand::Revise(m, granted)),
        8 => select(vec![PluginCommand::Enable, PluginCommand::Enable, PluginCommand::Disable, PluginCommand::Release]),
        1 => Just(PluginCommand::Retire),
        40 => (attempt(), 0..4_u32, life(), granted()).prop_map(|(attempt, programs, incarnation, granted)| {
            PluginCommand::Admit { attempt, programs, incarnation, granted }
        }),
        40 => (attempt(), life(), crate::end(), usage).prop_map(|(attempt, incarnation, cause, usage)| {
            PluginCommand::Complete { attempt, incarnation, cause, usage, log_tail: vec!["é".to_owned(); 3] }
        }),
        3 => prop::collection::vec(life(), 0..3).prop_map(|ended| PluginCommand::Lose { ended }),
    ]
}

/// What must hold between a state and the next.
fn check_step(before: &Plugin, after: &Plugin) {
    let concurrency = after.manifest.as_ref().unwrap().concurrency;
    let rose = after.programs_running() > before.programs_running();
    assert!(!rose || after.programs_running() <= concurrency, "permits are within the concurrency");
    assert!(!rose || before.status == Status::Enabled && before.quarantined.is_none());
    assert!(before.status != Status::Retired || after.status == Status::Retired, "retired for good");
    for (attempt, permit) in &after.running {
        let same = before.running.get(attempt).is_none_or(|old| old == permit);
        assert!(same, "S8: the permit of {attempt:?} must not change hands");
    }
    let running = u64::try_from(after.running.len()).unwrap();
    assert_eq!(after.total, after.completed + after.failed + running);
    assert!(after.crashes.len() < 100, "crashes are not kept for ever");
}

/// What must hold of the events as a whole.
fn check_history(events: &[PluginEvent]) {
    let (mut running, mut crashes, mut quarantined) = (BTreeMap::new(), 0_usize, false);
    for event in events {
        match event {
            PluginEvent::PluginExecutionStarted(e) => {
                assert!(!quarantined, "nothing is admitted in quarantine");
                assert_eq!(running.insert(e.attempt.clone(), e.incarnation), None, "S8");
            }
            PluginEvent::PluginExecutionCompleted(e) => {
                assert!(running.remove(&e.attempt).is_some(), "an attempt ends once");
                match &e.cause {
                    None => crashes = 0,
                    Some(cause) => crashes += usize::from(cause.kind.opens_circuit()),
                }
            }
            PluginEvent::PluginQuarantined(e) => {
                assert!(!std::mem::replace(&mut quarantined, true), "it opens once");
                assert!(crashes >= CIRCUIT_FAILURES && e.cause.kind.opens_circuit());
            }
            PluginEvent::PluginReleased(_) => (quarantined, crashes) = (false, 0),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_sequence_keeps_the_invariants((first, granted) in registration(), commands in prop::collection::vec(command(), 1..3 * COMMANDS)) {
        let mut history = History::<Plugin>::new();
        history.submit(PluginCommand::Register(first, granted)).unwrap();
        for command in commands {
            let before = history.state.clone();
            match history.submit(command) {
                Ok(_) => check_step(&before, &history.state),
                Err(rejection) => {
                    prop_assert!(!rejection.to_string().is_empty());
                    prop_assert_eq!(&before, &history.state);
                }
            }
        }
        check_history(&history.events);
        prop_assert_eq!(history.replayed(), history.state);
    }
}
