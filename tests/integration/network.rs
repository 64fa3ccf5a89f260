//! A real client of PostgreSQL in the jail: it reaches the server that its plugin is granted, by address and by name, and
//! no other; what it did and what it was denied can be seen in the execution.

use std::net::SocketAddr;
use std::path::PathBuf;

use flexcore_test_support::TestDatabase;
use serde_json::{Value, json};

use crate::world::{World, text};

/// The client itself, beside the server's program: what lies in `/usr/bin` may be a script that looks for it.
fn psql() -> String {
    let path = std::env::var_os("PATH").unwrap();
    let beside = |folder: PathBuf| Some(folder.join("postgres").canonicalize().ok()?.with_file_name("psql"));
    let psql = std::env::split_paths(&path).filter_map(beside).find(|psql| psql.exists());
    psql.expect("psql is installed with the server").to_str().unwrap().to_owned()
}

/// The server's address, and the database's URL with another host and port in it.
fn server(database: &TestDatabase) -> (SocketAddr, impl Fn(&str, u16) -> String) {
    let url = database.url();
    let (front, rest) = url.rsplit_once('@').unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let (front, path) = (front.to_owned(), path.to_owned());
    let at = host.replace("localhost", "127.0.0.1").parse().unwrap();
    (at, move |host: &str, port: u16| format!("{front}@{host}:{port}/{path}"))
}

/// Runs psql as a plugin that may connect to `connect`; the execution and its log.
async fn run(world: &World, name: &str, connect: &[String], arguments: &[&str]) -> (Value, String) {
    let psql = psql();
    let command = [&[psql.as_str(), "-Atw"], arguments].concat();
    let manifest = json!({
        "kind": "Plugin", "name": name, "version": "1", "type": "processor", "protocol": "command",
        "command": command,
        "capabilities": {"connect": connect},
    });
    world.post("/plugins", &manifest).await.expect(201);
    let step = json!({"name": "only", "plugin": name, "retry": {"attempts": 1}});
    world.define(name, &json!([step])).await;
    let id = world.launch(name).await;
    let ended = world.ended(&id).await;
    (ended, world.get(&format!("/executions/{id}/logs")).await.expect(200).text)
}

fn program(execution: &Value) -> &Value {
    &execution["steps"][0]["attempts"][0]["programs"][0]
}

#[tokio::test]
async fn psql_reaches_the_granted_server_and_no_other() {
    let (world, database) = (World::start().await, TestDatabase::create().await);
    let (server, url) = server(&database);
    let (port, other) = (server.port(), server.port() ^ 1);
    let select = ["-c", "SELECT 'rows: ' || count(*) FROM generate_series(1, 100000)"];

    for (name, host) in [("by-address", "127.0.0.1"), ("by-name", "localhost")] {
        let (ended, log) =
            run(&world, name, &[format!("{host}:{port}")], &[&select[..], &[&url(host, port)]].concat())
                .await;
        assert_eq!(ended["status"], "completed", "{ended:#}\n{log}");
        assert!(log.contains("rows: 100000"), "{log}");
        let used = &program(&ended)["network"];
        assert_eq!(used["connections"], 1, "{ended:#}");
        assert!(
            used["sent_bytes"].as_u64() > Some(50) && used["received_bytes"].as_u64() > Some(20),
            "{used}"
        );
        assert_eq!(used.get("denials"), None, "{used}");
    }

    let no_grant = vec![];
    let other_port = vec![format!("127.0.0.1:{other}")];
    let by_socket = format!("host=/run/postgresql port={port} dbname=postgres user=postgres");
    for (name, connect, to) in [
        ("no-grant", &no_grant, url("127.0.0.1", port)),
        ("another-port", &other_port, url("127.0.0.1", port)),
        ("by-socket", &other_port, by_socket),
    ] {
        let (ended, log) = run(&world, name, connect, &[&select[..], &[&to]].concat()).await;
        assert_eq!(
            (&ended["status"], &ended["cause"]["kind"]),
            (&json!("failed"), &json!("exit")),
            "{ended:#}"
        );
        assert!(log.contains("connection to server") && !log.contains("rows:"), "{log}");
        assert_eq!(program(&ended).get("network"), None, "{ended:#}");
    }

    let connect = [format!("127.0.0.1:{port}")];
    let elsewhere = url("evil.example", port);
    let (ended, log) = run(&world, "elsewhere", &connect, &[&select[..], &[&elsewhere]].concat()).await;
    let denials = &ended["cause"]["detail"]["denials"];
    assert_eq!(text(&denials[0]["host"]), "evil.example", "{ended:#}");
    assert_eq!(&program(&ended)["network"]["denials"], denials, "{ended:#}");
    assert!(log.contains("it was denied evil.example"), "{log}");
}
