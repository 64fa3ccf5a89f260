//! Validation as a whole: graph, pipes, placeholders and configurations; every problem at once.

use std::collections::BTreeMap;

use jiff::civil::date;

use super::*;
use crate::domain::ids::Name;
use crate::domain::plugin::{Manifest, read_manifest};

/// A Singer tap, mapper and target, and a command; the target's configuration has a schema.
fn plugins() -> BTreeMap<Name, Manifest> {
    let schema = json!({"type": "object", "required": ["path"], "additionalProperties": false,
        "properties": {"path": {"type": "string", "pattern": "^/"}, "token": {"type": "string", "maxLength": 3}, "mode": {"enum": ["a"]}}});
    let manifest = |name: &str, kind: &str, protocol: &str, schema: &Value| {
        let file = json!({"name": name, "version": "1", "type": kind, "protocol": protocol, "command": [name], "config_schema": schema});
        read_manifest(&file).unwrap()
    };
    let all = [
        manifest("tap-csv", "extractor", "singer", &json!({})),
        manifest("mapper", "mapper", "singer", &json!({})),
        manifest("target-jsonl", "loader", "singer", &schema),
        manifest("copy", "processor", "command", &json!({})),
    ];
    all.into_iter().map(|manifest| (manifest.name.clone(), manifest)).collect()
}

/// The problems of a pipeline with these keys, as `field: message`.
fn problems(file: &Value) -> Vec<String> {
    let mut whole = json!({"name": "customers"});
    whole.as_object_mut().unwrap().extend(file.as_object().unwrap().clone());
    let definition = read_definition(&whole).unwrap();
    let found = validate(&definition, &plugins()).err().unwrap_or_default().0;
    found.iter().map(|p| format!("{}: {}", p.field, p.message)).collect()
}

fn of_steps(steps: &Value) -> Vec<String> {
    problems(&json!({"steps": steps}))
}

fn of_pipe(plugins: &[&str]) -> Vec<String> {
    let programs: Vec<Value> = plugins
        .iter()
        .map(|p| {
            if *p == "target-jsonl" {
                json!({"plugin": p, "config": {"path": "/o"}})
            } else {
                json!({"plugin": p})
            }
        })
        .collect();
    of_steps(&json!([{"name": "a", "pipe": programs}]))
}

const NONE: [String; 0] = [];

#[test]
fn a_sound_pipeline_has_no_problems() {
    let file = json!({"parameters": {"day": {"type": "string", "default": "${today}"}}, "steps": [
        {"name": "a", "pipe": [{"plugin": "tap-csv", "config": {"day": "${param.day}"}}, {"plugin": "mapper"},
                               {"plugin": "target-jsonl", "config": {"path": "/out/${execution.id}"}}]},
        {"name": "b", "plugin": "copy", "depends_on": ["a"]},
        {"name": "c", "plugin": "copy", "depends_on": ["a", "b"], "when": "any_failed"},
        {"name": "d", "plugin": "tap-csv"}]});
    assert_eq!(problems(&file), NONE);
}

#[test]
fn a_cycle_is_named_in_full() {
    let found = of_steps(&json!([
        {"name": "start", "plugin": "copy"},
        {"name": "a", "plugin": "copy", "depends_on": ["start", "c"]},
        {"name": "b", "plugin": "copy", "depends_on": ["a"]},
        {"name": "c", "plugin": "copy", "depends_on": ["b"]}]));
    assert_eq!(found, ["steps: the steps depend on each other in a cycle: a → c → b → a"]);
    let found = of_steps(&json!([{"name": "a", "plugin": "copy", "depends_on": ["a"]}]));
    assert_eq!(found, ["steps: the steps depend on each other in a cycle: a → a"]);
}

#[test]
fn diamonds_and_long_chains_are_no_cycles() {
    let diamond = json!([
        {"name": "a", "plugin": "copy"},
        {"name": "b", "plugin": "copy", "depends_on": ["a"]},
        {"name": "c", "plugin": "copy", "depends_on": ["a"]},
        {"name": "d", "plugin": "copy", "depends_on": ["b", "c"]}]);
    assert_eq!(of_steps(&diamond), NONE);
    let step = |n: usize| match n {
        0 => json!({"name": "s0", "plugin": "copy"}),
        n => json!({"name": format!("s{n}"), "plugin": "copy", "depends_on": [format!("s{}", n - 1)]}),
    };
    assert_eq!(of_steps(&(0..500).rev().map(step).collect()), NONE);
}

#[test]
fn unknown_plugins_and_steps_are_named_with_the_nearest() {
    let found = of_steps(&json!([
        {"name": "load", "plugin": "tap-cvs"},
        {"name": "check", "plugin": "zzzzzzzz", "depends_on": ["laod", "nowhere-near"]}]));
    let expected = [
        "steps[1].depends_on: unknown step \"laod\"; did you mean \"load\"?",
        "steps[1].depends_on: unknown step \"nowhere-near\"",
        "steps[0].plugin: unknown plugin \"tap-cvs\": did you mean \"tap-csv\"?",
        "steps[1].plugin: unknown plugin \"zzzzzzzz\": register it first",
    ];
    assert_eq!(found, expected);
}

#[test]
fn names_and_bookmarks_are_given_once() {
    let found = of_steps(&json!([
        {"name": "a", "plugin": "copy"}, {"name": "a", "plugin": "copy"},
        {"name": "b", "plugin": "copy", "bookmark": "customers/a"}]));
    let expected = [
        "steps[1].name: duplicate step name \"a\"",
        "steps[2].bookmark: step a already uses this bookmark: give each step its own",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_pipe_runs_from_an_extractor_to_a_loader() {
    assert_eq!(of_pipe(&["tap-csv", "target-jsonl"]), NONE);
    assert_eq!(of_pipe(&["tap-csv", "mapper", "mapper", "target-jsonl"]), NONE);
    assert_eq!(of_pipe(&["tap-csv"]), NONE);
    let extractor = "tap-csv is an extractor and starts a pipe";
    let loader = "target-jsonl is a loader and ends a pipe";
    let mapper = "mapper is a mapper and stands between an extractor and a loader";
    let at = |n: usize, message: &str| format!("steps[0].pipe[{n}].plugin: {message}");
    assert_eq!(of_pipe(&["target-jsonl", "tap-csv"]), [at(0, loader), at(1, extractor)]);
    assert_eq!(of_pipe(&["tap-csv", "tap-csv", "target-jsonl"]), [at(1, extractor)]);
    assert_eq!(of_pipe(&["tap-csv", "mapper"]), [at(1, mapper)]);
    assert_eq!(of_pipe(&["mapper", "target-jsonl"]), [at(0, mapper)]);
    let alone = "does not speak singer and cannot be piped: give it a step of its own";
    assert_eq!(of_pipe(&["tap-csv", "copy"]), [at(1, &format!("copy {alone}"))]);
    for plugin in ["target-jsonl", "mapper"] {
        let expected = format!("steps[0].plugin: {plugin} needs an extractor before it: put both in a pipe");
        assert_eq!(of_pipe(&[plugin]), [expected]);
    }
}

#[test]
fn a_step_without_programs_is_a_problem_not_a_crash() {
    let mut definition = definition(&json!({}));
    definition.steps[0].pipe.clear();
    let problems = validate(&definition, &plugins()).unwrap_err();
    assert_eq!(problems.to_string(), "steps[0].pipe: a step needs at least one program");
}

#[test]
fn keys_of_another_protocol_are_problems() {
    let found = of_steps(&json!([
        {"name": "a", "plugin": "tap-csv", "operation": "run"},
        {"name": "b", "plugin": "copy", "select": ["*.*"]}]));
    let expected = [
        "steps[0].operation: a singer plugin has no operations: remove the key",
        "steps[1].catalog: catalog and select are for singer plugins: remove the key",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_step_that_watches_nothing_never_runs() {
    let found = of_steps(&json!([{"name": "a", "plugin": "copy", "when": "any_failed"}]));
    assert_eq!(
        found,
        ["steps[0].when: any_failed without depends_on never runs: name the steps that it watches"]
    );
}

#[test]
fn placeholders_are_checked_where_they_stand() {
    let found = problems(&json!({"parameters": {"day": {"type": "string"}}, "steps": [
        {"name": "a", "plugin": "copy", "config": {"args": ["${param.dya}"]}, "parameters": {"x": "${now}"}},
        {"name": "b", "plugin": "copy", "config": {"x": "${secret.KEY} ${today"}}]}));
    let expected = [
        "steps[0].config.args[0]: unknown parameter \"dya\": did you mean \"day\"?",
        "steps[0].parameters.x: unknown placeholder ${now}: use ${param.<name>}, ${execution.id}, ${today} or ${secret.<NAME>}",
        "steps[1].config.x: \"${today\" is a placeholder without an end: close it with }",
        "steps[1].config.x: the secret KEY is not granted to copy: list it under capabilities.secrets of the plugin",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_default_knows_only_today() {
    let of_default = |kind: &str, default: &str| {
        let parameters = json!({"p": {"type": kind, "default": default}});
        problems(&json!({"parameters": parameters, "steps": [{"name": "a", "plugin": "copy"}]}))
    };
    for good in ["${today}", "from ${today} to ${today}", "plain $ text"] {
        assert_eq!(of_default("string", good), NONE, "{good}");
    }
    let expected =
        "parameters.p.default: only ${today} can be used in a default: remove the other placeholders";
    for bad in ["${execution.id}", "${today} ${param.p}", "${secret.KEY}", "${today", "${}"] {
        assert_eq!(of_default("string", bad), [expected], "{bad}");
    }
    let expected = "parameters.p.default: a placeholder is a text: declare the parameter as type string";
    for kind in ["integer", "number", "boolean"] {
        assert_eq!(of_default(kind, "${today}"), [expected], "{kind}");
    }
}

#[test]
fn a_configuration_has_to_fit_its_schema_and_is_never_repeated() {
    let secret = "hunter2-hunter2";
    let found = of_steps(&json!([{"name": "a", "pipe": [{"plugin": "tap-csv"},
        {"plugin": "target-jsonl", "config": {"path": secret, "token": secret, "mode": secret, "extra": secret}}]}]));
    for field in ["config.path", "config.token", "config.mode", "config"] {
        let begins = format!("steps[0].pipe[1].{field}: does not fit the config_schema of target-jsonl: ");
        assert!(found.iter().any(|f| f.starts_with(&begins)), "{field} is not in {found:#?}");
    }
    assert!(!found.join("\n").contains("hunter2"), "{found:#?}");
    let found =
        of_steps(&json!([{"name": "a", "pipe": [{"plugin": "tap-csv"}, {"plugin": "target-jsonl"}]}]));
    assert!(found.len() == 1 && found[0].contains("\"path\" is a required property"), "{found:?}");
}

#[test]
fn problems_of_different_kinds_come_together() {
    let found = problems(&json!({"parameters": {"p": {"type": "string", "default": "${x}"}}, "steps": [
        {"name": "a", "plugin": "tap-cvs", "depends_on": ["b", "x"]},
        {"name": "b", "plugin": "target-jsonl", "depends_on": ["a"], "config": {"path": "${y}"}},
        {"name": "c", "plugin": "copy"}, {"name": "c", "plugin": "copy"}]}));
    for part in [
        "duplicate step name",
        "unknown step",
        "cycle",
        "only ${today}",
        "unknown plugin",
        "needs an extractor",
        "${y}",
    ] {
        assert!(found.iter().any(|f| f.contains(part)), "{part} is not in {found:#?}");
    }
}

fn resolved(given: &Value) -> Result<Value, String> {
    let file = json!({"name": "p", "steps": [{"name": "a", "plugin": "copy"}], "parameters": {
        "day": {"type": "string", "default": "on ${today}"}, "n": {"type": "integer", "default": 3},
        "rate": {"type": "number", "default": 0.5}, "all": {"type": "boolean", "default": false}, "must": {"type": "string"}}});
    let declared = read_definition(&file).unwrap().parameters;
    resolve_parameters(&declared, given.as_object().unwrap(), date(2026, 1, 31))
        .map(Value::Object)
        .map_err(|problems| problems.to_string())
}

#[test]
fn parameters_take_their_defaults() {
    let expected = json!({"all": false, "day": "on 2026-01-31", "must": "x", "n": 3, "rate": 0.5});
    assert_eq!(resolved(&json!({"must": "x"})), Ok(expected));
}

#[test]
fn parameters_are_read_from_text_by_their_type() {
    let given = json!({"all": "true", "day": "${today}", "must": "7", "n": "-7", "rate": "1e3"});
    let expected = json!({"all": true, "day": "${today}", "must": "7", "n": -7, "rate": 1000.0});
    assert_eq!(resolved(&given), Ok(expected));
}

#[test]
fn every_wrong_parameter_is_named() {
    let given = json!({"ray": 1, "all": "yes", "day": 7, "n": 1.5, "rate": null});
    let expected = [
        "parameters.ray: the pipeline has no parameter \"ray\"; did you mean \"day\"?",
        "parameters.all: expected true or false",
        "parameters.day: expected a text",
        "parameters.must: it has no default: give it a value",
        "parameters.n: expected a whole number",
        "parameters.rate: expected a number",
    ];
    assert_eq!(resolved(&given), Err(expected.join("; ")));
}
