//! A plugin host whose programs are scripts in the step's configuration: `{"script": [{"state": {...}}, {"fail": "exit"}, …]}`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use flexcore_actors::domain::outcome::{AttemptReport, Cause, CauseKind, ProgramReport, StreamCounts, Usage};
use flexcore_actors::domain::plugin::Manifest;
use flexcore_actors::ports::plugin_host::{
    Asked, AttemptEnd, CallRefusal, Examination, HostEvent, PipeSpec, Progress,
};
use flexcore_actors::ports::{BoxFuture, PluginHost};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the host was asked to run, and how many of it run now.
#[derive(Default)]
pub struct ScriptedHost {
    pub runs: std::sync::Mutex<Vec<(String, u32, Option<Value>)>>,
    /// What the calls of its programs were answered.
    pub answers: std::sync::Mutex<Vec<Result<Value, CallRefusal>>>,
    pub running: AtomicU32,
    pub most_running: AtomicU32,
}

struct Running<'a>(&'a ScriptedHost);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl PluginHost for ScriptedHost {
    fn run<'a>(
        &'a self,
        spec: PipeSpec,
        events: mpsc::Sender<HostEvent>,
        _: Arc<Progress>,
        stop: CancellationToken,
    ) -> BoxFuture<'a, AttemptEnd> {
        Box::pin(async move {
            let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_running.fetch_max(now, Ordering::SeqCst);
            let _running = Running(self);
            self.runs.lock().unwrap().push((spec.step.to_string(), spec.attempt, spec.state.clone()));
            events.send(HostEvent::Started { program: 0, pid: 1 }).await.unwrap();
            let cause = play(&spec, &events, &stop, &self.answers).await;
            AttemptEnd { report: report(&spec, cause.clone()), cause }
        })
    }

    fn prepare<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Result<(), Cause>> {
        Box::pin(async { Ok(()) })
    }

    fn examine<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Examination> {
        Box::pin(async { Examination::default() })
    }
}

async fn play(
    spec: &PipeSpec,
    events: &mpsc::Sender<HostEvent>,
    stop: &CancellationToken,
    answers: &std::sync::Mutex<Vec<Result<Value, CallRefusal>>>,
) -> Option<Cause> {
    let script = spec.programs[0].config["script"].as_array().cloned().unwrap_or_default();
    for act in script {
        // {"attempt": 1, …} is played in that attempt only
        if act["attempt"].as_u64().is_some_and(|n| n != u64::from(spec.attempt)) {
            continue;
        }
        if act.get("state").is_some() {
            events.send(HostEvent::State(act["state"].clone())).await.unwrap();
        } else if let Some(api) = act["call"].as_str() {
            let id = act["id"].as_u64().unwrap_or_default();
            let asked = Asked { program: 0, id, api: api.to_owned(), arguments: act["arguments"].clone() };
            let answer = spec.calls.answer(asked).await;
            answers.lock().unwrap().push(answer);
        } else if act["await_stop"] == json!(true) {
            stop.cancelled().await;
        } else if act["hang"] == json!(true) {
            stop.cancelled().await;
            return None;
        } else if act["panic"] == json!(true) {
            panic!("the script says so");
        } else if let Some(kind) = act["fail"].as_str() {
            let kind: CauseKind = serde_json::from_value(json!(kind)).unwrap();
            return Some(Cause::new(kind, format!("scripted {}", kind.as_str())));
        }
    }
    None
}

/// `{"result_bytes": n}` makes a result of that size.
fn result_bytes(spec: &PipeSpec) -> usize {
    let script = spec.programs[0].config["script"].as_array();
    let bytes = script.into_iter().flatten().find_map(|act| act["result_bytes"].as_u64());
    usize::try_from(bytes.unwrap_or_default()).unwrap()
}

fn report(spec: &PipeSpec, cause: Option<Cause>) -> AttemptReport {
    let program = |plugin: &flexcore_actors::ports::plugin_host::ProgramSpec| ProgramReport {
        plugin: plugin.manifest.name.clone(),
        pid: Some(1),
        exit_code: Some(0),
        cause: cause.clone(),
        usage: Usage { wall_ms: 10, cpu_ms: 5, peak_memory_bytes: 1 << 20 },
        network: None,
        sandbox: None,
        denials: Vec::new(),
        warm: false,
    };
    let counts = StreamCounts { read: 3, written: 3, rejected: 0 };
    AttemptReport {
        programs: spec.programs.iter().map(program).collect(),
        streams: [("s".to_owned(), counts)].into(),
        result: json!("x".repeat(result_bytes(spec))),
        ..AttemptReport::default()
    }
}
