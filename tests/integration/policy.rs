//! What the operator's policy and the registration of a plugin refuse, with the rule or the file that they name, and
//! what is recorded of what they grant.

use std::os::unix::fs::symlink;
use std::path::Path;

use flexcore_test_support::Node;
use serde_json::{Value, json};

use crate::world::{World, flexcore, items, text};

/// A node under a policy that lets plugins read `in` of `folder`.
async fn under_a_policy(folder: &Path) -> World {
    for name in ["in", "out"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    let policy = format!(
        "rules:\n  - name: files\n    allow: {{read: [{}], env: [TZ]}}\n  - name: never\n    deny: {{connect: [\"10.0.0.1:*\"]}}\n  \
         - name: size\n    limits: {{memory: 1GiB}}\n",
        folder.join("in").display()
    );
    let path = folder.join("policy.yaml");
    std::fs::write(&path, policy).unwrap();
    let node = Node::of(env!("CARGO_BIN_EXE_flexcore"));
    World::with(node.env("FLEXCORE_SANDBOX_POLICY", path.to_str().unwrap()).start().await).await
}

fn manifest(name: &str, capabilities: &str, limits: &str) -> String {
    format!(
        "kind: Plugin\nname: {name}\nversion: 1.0.0\ntype: processor\nprotocol: command\ncommand: ['true']\n\
         capabilities: {capabilities}\nlimits: {limits}\n"
    )
}

async fn events(world: &World, stream: &str, kind: &str) -> Vec<Value> {
    let path = format!("/events?aggregate_id={stream}&event_type={kind}&limit=1000");
    items(&world.get(&path).await.expect(200).json).iter().map(|event| event["data"].clone()).collect()
}

#[tokio::test]
async fn what_the_policy_forbids_is_refused_with_its_rule_and_the_rest_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let mut world = under_a_policy(&folder).await;
    let (input, output) = (folder.join("in"), folder.join("out"));
    symlink(&output, input.join("link")).unwrap();
    let all = format!(
        "{{read: [{0}, {0}/link], write: [{1}], connect: [\"10.0.0.1:80\"], env: [TZ]}}",
        input.display(),
        output.display()
    );
    let refused = world.apply(&manifest("greedy", &all, "{memory: 2GiB}")).await.expect(2);
    for said in [
        &format!("capabilities.write[0]: \"{}\" is allowed by no rule", output.display()),
        "capabilities.connect[0]: \"10.0.0.1:80\" is denied by rule \"never\" of the operator's policy",
        "limits.memory: 2GiB is more than rule \"size\" of the operator's policy allows: at most 1GiB",
        // the link is named, and what it leads to
        &format!("capabilities.read[1]: \"{}\" is allowed by no rule", output.display()),
    ] {
        refused.says(said);
    }
    assert!(!refused.err.contains("capabilities.read[0]"), "{}", refused.err);
    world.get("/plugins/greedy").await.expect(404);

    let modest = format!("{{read: [{}], env: [TZ]}}", input.display());
    world.apply(&manifest("modest", &modest, "{}")).await.expect(0);
    let reply = world.post("/plugins/modest/execute", &json!({})).await.expect(200).json;
    assert_eq!(reply["status"], "completed", "{reply:#}");
    let registered = events(&world, "plugin-modest", "PluginRegistered").await;
    let policy = text(&registered[0]["granted"]["policy"]);
    assert!(policy.starts_with("sha256:") && policy.len() == 71, "{policy}");
    assert_eq!(registered[0]["granted"]["capabilities"]["read"], json!([input]));
    let started = events(&world, "plugin-modest", "PluginExecutionStarted").await;
    assert_eq!((&started[0]["policy"], &started[0]["capabilities"]["env"]), (&json!(policy), &json!(["TZ"])));

    // the operator takes it back: nothing is started with less than it was made for
    std::fs::write(folder.join("policy.yaml"), "rules: []\n").unwrap();
    world.node.restart().await;
    world.client = world.node.client();
    let reply = world.post("/plugins/modest/execute", &json!({})).await.expect(200).json;
    assert_eq!(
        (&reply["status"], &reply["cause"]["kind"]),
        (&json!("failed"), &json!("sandbox_denied")),
        "{reply:#}"
    );
    let message = text(&reply["cause"]["message"]);
    assert!(message.starts_with("modest was not started: capabilities.read[0]: "), "{message}");
    assert_eq!(reply["cause"]["detail"]["denials"].as_array().map(Vec::len), Some(2), "{reply:#}");
    assert_eq!(
        events(&world, "plugin-modest", "PluginExecutionStarted").await.len(),
        1,
        "it was never admitted"
    );
}

#[tokio::test]
async fn a_wrong_policy_is_explained_and_starts_no_node() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.yaml"), "rules:\n  - {name: a, alow: {read: [/data]}}\n")
        .unwrap();
    std::fs::write(folder.path().join("node.yaml"), "sandbox: {policy: policy.yaml}\n").unwrap();
    for command in [["check", "config"].as_slice(), &["serve"]] {
        let done = flexcore(folder.path(), &[command, &["--config", "node.yaml"]].concat()).await.expect(2);
        done.says("policy.yaml:2:15: rules[0].alow: unknown key \"alow\"; did you mean \"allow\"?");
    }
}

#[tokio::test]
async fn a_plugin_that_cannot_run_here_is_not_registered() {
    let world = World::start().await;
    let mut wrong = json!({"name": "wrong", "version": "1.0.0", "type": "processor", "protocol": "command",
        "command": ["no-such-program"], "capabilities": {"read": ["/no/such/path"]}, "limits": {"memory": "16384GiB"}});
    let fields = |reply: &Value| -> Vec<String> {
        reply["errors"].as_array().unwrap().iter().map(|error| text(&error["field"])).collect()
    };
    let reply = world.post("/plugins", &wrong).await.expect(422).json;
    assert_eq!(fields(&reply), ["capabilities.read[0]", "limits.memory", "command"], "{reply:#}");
    let script = world.file("script", "#!/no/such/interpreter\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for key in ["capabilities", "limits"] {
        wrong[key] = json!({});
    }
    wrong["command"] = json!([script]);
    let reply = world.post("/plugins", &wrong).await.expect(422).json;
    let message = text(&reply["errors"][0]["message"]);
    assert!(
        message.contains("needs the interpreter /no/such/interpreter, which does not exist"),
        "{message}"
    );
    // also a revision
    let path = format!("{}/plugins/work", crate::world::API);
    wrong["name"] = json!("work");
    world.client.put(&path, &wrong).await.expect(422);
}
