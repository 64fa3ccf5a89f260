//! System metrics: counters of executions by hour and day (UTC), and a small row for each open execution, which keeps
//! the times that its end is measured from.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Indexed, Projection, Rows, View};
use crate::domain::codec::{CodecError, EventSet};
use crate::domain::event::RecordedEvent;
use crate::domain::execution::ExecutionEvent;
use crate::domain::ids::Category;
use crate::domain::outcome::{AttemptReport, Usage};

/// Counters by hour and day.
#[derive(Debug, Clone, Copy)]
pub struct Metrics;

/// A row of the metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricsRow {
    /// What happened in an hour.
    Hour(Bucket),
    /// What happened on a day.
    Day(Bucket),
    /// An execution that has not ended.
    Open {
        /// When it was asked for.
        queued_at: Timestamp,
        /// When it began.
        started_at: Option<Timestamp>,
    },
}

/// What happened in a span of time. Times are milliseconds; sums, so that spans can be added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// When the span begins.
    pub from: Timestamp,
    /// Executions asked for.
    pub queued: u64,
    /// Executions begun.
    pub started: u64,
    /// Executions that ended well.
    pub completed: u64,
    /// Executions that ended otherwise.
    pub failed: u64,
    /// Executions that were cancelled.
    pub cancelled: u64,
    /// Attempts of steps that ended.
    pub attempts: u64,
    /// Of those, the ones that failed.
    pub attempts_failed: u64,
    /// Records given to the last programs of pipes.
    pub records: u64,
    /// Bytes relayed.
    pub bytes: u64,
    /// From being asked for to the beginning, of the executions begun.
    pub wait_ms: u64,
    /// From the beginning to the end, of the executions that ended.
    pub duration_ms: u64,
    /// The longest of those.
    pub longest_ms: u64,
    /// Processor time of programs.
    pub cpu_ms: u64,
}

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

impl Projection for Metrics {
    type State = MetricsRow;
    const VIEW: View = View::Metrics;
    const SHAPE: u32 = 1;

    fn keys(event: &RecordedEvent) -> Vec<String> {
        if event.stream.category() != Category::Execution {
            return Vec::new();
        }
        let at = event.recorded_at;
        vec![bucket_key("hour", begin(at, HOUR)), bucket_key("day", begin(at, DAY)), open_key(event)]
    }

    fn apply(event: &RecordedEvent, rows: &mut Rows<MetricsRow>) -> Result<(), CodecError> {
        let change = ExecutionEvent::decode(&event.kind, event.schema_version, &event.payload)?;
        let at = event.recorded_at;
        let times = follow(rows.at(&open_key(event)), &change, at);
        let Some(counted) = count(&change, times, at) else { return Ok(()) };
        for (word, length) in [("hour", HOUR), ("day", DAY)] {
            let from = begin(at, length);
            let row = rows.at(&bucket_key(word, from)).get_or_insert_with(|| {
                let bucket = Bucket { from, ..Bucket::default() };
                if length == HOUR { MetricsRow::Hour(bucket) } else { MetricsRow::Day(bucket) }
            });
            if let MetricsRow::Hour(bucket) | MetricsRow::Day(bucket) = row {
                bucket.add(&counted);
            }
        }
        Ok(())
    }

    fn indexed(row: &MetricsRow) -> Indexed {
        let (word, at) = match row {
            MetricsRow::Hour(bucket) => ("hour", bucket.from),
            MetricsRow::Day(bucket) => ("day", bucket.from),
            MetricsRow::Open { queued_at, .. } => ("open", *queued_at),
        };
        Indexed { at, tags: vec![Some(word.to_owned())] }
    }
}

impl Bucket {
    /// Adds what happened in another span.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.queued, other.queued),
            (&mut self.started, other.started),
            (&mut self.completed, other.completed),
            (&mut self.failed, other.failed),
            (&mut self.cancelled, other.cancelled),
            (&mut self.attempts, other.attempts),
            (&mut self.attempts_failed, other.attempts_failed),
            (&mut self.records, other.records),
            (&mut self.bytes, other.bytes),
            (&mut self.wait_ms, other.wait_ms),
            (&mut self.duration_ms, other.duration_ms),
            (&mut self.cpu_ms, other.cpu_ms),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
        self.longest_ms = self.longest_ms.max(other.longest_ms);
    }

    fn report(report: &AttemptReport, failed: bool) -> Self {
        Self {
            attempts: 1,
            attempts_failed: u64::from(failed),
            records: report.streams.values().fold(0, |sum: u64, s| sum.saturating_add(s.written)),
            bytes: report.bytes,
            ..Self::default()
        }
    }

    fn ended(times: Option<Times>, at: Timestamp, usage: &Usage) -> Self {
        let took = times.and_then(|times| times.started_at).map_or(0, |began| millis(began, at));
        Self { duration_ms: took, longest_ms: took, cpu_ms: usage.cpu_ms, ..Self::default() }
    }
}

#[derive(Clone, Copy)]
struct Times {
    queued_at: Timestamp,
    started_at: Option<Timestamp>,
}

/// Keeps the row of an open execution, and answers its times as they were before the event.
fn follow(row: &mut Option<MetricsRow>, change: &ExecutionEvent, at: Timestamp) -> Option<Times> {
    let known = match row {
        Some(MetricsRow::Open { queued_at, started_at }) => {
            Some(Times { queued_at: *queued_at, started_at: *started_at })
        }
        _ => None,
    };
    match change {
        ExecutionEvent::ExecutionQueued(_) => {
            *row = Some(MetricsRow::Open { queued_at: at, started_at: None });
        }
        ExecutionEvent::ExecutionStarted(_) => {
            let queued_at = known.map_or(at, |times| times.queued_at);
            *row = Some(MetricsRow::Open { queued_at, started_at: Some(at) });
        }
        ExecutionEvent::ExecutionCompleted(_)
        | ExecutionEvent::ExecutionFailed(_)
        | ExecutionEvent::ExecutionCancelled(_) => *row = None,
        _ => {}
    }
    known
}

/// What an event adds; `None` when it adds nothing.
fn count(change: &ExecutionEvent, times: Option<Times>, at: Timestamp) -> Option<Bucket> {
    Some(match change {
        ExecutionEvent::ExecutionQueued(_) => Bucket { queued: 1, ..Bucket::default() },
        ExecutionEvent::ExecutionStarted(_) => {
            let wait_ms = times.map_or(0, |times| millis(times.queued_at, at));
            Bucket { started: 1, wait_ms, ..Bucket::default() }
        }
        ExecutionEvent::StepCompleted(e) => Bucket::report(&e.report, false),
        ExecutionEvent::StepFailed(e) => Bucket::report(&e.report, true),
        ExecutionEvent::StepRetryScheduled(e) => Bucket::report(&e.report, true),
        ExecutionEvent::ExecutionCompleted(e) => {
            Bucket { completed: 1, ..Bucket::ended(times, at, &e.usage) }
        }
        ExecutionEvent::ExecutionFailed(e) => Bucket { failed: 1, ..Bucket::ended(times, at, &e.usage) },
        ExecutionEvent::ExecutionCancelled(e) => {
            Bucket { cancelled: 1, ..Bucket::ended(times, at, &e.usage) }
        }
        _ => return None,
    })
}

fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

fn begin(at: Timestamp, length: i64) -> Timestamp {
    let seconds = at.as_second().div_euclid(length) * length;
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN)
}

fn bucket_key(word: &str, from: Timestamp) -> String {
    format!("{word}/{from}")
}

fn open_key(event: &RecordedEvent) -> String {
    format!("open/{}", event.stream.id())
}
