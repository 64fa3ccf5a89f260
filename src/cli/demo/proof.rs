//! What shows that the story is true: the target's records against the source's, and the events that were stored.
//! Never in here: making them true.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::Value;

use super::super::client::Client;
use super::super::failure::Failure;
use super::super::human::{field, grouped};
use super::super::lists::{items, read_list};
use super::super::table::Table;
use super::super::verify;
use super::home::{Home, KEY};
use super::story::Story;

/// Most events read; the demo stores some dozens.
const MAX_EVENTS: u32 = 10_000;
/// Events that end an execution; each has exactly one.
const ENDS: [&str; 3] = ["ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled"];

/// Compares what the target wrote with the `rows` of the source.
pub(super) fn compare(story: &mut Story<'_>, home: &Home, rows: usize) -> Result<(), Failure> {
    let written = Written::read(&home.out_dir())?;
    let distinct = written.keys.len();
    let twice = written.lines - distinct.min(written.lines);
    story.tell(
        "target",
        &format!("{} lines, {} distinct records", grouped(written.lines as u64), grouped(distinct as u64)),
    )?;
    if distinct != rows {
        return Err(Failure::failed(format!(
            "the source has {rows} records, the target {distinct} distinct ones"
        )));
    }
    let delivered = match twice {
        0 => "each delivered once".to_owned(),
        n => format!("{} delivered again after the kill (at least once is the promise)", grouped(n as u64)),
    };
    story.tell(
        "verified",
        &format!(
            "{} records in the source, {} in the target; {delivered}",
            grouped(rows as u64),
            grouped(distinct as u64)
        ),
    )
}

/// Reads back every event, counts them by type, and checks that nothing ended twice.
pub(super) async fn events(story: &mut Story<'_>, client: &Client) -> Result<(), Failure> {
    let list = read_list(client, "/events", &[], Some(0), MAX_EVENTS).await?;
    let mut by_type: BTreeMap<String, u64> = BTreeMap::new();
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for event in items(&list) {
        let kind = field(event, "/type");
        if ENDS.contains(&kind.as_str()) {
            *ends.entry(field(event, "/stream")).or_default() += 1;
        }
        *by_type.entry(kind).or_default() += 1;
    }
    if ends.values().any(|count| *count != 1) || ends.is_empty() {
        return Err(Failure::failed(format!("executions must end exactly once, found {ends:?}")));
    }
    let stored = grouped(items(&list).len() as u64);
    story.tell("events", &format!("{stored} stored, the execution ended exactly once"))?;
    let mut table = Table::new(&["EVENT TYPE", ">COUNT"]);
    for (kind, count) in by_type {
        table.row([kind, grouped(count)]);
    }
    story.table(&table)
}

/// Has the node verify that the log is what it recorded.
pub(super) async fn integrity(story: &mut Story<'_>, client: &Client) -> Result<(), Failure> {
    let found = verify::node(client, &verify::Bar::default()).await?;
    if found["state"] != "intact" {
        return Err(Failure::failed(format!("the log must be intact, and it is said of it: {found}")));
    }
    let count = |key: &str| grouped(found[key].as_u64().unwrap_or_default());
    let signed = format!("{} under a signed checkpoint", count("sealed"));
    story.tell("intact", &format!("every hash of {} events verified, {signed}", count("events")))
}

/// What stands in the target's files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    lines: usize,
    keys: HashSet<String>,
}

impl Written {
    fn read(dir: &Path) -> Result<Self, Failure> {
        let fail =
            |path: &Path, what: String| Failure::failed(format!("cannot count {}: {what}", path.display()));
        let mut written = Self::default();
        for entry in std::fs::read_dir(dir).map_err(|error| fail(dir, error.to_string()))? {
            let path = entry.map_err(|error| fail(dir, error.to_string()))?.path();
            if path.extension().is_none_or(|extension| extension != "jsonl") {
                continue;
            }
            let file = File::open(&path).map_err(|error| fail(&path, error.to_string()))?;
            for line in BufReader::new(file).lines() {
                let line = line.map_err(|error| fail(&path, error.to_string()))?;
                let record: Value =
                    serde_json::from_str(&line).map_err(|error| fail(&path, error.to_string()))?;
                let key = record.get(KEY).ok_or_else(|| fail(&path, format!("a record has no {KEY}")))?;
                written.keys.insert(key.to_string());
                written.lines += 1;
            }
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_distinct_records_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.jsonl", "{\"date\":\"1\"}\n{\"date\":\"2\"}\n");
        write("b.jsonl", "{\"date\":\"2\"}\n");
        write("notes.txt", "not counted\n");
        let written = Written::read(dir.path()).unwrap();
        assert_eq!((written.lines, written.keys.len()), (3, 2));
        write("c.jsonl", "{\"date\":\"3\"}\n{\"da");
        assert!(
            Written::read(dir.path()).unwrap_err().message.contains("c.jsonl"),
            "half a line is no record"
        );
    }
}
