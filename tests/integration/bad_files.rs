//! Files that cannot be applied: every problem is named with its place, its field and the cure, and nothing is done.

use serde_json::json;

use crate::world::{World, flexcore, items};

/// Files that are refused, and what is said about them.
const REFUSED: [(&str, &[&str]); 12] = [
    (
        "kind: Pipeline\nname: p\nsteps:\n  - {name: a, plugin: work, depends_on: [c]}\n  \
         - {name: b, plugin: work, depends_on: [a]}\n  - {name: c, plugin: work, depends_on: [b]}\n",
        &["file.yaml:3:1: steps: the steps depend on each other in a cycle: a → c → b → a"],
    ),
    (
        "kind: Pipeline\nname: p\nsteps:\n  - name: a\n    plugin: wrok\n",
        &["file.yaml:5:5: steps[0].plugin: unknown plugin \"wrok\": did you mean \"work\"?"],
    ),
    (
        "kind: Pipeline\nname: p\nsteps:\n  - name: a\n    plugin: entirely-unknown\n",
        &["file.yaml:5:5: steps[0].plugin: unknown plugin \"entirely-unknown\": register it first"],
    ),
    (
        "kind: Pipeline\nname: p\nsteps:\n  - name: a\n    plugin: work\n    timout: 3m\n",
        &["file.yaml:6:5: steps[0].timout: unknown key \"timout\"; did you mean \"timeout\"?"],
    ),
    (
        // two problems of two kinds, both at once
        "kind: Pipeline\nname: p\nsteps:\n  - name: a\n    plugin: work\n    timeout: 3 fortnights\n    \
         retry: {initial: -1s}\n",
        &[
            "2 problems, nothing was applied",
            "file.yaml:6:5: steps[0].timeout: \"3 fortnights\" is not a duration: write a number with ms, s, m, h or d",
            "file.yaml:7:13: steps[0].retry.initial: \"-1s\" is not a duration",
        ],
    ),
    (
        "kind: Pipeline\nname: p\nsteps:\n  - name: a\n    pipe: [{plugin: target}, {plugin: tap}]\n",
        &[
            "file.yaml:5:13: steps[0].pipe[0].plugin: target is a loader and ends a pipe",
            "file.yaml:5:31: steps[0].pipe[1].plugin: tap is an extractor and starts a pipe",
        ],
    ),
    (
        "kind: Pipeline\nname: p\nsteps:\n  - name: a\n    plugin: target\n",
        &["steps[0].plugin: target needs an extractor before it: put both in a pipe"],
    ),
    (
        "kind: Pipeline\nname: p\nsteps:\n  - {name: a, plugin: work}\n  - {name: a, plugin: work}\n",
        &["file.yaml:5:6: steps[1].name: duplicate step name \"a\""],
    ),
    (
        "{kind: Pipeline, name: p, steps: [{name: a, plugin: work}]}\n---\n\
         {kind: Pipeline, name: p, steps: [{name: a, plugin: work}]}\n",
        &["file.yaml:3:18: name: the pipeline \"p\" is here twice"],
    ),
    (
        "kind: Pipeline\nname: [unclosed\n",
        &["file.yaml:3:1: while parsing a flow sequence, expected ',' or ']'"],
    ),
    (
        "kind: Pipelin\nname: p\n",
        &["file.yaml:1:1: kind: \"Pipelin\" is not Plugin or Pipeline; did you mean Pipeline?"],
    ),
    (
        "kind: Plugin\nname: Bad Name\nversion: 1.0.0\ntype: extractr\nprotocol: singer\ncommand: []\n\
         limits: {memory: lots}\n",
        &[
            "file.yaml:2:1: name: ",
            "file.yaml:4:1: type: ",
            "file.yaml:6:1: command: ",
            "file.yaml:7:10: limits.memory: ",
        ],
    ),
];

#[tokio::test]
async fn every_problem_of_a_file_is_named_and_nothing_is_applied() {
    let world = World::start().await;
    for (content, said) in REFUSED {
        let done = world.apply(content).await.expect(2);
        for said in said {
            done.says(said);
        }
        assert_eq!(done.out, "", "nothing may be said to be done");
    }
    assert_eq!(items(&world.get("/pipelines").await.json).len(), 0);
    assert_eq!(
        world.get("/events?event_type=PluginRegistered&limit=1000").await.json["items"]
            .as_array()
            .map(Vec::len),
        Some(5)
    );
}

/// One bad document keeps the good ones of the same command from being applied.
#[tokio::test]
async fn a_good_document_beside_a_bad_one_is_not_applied() {
    let world = World::start().await;
    let good = "{kind: Pipeline, name: good, steps: [{name: a, plugin: work}]}\n";
    let bad = "---\n{kind: Pipeline, name: bad, steps: [{name: a, plugin: wrok}]}\n";
    world.apply(&format!("{good}{bad}")).await.expect(2).says("file.yaml:3:47: steps[0].plugin");
    world.cli(&["pipelines", "show", "good"]).await.expect(3);
}

/// A file may bring its own plugins along: they count as known.
#[tokio::test]
async fn a_pipeline_may_use_the_plugins_of_its_own_file() {
    let world = World::start().await;
    let done = world
        .apply(
            "{kind: Pipeline, name: p, steps: [{name: a, plugin: fresh}]}\n---\n\
             {kind: Plugin, name: fresh, version: 1.0.0, type: processor, protocol: command, command: ['true']}\n",
        )
        .await
        .expect(0);
    done.prints("plugin   fresh").prints("pipeline p");
    world.cli(&["run", "p"]).await.expect(0);
}

#[tokio::test]
async fn what_the_command_line_cannot_use_has_an_exit_code() {
    let world = World::start().await;
    world
        .cli(&["apply", "-f", "missing.yaml"])
        .await
        .expect(2)
        .says("missing.yaml: No such file or directory");
    world.file("empty.yaml", "");
    world.cli(&["apply", "-f", "empty.yaml"]).await.expect(2).says("empty.yaml: holds no document");
    world.cli(&["frobnicate"]).await.expect(2).says("unrecognized subcommand 'frobnicate'");
    world.cli(&["run", "p", "--param", "no-value"]).await.expect(2).says("no-value");
    for command in [&["run", "none"][..], &["pipelines", "show", "none"], &["pipelines", "pause", "none"]] {
        world.cli(command).await.expect(3).says("pipeline \"none\" does not exist");
    }
    world.cli(&["exec", "none"]).await.expect(3).says("plugin \"none\" does not exist");
    world.cli(&["executions", "show", "01a2043c-d47e-7061-a1aa-874ee102dba5"]).await.expect(3);
    world.define("p", &json!([{"name": "a", "plugin": "work"}])).await;
    for command in ["activate", "pause"] {
        world.cli(&["pipelines", command, "p"]).await.expect(0);
    }
    world.cli(&["run", "p"]).await.expect(4).says("paused");
    let dead = ["--server", "http://127.0.0.1:1", "pipelines", "list"];
    let done = flexcore(world.node.folder(), &dead).await.expect(6);
    done.says("cannot reach http://127.0.0.1:1").says("flexcore serve");
}

/// Parameters are checked before anything starts.
#[tokio::test]
async fn a_run_with_wrong_parameters_does_not_start() {
    let world = World::start().await;
    let definition = "{kind: Pipeline, name: p, parameters: {day: {type: string, default: x}, n: {type: integer, default: 1}}, \
                      steps: [{name: a, plugin: work}]}\n";
    world.apply(definition).await.expect(0);
    world
        .cli(&["run", "p", "--param", "dya=1"])
        .await
        .expect(2)
        .says("no parameter \"dya\"; did you mean \"day\"?");
    world.cli(&["run", "p", "--param", "n=many"]).await.expect(2).says("n");
    assert_eq!(items(&world.get("/executions").await.json).len(), 0);
}
