//! The target as a whole, in memory: what it leaves on the disk and which STATE it tells, and when.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::config::Config;
use super::run;

const SCHEMA: &str =
    r#"{"type":"SCHEMA","stream":"s","schema":{"properties":{"b":{},"a":{}}},"key_properties":[]}"#;

fn config(directory: &Path, more: Value) -> Config {
    let mut config = json!({"destination_path": directory});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

/// Runs over the lines; answers the printed STATE lines and the error.
fn target(directory: &Path, more: Value, lines: &[&str]) -> (Vec<String>, Option<String>) {
    let mut output = Vec::new();
    let input = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let outcome = run(&config(directory, more), input.as_bytes(), |_| Ok(true), &mut output);
    let states = String::from_utf8(output).unwrap().lines().map(String::from).collect();
    (states, outcome.err().map(|error| error.chain()))
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

fn record(n: u32) -> String {
    format!(r#"{{"type":"RECORD","stream":"s","record":{{"a": {n}}}}}"#)
}

#[test]
fn records_are_written_as_they_stand_and_the_last_state_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let lines = [
        SCHEMA,
        &record(1),
        r#"{"type":"STATE","value":{"n": 1}}"#,
        "",
        r#"{"type":"record","stream":"s","record":{"a":NaN}}"#,
        r#"{"type":"ACTIVATE_VERSION","stream":"s","version":1}"#,
        r#"{"type":"STATE","value":{"n": 2}}"#,
    ];
    let (states, error) = target(directory.path(), json!({}), &lines);
    assert_eq!((states, error), (vec![r#"{"n": 2}"#.to_owned()], None));
    assert_eq!(read(directory.path(), "s.jsonl"), "{\"a\": 1}\n{\"a\":null}\n");
    target(directory.path(), json!({}), &[SCHEMA, &record(3)]);
    assert_eq!(read(directory.path(), "s.jsonl"), "{\"a\": 1}\n{\"a\":null}\n{\"a\": 3}\n");
}

#[test]
fn a_batch_tells_its_state_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let state = |n: u32| format!(r#"{{"type":"STATE","value":{n}}}"#);
    let lines = [SCHEMA, &record(1), &state(1), &record(2), &state(2), &record(3), &state(3)];
    let (states, _) = target(directory.path(), json!({"batch_rows": 2}), &lines);
    assert_eq!(states, ["2", "3"]);
}

/// Gives one piece per read, and notes how much had been printed when each was asked for.
struct Slow<'s> {
    pieces: VecDeque<String>,
    printed: &'s RefCell<Vec<u8>>,
    seen: &'s RefCell<Vec<usize>>,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.seen.borrow_mut().push(self.printed.borrow().len());
        let piece = self.pieces.pop_front().unwrap_or_default();
        buffer[..piece.len()].copy_from_slice(piece.as_bytes());
        Ok(piece.len())
    }
}

struct Shared<'s>(&'s RefCell<Vec<u8>>);

impl io::Write for Shared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_state_does_not_wait_for_a_silent_tap() {
    let directory = tempfile::tempdir().unwrap();
    let (printed, seen) = (RefCell::default(), RefCell::default());
    let first = format!("{SCHEMA}\n{}\n{{\"type\":\"STATE\",\"value\":7}}\n", record(1));
    let input = Slow { pieces: [first, format!("{}\n", record(2))].into(), printed: &printed, seen: &seen };
    run(&config(directory.path(), json!({})), input, |_| Ok(false), Shared(&printed)).unwrap();
    assert_eq!(*seen.borrow(), [0, 2, 2], "told before the second read");
}

#[test]
fn bad_lines_are_named_after_what_came_before_is_durable() {
    for (bad, said) in [
        ("plain text", "is not a singer message"),
        (r#"{"type":"RECORD","stream":"t","record":{}}"#, "before its SCHEMA"),
        (r#"{"type":"RECORD","stream":"s","record":[]}"#, "not an object"),
        (r#"{"type":"RECORD","stream":"s"}"#, "not an object"),
        (r#"{"type":"BATCH","stream":"s"}"#, "BATCH"),
        (r#"{"type":"OTHER"}"#, "unknown type"),
        (r#"{"type":"STATE"}"#, "without value"),
        (r#"{"type":"SCHEMA","stream":"t"}"#, "schema is not an object"),
        (r#"{"type":"SCHEMA","stream":"","schema":{}}"#, "stream name"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let lines = [SCHEMA, &record(1), r#"{"type":"STATE","value":1}"#, bad, &record(2)];
        let (states, error) = target(directory.path(), json!({}), &lines);
        let error = error.unwrap();
        assert!(error.contains(said) && error.contains("input line 4"), "{error}");
        assert_eq!(states, ["1"]);
        assert_eq!(read(directory.path(), "s.jsonl"), "{\"a\": 1}\n");
    }
}

#[test]
fn a_cut_off_last_line_is_told_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let input = format!("{SCHEMA}\n{}\n{}", record(1), &record(2)[..20]);
    let outcome = run(&config(directory.path(), json!({})), input.as_bytes(), |_| Ok(true), io::sink());
    assert!(outcome.unwrap_err().to_string().contains("input line 3 is cut off"));
    assert_eq!(read(directory.path(), "s.jsonl"), "{\"a\": 1}\n");
}

#[test]
fn csv_keeps_its_header_and_refuses_new_columns() {
    let directory = tempfile::tempdir().unwrap();
    let csv = json!({"format": "csv"});
    assert_eq!(target(directory.path(), csv.clone(), &[SCHEMA, &record(1)]).1, None);
    let reordered = SCHEMA.replace(r#""b":{},"a":{}"#, r#""a":{}"#);
    assert_eq!(target(directory.path(), csv.clone(), &[&reordered, &record(2)]).1, None);
    assert_eq!(read(directory.path(), "s.csv"), "b,a\n,1\n,2\n");
    let wider = SCHEMA.replace(r#""b":{}"#, r#""b":{},"c":{}"#);
    let error = target(directory.path(), csv.clone(), &[&wider]).1.unwrap();
    assert!(error.contains("with c,") && error.contains("s.csv"), "{error}");
    let unnamed = r#"{"type":"RECORD","stream":"s","record":{"a":1,"z":2}}"#;
    let error = target(directory.path(), csv, &[SCHEMA, unnamed]).1.unwrap();
    assert!(error.contains("property z"), "{error}");
    assert_eq!(read(directory.path(), "s.csv"), "b,a\n,1\n,2\n");
}

#[test]
fn replacing_tells_state_only_once_the_file_is_in_place() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("s.jsonl"), "old\n").unwrap();
    let replace = json!({"mode": "replace", "batch_rows": 1});
    let state = r#"{"type":"STATE","value":1}"#;
    let (states, error) =
        target(directory.path(), replace.clone(), &[SCHEMA, &record(1), state, "no message"]);
    assert!(states.is_empty() && error.is_some());
    assert_eq!(read(directory.path(), "s.jsonl"), "old\n");
    let (states, error) = target(directory.path(), replace, &[SCHEMA, &record(1), state, &record(2)]);
    assert_eq!((states, error), (vec!["1".to_owned()], None));
    assert_eq!(read(directory.path(), "s.jsonl"), "{\"a\": 1}\n{\"a\": 2}\n");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn stream_names_cannot_leave_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let schema = SCHEMA.replace(r#""stream":"s""#, r#""stream":"../x/y""#);
    assert_eq!(target(&inner, json!({}), &[&schema]).1, None);
    assert_eq!(read(&inner, "%2E.%2Fx%2Fy.jsonl"), "");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
