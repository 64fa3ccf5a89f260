//! Access control as its users have it: a node that asks for tokens, the command line and clients in front of it, on both
//! stores.

use std::collections::BTreeMap;

use flexcore_test_support::{Client, Node, NodeBuilder, Reply, TestDatabase, wait_for};
use serde_json::{Value, json};

use crate::world::{API, DEADLINE, Done, fed, items, program, text};

/// Exit code of who may not.
const UNAUTHORISED: i32 = 5;

/// A node that lets nobody in without a token, and what reaches its store beside it.
struct Gate {
    node: Node,
    store: (&'static str, String),
    _database: Option<TestDatabase>,
}

impl Gate {
    async fn embedded() -> Self {
        let node = Self::node().start().await;
        let store = ("--data-dir", node.data_dir().to_str().unwrap().to_owned());
        Self { node, store, _database: None }
    }

    async fn postgres() -> Self {
        let database = TestDatabase::create().await;
        let node = Self::node().env("FLEXCORE_DATABASE_URL", database.url()).start().await;
        Self { node, store: ("--database-url", database.url()), _database: Some(database) }
    }

    fn node() -> NodeBuilder {
        Node::of(env!("CARGO_BIN_EXE_flexcore")).env("FLEXCORE_AUTH_REQUIRED", "true")
    }

    /// `flexcore token` on the store itself.
    async fn at_rest(&self, arguments: &[&str]) -> Done {
        let (flag, store) = (self.store.0, self.store.1.as_str());
        fed(self.node.folder(), &[&["token", flag, store], arguments].concat(), &[], b"").await
    }

    /// The command line in front of the node, with a token.
    async fn cli(&self, token: &str, arguments: &[&str]) -> Done {
        let server = format!("http://{}", self.node.address());
        let variables = [("FLEXCORE_SERVER", server.as_str()), ("FLEXCORE_TOKEN", token)];
        fed(self.node.folder(), arguments, &variables, b"").await
    }

    fn bearing(&self, token: &str) -> Client {
        self.node.client().with_header("authorization", &format!("Bearer {token}"))
    }
}

async fn get(client: &Client, path: &str) -> Reply {
    client.get(&format!("{API}{path}")).await
}

/// Makes a token of each role: the first in the store, the others through the node; then uses, lists and revokes them.
async fn tokens_are_made_used_and_revoked(gate: Gate) {
    for path in ["/health", "/ready"] {
        gate.node.client().get(path).await.expect(200);
    }
    let refused = get(&gate.node.client(), "/status").await.expect(401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"flexcore\""));
    let nobody = gate.cli("", &["pipelines", "list"]).await.expect(UNAUTHORISED);
    nobody.says("flexcore token create");

    let admin = gate.at_rest(&["create", "--role", "admin"]).await.expect(0);
    admin.says("it is not shown again");
    let admin = admin.out.trim().to_owned();
    let mut tokens = BTreeMap::from([("admin", admin.clone())]);
    for role in ["viewer", "operator", "developer"] {
        let made =
            gate.cli(&admin, &["token", "create", "--role", role, "--expires", "1h", "-o", "json"]).await;
        let made = made.expect(0).json();
        assert!(made["expires_at"].is_string(), "{made}");
        tokens.insert(role, text(&made["token"]));
    }

    let plugin = json!({"kind": "Plugin", "name": "x", "version": "1", "type": "processor", "protocol": "command",
                        "command": [program("flexcore-sample"), "command"]});
    for (role, answer) in [("developer", 403), ("admin", 201)] {
        gate.bearing(&tokens[role]).post(&format!("{API}/plugins"), &plugin).await.expect(answer);
    }
    let pipeline = json!({"kind": "Pipeline", "name": "p", "steps": [{"name": "s", "plugin": "x"}]});
    for (role, answer) in [("viewer", 403), ("operator", 403), ("developer", 201)] {
        let client = gate.bearing(&tokens[role]);
        get(&client, "/pipelines").await.expect(200);
        get(&client, "/tokens").await.expect(403);
        client.post(&format!("{API}/pipelines"), &pipeline).await.expect(answer);
    }
    let refused = gate.cli(&tokens["viewer"], &["pipelines", "pause", "p"]).await.expect(UNAUTHORISED);
    refused.says("operator");

    let listed = gate.cli(&admin, &["token", "list", "-o", "json"]).await.expect(0);
    assert_eq!(items(&listed.json()).len(), 4);
    for (role, token) in &tokens {
        assert!(!listed.out.contains(token.as_str()), "{role}");
    }
    let id = |role: &str, list: &Value| {
        let of_role = items(list).iter().find(|token| token["role"] == role).unwrap();
        text(&of_role["id"])
    };
    let viewer = id("viewer", &listed.json());
    gate.cli(&admin, &["token", "revoke", &viewer]).await.expect(0);
    get(&gate.bearing(&tokens["viewer"]), "/status").await.expect(401);
    let operator = id("operator", &listed.json());
    gate.at_rest(&["revoke", &operator]).await.expect(0);
    get(&gate.bearing(&tokens["operator"]), "/status").await.expect(401);
    let table = gate.at_rest(&["list"]).await.expect(0);
    table.prints(&viewer).prints("REVOKED");

    audited(&gate, &tokens["admin"], &operator).await;
}

/// The audit log names who was refused, by their token, and what was done beside the node; never a token itself.
async fn audited(gate: &Gate, admin: &str, revoked: &str) {
    let client = gate.bearing(admin);
    let wanted = [format!("token revoke {revoked}"), format!("POST {API}/pipelines")];
    let log = wait_for("the audit log to hold all", DEADLINE, async || {
        let log = get(&client, "/audit?limit=100").await.expect(200).json;
        let whole = wanted.iter().all(|action| log.to_string().contains(action.as_str()));
        if whole { Ok(log) } else { Err(log) }
    });
    let log = log.await;
    assert!(!log.to_string().contains("flexcore_"), "{log}");
    let refused = items(&log).iter().filter(|entry| entry["outcome"] == "refused");
    assert!(refused.clone().any(|entry| text(&entry["actor"]).starts_with("token:")), "{log}");
}

#[tokio::test]
async fn tokens_on_the_embedded_store() {
    tokens_are_made_used_and_revoked(Gate::embedded().await).await;
}

#[tokio::test]
async fn tokens_on_postgres() {
    tokens_are_made_used_and_revoked(Gate::postgres().await).await;
}
