//! Tests of the plugin aggregate, by theme; what they share is here.

mod circuit;
mod lifecycle;
mod permits;

use serde_json::{Value, json};

use super::*;
use crate::domain::aggregate::Rejection;
use crate::domain::ids::Incarnation;
use crate::domain::outcome::{Cause, CauseKind, Usage};
use crate::domain::story::{Story, execution, name};

type PluginStory = Story<Plugin>;

/// The manifest of `copy`, with further keys.
fn manifest(more: &Value) -> Manifest {
    let mut file = json!({"name": "copy", "version": "1", "type": "processor", "protocol": "command", "command": ["copy"],
        "capabilities": {"read": ["/data"]}});
    file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    read_manifest(&file).unwrap()
}

/// What a manifest asks for, granted without a policy.
fn granted(manifest: &Manifest) -> Granted {
    Policy::default().judge(manifest).granted
}

fn register(manifest: Manifest) -> PluginCommand {
    let granted = granted(&manifest);
    PluginCommand::Register(Box::new(manifest), granted)
}

fn revise(manifest: Manifest) -> PluginCommand {
    let granted = granted(&manifest);
    PluginCommand::Revise(Box::new(manifest), granted)
}

/// A registered plugin.
fn registered(more: &Value) -> PluginStory {
    let mut story = Story::new();
    story.does(register(manifest(more)));
    story
}

/// The first attempt of step `load` of the n-th execution.
fn attempt(n: u128) -> AttemptId {
    AttemptId { execution: execution(n), step: name("load"), attempt: 1 }
}

fn life(n: u128) -> Incarnation {
    Incarnation(uuid::Uuid::from_u128(n))
}

fn admit(n: u128, programs: u32) -> PluginCommand {
    let granted = granted(&manifest(&json!({})));
    PluginCommand::Admit { attempt: attempt(n), programs, incarnation: life(1), granted }
}

fn cause(kind: CauseKind) -> Cause {
    Cause::new(kind, format!("copy ended with {}", kind.as_str()))
}

fn finish(n: u128, kind: Option<CauseKind>) -> PluginCommand {
    let usage = Usage { wall_ms: 7, cpu_ms: 5, peak_memory_bytes: 3 };
    PluginCommand::Complete {
        attempt: attempt(n),
        incarnation: life(1),
        cause: kind.map(cause),
        usage,
        log_tail: vec!["a last word".to_owned()],
    }
}

fn wrong_state(rejection: Rejection) -> String {
    match rejection {
        Rejection::WrongState(message) => message,
        other => panic!("expected a wrong state, got {other:?}"),
    }
}

fn waits(rejection: Rejection) -> String {
    match rejection {
        Rejection::Wait(message) => message,
        other => panic!("expected to wait, got {other:?}"),
    }
}
