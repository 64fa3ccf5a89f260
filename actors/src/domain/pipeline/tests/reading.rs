//! Reading the file format: every problem of the shape at once, each with its field and cure.

use std::time::Duration;

use super::*;
use crate::domain::retry::{RetryOn, RetryPolicy};
use crate::limits::{MAX_PIPE, MAX_STEPS};

/// The problems of a file as `field: message` lines.
fn problems(file: &Value) -> Vec<String> {
    let problems = read_definition(file).expect_err("the file has problems").0;
    problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect()
}

/// The problems of a step.
fn step_problems(step: &Value) -> Vec<String> {
    problems(&json!({"name": "p", "steps": [step]}))
}

#[test]
fn the_contract_example_reads() {
    let file = json!({
        "kind": "Pipeline", "name": "customers", "description": "Load customers", "owner": "data-team",
        "parameters": {"day": {"type": "string", "default": "${today}"}},
        "concurrency": {"executions": 1, "on_conflict": "queue"}, "priority": 5,
        "steps": [
            {"name": "extract-load", "pipe": [
                {"plugin": "tap-csv", "config": {"files": []}, "catalog": {}, "select": ["*.*"]},
                {"plugin": "target-jsonl", "config": {"destination_path": "/data/out"}}],
             "bookmark": "customers-csv",
             "retry": {"attempts": 5, "initial": "1s", "factor": 2, "max": "1m", "jitter": 0.2, "on": ["crash", "timeout", "exit"]},
             "timeout": "30m"},
            {"name": "transform", "plugin": "dbt-run", "operation": "run", "config": {"select": "customers+"},
             "depends_on": ["extract-load"], "when": "all_succeeded"}],
    });
    let definition = read_definition(&file).unwrap();
    let [load, transform] = definition.steps.as_slice() else { panic!("{definition:?}") };
    assert_eq!(load.retry, RetryPolicy { attempts: 5, ..RetryPolicy::default() });
    assert_eq!(load.timeout, Some(Duration::from_secs(1800)));
    assert_eq!(load.bookmark_name(&definition.name), "customers-csv");
    assert_eq!(load.pipe[0].catalog, None, "a catalog without streams is none");
    assert_eq!(transform.bookmark_name(&definition.name), "customers/transform");
    assert_eq!((transform.pipe.len(), transform.pipe[0].operation.as_deref()), (1, Some("run")));
    let decoded = crate::domain::codec::from_bytes(&crate::domain::codec::to_bytes(&definition));
    assert_eq!(definition, decoded.unwrap());
}

#[test]
fn what_is_left_out_has_the_contract_s_defaults() {
    let definition = read_definition(&json!({"name": "p", "steps": [{"name": "a", "plugin": "x"}]})).unwrap();
    assert_eq!(definition.concurrency, Concurrency { executions: 1, on_conflict: OnConflict::Queue });
    assert_eq!((definition.priority, definition.description.as_str()), (DEFAULT_PRIORITY, ""));
    let step = &definition.steps[0];
    assert_eq!((step.when, step.timeout, step.bookmark.as_deref()), (When::AllSucceeded, None, None));
    assert_eq!(step.retry.attempts, 3);
    assert_eq!(step.retry.on, [RetryOn::Crash, RetryOn::Timeout, RetryOn::Exit]);
    assert_eq!(step.pipe[0].config, json!({}));
}

#[test]
fn every_problem_is_named_at_once() {
    let found = problems(&json!({
        "kind": "Pipelin", "name": "Customers", "desciption": "x", "priority": 10,
        "schedule": {"every": "30s"}, "triggers": [],
        "parameters": {"a b": {"type": "strin"}, "n": {"type": "integer", "default": "x", "requird": true}},
        "concurrency": {"executions": 0, "on_conflict": "wait", "execution": 1},
        "steps": [
            {"name": "a", "plugin": "x", "timeout": "soon", "when": "always", "depend_on": ["b"]},
            {"plugin": "x", "retry": {"attempts": 0, "initial": "5", "factor": 0.5, "jitter": 2, "on": ["crsh"], "maximum": "1m"}},
            7,
        ],
    }));
    let expected = [
        "kind: \"Pipelin\" is not one of Pipeline",
        "name: \"Customers\" is not a name",
        "desciption: unknown key \"desciption\"; did you mean \"description\"?",
        "priority: expected a whole number from 0 to 9",
        "schedule: schedule is not supported yet: it comes with orchestration; remove the key",
        "triggers: triggers is not supported yet",
        "parameters.a b: \"a b\" is not the name of a parameter",
        "parameters.a b.type: \"strin\" is not one of string, integer, number, boolean",
        "parameters.n.default: the default is not of the parameter's type",
        "parameters.n.requird: unknown key \"requird\"",
        "concurrency.executions: expected a whole number from 1 to 1000",
        "concurrency.on_conflict: \"wait\" is not one of queue, reject, replace",
        "concurrency.execution: unknown key \"execution\"; did you mean \"executions\"?",
        "steps[0].timeout: \"soon\" is not a duration: write a number with ms, s, m, h or d",
        "steps[0].when: \"always\" is not one of all_succeeded, all_done, any_failed",
        "steps[0].depend_on: unknown key \"depend_on\"; did you mean \"depends_on\"?",
        "steps[1].name: name is required",
        "steps[1].retry.attempts: expected a whole number from 1 to 100",
        "steps[1].retry.initial: \"5\" is not a duration",
        "steps[1].retry.factor: expected a number from 1 to 100",
        "steps[1].retry.jitter: expected a number from 0 to 1",
        "steps[1].retry.on: \"crsh\" is not one of crash, timeout, exit",
        "steps[1].retry.maximum: unknown key \"maximum\"",
        "steps[2]: expected an object, found a number",
    ];
    for problem in expected {
        assert!(found.iter().any(|f| f.starts_with(problem)), "{problem:?} is not in {found:#?}");
    }
}

#[test]
fn required_keys_that_are_null_are_missing() {
    let found = problems(&json!({"name": null, "steps": [{"name": null, "plugin": null}]}));
    assert_eq!(
        found,
        ["name: name is required", "steps[0].name: name is required", "steps[0].plugin: plugin is required"]
    );
}

#[test]
fn a_document_that_is_no_object_is_one() {
    for value in [json!([]), json!("x"), json!(null)] {
        assert!(problems(&value)[0].starts_with(": expected an object, found "), "{value}");
    }
}

#[test]
fn the_number_of_steps_and_programs_is_bounded() {
    let step = |n| json!({"name": format!("s{n}"), "plugin": "x"});
    let steps = |n: usize| json!({"name": "p", "steps": (0..n).map(step).collect::<Vec<_>>()});
    assert_eq!(read_definition(&steps(MAX_STEPS)).unwrap().steps.len(), MAX_STEPS);
    for bad in [steps(0), steps(MAX_STEPS + 1), json!({"name": "p"})] {
        assert_eq!(problems(&bad), ["steps: steps is required: a list of 1 to 500 steps"]);
    }
    let pipe = |n: usize| json!({"name": "s", "pipe": vec![json!({"plugin": "x"}); n]});
    assert!(read_definition(&json!({"name": "p", "steps": [pipe(MAX_PIPE)]})).is_ok());
    for n in [0, MAX_PIPE + 1] {
        assert_eq!(step_problems(&pipe(n)), ["steps[0].pipe: expected a list of 1 to 16 programs"]);
    }
}

#[test]
fn a_step_has_a_pipe_or_a_plugin() {
    let both = json!({"name": "s", "plugin": "x", "pipe": [{"plugin": "y"}]});
    assert_eq!(step_problems(&both), ["steps[0].plugin: a step has either a pipe or a plugin, not both"]);
    assert_eq!(step_problems(&json!({"name": "s"})), ["steps[0].plugin: plugin is required"]);
    let found = step_problems(&json!({"name": "s", "pipe": [{"plugin": "y", "confg": {}}]}));
    assert_eq!(found, ["steps[0].pipe[0].confg: unknown key \"confg\"; did you mean \"config\"?"]);
}

#[test]
fn times_and_bookmarks_have_to_make_sense() {
    let with = |key: &str, value: Value| {
        let mut step = json!({"name": "s", "plugin": "x"});
        step[key] = value;
        step_problems(&step)
    };
    assert_eq!(with("timeout", json!("0s")), ["steps[0].timeout: expected more than 0"]);
    assert!(with("timeout", json!("0.1ms"))[0].contains("is not a duration"));
    assert!(with("timeout", json!(30))[0].contains("expected a duration such as 30s, found a number"));
    let pauses = json!({"initial": "2m", "max": "1m"});
    assert_eq!(with("retry", pauses), ["steps[0].retry.max: expected at least the initial pause"]);
    for bookmark in [json!(""), json!("a\nb"), json!("x".repeat(201))] {
        assert_eq!(with("bookmark", bookmark), ["steps[0].bookmark: expected 1 to 200 printable characters"]);
    }
    assert!(with("depends_on", json!(["A"]))[0].starts_with("steps[0].depends_on: \"A\" is not a name"));
    assert!(with("config", json!("x=1"))[0].starts_with("steps[0].config: expected an object"));
}

#[test]
fn a_long_first_pause_lifts_the_longest() {
    let file = json!({"name": "p", "steps": [{"name": "s", "plugin": "x", "retry": {"initial": "5m"}}]});
    let retry = &read_definition(&file).unwrap().steps[0].retry;
    assert_eq!((retry.initial, retry.max), (Duration::from_secs(300), Duration::from_secs(300)));
}
