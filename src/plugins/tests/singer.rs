//! Pipes that work, and how they are stopped.

use flexcore_actors::domain::outcome::{CauseKind, StreamCounts};
use flexcore_actors::domain::plugin::{PluginType, Protocol};
use flexcore_actors::ports::plugin_host::HostEvent;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::plugins::testing::{Bench, PATIENCE, program, sample_tap, sample_target, sh_tap, sh_target, step};

const RECORD: &str = r#"{"type":"RECORD","stream":"s","record":{}}"#;

#[tokio::test]
async fn records_flow_and_bookmarks_come_in_order() {
    let bench = Bench::new();
    let tap = sample_tap(json!({"records": 1_000, "streams": 2, "state_every": 100}));
    let (end, states) = bench.run(step(vec![tap, sample_target(json!({}))])).await;
    assert_eq!(end.cause, None, "{:?}", bench.logs.texts());
    let streams: Vec<StreamCounts> = end.report.streams.values().copied().collect();
    assert_eq!(streams, [StreamCounts { read: 1_000, written: 1_000, rejected: 0 }; 2]);
    assert!(states.len() > 1 && states.iter().all(serde_json::Value::is_object), "{states:?}");
    for program in &end.report.programs {
        assert_eq!((program.exit_code, &program.cause), (Some(0), &None));
        assert!(program.pid.is_some() && program.usage.peak_memory_bytes > 0);
    }
    assert!(end.report.bytes > 2_000 * 40);
    assert_eq!(bench.progress.records.load(std::sync::atomic::Ordering::Relaxed), 2_000);
}

#[tokio::test]
async fn every_program_gets_its_files_and_a_clean_environment() {
    let bench = Bench::new();
    let out = bench.path("seen");
    let mut tap = sh_tap(&format!(
        "cat \"$2\" \"$4\" \"$6\" >{out}; echo >>{out}; env >>{out}; pwd >>{out}; id -u >>{out}"
    ));
    tap.config = json!({"secret": 1});
    tap.catalog = Some(json!({"streams": []}));
    tap.manifest.capabilities.env = vec!["GRANTED".to_owned()];
    let mut spec = step(vec![tap, sh_target(&format!("echo \"$@\" >{}; cat", bench.path("target")))]);
    spec.state = Some(json!({"at": 1}));
    let (end, states) = bench.run(spec).await;
    assert_eq!((end.cause, states.len()), (None, 0));
    let seen = bench.read("seen");
    assert!(seen.starts_with(r#"{"secret":1}{"streams":[]}{"at":1}"#), "{seen}");
    assert!(seen.contains("GRANTED=granted value") && seen.contains("LANG=C.UTF-8"), "{seen}");
    assert!(!seen.contains("CARGO"), "{seen}");
    let home = seen.lines().find_map(|l| l.strip_prefix("HOME=")).unwrap();
    assert!(home.ends_with("-step-1/0") && seen.lines().any(|l| l == home), "{seen}");
    let target = bench.read("target");
    assert!(
        target.contains("--config") && !target.contains("--state"),
        "a target gets no bookmark: {target}"
    );
}

#[tokio::test]
async fn a_first_run_has_neither_catalog_nor_state() {
    let bench = Bench::new();
    for state in [None, Some(json!(null)), Some(json!({}))] {
        let tap = sh_tap(&format!("echo $# >{}", bench.path("args")));
        let mut spec = step(vec![tap]);
        spec.state = state;
        assert_eq!(bench.run(spec).await.0.cause, None);
        assert_eq!(bench.read("args"), "2\n");
    }
}

#[tokio::test]
async fn nothing_never_becomes_a_bookmark() {
    let bench = Bench::new();
    let target = sh_target(r#"cat >/dev/null; printf 'null\n{}\n\n{"a":1}\nhello\n{"a":2}'"#);
    let (end, states) = bench.run(step(vec![sh_tap(&format!("echo '{RECORD}'")), target])).await;
    assert_eq!(end.cause, None);
    assert_eq!(states, [json!({"a": 1}), json!({"a": 2})]);
    assert!(bench.logs.say("hello"), "other text is logged");
}

#[tokio::test]
async fn a_tap_alone_is_counted_and_its_states_are_bookmarks() {
    let bench = Bench::new();
    let tap = sh_tap(&format!(
        r#"echo '{RECORD}'; echo '{{"type":"STATE","value":{{"a":1}}}}'; echo '{{"type":"STATE","value":{{}}}}'; echo '{RECORD}'"#
    ));
    let (end, states) = bench.run(step(vec![tap])).await;
    assert_eq!(end.cause, None);
    assert_eq!(states, [json!({"a": 1})]);
    assert_eq!(end.report.streams["s"], StreamCounts { read: 2, written: 0, rejected: 0 });
}

#[tokio::test]
async fn a_mapper_stands_between() {
    let bench = Bench::new();
    let mapper = program("map", PluginType::Mapper, Protocol::Singer, &["sed", "-u", "-e", "s/\"s\"/\"t\"/"]);
    // sed takes the arguments --config and a file as a script and an input: a shell keeps them away
    let mapper = flexcore_actors::ports::plugin_host::ProgramSpec {
        manifest: flexcore_actors::domain::plugin::Manifest {
            command: ["sh", "-c", "exec sed -e 's/\"s\"/\"t\"/'", "map"].map(str::to_owned).to_vec(),
            ..mapper.manifest.clone()
        },
        ..mapper
    };
    let target = sh_target(&format!("cat >{}", bench.path("out")));
    let (end, _) = bench.run(step(vec![sh_tap(&format!("echo '{RECORD}'")), mapper, target])).await;
    assert_eq!(end.cause, None);
    assert_eq!(bench.read("out"), RECORD.replace("\"s\"", "\"t\"") + "\n");
    let counts = |read, written| StreamCounts { read, written, rejected: 0 };
    assert_eq!((end.report.streams["s"], end.report.streams["t"]), (counts(1, 0), counts(0, 1)));
    assert_eq!(end.report.programs.len(), 3);
}

#[tokio::test]
async fn blank_lines_and_pythons_numbers_are_told_in_the_log() {
    let bench = Bench::new();
    let tap = sh_tap(r#"echo; echo '{"type":"RECORD","stream":"s","record":{"x":NaN}}'"#);
    let target = sh_target(&format!("cat >{}", bench.path("out")));
    let (end, _) = bench.run(step(vec![tap, target])).await;
    assert_eq!(end.cause, None);
    assert!(bench.read("out").starts_with("{\"type\"") && bench.read("out").contains("NaN"));
    assert!(bench.logs.say("1 blank lines") && bench.logs.say("NaN or Infinity"), "{:?}", bench.logs.texts());
}

#[tokio::test]
async fn a_record_of_64_mib_passes_whole() {
    let bench = Bench::new();
    let tap = sample_tap(json!({"records": 1, "huge_line": 64 << 20}));
    let target = sh_target(&format!("wc -c >{}", bench.path("count")));
    let (end, _) = bench.run(step(vec![tap, target])).await;
    assert_eq!(end.cause, None);
    assert!(bench.read("count").trim().parse::<u64>().unwrap() > 64 << 20);
}

#[tokio::test]
async fn select_asks_the_tap_for_its_catalog() {
    let bench = Bench::new();
    let catalog = r#"{"streams":[{"tap_stream_id":"users","schema":{"properties":{"id":{},"name":{}}}}]}"#;
    let script = format!(
        r#"case "$*" in *--discover*) echo '{catalog}';; *) cp "$4" {};; esac"#,
        bench.path("catalog")
    );
    let mut tap = sh_tap(&script);
    tap.select = vec!["users.id".to_owned()];
    assert_eq!(bench.run(step(vec![tap.clone()])).await.0.cause, None);
    let given: serde_json::Value = serde_json::from_str(&bench.read("catalog")).unwrap();
    let selected = |n: usize| given["streams"][0]["metadata"][n]["metadata"]["selected"].clone();
    assert_eq!((selected(0), selected(1), selected(2)), (json!(true), json!(true), json!(false)));

    tap.select = vec!["user.*".to_owned()];
    let cause = bench.run(step(vec![tap])).await.0.cause.unwrap();
    assert_eq!(cause.kind, CauseKind::StartFailed);
    assert!(cause.message.contains("users"), "{}", cause.message);
}

#[tokio::test]
async fn a_stopped_pipe_ends_without_a_cause() {
    let bench = Bench::new();
    for ignores in [false, true] {
        let tap = sample_tap(json!({"records": 1_000_000, "rate": 1_000, "ignore_sigterm": ignores}));
        let stop = CancellationToken::new();
        let started = |event: &HostEvent| matches!(event, HostEvent::State(_));
        let (end, _) = bench.run_until(step(vec![tap, sample_target(json!({}))]), stop, started).await;
        assert_eq!(end.cause, None, "ignores SIGTERM: {ignores}");
        for program in &end.report.programs {
            assert_eq!(program.cause.as_ref().unwrap().kind, CauseKind::Cancelled);
        }
    }
}

#[tokio::test]
async fn a_dropped_attempt_leaves_nothing_running() {
    let bench = Bench::new();
    let (sender, mut events) = tokio::sync::mpsc::channel(4);
    let stop = CancellationToken::new();
    use flexcore_actors::ports::PluginHost;
    let spec = step(vec![sh_tap("exec sleep 1000"), sh_target("cat")]);
    let mut run = bench.host.run(spec, sender, bench.progress.clone(), stop);
    let tap = async {
        loop {
            if let Some(HostEvent::Started { program: 0, pid }) = events.recv().await {
                return pid.to_string();
            }
        }
    };
    let pid = tokio::select! {
        _ = &mut run => panic!("it ended"),
        pid = async { tokio::time::timeout(PATIENCE, tap).await.unwrap() } => pid,
    };
    drop(run);
    while events.try_recv().is_ok() {}
    let gone = async {
        while std::path::Path::new("/proc").join(&pid).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the tap outlived its attempt");
}
