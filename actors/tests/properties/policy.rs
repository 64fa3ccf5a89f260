//! Policies: whatever the rules and the manifest say, no more is granted than either side has, more to allow never
//! takes anything away, more to deny never gives anything.

use std::collections::BTreeSet;

use flexcore_actors::domain::plugin::{Manifest, Policy, read_manifest, read_policy};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::config;

const PATHS: [&str; 6] = ["/data", "/data/in", "/data/in/x", "/data/inn", "/etc", "${workdir}/x"];
const PAIRS: [&str; 5] = ["db:5432", "db.internal:5432", "a.db.internal:443", "[::1]:80", "10.0.0.7:443"];
const NAMES: [&str; 4] = ["TZ", "HTTP_PROXY", "A_KEY", "A_KEYS"];

const RULE_PATHS: [&str; 6] = ["/", "/data", "/data/in", "/data/in/x", "/etc/", "/nowhere"];
const RULE_PAIRS: [&str; 6] = ["*:*", "db:*", "*.internal:443", "*:443", "[::1]:80", "db.internal:5432"];
const RULE_NAMES: [&str; 5] = ["*", "TZ", "*_KEY", "A_*", "none"];

/// Some of a list.
fn some(of: &'static [&'static str]) -> impl Strategy<Value = Value> {
    subsequence(of.to_vec(), 0..=of.len()).prop_map(|texts| json!(texts))
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let capabilities = (some(&PATHS), some(&PATHS), some(&PAIRS), some(&NAMES), any::<bool>());
    let limits = (select(vec!["1MiB", "512MiB", "8GiB"]), 0.01..8.0_f64, 1..500_u32);
    let name = select(vec!["tap", "tap-csv", "target"]);
    (name, capabilities, limits).prop_map(
        |(name, (read, write, connect, env, subprocess), (memory, cpus, processes))| {
            read_manifest(&json!({
                "name": name, "version": "1", "type": "processor", "protocol": "command", "command": ["x"],
                "capabilities": {"read": read, "write": write, "connect": connect, "env": env, "subprocess": subprocess},
                "limits": {"memory": memory, "cpus": cpus, "processes": processes},
            }))
            .unwrap()
        },
    )
}

fn allowance() -> impl Strategy<Value = Value> {
    let parts = (some(&RULE_PATHS), some(&RULE_PATHS), some(&RULE_PAIRS), some(&RULE_NAMES), any::<bool>());
    parts.prop_map(|(read, write, connect, env, subprocess)| {
        json!({"read": read, "write": write, "connect": connect, "env": env, "subprocess": subprocess})
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let plugins = select(vec![json!(["*"]), json!(["tap*"]), json!(["target"]), json!([])]);
    let limits = select(vec![json!({}), json!({"memory": "256MiB"}), json!({"cpus": 2, "processes": 64})]);
    let deny = prop_oneof![3 => Just(json!({})), 1 => allowance()];
    (plugins, allowance(), deny, limits).prop_map(
        |(plugins, allow, deny, limits)| json!({"plugins": plugins, "allow": allow, "deny": deny, "limits": limits}),
    )
}

fn policy(rules: &[Value]) -> Policy {
    let named = rules.iter().enumerate().map(|(n, rule)| {
        let mut rule = rule.clone();
        rule["name"] = json!(format!("r{n}"));
        rule
    });
    let rules: Vec<Value> = named.collect();
    read_policy(&json!({"rules": rules}), "sha256:1".to_owned()).unwrap()
}

/// Everything that a policy grants a manifest, one entry each.
fn granted(policy: &Policy, manifest: &Manifest) -> BTreeSet<(&'static str, String)> {
    let judgement = policy.judge(manifest);
    let mut granted = entries(&judgement.granted.capabilities);
    let denied = |key: &str| judgement.denied.0.iter().any(|p| p.field == format!("limits.{key}"));
    for key in ["memory", "cpus", "processes"] {
        if !denied(key) {
            granted.insert(("limit", key.to_owned()));
        }
    }
    granted
}

fn entries(capabilities: &flexcore_actors::domain::plugin::Capabilities) -> BTreeSet<(&'static str, String)> {
    let lists = [
        ("read", &capabilities.read),
        ("write", &capabilities.write),
        ("connect", &capabilities.connect),
        ("env", &capabilities.env),
    ];
    let mut all: BTreeSet<_> =
        lists.iter().flat_map(|(key, list)| list.iter().map(move |entry| (*key, entry.clone()))).collect();
    if capabilities.subprocess {
        all.insert(("subprocess", String::new()));
    }
    all
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_more_is_granted_than_asked_and_the_rest_is_denied(manifest in manifest(), rules in prop::collection::vec(rule(), 0..4)) {
        let judgement = policy(&rules).judge(&manifest);
        let (asked, granted) = (entries(&manifest.capabilities), entries(&judgement.granted.capabilities));
        prop_assert!(granted.is_subset(&asked));
        let denied = judgement.denied.0.iter().filter(|p| p.field.starts_with("capabilities.")).count();
        prop_assert_eq!(granted.len() + denied, asked.len());
        // judged again, what was granted is granted whole
        let narrowed = Manifest { capabilities: judgement.granted.capabilities.clone(), ..manifest };
        prop_assert_eq!(policy(&rules).judge(&narrowed).granted, judgement.granted);
    }

    #[test]
    fn no_more_is_granted_than_some_rule_allows(manifest in manifest(), rules in prop::collection::vec(rule(), 0..4)) {
        let all = granted(&policy(&rules), &manifest);
        let alone: BTreeSet<_> = rules.iter().flat_map(|rule| {
            let mut only_allows = rule.clone();
            only_allows["deny"] = json!({});
            granted(&policy(&[only_allows]), &manifest)
        }).collect();
        let own = |entry: &(&str, String)| entry.0 == "limit" || entry.1.starts_with("${workdir}");
        prop_assert!(all.iter().all(|entry| own(entry) || alone.contains(entry)), "{:?} of {:?}", all, alone);
    }

    #[test]
    fn more_to_allow_takes_nothing_away(manifest in manifest(), rules in prop::collection::vec(rule(), 0..3), more in allowance()) {
        let before = granted(&policy(&rules), &manifest);
        let wider = [rules, vec![json!({"allow": more})]].concat();
        prop_assert!(before.is_subset(&granted(&policy(&wider), &manifest)));
    }

    #[test]
    fn more_to_deny_gives_nothing(manifest in manifest(), rules in prop::collection::vec(rule(), 0..3), more in allowance()) {
        let before = granted(&policy(&rules), &manifest);
        let narrower = [rules, vec![json!({"deny": more, "limits": {"memory": "2MiB"}})]].concat();
        prop_assert!(granted(&policy(&narrower), &manifest).is_subset(&before));
    }

    #[test]
    fn the_order_of_rules_does_not_matter(manifest in manifest(), rules in prop::collection::vec(rule(), 0..4)) {
        let reversed: Vec<Value> = rules.iter().rev().cloned().collect();
        prop_assert_eq!(granted(&policy(&rules), &manifest), granted(&policy(&reversed), &manifest));
    }
}
