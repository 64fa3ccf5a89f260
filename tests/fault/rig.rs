//! One node with the programs that ship with it, a source of numbered records and pipelines that copy it. What a test
//! does to the node is the test's own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use flexcore_test_support::{Client, Node, NodeBuilder, TestDatabase, wait_for};
use serde_json::{Value, json};

use crate::processes;

pub(crate) const API: &str = "/api/v1/flexcore";
pub(crate) const TAP: &str = "flexcore-tap-file";
pub(crate) const TARGET: &str = "flexcore-target-file";
pub(crate) const STEP: &str = "extract-load";
const STREAM: &str = "rows";

/// How long an execution may take to get anywhere.
pub(crate) const PROGRESS_DEADLINE: Duration = Duration::from_secs(60);
/// Records between two bookmarks of the tap, and between two of the target.
const STATE_EVERY: u64 = 500;

/// Where a node keeps its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Embedded,
    Postgres,
}

/// A node, and the database it needs.
pub(crate) struct Rig {
    pub(crate) node: Node,
    _database: Option<TestDatabase>, // after the node
}

impl Rig {
    /// Starts a node with both plugins registered.
    pub(crate) async fn start(store: Store) -> Self {
        let database = match store {
            Store::Embedded => None,
            Store::Postgres => Some(TestDatabase::create().await),
        };
        let builder = node();
        let builder = match &database {
            Some(database) => builder.env("FLEXCORE_DATABASE_URL", database.url()),
            None => builder,
        };
        let rig = Self { node: builder.start().await, _database: database };
        rig.register().await;
        rig
    }

    /// The same on a database server of the test's own.
    pub(crate) async fn on(database_url: String) -> Self {
        Self::of(node().env("FLEXCORE_DATABASE_URL", database_url)).await
    }

    /// The same with a node that is started so.
    pub(crate) async fn of(builder: NodeBuilder) -> Self {
        let rig = Self { node: builder.start().await, _database: None };
        rig.register().await;
        rig
    }

    async fn register(&self) {
        for folder in [self.source_folder(), self.target_folder()] {
            std::fs::create_dir(folder).expect("a folder beside the data directory can be made");
        }
        let manifest = |name: &str, kind: &str, capabilities: Value| {
            json!({
                "kind": "Plugin", "name": name, "version": "1.0.0", "type": kind, "protocol": "singer",
                "command": [name], "capabilities": capabilities,
            })
        };
        for manifest in [
            manifest(TAP, "extractor", json!({"read": [self.source_folder()]})),
            manifest(TARGET, "loader", json!({"write": [self.target_folder()]})),
        ] {
            self.node.client().post(&format!("{API}/plugins"), &manifest).await.expect(201);
        }
    }

    fn source_folder(&self) -> PathBuf {
        self.node.folder().join("in")
    }

    fn target_folder(&self) -> PathBuf {
        self.node.folder().join("out")
    }

    /// Writes the source: `records` JSON lines with ids from 1.
    pub(crate) fn write_source(&self, records: u64) {
        let mut text = String::new();
        for id in 1..=records {
            writeln!(
                text,
                r#"{{"id":{id},"name":"record {id}","padding":"0123456789012345678901234567890123456789"}}"#
            )
            .expect("a string can always be written");
        }
        std::fs::write(self.source_folder().join("rows.jsonl"), text).expect("the source can be written");
    }

    /// Creates a pipeline that copies the source at `rate` records a second.
    pub(crate) async fn pipeline(&self, name: &str, rate: u64) {
        let path = self.source_folder().join("rows.jsonl");
        let file = json!({"path": path, "stream": STREAM, "key_properties": ["id"]});
        let pipeline = json!({
            "kind": "Pipeline", "name": name,
            "steps": [{
                "name": STEP,
                "pipe": [
                    {"plugin": TAP, "config": {"files": [file], "state_every": STATE_EVERY, "rate": rate}},
                    {"plugin": TARGET, "config": {
                        "destination_path": self.target_folder().join(name), "batch_rows": STATE_EVERY,
                    }},
                ],
                "retry": {"attempts": 5, "initial": "300ms"},
            }],
        });
        self.node.client().post(&format!("{API}/pipelines"), &pipeline).await.expect(201);
    }

    /// Starts an execution of a pipeline; gives its id.
    pub(crate) async fn execute(&self, pipeline: &str) -> String {
        let path = format!("{API}/pipelines/{pipeline}/execute");
        let reply = self.node.client().post(&path, &json!({})).await.expect(202);
        reply.json["execution_id"].as_str().expect("an execution has an id").to_owned()
    }

    /// What the node says of an execution now.
    pub(crate) async fn execution(&self, id: &str) -> Value {
        execution(&self.node.client(), id).await
    }

    /// The same while the node's store may be away for a moment.
    pub(crate) async fn patient_execution(&self, id: &str) -> Value {
        let (client, path) = (self.node.client(), format!("{API}/executions/{id}"));
        wait_for("the store is back", PROGRESS_DEADLINE, async || match client.get(&path).await {
            reply if reply.status == 503 => Err(reply.text),
            reply => Ok(reply.expect(200).json),
        })
        .await
    }

    /// Waits for an execution to end in `status`.
    pub(crate) async fn ended(&self, id: &str, status: &str, deadline: Duration) -> Value {
        let end = wait_for("the execution ends", deadline, async || match self.patient_execution(id).await {
            execution if is_over(&execution) => Ok(execution),
            execution => Err(format!("{execution}\n{}", self.node.log())),
        })
        .await;
        assert_eq!(end["status"], status, "{end:#}\n{}", self.node.log());
        end
    }

    /// Waits until the programs of an execution run; gives their process ids by plugin.
    pub(crate) async fn running_programs(&self, id: &str) -> BTreeMap<String, u32> {
        wait_for("both programs of the step run", PROGRESS_DEADLINE, async || {
            let execution = self.execution(id).await;
            let attempt = execution["steps"][0]["attempts"].as_array().and_then(|all| all.last()).cloned();
            let attempt = attempt.unwrap_or_default();
            let programs = attempt["programs"].as_array().cloned().unwrap_or_default();
            let pid =
                |p: &Value| Some((p["plugin"].as_str()?.to_owned(), u32::try_from(p["pid"].as_u64()?).ok()?));
            let running: BTreeMap<String, u32> = programs.iter().filter_map(pid).collect();
            if attempt["status"] == "running" && running.len() == 2 { Ok(running) } else { Err(execution) }
        })
        .await
    }

    /// Waits until the bookmark of a pipeline's step is beyond `line`; gives the line it is at.
    pub(crate) async fn bookmark_beyond(&self, pipeline: &str, line: u64) -> u64 {
        let path = format!("{API}/pipelines/{pipeline}/bookmarks");
        wait_for("the bookmark moves", PROGRESS_DEADLINE, async || {
            let reply = self.node.client().get(&path).await.expect(200);
            match reply.json["items"].get(0).and_then(|bookmark| bookmarked_line(&bookmark["state"])) {
                Some(reached) if reached > line => Ok(reached),
                _ => Err(reply.text),
            }
        })
        .await
    }

    /// The ids in a pipeline's target, in the order in which they were written.
    pub(crate) fn written(&self, pipeline: &str) -> Vec<u64> {
        let path = self.target_folder().join(pipeline).join(format!("{STREAM}.jsonl"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
        let id = |line: &str| {
            let record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            record["id"].as_u64().unwrap_or_else(|| panic!("no id in {line}"))
        };
        text.lines().map(id).collect()
    }

    /// Whether each record from 1 to `records` is in a pipeline's target, and nothing else.
    pub(crate) fn must_hold_all(&self, pipeline: &str, records: u64) {
        let mut ids = self.written(pipeline);
        ids.sort_unstable();
        ids.dedup();
        let lost: Vec<u64> = (1..=records).filter(|id| ids.binary_search(id).is_err()).take(10).collect();
        assert!(lost.is_empty(), "records are lost in {pipeline}: {lost:?} …");
        assert_eq!(ids.len() as u64, records, "{pipeline} holds records that the source does not");
    }

    /// Nothing of ended executions is left: no process, no scratch directory.
    pub(crate) async fn must_be_tidy(&self) {
        processes::all_gone(self.node.folder(), self.node.pid()).await;
        let scratch = self.node.data_dir().join("scratch");
        let left: Vec<_> =
            std::fs::read_dir(scratch).into_iter().flatten().flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "scratch directories are left: {left:?}");
    }
}

/// A node of this build.
pub(crate) fn node() -> NodeBuilder {
    Node::of(env!("CARGO_BIN_EXE_flexcore"))
}

pub(crate) async fn execution(client: &Client, id: &str) -> Value {
    client.get(&format!("{API}/executions/{id}")).await.expect(200).json
}

/// Whether an execution has ended.
pub(crate) fn is_over(execution: &Value) -> bool {
    ["completed", "failed", "cancelled"].contains(&execution["status"].as_str().unwrap_or_default())
}

/// How many lines of its one file a state of the tap has behind it.
pub(crate) fn bookmarked_line(state: &Value) -> Option<u64> {
    let files = state["bookmarks"][STREAM]["files"].as_object()?;
    files.values().next()?["line"].as_u64()
}
