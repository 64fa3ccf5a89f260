//! `verify`, `export` and `import` as an operator uses them, on both stores.

use std::path::Path;
use std::time::Duration;

use flexcore_test_support::{Node, TestDatabase, wait_for};
use serde_json::{Value, json};

use crate::world::{DEADLINE, Done, World, flexcore};

/// A node on which something has happened, all of it sealed.
async fn sealed(world: &World) {
    world.run_pipe("story", "tap", json!({"records": 50})).await;
    wait_for("everything is sealed", DEADLINE, async || {
        let state = world.get("/integrity").await.expect(200).json;
        let done = state["unsealed"] == 0 && state["directory"]["published"] == state["position"];
        if done { Ok(()) } else { Err(state) }
    })
    .await;
}

/// Lines of a file, changed.
fn edited(folder: &Path, from: &str, to: &str, edit: impl FnOnce(&mut Vec<String>)) {
    let text = std::fs::read_to_string(folder.join(from)).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    edit(&mut lines);
    std::fs::write(folder.join(to), lines.join("\n") + "\n").unwrap();
}

/// The index and the event of a stream's last line.
fn last_of(lines: &[String], stream: &str) -> (usize, Value) {
    let events = lines.iter().enumerate().map(|(n, line)| (n, serde_json::from_str::<Value>(line).unwrap()));
    let mut of_stream = events.filter(|(_, line)| line["event"]["stream"] == stream);
    let (n, line) = of_stream.next_back().unwrap();
    (n, line["event"].clone())
}

#[tokio::test]
async fn a_log_is_verified_exported_and_restored() {
    let world = World::start().await;
    sealed(&world).await;
    let folder = world.node.folder();
    world
        .cli(&["verify"])
        .await
        .expect(0)
        .prints("intact: ")
        .prints("trust:  the trust root lies beside the store");
    let found = world.cli(&["verify", "-o", "json"]).await.expect(0).json();
    assert_eq!((&found["state"], &found["unsealed"]), (&json!("intact"), &json!(0)), "{found:#}");
    assert!(found["checkpoints"].as_u64() > Some(0) && found["outside_checkpoints"].as_u64() > Some(0));
    let seen = world.get("/integrity/verify").await.expect(200).json;
    assert_eq!(seen, found);

    world.cli(&["integrity", "public", "--data-dir", "data"]).await;
    let keys = flexcore(folder, &["integrity", "public", "--file", "data/integrity.key"]).await.expect(0);
    world.file("keys", &keys.out);
    world.cli(&["export", "all.jsonl"]).await.expect(0).says("flexcore verify --file all.jsonl");
    let verify =
        async |file: &str| flexcore(folder, &["verify", "--file", file, "--public-key", "keys"]).await;
    verify("all.jsonl").await.expect(0).prints("intact: ").prints("0 events are not sealed yet");
    let with_copies =
        ["verify", "--file", "all.jsonl", "--public-key", "keys", "--checkpoints", "data/checkpoints"];
    flexcore(folder, &with_copies)
        .await
        .expect(0)
        .prints("compared with the checkpoints of the given directory");

    let stream = "pipeline-story";
    edited(folder, "all.jsonl", "payload.jsonl", |lines| {
        let (n, event) = last_of(lines, stream);
        let payload = event["payload"].as_str().unwrap();
        lines[n] = lines[n].replace(payload, &payload.replacen(&payload[..4], "gKFh", 1));
    });
    edited(folder, "all.jsonl", "data.jsonl", |lines| {
        let (n, _) = last_of(lines, stream);
        lines[n] = lines[n].replace("\"data\":{", "\"data\":{\"forged\":true,");
    });
    for changed in ["payload.jsonl", "data.jsonl"] {
        let done = verify(changed).await.expect(1);
        done.says("stream pipeline-story, version").says("position");
    }
    edited(folder, "all.jsonl", "cut.jsonl", |lines| drop(lines.pop()));
    verify("cut.jsonl").await.expect(1).says("its end is missing");
    edited(folder, "all.jsonl", "less.jsonl", |lines| {
        let (n, _) = last_of(lines, stream);
        lines.remove(n);
    });
    verify("less.jsonl").await.expect(1).says("fewer are there");
    edited(folder, "all.jsonl", "begin.jsonl", |lines| drop(lines.remove(1)));
    verify("begin.jsonl").await.expect(1).says("the event at position 1 is missing");
    edited(folder, "all.jsonl", "unsigned.jsonl", |lines| {
        let checkpoints = lines.iter().filter(|line| line.starts_with("{\"checkpoint\"")).count();
        lines.retain(|line| !line.starts_with("{\"checkpoint\""));
        let end = lines.len() - 1;
        lines[end] = lines[end].replace(&format!("\"checkpoints\":{checkpoints}"), "\"checkpoints\":0");
    });
    verify("unsigned.jsonl").await.expect(1).says("not one checkpoint");
    world.file("other", "example.com/other+5ce5b4e1+AW1pbmUgaXMgbm90IGEga2V5IG9mIGFueWJvZHkh");
    flexcore(folder, &["verify", "--file", "all.jsonl", "--public-key", "other"]).await.expect(1);

    parts_verify(&world).await;
    restore(&world).await;
}

/// Parts of a log bring what proves them.
async fn parts_verify(world: &World) {
    let folder = world.node.folder();
    let verify = async |file: &str| -> Done {
        flexcore(folder, &["verify", "--file", file, "--public-key", "keys"]).await
    };
    world.cli(&["export", "--stream", "pipeline-story", "stream.jsonl"]).await.expect(0);
    verify("stream.jsonl").await.expect(0).prints(" of 1 streams").prints("0 events are not sealed yet");
    edited(folder, "stream.jsonl", "forged.jsonl", |lines| {
        let (n, event) = last_of(lines, "pipeline-story");
        let hash = event["proof"][0].as_str().unwrap();
        lines[n] = lines[n].replace(hash, event["leaf_hash"].as_str().unwrap());
    });
    verify("forged.jsonl").await.expect(1).says("stream pipeline-story, version");
    world.cli(&["export", "--after", "5", "rest.jsonl"]).await.expect(0);
    verify("rest.jsonl").await.expect(0).prints("0 events are not sealed yet");
    edited(folder, "rest.jsonl", "tree.jsonl", |lines| {
        let header: Value = serde_json::from_str(&lines[0]).unwrap();
        let part = header["export"]["tree"][0].as_str().unwrap();
        lines[0] = lines[0].replace(part, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    });
    verify("tree.jsonl").await.expect(1).says("history was rewritten");
    world.cli(&["export", "--after", "999999", "beyond.jsonl"]).await.expect(4).says("are sealed so far");
    assert!(!folder.join("beyond.jsonl").exists());
    let part = ["import", "rest.jsonl", "--public-key", "keys", "--data-dir", "part"];
    flexcore(folder, &part).await.expect(2).says("only a whole one");
}

/// An export becomes a store again, and a node goes on with it.
async fn restore(world: &World) {
    let (folder, database) = (world.node.folder(), TestDatabase::create().await);
    let url = database.url();
    let pipelines = world.list("/pipelines?limit=9").await.expect(200).json["items"][0]["name"].clone();
    for store in [["--data-dir", "restored"], ["--database-url", &url]] {
        let import = [&["import", "all.jsonl", "--public-key", "keys"][..], &store].concat();
        let forged = [&["import", "payload.jsonl", "--public-key", "keys"][..], &store].concat();
        flexcore(folder, &forged).await.expect(1).says("stream pipeline-story, version");
        flexcore(folder, &import).await.expect(0).prints("imported: ");
        // again: it is there
        flexcore(folder, &import).await.expect(0);
        let verify =
            [&["verify", "--public-key", "keys", "--checkpoints", "data/checkpoints"][..], &store].concat();
        flexcore(folder, &verify).await.expect(0).prints("intact: ").prints("the public key was given");
        let again = [&["export", "again.jsonl"][..], &store].concat();
        flexcore(folder, &again).await.expect(0);
        let lines = |file: &str| -> Vec<String> {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            text.lines().skip(1).map(str::to_owned).collect()
        };
        assert_eq!(lines("again.jsonl"), lines("all.jsonl"), "the same events, positions, times and hashes");
    }
    let restored = Node::of(env!("CARGO_BIN_EXE_flexcore")).data_on(folder.join("restored")).start().await;
    let found = flexcore(restored.folder(), &["--server", &restored.url(), "pipelines", "list"]).await;
    found.expect(0).prints(pipelines.as_str().unwrap());
    let verified = flexcore(restored.folder(), &["--server", &restored.url(), "verify"]).await;
    verified.expect(0).prints("intact: ");
    drop(restored);
    let import = ["import", "all.jsonl", "--public-key", "keys", "--data-dir", "restored"];
    flexcore(folder, &import).await.expect(4).says("a node has used this store");
}

/// What a person sees who changed a store at rest.
#[tokio::test]
async fn a_changed_store_at_rest_is_named() {
    let mut world = World::start().await;
    sealed(&world).await;
    let folder = world.node.folder().to_path_buf();
    let at_rest =
        async |words: &[&str]| flexcore(&folder, &[&["verify", "--data-dir", "data"], words].concat()).await;
    at_rest(&[]).await.expect(0).prints("the trust root lies beside the store");
    world.node.sigterm().await;
    at_rest(&[]).await.expect(0);
    let file = rusqlite::Connection::open(folder.join("data/flexcore.db")).unwrap();
    let refused = file.execute("update event set actor = 'user:eve' where position = 3", []).unwrap_err();
    assert!(refused.to_string().contains("append-only"), "{refused}");
    file.execute_batch(
        "drop trigger event_no_update; update event set actor = 'user:eve' where position = 3",
    )
    .unwrap();
    let (stream, version): (String, i64) = file
        .query_row("select stream, version from event where position = 3", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    at_rest(&[]).await.expect(1).says(&format!("stream {stream}, version {version}, position 3: "));
    let found = at_rest(&["-o", "json"]).await.expect(1).json();
    assert_eq!((&found["state"], &found["fault"]["stream"]), (&json!("tampered"), &json!(stream)));
    // a running node finds it too
    world.node.restart().await;
    let found = flexcore(&folder, &["--server", &world.node.url(), "verify"]).await;
    found.expect(1).says(&format!("stream {stream}, version {version}, position 3: "));
}

/// A node as a role that may only read and call functions; and what is refused to that role, and to the owner.
#[tokio::test]
async fn a_node_runs_as_a_role_that_can_change_nothing() {
    let (database, folder) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
    let (owner, role) = (database.connect().await, format!("node_{}", database.name()));
    owner.batch_execute(&format!("create role {role} login password 'only-here'")).await.unwrap();
    let url = database.url();
    let migrate = ["migrate", "--grant-to", &role, "--database-url", &url];
    flexcore(folder.path(), &migrate).await.expect(0).says(&format!("role {role} may run a node"));
    let (_, host) = url.split_once('@').unwrap();
    let as_role = format!("postgres://{role}:only-here@{host}");

    let node = Node::of(env!("CARGO_BIN_EXE_flexcore")).env("FLEXCORE_DATABASE_URL", as_role.clone());
    let world = World::with(node.start().await).await;
    sealed(&world).await;
    let story = world.list("/executions?pipeline=story").await.expect(200).json;
    assert_eq!(story["items"][0]["status"], "completed", "{story:#}");
    world.cli(&["verify"]).await.expect(0).prints("intact: ");
    world.cli(&["projections", "rebuild"]).await.expect(0);

    let (client, connection) = tokio_postgres::connect(&as_role, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    for statement in [
        "update event set actor = 'user:eve'",
        "delete from event where position = 1",
        "delete from event_p000000",
        "truncate event",
        "insert into event select * from event",
        "update stream set head_version = 0",
        "update log_head set next_position = 1",
        "update shard set epoch = 0",
        "delete from command",
        "delete from checkpoint",
        "update merkle_tile set level = 1",
        "drop table event",
        "alter table event disable trigger all",
        "create table mine (one integer)",
        "create function flexcore_append() returns void language sql as ''",
        "select flexcore_grant('public')",
        "set session_replication_role = replica",
    ] {
        let refused = client.batch_execute(statement).await.expect_err(statement);
        let code = refused.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused:?}");
    }
    for statement in [
        "update event set actor = 'user:eve'",
        "delete from event where position = 1",
        "delete from event_p000000 where position = 1",
        "truncate event",
        "truncate event_p000000",
        "delete from command",
        "truncate command",
        "delete from checkpoint",
        "update checkpoint set note = ''",
        "truncate merkle_tile",
    ] {
        let refused = owner.batch_execute(statement).await.expect_err(statement);
        let message = refused.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
        assert!(message.contains("it is append-only"), "{statement}: {refused:?}");
    }
    drop(world);
    tokio::time::timeout(Duration::from_secs(20), async {
        owner.batch_execute(&format!("drop owned by {role}; drop role {role}")).await.unwrap();
    })
    .await
    .unwrap();
}
