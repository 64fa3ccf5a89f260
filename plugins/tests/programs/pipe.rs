//! Tap and target joined: nothing lost, whatever is killed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Running, json_file, messages, run, sample, tap, target, text, wait_until, weather};

fn dates(path: &Path) -> Vec<String> {
    let all = fs::read_to_string(path).unwrap();
    let parsed = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed.map(|record| record["date"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_csv_file_comes_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let config = json_file(directory.path(), "tap.json", &json!({"files": [{"path": weather()}]}));
    let tapped = run(tap().arg("--config").arg(config), b"");
    assert!(tapped.status.success(), "{}", text(&tapped.stderr));
    assert!(text(&tapped.stderr).contains(
        r#"METRIC: {"type":"counter","metric":"record_count","value":1461,"tags":{"stream":"seattle-weather"}}"#
    ));
    let out = directory.path().join("out");
    let config =
        json_file(directory.path(), "target.json", &json!({"destination_path": out, "format": "csv"}));
    let loaded = run(target().arg("--config").arg(config), &tapped.stdout);
    assert!(loaded.status.success(), "{}", text(&loaded.stderr));
    let state: Value = serde_json::from_str(text(&loaded.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(state, messages(&tapped.stdout, "STATE").last().unwrap()["value"]);
    let written = fs::read(out.join("seattle-weather.csv")).unwrap();
    assert!(written == fs::read(weather()).unwrap(), "the same bytes");
}

#[test]
fn a_killed_tap_is_resumed_from_the_state_its_target_printed() {
    let directory = tempfile::tempdir().unwrap();
    let slow = json!({"files": [{"path": weather()}], "state_every": 10, "rate": 300});
    let slow = json_file(directory.path(), "slow.json", &slow);
    let target_config = json_file(
        directory.path(),
        "target.json",
        &json!({"destination_path": directory.path(), "batch_rows": 20}),
    );
    let mut first = Running::start(tap().arg("--config").arg(slow));
    let mut loading = Running::start(target().arg("--config").arg(&target_config));
    let mut states = 0;
    while states < 5 {
        let line = first.line();
        states += u32::from(line.contains(r#""type":"STATE""#));
        loading.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }
    let told = loading.line();
    first.kill();
    let loaded = loading.finish();
    assert!(loaded.status.success());
    let last = text(&loaded.stdout);
    let state: Value = serde_json::from_str(last.lines().last().unwrap_or(&told)).unwrap();
    let path = directory.path().join("seattle-weather.jsonl");
    let before = dates(&path).len();
    assert!((1..1461).contains(&before), "stopped in the middle: {before}");

    let fast = json_file(directory.path(), "fast.json", &json!({"files": [{"path": weather()}]}));
    let state = json_file(directory.path(), "state.json", &state);
    let rest = run(tap().arg("--config").arg(fast).arg("--state").arg(state), b"");
    let again = messages(&rest.stdout, "RECORD").len();
    assert!(again < 1461, "it does not begin again");
    run(target().arg("--config").arg(target_config), &rest.stdout);
    let all = dates(&path);
    assert_eq!(all.len(), before + again);
    let distinct: BTreeSet<_> = all.into_iter().collect();
    assert_eq!(distinct.len(), 1461, "every record at least once");
}

#[test]
fn a_killed_target_leaves_whole_lines_and_everything_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let endless = json!({"records": 100_000_000, "record_bytes": 300, "state_every": 1000});
    let endless = json_file(directory.path(), "tap.json", &endless);
    let config = json!({"destination_path": directory.path(), "batch_rows": 2000});
    let config = json_file(directory.path(), "target.json", &config);
    let path = directory.path().join("sample.jsonl");
    for round in 1..=3 {
        let mut source = Running::start(sample().args(["tap", "--config"]).arg(&endless));
        let mut loading = Running::start(target().arg("--config").arg(&config));
        let from = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let mut stdin = loading.stdin.take().unwrap();
        let feeding = std::thread::spawn(move || while stdin.write_all(source.line().as_bytes()).is_ok() {});
        let acknowledged: Value = serde_json::from_str(&loading.line()).unwrap();
        wait_until("more is written", || fs::metadata(&path).unwrap().len() > from + round * 300_000);
        loading.kill();
        feeding.join().unwrap();
        let bytes = fs::read(&path).unwrap();
        let this_round = text(&bytes[usize::try_from(from).unwrap()..]);
        let acknowledged =
            usize::try_from(acknowledged["bookmarks"]["sample"]["id"].as_u64().unwrap()).unwrap();
        assert!(this_round.lines().count() >= acknowledged, "acknowledged and lost");
        // What a kill inside a write leaves behind.
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"id":17,"payload":"xxx"#).unwrap();
    }
    let schema = br#"{"type":"SCHEMA","stream":"sample","schema":{}}"#;
    assert!(run(target().arg("--config").arg(&config), schema).status.success());
    let mut expected = 1;
    for line in fs::read_to_string(&path).unwrap().lines() {
        let id = serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap();
        assert!(id == expected || id == 1, "{id} after {}", expected - 1);
        expected = id + 1;
    }
}

#[test]
fn a_state_is_printed_while_the_tap_is_silent() {
    let directory = tempfile::tempdir().unwrap();
    let config = json_file(directory.path(), "target.json", &json!({"destination_path": directory.path()}));
    let mut loading = Running::start(target().arg("--config").arg(config));
    let input = concat!(
        r#"{"type":"SCHEMA","stream":"s","schema":{}}"#,
        "\n",
        r#"{"type":"RECORD","stream":"s","record":{"a":1}}"#,
        "\n",
        r#"{"type":"STATE","value":{"a":1}}"#,
        "\n"
    );
    loading.stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
    assert_eq!(loading.line(), "{\"a\":1}\n"); // the input is still open
    assert_eq!(fs::read_to_string(directory.path().join("s.jsonl")).unwrap(), "{\"a\":1}\n");
    assert!(loading.finish().stdout.ends_with(b"{\"a\":1}\n"), "told once");
}

#[test]
fn a_bad_line_ends_the_target_with_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let config = json_file(directory.path(), "target.json", &json!({"destination_path": directory.path()}));
    let tap_config = json_file(directory.path(), "tap.json", &json!({"records": 10, "garbage_after": 5}));
    let tapped = run(sample().arg("--config").arg(tap_config), b"");
    let loaded = run(target().arg("--config").arg(config), &tapped.stdout);
    assert_eq!(loaded.status.code(), Some(1));
    assert!(text(&loaded.stderr).contains("ERROR input line 7 is not a singer message"));
    assert_eq!(fs::read_to_string(directory.path().join("sample.jsonl")).unwrap().lines().count(), 5);
}

#[test]
fn a_reader_that_leaves_ends_the_tap_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let endless = json_file(directory.path(), "tap.json", &json!({"records": 100_000_000}));
    let path = directory.path().join("big.csv");
    fs::write(&path, "n\n".to_owned() + &"1\n".repeat(200_000)).unwrap();
    let config = json_file(directory.path(), "file.json", &json!({"files": [{"path": path}]}));
    for (mut program, config) in [(sample(), endless), (tap(), config)] {
        let mut child = program
            .arg("--config")
            .arg(config)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.status.signal()), (Some(1), None));
        let said = text(&output.stderr);
        assert!(!said.contains("ERROR") && !said.contains("panic"), "{said}");
    }
}
