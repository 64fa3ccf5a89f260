//! Programs that write what no honest program writes: each comes to a typed end, and the host takes no harm. What the
//! sample's faults already show is in `flexcore` and `faults`.

use std::time::Duration;

use flexcore_actors::domain::outcome::{Cause, CauseKind};
use flexcore_actors::domain::plugin::{PluginType, Protocol};
use flexcore_actors::ports::plugin_host::ProgramSpec;
use serde_json::{Value, json};

use crate::plugins::testing::{Bench, program, sh_tap, sh_target, step};

fn frame(body: &Value) -> Vec<u8> {
    framed(&rmp_serde::to_vec_named(body).unwrap())
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

/// A program that greets, writes `bytes` and goes on with the script `then`.
fn writes(bytes: &[u8], then: &str) -> ProgramSpec {
    let hello = frame(&json!({"type": "hello", "protocol": 1}));
    let octal: String = hello.iter().chain(bytes).map(|byte| format!("\\{byte:03o}")).collect();
    let script = format!("printf '{octal}'; {then}");
    program("attacker", PluginType::Processor, Protocol::Flexcore, &["sh", "-c", &script])
}

async fn cause_of(plugin: ProgramSpec) -> Cause {
    Bench::new().run(step(vec![plugin])).await.0.cause.expect("it failed")
}

#[tokio::test]
async fn frames_that_are_none_end_the_program_with_what_is_wrong() {
    let key = |key: &str| rmp_serde::to_vec(key).unwrap();
    let map = |kind: &str, field: &str, value: &[u8]| {
        framed(&[&[0x82][..], &key("type"), &key(kind), &key(field), value].concat())
    };
    let error = frame(&json!({"type": "error", "message": "m"}));
    let result = frame(&json!({"type": "result", "result": {}}));
    let deep = [[0x91; 200].as_slice(), &[0xc0]].concat();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("length of all ones", vec![0xff; 4], "announces 4294967295 bytes"),
        ("deep nesting", map("result", "result", &deep), "nested too deeply"),
        ("unknown message", frame(&json!({"type": "shout"})), "unknown type"),
        ("list for a map", frame(&json!(["progress"])), "not a MessagePack map"),
        ("not UTF-8", map("log", "message", &[0xa1, 0xff]), "not a message of the flexcore protocol"),
        ("text beyond its frame", map("log", "message", &[0xdb, 0xff, 0xff, 0xff, 0xff]), "not whole"),
        ("half a frame", result[..6].to_vec(), "ended within a frame"),
        ("result after error", [error.clone(), result].concat(), "second result"),
        ("hello twice", frame(&json!({"type": "hello", "protocol": 1})), "hello twice"),
    ];
    for (name, bytes, part) in cases {
        let cause = cause_of(writes(&bytes, "exec cat >/dev/null")).await;
        assert_eq!(cause.kind, CauseKind::ProtocolError, "{name}: {}", cause.message);
        assert!(cause.message.contains(part), "{name}: {}", cause.message);
    }
}

#[tokio::test]
async fn a_frame_that_never_comes_whole_does_not_outlast_the_wall_time() {
    let mut slow = writes(&[0, 0, 0, 100, 0x82], "while :; do printf x; sleep 0.2; done");
    slow.manifest.limits.wall_time = Some(Duration::from_millis(700));
    assert_eq!(cause_of(slow).await.kind, CauseKind::Timeout);
}

#[tokio::test]
async fn a_line_of_100_mb_is_refused_at_the_limit() {
    let bench = Bench::new();
    let script =
        r#"printf '{"type":"RECORD","stream":"s","record":"'; head -c 100000000 /dev/zero | tr '\0' x"#;
    let mut tap = sh_tap(script);
    tap.manifest.limits.line = flexcore_actors::domain::quantity::Bytes::mib(1);
    let target = sh_target(&format!("cat >{}", bench.path("out")));
    let cause = bench.run(step(vec![tap, target])).await.0.cause.expect("it failed");
    assert_eq!(cause.kind, CauseKind::ProtocolError, "{}", cause.message);
    assert!(cause.message.contains("limits.line"), "{}", cause.message);
    assert_eq!(bench.read("out"), "", "nothing of it was passed on");
}

#[tokio::test]
async fn a_line_that_is_not_utf8_or_no_object_is_named() {
    for (line, part) in [(r"\377\376", "is not UTF-8 (byte 1)"), (r#"["RECORD","a"]"#, "no text \"type\"")] {
        let bench = Bench::new();
        let tap = sh_tap(&format!("printf '{line}\\n'"));
        let cause = bench.run(step(vec![tap, sh_target("cat >/dev/null")])).await.0.cause.expect("it failed");
        assert_eq!(cause.kind, CauseKind::ProtocolError, "{}", cause.message);
        assert!(cause.message.contains(part), "{}", cause.message);
    }
}
