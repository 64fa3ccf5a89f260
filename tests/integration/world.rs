//! What the tests of this tier share: a node that knows the sample programs, the command line against it, and the
//! small steps of a run. Assertions about the product belong in the tests.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use flexcore_test_support::{Client, Node, Reply, wait_for};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Under which the API lies.
pub const API: &str = "/api/v1/flexcore";
/// How long a run, or a command of the command line, may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Statuses that an execution keeps.
const FINAL: [&str; 3] = ["completed", "failed", "cancelled"];

/// A node in front of which a test works.
pub struct World {
    pub node: Node,
    pub client: Client,
}

/// What a command of the command line did.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl World {
    /// A node on the embedded store with the plugins of [`World::manifests`].
    pub async fn start() -> Self {
        Self::with(Node::of(env!("CARGO_BIN_EXE_flexcore")).start().await).await
    }

    /// The same plugins on a node of the test's own making.
    pub async fn with(node: Node) -> Self {
        let world = Self { client: node.client(), node };
        for manifest in Self::manifests() {
            world.post("/plugins", &manifest).await.expect(201);
        }
        world
    }

    /// A tap and a target with faults on demand, one tap with short lines, a command, a plugin that speaks frames.
    fn manifests() -> [Value; 5] {
        let manifest = |name: &str, kind: &str, protocol: &str, mode: &str| {
            json!({"kind": "Plugin", "name": name, "version": "1.0.0", "type": kind, "protocol": protocol,
                   "command": [program("flexcore-sample"), mode]})
        };
        let mut short = manifest("short", "extractor", "singer", "tap");
        short["limits"] = json!({"line": "1KiB"});
        [
            manifest("tap", "extractor", "singer", "tap"),
            manifest("target", "loader", "singer", "target"),
            short,
            manifest("work", "processor", "command", "command"),
            manifest("framed", "processor", "flexcore", "flexcore"),
        ]
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.client.get(&format!("{API}{path}")).await
    }

    /// A list that reflects everything acknowledged so far; `path` has a query.
    pub async fn list(&self, path: &str) -> Reply {
        let position = self.get("/status").await.expect(200).json["metrics"]["position"].clone();
        self.get(&format!("{path}&min_position={position}")).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.client.post(&format!("{API}{path}"), body).await
    }

    /// A pipeline of these steps, ready to run.
    pub async fn define(&self, name: &str, steps: &Value) {
        self.post("/pipelines", &json!({"name": name, "steps": steps})).await.expect(201);
    }

    /// Starts a pipeline and returns its execution's id.
    pub async fn launch(&self, pipeline: &str) -> String {
        let reply = self.post(&format!("/pipelines/{pipeline}/execute"), &json!({})).await.expect(202);
        text(&reply.json["execution_id"])
    }

    /// Waits until an execution has ended and returns it.
    pub async fn ended(&self, id: &str) -> Value {
        self.until(id, "has ended", |execution| FINAL.contains(&text(&execution["status"]).as_str())).await
    }

    /// Waits until an execution is as it should be.
    pub async fn until(&self, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("execution {id} {what}"), DEADLINE, async || {
            let execution = self.get(&format!("/executions/{id}")).await.expect(200).json;
            if is(&execution) { Ok(execution) } else { Err(execution) }
        })
        .await
    }

    /// A pipeline of one step, one attempt, run to its end. `first` begins the pipe that `target` ends.
    pub async fn run_pipe(&self, name: &str, first: &str, config: Value) -> Value {
        self.define(name, &json!([pipe_step("load", first, config)])).await;
        let id = self.launch(name).await;
        self.ended(&id).await
    }

    /// Runs the command line against this node, in the node's own folder.
    pub async fn cli(&self, arguments: &[&str]) -> Done {
        flexcore(self.node.folder(), &[&["--server", &self.node.url()], arguments].concat()).await
    }

    /// Writes a file that a command can be given by this name.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.node.folder().join(name);
        std::fs::write(&path, content).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        path
    }

    /// Writes `content` and applies it.
    pub async fn apply(&self, content: &str) -> Done {
        self.file("file.yaml", content);
        self.cli(&["apply", "-f", "file.yaml"]).await
    }
}

impl Done {
    /// What was done, if the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "unexpected end\n-- out\n{}\n-- err\n{}", self.out, self.err);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("no JSON ({e}):\n{}", self.out))
    }

    /// What was said on standard error contains this.
    #[track_caller]
    pub fn says(&self, expected: &str) -> &Self {
        assert!(self.err.contains(expected), "not in its errors: {expected}\n-- err\n{}", self.err);
        self
    }

    /// The answer on standard output contains this.
    #[track_caller]
    pub fn prints(&self, expected: &str) -> &Self {
        assert!(self.out.contains(expected), "not in its output: {expected}\n-- out\n{}", self.out);
        self
    }
}

/// Runs `flexcore` with nothing of the test command's own variables in its environment.
pub async fn flexcore(folder: &Path, arguments: &[&str]) -> Done {
    fed(folder, arguments, &[], b"").await
}

/// The same with variables, and with something on standard input.
pub async fn fed(folder: &Path, arguments: &[&str], variables: &[(&str, &str)], input: &[u8]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flexcore"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FLEXCORE_")) {
        command.env_remove(name);
    }
    command.args(arguments).envs(variables.iter().copied()).current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("start flexcore: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = tokio::time::timeout(DEADLINE, async {
        // one that does not read its input may have ended before
        let _ = stdin.write_all(input).await;
        drop(stdin);
        child.wait_with_output().await
    })
    .await;
    let output = output.unwrap_or_else(|_| panic!("flexcore {arguments:?} runs longer than {DEADLINE:?}"));
    let Output { status, stdout, stderr } = output.unwrap_or_else(|e| panic!("start flexcore: {e}"));
    let code = status.code().unwrap_or_else(|| panic!("flexcore {arguments:?}: {status}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_else(|e| panic!("not UTF-8: {e}"));
    Done { code, out: text(stdout), err: text(stderr) }
}

/// A program of this workspace, built beside the node's.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_flexcore")).with_file_name(name);
    assert!(path.exists(), "{} is not built; run: cargo build --workspace --bins", path.display());
    path
}

/// A step that pipes `first` into the target and is tried once.
pub fn pipe_step(name: &str, first: &str, config: Value) -> Value {
    json!({"name": name, "retry": {"attempts": 1},
           "pipe": [{"plugin": first, "config": config}, {"plugin": "target"}]})
}

/// A value that is text.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The items of a list.
#[track_caller]
pub fn items(list: &Value) -> &[Value] {
    list["items"].as_array().unwrap_or_else(|| panic!("no list: {list}"))
}
