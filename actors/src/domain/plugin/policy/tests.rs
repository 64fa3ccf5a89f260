//! What policies grant and refuse, and what a policy file may say. That no policy ever grants more than the manifest
//! asks, and the like, is shown for all policies in `tests/properties`.

use serde_json::{Value, json};

use super::*;
use crate::domain::plugin::read_manifest;

fn policy(rules: &Value) -> Policy {
    read_policy(&json!({"rules": rules}), "sha256:1".to_owned()).unwrap()
}

fn manifest(capabilities: &Value, limits: &Value) -> Manifest {
    let manifest = json!({"name": "tap-csv", "version": "1", "type": "extractor", "protocol": "singer",
        "command": ["tap-csv"], "capabilities": capabilities, "limits": limits});
    read_manifest(&manifest).unwrap()
}

/// What is denied, as `field: message`.
fn denied(policy: &Policy, capabilities: &Value) -> Vec<String> {
    let judgement = policy.judge(&manifest(capabilities, &json!({})));
    judgement.denied.0.into_iter().map(|p| format!("{}: {}", p.field, p.message)).collect()
}

#[test]
fn without_a_policy_the_manifest_decides() {
    let asked = manifest(&json!({"read": ["/data"], "subprocess": true}), &json!({"memory": "4GiB"}));
    let judgement = Policy::default().judge(&asked);
    assert_eq!(judgement.denied, Problems::default());
    assert_eq!(judgement.granted, Granted { capabilities: asked.capabilities, policy: None, leads: None });
}

#[test]
fn what_no_rule_allows_is_denied_and_the_rest_is_granted() {
    let policy = policy(&json!([
        {"name": "files", "allow": {"read": ["/data/in/"], "env": ["TZ", "*_PROXY"]}},
        {"name": "others", "plugins": ["target-*"], "allow": {"write": ["/data"], "subprocess": true}},
    ]));
    let asked = json!({
        "read": ["/data/in", "/data//in/2026", "/data/inn", "${workdir}/x"], "write": ["/data/out", "${workdir}"],
        "connect": ["db:1"], "env": ["TZ", "HTTP_PROXY", "HOME"], "subprocess": true,
    });
    let judgement = policy.judge(&manifest(&asked, &json!({})));
    let granted = Capabilities {
        read: ["/data/in", "/data//in/2026", "${workdir}/x"].map(str::to_owned).to_vec(),
        write: vec!["${workdir}".to_owned()],
        env: ["TZ", "HTTP_PROXY"].map(str::to_owned).to_vec(),
        ..Capabilities::default()
    };
    assert_eq!(
        judgement.granted,
        Granted { capabilities: granted, policy: Some("sha256:1".to_owned()), leads: None }
    );
    let fields: Vec<&str> = judgement.denied.0.iter().map(|p| p.field.as_str()).collect();
    let expected = [
        "capabilities.read[2]",
        "capabilities.write[0]",
        "capabilities.connect[0]",
        "capabilities.env[2]",
        "capabilities.subprocess",
    ];
    assert_eq!(fields, expected);
    assert_eq!(
        judgement.denied.0[0].message,
        "\"/data/inn\" is allowed by no rule (for this plugin there is \"files\") of the operator's policy: \
         remove it, or have the operator allow it"
    );
}

#[test]
fn an_empty_policy_grants_nothing_but_the_scratch_directory() {
    let policy = policy(&json!([]));
    assert_eq!(denied(&policy, &json!({"write": ["${workdir}/out"]})), [""; 0]);
    let found = denied(&policy, &json!({"read": ["/data"]}));
    assert!(found[0].contains("no rule (none is for this plugin)"), "{found:?}");
}

#[test]
fn who_denies_wins_and_is_named() {
    let policy = policy(&json!([
        {"name": "all", "allow": {"read": ["/"], "write": ["/data"], "connect": ["*:*"], "subprocess": true}},
        {"name": "never", "deny": {"read": ["/data/private"], "write": ["/data/in"], "connect": ["169.254.169.254:*"],
                                   "subprocess": true}},
    ]));
    let asked = json!({
        "read": ["/data/private/x", "/data", "/data/in", "/etc"], "write": ["/data/in/x", "/data/out", "/data/private"],
        "connect": ["169.254.169.254:80", "db:1"], "subprocess": true,
    });
    let found = denied(&policy, &asked);
    let fields: Vec<&str> = found.iter().filter_map(|problem| problem.split(": ").next()).collect();
    let expected = [
        "capabilities.read[0]", // below what may not be read
        "capabilities.read[1]", // above it
        "capabilities.write[0]",
        "capabilities.write[2]", // what may be written can be read
        "capabilities.connect[0]",
        "capabilities.subprocess",
    ];
    assert_eq!(fields, expected, "{found:#?}");
    assert!(found[5].contains("starting processes is denied by rule \"never\" of the operator's policy"));
}

#[test]
fn the_bounds_of_all_rules_hold() {
    let policy = policy(&json!([
        {"name": "small", "limits": {"memory": "256MiB", "cpus": 2}},
        {"name": "taps", "plugins": ["tap-*"], "limits": {"memory": "1GiB", "cpus": 0.5, "processes": 10}},
        {"name": "targets", "plugins": ["target-*"], "limits": {"open_files": 1, "scratch": "1MiB"}},
    ]));
    let judgement = policy.judge(&manifest(&json!({}), &json!({"memory": "512MiB", "processes": 10})));
    let found: Vec<String> =
        judgement.denied.0.iter().map(|p| format!("{}: {}", p.field, p.message)).collect();
    let expected = [
        "limits.memory: 512MiB is more than rule \"small\" of the operator's policy allows: at most 256MiB",
        "limits.cpus: 1 is more than rule \"taps\" of the operator's policy allows: at most 0.5",
    ];
    assert_eq!(found, expected);
}

#[test]
fn everything_wrong_with_a_policy_is_named_at_once() {
    let wrong = json!({"rules": [
        {"name": "a", "allow": {"read": ["data", "${workdir}/x", "/"], "connect": ["db", "api.*:1"], "env": ["", 7]}},
        {"name": "a", "plugins": "tap", "alow": {}},
        {"deny": {"root": true}, "limits": {"memory": "lots", "cpus": 0, "processes": 0}},
        7,
    ], "rule": []});
    let problems = read_policy(&wrong, String::new()).unwrap_err();
    let fields: Vec<&str> = problems.0.iter().map(|p| p.field.as_str()).collect();
    let expected = [
        "rules[0].allow.read[0]",
        "rules[0].allow.read[1]",
        "rules[0].allow.connect[0]",
        "rules[0].allow.connect[1]",
        "rules[0].allow.env[0]",
        "rules[0].allow.env[1]",
        "rules[1].plugins",
        "rules[1].name",
        "rules[1].alow",
        "rules[2].name",
        "rules[2].deny.root",
        "rules[2].limits.memory",
        "rules[2].limits.processes",
        "rules[2].limits.cpus",
        "rules[3]",
        "rules[3].name",
        "rule",
    ];
    assert_eq!(fields, expected, "{problems}");
    let empty = read_policy(&json!({}), String::new()).unwrap_err().to_string();
    assert_eq!(empty, "rules: rules is required: a list; an empty one allows nothing");
}
