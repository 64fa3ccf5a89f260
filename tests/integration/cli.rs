//! A user's journey with the real command line: apply, run, look, change, in tables and in JSON. What may be secret
//! is never shown.

use serde_json::json;

use crate::world::{World, items, program, text};

/// Stands in a configuration and must not be seen anywhere.
const SECRET: &str = "hunter2-is-no-password";

/// A real copy: three people from CSV to JSON Lines.
fn files(world: &World) -> String {
    let (data, out) = (world.node.folder().join("in"), world.node.folder().join("out"));
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(data.join("people.csv"), "id,name\n1,Ada\n2,Grace\n3,Edsger\n").unwrap();
    let (data, out) = (data.display(), out.display());
    let (tap, target) = (program("flexcore-tap-file"), program("flexcore-target-file"));
    let (tap, target) = (tap.display(), target.display());
    format!(
        "kind: Plugin\nname: tap-file\nversion: 0.1.0\ntype: extractor\nprotocol: singer\ncommand: [{tap}]\n\
         capabilities: {{read: [{data}]}}\n---\n\
         kind: Plugin\nname: target-file\nversion: 0.1.0\ntype: loader\nprotocol: singer\ncommand: [{target}]\n\
         capabilities: {{write: [{out}]}}\n---\n\
         kind: Pipeline\nname: people\nowner: data-team\nsteps:\n  - name: load\n    pipe:\n      \
         - {{plugin: tap-file, config: {{files: [{{path: {data}/people.csv, key_properties: [id]}}]}}}}\n      \
         - {{plugin: target-file, config: {{destination_path: {out}}}}}\n"
    )
}

#[tokio::test]
async fn from_a_file_to_records_in_a_target() {
    let world = World::start().await;
    let files = files(&world);
    world.file("people.yaml", &files);
    let dry = world.cli(&["apply", "-f", "people.yaml", "--dry-run"]).await.expect(0);
    dry.prints("pipeline people                           would create");
    world.cli(&["pipelines", "show", "people"]).await.expect(3);
    let created = world.cli(&["apply", "-f", "people.yaml"]).await.expect(0);
    let words: Vec<Vec<&str>> = created.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        words,
        [
            ["plugin", "tap-file", "created"],
            ["plugin", "target-file", "created"],
            ["pipeline", "people", "created"]
        ]
    );
    let again = world.cli(&["apply", "-f", "people.yaml"]).await.expect(0);
    assert_eq!(again.out.matches("unchanged").count(), 3, "{}", again.out);

    let run = world.cli(&["run", "people"]).await.expect(0);
    run.prints("completed: 3 records in");
    run.says(" of people").says("load         completed");
    assert!(!run.err.contains('\u{1b}'), "no escape codes where there is no terminal: {:?}", run.err);
    let written = std::fs::read_to_string(world.node.folder().join("out/people.jsonl")).unwrap();
    assert_eq!(written.lines().count(), 3, "{written}");

    // the bookmark: nothing new, nothing copied twice; from scratch everything again
    world.cli(&["run", "people"]).await.expect(0).prints("completed: 0 records in");
    world.cli(&["run", "people", "--from-scratch"]).await.expect(0).prints("completed: 3 records in");

    let changed = files.replace("owner: data-team", "owner: other-team");
    world.file("people.yaml", changed);
    let dry = world.cli(&["apply", "-f", "people.yaml", "--dry-run"]).await.expect(0);
    dry.prints("would revise").prints("owner").prints("other-team");
    world
        .cli(&["apply", "-f", "people.yaml"])
        .await
        .expect(0)
        .prints("pipeline people                           revised");
    world
        .cli(&["pipelines", "show", "people"])
        .await
        .expect(0)
        .prints("other-team")
        .prints("tap-file | target-file");
}

#[tokio::test]
async fn lists_and_details_are_tables_or_json() {
    let world = World::start().await;
    let yaml = files(&world);
    world.apply(&yaml).await.expect(0);
    let id = world.cli(&["run", "people", "--no-wait"]).await.expect(0).out.trim().to_owned();
    world.ended(&id).await;

    for (command, heading, row) in [
        (&["pipelines", "list"][..], "NAME", "people"),
        (&["plugins", "list"], "NAME", "tap-file"),
        (&["executions", "list"], "ID", id.as_str()),
        (&["bookmarks", "get", "people"], "STEP", "load"),
        (&["events", "pipeline-people"], "POSITION", "PipelineCompleted"),
        (&["audit"], "TIME", "RegisterPlugin"),
        (&["projections", "list"], "NAME", "executions"),
        (&["subscriptions", "list"], "NAME", "complete-pipelines"),
        (&["inspect", "tree"], "ACTOR", "pipeline-people"),
        (&["inspect", "top"], "ACTOR", "committer"),
    ] {
        let table = world.cli(command).await.expect(0);
        let first = table.out.lines().next().unwrap_or_default();
        assert!(first.trim_start().starts_with(heading), "{command:?}: {first}");
        table.prints(row);
        assert!(table.out.lines().all(|line| line == line.trim_end()), "{command:?}: spaces at line ends");
        let json = world.cli(&[command, &["--output", "json"]].concat()).await.expect(0);
        assert!(json.json().is_object() && json.out.contains(row), "{command:?}: {}", json.out);
    }
    for (command, part) in [
        (&["pipelines", "show", "people"][..], "data-team"),
        (&["plugins", "show", "tap-file"], "extractor"),
        (&["executions", "show", &id], "completed"),
    ] {
        world.cli(command).await.expect(0).prints(part);
        let json = world.cli(&[command, &["-o", "json"]].concat()).await.expect(0);
        assert!(json.out.contains(part) && json.json().is_object(), "{}", json.out);
    }
    let parked = world.cli(&["subscriptions", "parked", "complete-pipelines", "-o", "json"]).await.expect(0);
    assert_eq!(items(&parked.json()), [] as [serde_json::Value; 0], "everything could be handled");
    world.cli(&["subscriptions", "parked", "none"]).await.expect(3);
    let parked = world.cli(&["projections", "parked", "executions", "-o", "json"]).await.expect(0);
    assert_eq!(items(&parked.json()), [] as [serde_json::Value; 0], "everything could be taken in");
    world.cli(&["projections", "parked", "none"]).await.expect(3);
    let projections = world.cli(&["projections", "list", "-o", "json"]).await.expect(0).json();
    assert!(items(&projections).iter().all(|view| view["parked"] == 0), "{projections:#}");
    let list = world
        .cli(&["executions", "list", "--pipeline", "people", "--status", "completed", "-o", "json"])
        .await;
    assert_eq!(items(&list.expect(0).json()).len(), 1);
    let events = world.cli(&["events", "--type", "ExecutionCompleted", "-o", "json"]).await.expect(0).json();
    assert_eq!(text(&items(&events)[0]["stream"]), format!("execution-{id}"));
}

#[tokio::test]
async fn one_plugin_is_run_and_its_result_printed() {
    let world = World::start().await;
    world.file("config.yaml", "env: {COLOUR: blue}\n");
    let arguments = [
        "exec",
        "work",
        "--operation",
        "greet",
        "--config",
        "config.yaml",
        "--param",
        "n=3",
        "--param",
        "day=today",
    ];
    let done = world.cli(&arguments).await.expect(0);
    let result = done.json();
    assert_eq!(result["operation"], "greet");
    assert_eq!(result["parameters"], json!({"n": 3, "day": "today"}));
    let failed = world.cli(&["exec", "work", "--param", "exit_code=4"]).await.expect(1);
    failed.says("exit: work ended with exit code 4");
}

#[tokio::test]
async fn logs_are_shown_and_followed() {
    let world = World::start().await;
    world.cli(&["exec", "work"]).await.expect(0);
    let list = world.cli(&["executions", "list", "-o", "json"]).await.expect(0).json();
    let id = text(&items(&list)[0]["id"]);
    let shown = world.cli(&["executions", "logs", &id]).await.expect(0);
    shown.prints(" work/work stdout hello from the sample command");
    let followed = world.cli(&["executions", "logs", "-f", &id]).await.expect(0);
    assert_eq!(followed.out, shown.out, "an execution that has ended is followed to its end");
    world.cli(&["executions", "logs", "01a2043c-d47e-7061-a1aa-874ee102dba5"]).await.expect(3);
}

#[tokio::test]
async fn bookmarks_are_read_set_and_cleared() {
    let world = World::start().await;
    world.apply(&files(&world)).await.expect(0);
    world.cli(&["bookmarks", "set", "people", "load", "--state", "{\"n\": 7}"]).await.expect(0);
    let bare = world.cli(&["bookmarks", "get", "people", "load"]).await.expect(0);
    assert_eq!(bare.json(), json!({"n": 7}));
    world.file("state.json", "{\"n\": 8}");
    world.cli(&["bookmarks", "set", "people", "load", "--state", "@state.json"]).await.expect(0);
    assert_eq!(world.cli(&["bookmarks", "get", "people", "load"]).await.expect(0).json(), json!({"n": 8}));
    world.cli(&["bookmarks", "set", "people", "load", "--state", "{"]).await.expect(2).says("state");
    world.cli(&["bookmarks", "set", "people", "none", "--state", "{\"n\": 1}"]).await.expect(3).says("none");
    world.cli(&["bookmarks", "clear", "people", "load"]).await.expect(0);
    world.cli(&["bookmarks", "get", "people", "load"]).await.expect(3);
    assert_eq!(
        items(&world.cli(&["bookmarks", "get", "people", "-o", "json"]).await.expect(0).json()).len(),
        0
    );
}

#[tokio::test]
async fn states_are_changed_by_their_commands() {
    let world = World::start().await;
    world.apply("{kind: Pipeline, name: p, steps: [{name: a, plugin: work}]}").await.expect(0);
    for (command, status) in [("pause", "paused"), ("resume", "active"), ("archive", "archived")] {
        world.cli(&["pipelines", command, "p"]).await.expect(0);
        assert_eq!(world.get("/pipelines/p").await.json["status"], status);
    }
    world.cli(&["run", "p"]).await.expect(4).says("archived");
    for (command, status) in [("disable", "disabled"), ("enable", "enabled")] {
        world.cli(&["plugins", command, "work"]).await.expect(0);
        assert_eq!(world.get("/plugins/work").await.json["status"], status);
    }
}

/// Configurations may hold passwords: neither people's views nor logs may show them. (The
/// definition itself, in the pipeline's events, holds what its author wrote.)
#[tokio::test]
async fn values_of_configurations_are_not_shown() {
    let world = World::start().await;
    let plugins = "kind: Plugin\nname: strict\nversion: 1.0.0\ntype: processor\nprotocol: command\ncommand: ['true']\n\
                   config_schema: {type: object, properties: {password: {type: integer}}}\n---\n\
                   kind: Plugin\nname: chatty\nversion: 1.0.0\ntype: processor\nprotocol: command\n\
                   command: [/bin/sh, -c, 'echo \"my password is $PASSWORD\"; echo \"and $PASSWORD\" >&2; exit 3']\n";
    world.apply(plugins).await.expect(0);
    let pipeline = |plugin: &str, config: &str| {
        format!(
            "{{kind: Pipeline, name: p, steps: [{{name: a, plugin: {plugin}, retry: {{attempts: 1}}, config: {{{config}}}}}]}}"
        )
    };
    let refused = world.apply(&pipeline("strict", &format!("password: {SECRET}"))).await.expect(2);
    refused.says("steps[0].config.password: does not fit the config_schema of strict");
    let mut seen = vec![refused.err];
    let applied = world.apply(&pipeline("chatty", &format!("env: {{PASSWORD: {SECRET}}}"))).await.expect(0);
    let run = world.cli(&["run", "p"]).await.expect(1);
    seen.extend([applied.out, applied.err, run.out, run.err]);
    let id = text(&items(&world.list("/executions?limit=9").await.json)[0]["id"]);
    let logs = world.cli(&["executions", "logs", &id]).await.expect(0);
    logs.prints("my password is ***").prints("and ***");
    seen.extend([logs.out, logs.err]);
    for command in [
        &["pipelines", "show", "p"][..],
        &["pipelines", "list"],
        &["executions", "list"],
        &["executions", "show", &id],
        &["executions", "show", &id, "-o", "json"],
        &["plugins", "show", "chatty"],
        &["events", "plugin-chatty", "-o", "json"],
    ] {
        let done = world.cli(command).await.expect(0);
        seen.extend([done.out, done.err]);
    }
    seen.push(world.node.log());
    for text in seen {
        assert!(!text.contains(SECRET), "{text}");
    }
}

/// `flexcore serve` says where it listens and what is wrong with its configuration; SIGTERM ends it with 0.
#[tokio::test]
async fn a_node_serves_and_ends_in_an_orderly_way() {
    let mut world = World::start().await;
    let log = world.node.log();
    assert!(log.contains(&format!("listens on {}", world.node.url())), "{log}");
    let config = world.file("flexcore.yaml", "http: {lisen: 127.0.0.1:0}\n");
    let done =
        crate::world::flexcore(world.node.folder(), &["serve", "--config", &config.to_string_lossy()]).await;
    done.expect(2).says("lisen").says("did you mean \"listen\"");
    assert_eq!(world.node.sigterm().await.code(), Some(0));
    world.cli(&["pipelines", "list"]).await.expect(6).says("flexcore serve");
}
