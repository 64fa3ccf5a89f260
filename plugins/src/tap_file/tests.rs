//! The tap as a whole, in memory: what it writes for given files, and what it writes on from a bookmark.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::bookmark::State;
use super::catalog::Catalog;
use super::config::Config;
use super::run::Run;
use super::{catalog, schema, sources};

/// The messages of one run.
fn tap(config: &Value, catalog: Option<Value>, state: Value) -> Result<Vec<Value>, String> {
    let config: Config = serde_json::from_value(config.clone()).unwrap();
    let state_every = config.state_every;
    let streams = sources::streams(config).map_err(|error| error.chain())?;
    let catalog: Option<Catalog> = catalog.map(|catalog| serde_json::from_value(catalog).unwrap());
    let mut written = Vec::new();
    Run::new(&mut written, State::parse(state).unwrap(), state_every, None)
        .streams(&streams, catalog.as_ref())
        .map_err(|error| error.chain())?;
    assert!(written.ends_with(b"\n"));
    let text = String::from_utf8(written).unwrap();
    Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn records(messages: &[Value]) -> Vec<Value> {
    messages.iter().filter(|m| m["type"] == "RECORD").map(|m| m["record"].clone()).collect()
}

fn last_state(messages: &[Value]) -> Value {
    assert_eq!(messages.last().unwrap()["type"], "STATE", "a run ends with STATE");
    messages.last().unwrap()["value"].clone()
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn csv_becomes_typed_records() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("people.csv");
    fs::write(
        &path,
        "id,name,score,ok,born,zip\n1,\"Ann \"\"A\"\"\nB\",1.50,true,1990-01-02,02134\n2,,,,,\n",
    )
    .unwrap();
    let messages =
        tap(&json!({"files": [{"path": path, "key_properties": ["id"]}]}), None, json!({})).unwrap();
    assert_eq!(messages[0]["type"], "SCHEMA");
    assert_eq!(messages[0]["key_properties"], json!(["id"]));
    let properties = &messages[0]["schema"]["properties"];
    assert_eq!(properties["id"], json!({"type": ["null", "integer"]}));
    assert_eq!(properties["score"], json!({"type": ["null", "number"]}));
    assert_eq!(properties["born"], json!({"type": ["null", "string"], "format": "date"}));
    assert_eq!(properties["zip"], json!({"type": ["null", "string"]}));
    let none = Value::Null;
    assert_eq!(
        records(&messages),
        [
            json!({"id": 1, "name": "Ann \"A\"\nB", "score": 1.5, "ok": true, "born": "1990-01-02", "zip": "02134"}),
            json!({"id": 2, "name": none, "score": none, "ok": none, "born": none, "zip": none}),
        ]
    );
}

#[test]
fn every_state_of_a_run_resumes_exactly_after_its_record() {
    let directory = tempfile::tempdir().unwrap();
    for (name, line_end) in [("unix.csv", "\n"), ("dos.csv", "\r\n")] {
        let path = directory.path().join(name);
        let rows: Vec<String> =
            (0..20).map(|n| format!("{n},\"text {n}{line_end}more\"{line_end}")).collect();
        fs::write(&path, format!("\u{feff}n,text{line_end}{}", rows.concat())).unwrap();
        let config = json!({"files": [{"path": path}], "state_every": 1});
        let messages = tap(&config, None, Value::Null).unwrap();
        let mut before = 0;
        for message in &messages {
            match message["type"].as_str().unwrap() {
                "RECORD" => before += 1,
                "STATE" => {
                    let rest = tap(&config, None, message["value"].clone()).unwrap();
                    assert_eq!(records(&rest), records(&messages)[before..], "{name} after {before}");
                }
                _ => {}
            }
        }
        assert_eq!(before, 20);
        assert_eq!(
            last_state(&messages)["bookmarks"][name.split('.').next().unwrap()]["files"]
                [path.to_str().unwrap()]["line"],
            41
        );
    }
}

#[test]
fn appended_files_go_on_and_replaced_ones_begin_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    fs::write(&path, "{\"n\":1}\n\n{\"n\":2}").unwrap();
    let config = json!({"files": [{"path": path}]});
    let state = last_state(&tap(&config, None, Value::Null).unwrap());
    assert_eq!(records(&tap(&config, None, state.clone()).unwrap()), [] as [Value; 0]);
    append(&path, "\n{\"n\":3}\n");
    let messages = tap(&config, None, state.clone()).unwrap();
    assert_eq!(records(&messages), [json!({"n": 3})]);
    fs::write(&path, "{\"n\":9}\n").unwrap();
    assert_eq!(records(&tap(&config, None, last_state(&messages)).unwrap()), [json!({"n": 9})]);
}

#[test]
fn an_unfinished_last_line_is_read_again_when_it_has_grown() {
    let directory = tempfile::tempdir().unwrap();
    for (name, before, appended, expected) in [
        ("a.csv", "n,m\n1,2\n3,4", "5\n6,7\n", [json!({"n": 3, "m": 45}), json!({"n": 6, "m": 7})]),
        ("b.csv", "n,m", "m\n3,4\n5,6\n", [json!({"n": 3, "mm": 4}), json!({"n": 5, "mm": 6})]),
        ("c.jsonl", "{\"n\":1}\n{\"n\":2}", " \n{\"n\":3}\n", [json!({"n": 2}), json!({"n": 3})]),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, before).unwrap();
        let config = json!({"files": [{"path": path}]});
        let first = tap(&config, None, Value::Null).unwrap();
        let nothing_new = tap(&config, None, last_state(&first)).unwrap();
        assert_eq!(records(&nothing_new), [] as [Value; 0], "{name}");
        append(&path, appended);
        assert_eq!(records(&tap(&config, None, last_state(&nothing_new)).unwrap()), expected, "{name}");
    }
}

#[test]
fn a_directory_as_one_stream_bookmarks_each_file() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("1.csv"), "a\n1\n").unwrap();
    fs::write(directory.path().join("2.csv"), "a,b\n2.5,x\n").unwrap();
    let config = json!({"files": [{"path": directory.path(), "stream": "all"}]});
    let messages = tap(&config, None, Value::Null).unwrap();
    assert_eq!(messages[0]["schema"]["properties"]["a"], json!({"type": ["null", "number"]}));
    assert_eq!(records(&messages), [json!({"a": 1}), json!({"a": 2.5, "b": "x"})]);
    append(&directory.path().join("1.csv"), "3\n");
    fs::write(directory.path().join("3.csv"), "a\n4\n").unwrap();
    let rest = tap(&config, None, last_state(&messages)).unwrap();
    assert_eq!(records(&rest), [json!({"a": 3}), json!({"a": 4})]);
}

#[test]
fn bad_lines_are_named_and_what_came_before_is_written() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content, said) in [
        ("ragged.csv", "a,b\r\n1,2\r\n1\r\n", "line 3: has 1 fields, the header 2"),
        ("twice.csv", "a,a\n", "column a is there twice"),
        ("latin.csv", "a,b\n1,2\n\u{0},x\n", "line 3: is not utf-8"),
        ("bad.jsonl", "{\"a\":1}\n[]\n", "line 2: is not a json object"),
        ("half.jsonl", "{\"a\":1}\n{\"a\":", "line 2: is not a json object"),
    ] {
        let path = directory.path().join(name);
        let bytes: Vec<u8> = content.bytes().map(|byte| if byte == 0 { 0xe9 } else { byte }).collect();
        fs::write(&path, bytes).unwrap();
        let error = tap(&json!({"files": [{"path": path}]}), None, Value::Null).unwrap_err();
        assert!(error.contains(said) && error.contains(name), "{error}");
    }
}

#[test]
fn a_type_broken_after_the_sample_names_line_column_and_cure() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("late.csv");
    let rows: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    fs::write(&path, format!("n\n{rows}secret\n")).unwrap();
    let error = tap(&json!({"files": [{"path": path}]}), None, Value::Null).unwrap_err();
    assert!(error.contains("line 10002: column n") && error.contains("`types`"), "{error}");
    assert!(!error.contains("secret"), "the content is not told");
    let typed = json!({"files": [{"path": path, "types": {"n": "string"}}]});
    assert_eq!(records(&tap(&typed, None, Value::Null).unwrap()).len(), 10_001);
}

#[test]
fn a_catalog_chooses_streams_and_properties() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.csv"), "id,x\n1,2\n").unwrap();
    fs::write(directory.path().join("b.jsonl"), "{\"id\":1, \"x\":[1, 2], \"y\":null}\n").unwrap();
    fs::write(directory.path().join("c.csv"), "id\n1\n").unwrap();
    let config = json!({"files": [{"path": directory.path(), "key_properties": ["id"]}]});
    let streams = sources::streams(serde_json::from_value(config.clone()).unwrap()).unwrap();
    let entries = streams.iter().map(|stream| catalog::entry(stream, &schema::infer(stream).unwrap()));
    let mut catalog = json!({"streams": entries.collect::<Vec<_>>()});
    catalog["streams"][0]["metadata"][2]["metadata"]["selected"] = json!(false);
    catalog["streams"][1]["metadata"][1]["metadata"]["selected"] = json!(false);
    catalog["streams"][1]["metadata"][2]["metadata"]["selected"] = json!(false);
    catalog["streams"][2]["metadata"][0]["metadata"]["selected"] = json!(false);
    let messages = tap(&config, Some(catalog), Value::Null).unwrap();
    assert_eq!(records(&messages), [json!({"id": 1}), json!({"id": 1, "y": null})]);
    assert_eq!(messages.iter().filter(|message| message["type"] == "SCHEMA").count(), 2);
}

#[test]
fn jsonl_types_join_over_the_sample() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    let lines = [
        json!({"n": 1, "mixed": 1, "t": "2020-01-01T00:00:00Z", "none": null}),
        json!({"n": 1.5, "mixed": "x", "t": "2020-01-01T00:00:01Z", "list": [1], "tree": {"a": 1}}),
    ];
    fs::write(&path, lines.map(|line| format!("{line}\n")).concat()).unwrap();
    let messages = tap(&json!({"files": [{"path": path}]}), None, Value::Null).unwrap();
    let properties = &messages[0]["schema"]["properties"];
    assert_eq!(properties["n"], json!({"type": ["null", "number"]}));
    assert_eq!(properties["mixed"], json!({"type": ["null", "integer", "string"]}));
    assert_eq!(properties["t"], json!({"type": ["null", "string"], "format": "date-time"}));
    assert_eq!(properties["list"], json!({"type": ["null", "array"], "items": {}}));
    assert_eq!(properties["tree"], json!({"type": ["null", "object"]}));
    assert_eq!(properties["none"]["type"].as_array().unwrap().len(), 6);
}
