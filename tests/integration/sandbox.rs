//! How much isolation a host gives, as `check sandbox` finds it, a node requires it, and executions record it.

use std::process::Output;
use std::time::Duration;

use flexcore_test_support::Node;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{World, flexcore, items, text};

const PATIENCE: Duration = Duration::from_secs(30);
const BINARY: &str = env!("CARGO_BIN_EXE_flexcore");
const MANIFEST: &str =
    "kind: Plugin\nname: work\nversion: 1.0.0\ntype: processor\nprotocol: command\ncommand: ['true']\n";

#[tokio::test]
async fn what_a_host_gives_is_what_programs_get_and_is_recorded_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let found = flexcore(folder.path(), &["check", "sandbox", "-o", "json"]).await.expect(0).json();
    let level = text(&found["level"]);
    let missing: Vec<String> = found["mechanisms"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["holds"] == false)
        .map(|one| text(&one["mechanism"]))
        .collect();
    let node = Node::of(BINARY)
        .env("FLEXCORE_SANDBOX_REQUIRED", &level)
        .env("FLEXCORE_SANDBOX_ACCEPT_MISSING", "landlock, seccomp");
    let world = World::with(node.start().await).await;
    world.apply(MANIFEST).await.expect(0);
    let reply = world.post("/plugins/work/execute", &json!({})).await.expect(200).json;
    let id = text(&reply["execution_id"]);
    let shown = world.get(&format!("/executions/{id}")).await.expect(200).json;
    let sandbox = &shown["steps"][0]["attempts"][0]["programs"][0]["sandbox"];
    assert_eq!(sandbox["level"], json!(level), "{shown:#}");
    let recorded: Vec<String> = sandbox["missing"].as_array().into_iter().flatten().map(text).collect();
    assert_eq!(recorded, missing);
    // going without is a choice that is kept
    let chosen = format!("sandbox.required {level}, sandbox.accept_missing landlock, seccomp");
    flexcore_test_support::wait_for("the choice in the audit log", PATIENCE, async || {
        let audit = world.get("/audit?limit=100").await.expect(200).json;
        let is_there = items(&audit).iter().any(|entry| entry["action"] == json!(chosen));
        if is_there { Ok(()) } else { Err(audit) }
    })
    .await;
}

/// `check sandbox` on a host that permits no namespaces to this user.
async fn check_without_namespaces(variables: &[(&str, &str)]) -> Output {
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" check sandbox";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script, BINARY]).envs(variables.iter().copied());
    command.output().await.unwrap()
}

#[tokio::test]
async fn a_host_with_less_than_is_required_is_refused_with_the_cure_until_it_is_accepted_by_name() {
    let refused = check_without_namespaces(&[]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let printed = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(printed.contains("level no-userns, required no-cgroup"), "{printed}");
    for part in ["user-namespaces is missing, which level no-cgroup has", "raise user.max_user_namespaces"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let level = ("FLEXCORE_SANDBOX_REQUIRED", "no-userns");
    let unnamed = check_without_namespaces(&[level]).await;
    let said = String::from_utf8_lossy(&unnamed.stderr).into_owned();
    assert_eq!(unnamed.status.code(), Some(1), "{said}");
    assert!(said.contains("not named in sandbox.accept_missing"), "{said}");
    let named = ("FLEXCORE_SANDBOX_ACCEPT_MISSING", "user-namespaces");
    assert_eq!(check_without_namespaces(&[level, named]).await.status.code(), Some(0));
}

#[tokio::test]
async fn a_wrong_level_or_mechanism_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("node.yaml"),
        "sandbox:\n  required: high\n  accept_missing: [cgroup, seccomp]\n",
    )
    .unwrap();
    let done = flexcore(folder.path(), &["check", "config", "--config", "node.yaml"]).await.expect(2);
    done.says("node.yaml:2:3: sandbox.required: \"high\" is not one of ")
        .says("sandbox.accept_missing[0]: \"cgroup\" is none of user-namespaces, landlock, seccomp, cgroups");
    let _: Value = flexcore(folder.path(), &["check", "config"]).await.expect(0).json();
}
