//! What a program's denied and failed connections leave in the report, the cause and the log.

use std::net::TcpListener;

use flexcore_actors::domain::outcome::{CauseKind, NetworkUse};
use flexcore_actors::domain::plugin::{PluginType, Protocol};
use flexcore_actors::ports::plugin_host::ProgramSpec;
use serde_json::json;

use crate::plugins::testing::{Bench, program, sample_target, step};

/// A program that runs this script in Python and may connect to `connect`.
fn python(kind: PluginType, protocol: Protocol, script: &str, connect: &[&str]) -> ProgramSpec {
    let mut python = program("net", kind, protocol, &["/usr/bin/python3", "-c", script]);
    python.manifest.capabilities.connect = connect.iter().map(|&pair| pair.to_owned()).collect();
    python
}

fn command(script: &str, connect: &[&str]) -> ProgramSpec {
    python(PluginType::Processor, Protocol::Command, script, connect)
}

#[tokio::test]
async fn denials_stand_beside_the_cause_and_in_the_log() {
    let bench = Bench::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let script = format!(
        "import socket\n\
         for host, port in (('127.0.0.1', {}), ('evil.example', 443)):\n  \
         try: socket.create_connection((host, port)).recv(1)\n  except OSError as error: last = error\n\
         raise last",
        free.port()
    );
    let (end, _) = bench.run(step(vec![command(&script, &[&free.to_string()])])).await;
    let cause = end.cause.unwrap();
    assert_eq!((cause.kind, &cause.detail["exit_code"]), (CauseKind::Exit, &json!(1)));
    let denials = cause.detail["denials"].as_array().unwrap();
    assert_eq!((denials.len(), &denials[0]["host"]), (1, &json!("evil.example")), "{cause:?}");
    let used = end.report.programs[0].network.clone().unwrap();
    assert_eq!((used.denials.len(), used.failures.len(), used.connections), (1, 1, 0), "{used:?}");
    assert_eq!((used.failures[0].port, used.failures[0].times), (Some(free.port()), 1));
    assert!(bench.logs.say("it was denied evil.example"), "{:?}", bench.logs.texts());
    let failed = format!("it did not reach {free}: connection refused");
    assert!(bench.logs.say(&failed), "{:?}", bench.logs.texts());
}

#[tokio::test]
async fn a_program_that_completes_keeps_its_account_too() {
    let bench = Bench::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = server.local_addr().unwrap();
    let accepted = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut all).unwrap();
        all
    });
    let script =
        format!("import socket; socket.create_connection(('127.0.0.1', {})).sendall(b'12345')", at.port());
    let (end, _) = bench.run(step(vec![command(&script, &[&at.to_string()])])).await;
    assert_eq!(end.cause, None, "{:?}", bench.logs.texts());
    assert_eq!(accepted.join().unwrap(), b"12345");
    let used = NetworkUse { connections: 1, sent_bytes: 5, ..NetworkUse::default() };
    assert_eq!(end.report.programs[0].network, Some(used));
}

#[tokio::test]
async fn each_program_of_a_pipe_has_a_network_of_its_own() {
    let bench = Bench::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = server.local_addr().unwrap();
    let lines = [
        json!({"type": "SCHEMA", "stream": "s", "schema": {"properties": {}}, "key_properties": []}),
        json!({"type": "RECORD", "stream": "s", "record": {}}),
    ];
    let script = format!(
        "import socket\nsocket.create_connection(('127.0.0.1', {}))\nprint('''{}\\n{}''')",
        at.port(),
        lines[0],
        lines[1]
    );
    let tap = python(PluginType::Extractor, Protocol::Singer, &script, &[&at.to_string()]);
    let (end, _) = bench.run(step(vec![tap, sample_target(json!({}))])).await;
    assert_eq!(end.cause, None, "{:?}", bench.logs.texts());
    let [tap, target] = end.report.programs.as_slice() else { panic!("{:?}", end.report) };
    assert_eq!(tap.network.as_ref().map(|used| used.connections), Some(1));
    assert_eq!(target.network, None);
}

#[tokio::test]
async fn what_cannot_be_granted_refuses_the_start() {
    let bench = Bench::new();
    let (end, _) = bench.run(step(vec![command("", &["224.0.0.1:1"])])).await;
    let cause = end.cause.unwrap();
    assert_eq!(cause.kind, CauseKind::StartFailed);
    assert!(
        cause.message.contains("capabilities.connect") && cause.message.contains("multicast"),
        "{cause:?}"
    );
}
