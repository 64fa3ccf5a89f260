//! The projections on made-up histories.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::Map;
use uuid::Uuid;

use super::*;
use crate::domain::audit::RequestRefused;
use crate::domain::codec::Encoded;
use crate::domain::event::Origin;
use crate::domain::execution::*;
use crate::domain::ids::*;
use crate::domain::integrity::leaf::{EventHashes, LeafHash};
use crate::domain::outcome::{AttemptReport, StreamCounts, Usage};
use crate::domain::pipeline::{PipelineActivated, PipelineArchived};
use crate::domain::plugin::PluginEnabled;
use crate::domain::story::{execution, name};

/// A log that grows by hand.
struct Log {
    events: Vec<RecordedEvent>,
    now: Timestamp,
    actor: &'static str,
    cause: u128,
}

impl Log {
    fn new() -> Self {
        // ten minutes before midnight
        let now = "2026-01-01T23:50:00Z".parse().unwrap();
        Self { events: Vec::new(), now, actor: "ada@10.0.0.1", cause: 1 }
    }

    fn add<E: crate::domain::codec::EventSet>(&mut self, stream: &StreamId, event: impl Into<E>) {
        let Encoded { kind, schema_version, payload } = event.into().encode();
        let version = 1 + self.events.iter().filter(|e| e.stream == *stream).count() as u64;
        let position = Position(self.events.len() as u64 + 1);
        self.events.push(RecordedEvent {
            id: EventId(Uuid::from_u128(u128::from(position.0))),
            stream: stream.clone(),
            version: Version(version),
            position,
            kind: kind.to_owned(),
            schema_version,
            recorded_at: self.now,
            node: "n1".to_owned(),
            origin: Origin {
                actor: self.actor.to_owned(),
                correlation_id: CorrelationId(Uuid::from_u128(77)),
                causation_id: Some(Uuid::from_u128(self.cause)),
            },
            payload,
            hashes: EventHashes { payload: [0; 32], leaf: LeafHash::NONE },
        });
    }

    fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// The rows after the log, folded in pages of `page`; whatever the page, they have to be the same.
    fn rows<P: Projection>(&self, page: usize) -> (BTreeMap<String, Row>, Vec<Parked>) {
        let (mut rows, mut parked) = (BTreeMap::new(), Vec::new());
        for events in self.events.chunks(page) {
            let stored: Vec<Row> = keys::<P>(events).iter().filter_map(|k| rows.get(k)).cloned().collect();
            let changes = fold::<P>(events, &stored).unwrap();
            parked.extend(changes.parked);
            rows.extend(changes.upserts.into_iter().map(|row: Row| (row.key.clone(), row)));
            changes.deletes.iter().for_each(|key| assert!(rows.remove(key).is_some(), "{key} was stored"));
        }
        (rows, parked)
    }
}

fn states<P: Projection>(rows: &BTreeMap<String, Row>) -> Vec<P::State> {
    rows.values().map(|row| read_document::<P>(row).unwrap()).collect()
}

/// An execution that is asked for at 23:50, begins 5 s later and ends after midnight.
fn history() -> Log {
    let mut log = Log::new();
    let stream = StreamId::execution(execution(1));
    let queued = ExecutionQueued {
        execution: execution(1),
        pipeline: Some(name("p")),
        plugin: None,
        revision: Some(1),
        steps: Vec::new(),
        parameters: Map::new(),
        from_scratch: false,
    };
    log.add::<ExecutionEvent>(&stream, queued);
    log.pass(5);
    log.actor = "node:n1";
    log.add::<ExecutionEvent>(&stream, ExecutionStarted { node: "n1".to_owned() });
    log.pass(900);
    let mut report = AttemptReport { bytes: 100, ..AttemptReport::default() };
    report.streams.insert("s".to_owned(), StreamCounts { read: 9, written: 7, rejected: 2 });
    log.add::<ExecutionEvent>(&stream, StepCompleted { step: name("a"), attempt: 1, report });
    let usage = Usage { wall_ms: 9, cpu_ms: 4, peak_memory_bytes: 1 };
    log.add::<ExecutionEvent>(&stream, ExecutionCompleted { usage, records: 7 });
    log
}

#[test]
fn an_execution_is_one_row_with_what_it_is_found_by() {
    let (rows, parked) = history().rows::<Executions>(2);
    assert_eq!((rows.len(), parked.len()), (1, 0));
    let row = &rows[&execution(1).to_string()];
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(row.indexed.tags, [text("p"), None, text("pipeline"), text("completed")]);
    assert_eq!(row.indexed.at.to_string(), "2026-01-01T23:50:00Z");
    let state = &states::<Executions>(&rows)[0];
    assert_eq!((state.state.version, state.position), (Version(4), Position(4)));
}

#[test]
fn metrics_count_by_hour_and_day() {
    let (rows, _) = history().rows::<Metrics>(1);
    let keys: Vec<&str> = rows.keys().map(String::as_str).collect();
    let expected = [
        "day/2026-01-01T00:00:00Z",
        "day/2026-01-02T00:00:00Z",
        "hour/2026-01-01T23:00:00Z",
        "hour/2026-01-02T00:00:00Z",
    ];
    assert_eq!(keys, expected, "the row of the open execution is gone with its end");
    let states = states::<Metrics>(&rows);
    let (MetricsRow::Day(before), MetricsRow::Day(after)) = (&states[0], &states[1]) else {
        panic!("{states:?}")
    };
    assert_eq!((before.queued, before.started, before.wait_ms, before.completed), (1, 1, 5_000, 0));
    assert_eq!((after.completed, after.duration_ms, after.longest_ms), (1, 900_000, 900_000));
    assert_eq!((after.attempts, after.records, after.bytes, after.cpu_ms), (1, 7, 100, 4));
}

#[test]
fn rows_do_not_depend_on_where_pages_end() {
    let log = history();
    for page in 1..=log.events.len() {
        assert_eq!(log.rows::<Executions>(page), log.rows::<Executions>(1));
        assert_eq!(log.rows::<Metrics>(page), log.rows::<Metrics>(1));
        assert_eq!(log.rows::<Audit>(page), log.rows::<Audit>(1));
    }
}

#[test]
fn a_command_is_one_audited_request() {
    let mut log = Log::new();
    let (pipeline, plugin) = (StreamId::pipeline(&name("p")), StreamId::plugin(&name("q")));
    log.add::<crate::domain::pipeline::PipelineEvent>(&pipeline, PipelineActivated {});
    log.add::<crate::domain::plugin::PluginEvent>(&plugin, PluginEnabled {});
    log.pass(1);
    log.cause = 2;
    log.add::<crate::domain::pipeline::PipelineEvent>(&pipeline, PipelineArchived {});
    log.actor = "node:n1";
    log.add::<crate::domain::plugin::PluginEvent>(&plugin, PluginEnabled {});
    let refused = RequestRefused {
        address: "10.0.0.9".to_owned(),
        actor: "bob".to_owned(),
        correlation_id: CorrelationId(Uuid::from_u128(8)),
        method: "POST".to_owned(),
        path: "/x".to_owned(),
        status: 422,
        count: 3,
    };
    let life = StreamId::audit("n1", Incarnation(Uuid::from_u128(5)));
    log.add::<crate::domain::audit::AuditEvent>(&life, refused);
    let (rows, parked) = log.rows::<Audit>(2);
    assert!(parked.is_empty(), "{parked:?}");
    let mut entries = states::<Audit>(&rows);
    entries.sort_by_key(|entry| entry.position);
    let told: Vec<_> = entries.iter().map(|e| (e.action.as_str(), e.outcome.as_str(), e.count)).collect();
    let expected =
        [("ActivatePipeline", "accepted", 1), ("ArchivePipeline", "accepted", 1), ("POST /x", "refused", 3)];
    assert_eq!(told, expected, "what the runtime does by itself is no request");
    assert_eq!(entries[0].events.len(), 2, "both streams of the first command");
    assert_eq!(entries[0].address.as_deref(), Some("10.0.0.1"));
    let refused = &entries[2];
    assert_eq!((refused.actor.as_str(), refused.address.as_deref()), ("bob", Some("10.0.0.9")));
    assert_eq!((refused.status, refused.correlation_id.0.as_u128()), (Some(422), 8));
}

#[test]
fn an_event_that_cannot_be_read_is_left_out_and_named() {
    let mut log = history();
    log.events[1].schema_version = 99;
    log.events[2].payload = Bytes::from_static(b"\xc1");
    let (rows, parked) = log.rows::<Executions>(4);
    assert_eq!(parked.iter().map(|p| p.position.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(states::<Executions>(&rows)[0].state.version, Version(4), "those after it are applied");
}

/// Panics at its second event.
struct Fragile;

impl Projection for Fragile {
    type State = u64;
    const VIEW: View = View::Metrics;
    const SHAPE: u32 = 1;

    fn keys(_: &RecordedEvent) -> Vec<String> {
        vec!["sum".to_owned()]
    }

    fn apply(event: &RecordedEvent, rows: &mut Rows<u64>) -> Result<(), CodecError> {
        *rows.at("sum").get_or_insert(0) += event.position.0;
        assert_ne!(event.position.0, 2, "as it should");
        Ok(())
    }

    fn indexed(_: &u64) -> Indexed {
        Indexed { at: Timestamp::UNIX_EPOCH, tags: Vec::new() }
    }
}

#[test]
fn a_panic_costs_its_event_alone_and_leaves_nothing_half_done() {
    let (rows, parked) = history().rows::<Fragile>(4);
    assert_eq!(states::<Fragile>(&rows), [1 + 3 + 4]);
    assert_eq!(parked.len(), 1);
}

#[test]
fn a_row_of_another_shape_is_named() {
    let log = history();
    let row = Row {
        key: execution(1).to_string(),
        indexed: Indexed { at: Timestamp::UNIX_EPOCH, tags: Vec::new() },
        document: Bytes::from_static(b"\x01"),
    };
    let error = fold::<Executions>(&log.events, &[row]).unwrap_err();
    assert!(error.to_string().contains("executions"), "{error}");
}

#[test]
fn every_tag_and_path_is_one_of_its_view() {
    for view in View::ALL {
        assert_eq!(View::named(view.as_str()), Some(*view));
        for path in view.paths() {
            for tag in *path {
                assert!(view.tags().iter().any(|known| known.name == *tag), "{tag}");
            }
        }
    }
}
