//! Reads a node's whole event log over HTTP and checks what must hold of any log, whatever was done to the node:
//! the invariants of the design (S2, S7, S8, S9), one terminal event for each execution, and that whatever began also
//! ended. Never in here: what a particular test expects.

use std::collections::{BTreeMap, BTreeSet};

use flexcore_test_support::{Client, wait_for};
use jiff::Timestamp;
use serde_json::Value;

use crate::rig::{API, PROGRESS_DEADLINE, bookmarked_line};

/// Events asked for at once: the most that a node gives.
const PAGE: usize = 1_000;
/// More pages than any test here writes.
const MOST_PAGES: usize = 200;

/// One event, as `GET /events` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) position: u64,
    pub(crate) stream: String,
    version: u64,
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
    pub(crate) node: String,
    pub(crate) timestamp: Timestamp,
}

impl Event {
    fn of(item: &Value) -> Self {
        let number = |key: &str| item[key].as_u64().unwrap_or_else(|| panic!("no {key} in {item}"));
        let text = |key: &str| item[key].as_str().unwrap_or_else(|| panic!("no {key} in {item}")).to_owned();
        Self {
            position: number("position"),
            stream: text("stream"),
            version: number("version"),
            id: text("id"),
            kind: text("type"),
            data: item["data"].clone(),
            node: item["metadata"]["node"].as_str().unwrap_or_else(|| panic!("no node in {item}")).to_owned(),
            timestamp: text("timestamp").parse().unwrap_or_else(|e| panic!("timestamp: {e} in {item}")),
        }
    }

    fn text(&self, key: &str) -> &str {
        self.data[key].as_str().unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    fn number(&self, key: &str) -> u64 {
        self.data[key].as_u64().unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    /// The execution that an event is about.
    pub(crate) fn execution(&self) -> Option<&str> {
        self.data["execution"].as_str().or_else(|| self.stream.strip_prefix("execution-"))
    }

    fn is_terminal(&self) -> bool {
        ["ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled"].contains(&self.kind.as_str())
    }

    fn is_attempts_end(&self) -> bool {
        ["StepRetryScheduled", "StepCompleted", "StepFailed"].contains(&self.kind.as_str())
    }

    /// Something begins, or a bookmark moves: what must not follow a cancel.
    fn starts_something(&self) -> bool {
        ["ExecutionStarted", "StepStarted", "PluginExecutionStarted", "BookmarkAcquired", "BookmarkAdvanced"]
            .contains(&self.kind.as_str())
    }
}

/// The whole log, in its order.
pub(crate) struct Log(pub(crate) Vec<Event>);

impl Log {
    /// Reads all pages.
    async fn read(client: &Client) -> Self {
        let mut events: Vec<Event> = Vec::new();
        for _ in 0..MOST_PAGES {
            let after = events.last().map_or(0, |event| event.position);
            let page = client.get(&format!("{API}/events?after={after}&limit={PAGE}")).await.expect(200).json;
            let items = page["items"].as_array().expect("a list has items");
            events.extend(items.iter().map(Event::of));
            if items.len() < PAGE {
                return Self(events);
            }
        }
        panic!("the log has more than {MOST_PAGES} pages");
    }

    /// Reads it when the pipelines know how their executions ended: an execution is over a moment before that.
    pub(crate) async fn settled(client: &Client) -> Self {
        wait_for("pipelines know how their executions ended", PROGRESS_DEADLINE, async || {
            let log = Self::read(client).await;
            let count = |kind: &str| log.0.iter().filter(|event| event.kind == kind).count();
            let (started, completed) = (count("PipelineStarted"), count("PipelineCompleted"));
            if completed >= started { Ok(log) } else { Err(format!("{completed} of {started}")) }
        })
        .await
    }

    /// Checks everything; executions must have ended.
    ///
    /// # Panics
    /// With the first event that breaks a rule.
    pub(crate) fn check(&self) {
        self.order();
        for (execution, events) in self.executions() {
            one_life(execution, &events);
            attempts(execution, &events);
        }
        self.pipelines_know();
        self.cancelled_start_nothing();
        self.plugin_executions();
        self.bookmarks();
    }

    /// Events of one execution's own stream, by execution.
    pub(crate) fn executions(&self) -> BTreeMap<&str, Vec<&Event>> {
        let mut executions: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in &self.0 {
            if let Some(id) = event.stream.strip_prefix("execution-") {
                executions.entry(id).or_default().push(event);
            }
        }
        executions
    }

    /// The lines at which attempts of an execution found the bookmark, with the attempt's number: 0 without one.
    pub(crate) fn beginnings(&self, execution: &str) -> Vec<(u64, u64)> {
        let mut line = 0;
        let mut found = Vec::new();
        for event in self.0.iter().filter(|event| event.execution() == Some(execution)) {
            match event.kind.as_str() {
                "BookmarkAcquired" => found.push((event.number("attempt"), line)),
                "BookmarkAdvanced" => line = line_of(event),
                _ => {}
            }
        }
        found
    }

    /// Positions without gaps; **S2**: versions without gaps in each stream; event ids that are ids.
    fn order(&self) {
        let mut heads: BTreeMap<&str, u64> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for (n, event) in self.0.iter().enumerate() {
            assert_eq!(event.position, n as u64 + 1, "a gap in the log before {event:?}");
            let head = heads.entry(&event.stream).or_default();
            *head += 1;
            assert_eq!(event.version, *head, "a gap in its stream before {event:?}");
            assert!(ids.insert(&event.id), "an event id stands twice: {event:?}");
        }
    }

    /// Each execution is started once by its pipeline and completed there once, after its own end and with its outcome.
    fn pipelines_know(&self) {
        let mut started = BTreeSet::new();
        let mut completed = BTreeSet::new();
        let executions = self.executions();
        for event in self.0.iter().filter(|event| event.stream.starts_with("pipeline-")) {
            match event.kind.as_str() {
                "PipelineStarted" => {
                    assert!(started.insert(event.text("execution")), "started twice: {event:?}")
                }
                "PipelineCompleted" => {
                    let execution = event.text("execution");
                    assert!(completed.insert(execution), "completed twice: {event:?}");
                    let end = executions[execution].last().expect("it has events");
                    let outcome = format!("Execution{}", capitalised(event.text("outcome")));
                    assert!(
                        end.position < event.position && end.kind == outcome,
                        "{event:?} does not fit {end:?}"
                    );
                }
                _ => {}
            }
        }
        assert_eq!(started, completed, "executions that their pipelines started and completed");
    }

    /// **S7**.
    fn cancelled_start_nothing(&self) {
        for cancel in self.0.iter().filter(|event| event.kind == "ExecutionCancelRequested") {
            let execution = cancel.execution();
            let later = self.0.iter().filter(|event| event.position > cancel.position);
            let started = later.filter(|event| event.execution() == execution).find(|e| e.starts_something());
            assert!(started.is_none(), "after {cancel:?} this began: {started:?}");
        }
    }

    /// Each plugin execution lies within its attempt, and has ended once.
    fn plugin_executions(&self) {
        let mut open: BTreeMap<String, &Event> = BTreeMap::new();
        let mut spans: BTreeMap<(&str, &str, u64), (u64, u64)> = BTreeMap::new();
        for (execution, events) in self.executions() {
            for event in events {
                let key = || (execution, event.text("step"), event.number("attempt"));
                if event.kind == "StepStarted" {
                    spans.insert(key(), (event.position, u64::MAX));
                } else if event.is_attempts_end() {
                    spans.get_mut(&key()).expect("attempts were checked before").1 = event.position;
                }
            }
        }
        for event in self.0.iter().filter(|event| event.stream.starts_with("plugin-")) {
            if !event.kind.starts_with("PluginExecution") {
                continue;
            }
            let (execution, step, attempt) =
                (event.text("execution"), event.text("step"), event.number("attempt"));
            let (from, to) = spans[&(execution, step, attempt)];
            // that its node was lost is recorded by whoever took over the plugin, which may be another node than the one
            // that took over the execution and ends the attempt
            let to = if event.data["cause"]["kind"] == "lost_node" { u64::MAX } else { to };
            assert!(
                (from..to).contains(&event.position),
                "outside of its attempt ({from} to {to}): {event:?}"
            );
            let key = format!("{} {execution} {step} {attempt}", event.stream);
            match event.kind.as_str() {
                "PluginExecutionStarted" => {
                    let twice = open.insert(key, event);
                    assert!(twice.is_none(), "started twice: {event:?} and {twice:?}");
                }
                _ => assert!(open.remove(&key).is_some(), "ended without a beginning: {event:?}"),
            }
        }
        assert!(open.is_empty(), "plugin executions never ended: {open:?}");
    }

    /// **S9**: only the attempt that holds a bookmark moves it, forward in its own order, and so does what it says.
    fn bookmarks(&self) {
        let queued = self.0.iter().filter(|event| event.kind == "ExecutionQueued");
        let from_scratch: BTreeSet<&str> =
            queued.filter(|event| event.data["from_scratch"] == true).filter_map(Event::execution).collect();
        #[derive(Default)]
        struct Bookmark<'a> {
            holder: Option<(&'a str, u64)>,
            sequence: u64,
            line: u64,
        }
        let mut bookmarks: BTreeMap<(&str, &str), Bookmark<'_>> = BTreeMap::new();
        for event in &self.0 {
            match event.kind.as_str() {
                "BookmarkAcquired" => {
                    let bookmark = bookmarks.entry((&event.stream, event.text("name"))).or_default();
                    let new = (event.text("execution"), event.number("attempt"));
                    let later = bookmark
                        .holder
                        .is_none_or(|(execution, attempt)| execution == new.0 && attempt < new.1);
                    assert!(later, "{:?} held it before {event:?}", bookmark.holder);
                    if bookmark.holder.is_none() && from_scratch.contains(new.0) {
                        bookmark.line = 0;
                    }
                    (bookmark.holder, bookmark.sequence) = (Some(new), 0);
                }
                "BookmarkAdvanced" => {
                    let bookmark = bookmarks.entry((&event.stream, event.text("name"))).or_default();
                    let by = (event.text("execution"), event.number("attempt"));
                    assert_eq!(bookmark.holder, Some(by), "moved by another than its holder: {event:?}");
                    let (sequence, line) = (event.number("sequence"), line_of(event));
                    assert!(
                        sequence > bookmark.sequence && line >= bookmark.line,
                        "moved backwards: {event:?}"
                    );
                    (bookmark.sequence, bookmark.line) = (sequence, line);
                }
                "PipelineCompleted" => {
                    let execution = event.text("execution");
                    let held =
                        bookmarks.values_mut().filter(|b| b.holder.is_some_and(|(by, _)| by == execution));
                    held.for_each(|bookmark| bookmark.holder = None);
                }
                _ => {}
            }
        }
    }
}

/// First queued, begun at most once, ended exactly once and with its last event.
fn one_life(execution: &str, events: &[&Event]) {
    let count = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
    assert_eq!(events[0].kind, "ExecutionQueued", "{execution}");
    assert_eq!(count("ExecutionQueued"), 1, "{execution} was queued more than once");
    assert!(count("ExecutionStarted") <= 1, "{execution} began more than once");
    assert!(count("ExecutionCancelRequested") <= 1, "{execution} was cancelled more than once");
    let ends: Vec<_> = events.iter().filter(|event| event.is_terminal()).collect();
    assert_eq!(ends.len(), 1, "{execution} has not exactly one terminal event: {ends:?}");
    assert_eq!(ends[0].version, events.len() as u64, "{execution} has an event after its end");
}

/// **S8**: attempts of a step are numbered from 1, and each has ended before the next begins and before the execution.
fn attempts(execution: &str, events: &[&Event]) {
    let mut steps: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
    for event in events {
        if event.kind != "StepStarted" && !event.is_attempts_end() {
            continue;
        }
        let (number, live) = steps.entry(event.text("step")).or_default();
        if event.kind == "StepStarted" {
            assert!(!*live, "{execution}: attempt {number} is still live at {event:?}");
            (*number, *live) = (*number + 1, true);
        } else {
            assert!(*live, "{execution}: no attempt is live at {event:?}");
            *live = false;
        }
        assert_eq!(event.number("attempt"), *number, "{execution}: {event:?}");
    }
    assert!(steps.values().all(|(_, live)| !live), "{execution}: attempts never ended: {steps:?}");
}

fn line_of(event: &Event) -> u64 {
    bookmarked_line(&event.data["state"]).unwrap_or_else(|| panic!("no line in {event:?}"))
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

mod tests;
