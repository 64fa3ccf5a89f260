//! How a running execution looks: a line a step that is redrawn on a terminal, plain lines on change elsewhere.
//! Never in here: asking the node.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::Value;

use super::human::{between, bytes, grouped, printable, span};
use super::output::Terminal;
use super::wire::{Attempt, Execution, Step};

/// Plain lines about a step that only moves on come at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// Characters of a result that are shown.
const RESULT_CHARS: usize = 60;

/// Shows progress on standard error.
pub(super) struct Progress {
    bars: Option<MultiProgress>,
    /// By name, in the order of the definition.
    steps: Vec<(String, Shown)>,
}

/// What was last shown of a step.
struct Shown {
    bar: Option<ProgressBar>,
    text: String,
    state: (String, usize, u64),
    at: Instant,
    rate: Rate,
}

impl Shown {
    fn new(bars: Option<&MultiProgress>, state: (String, usize, u64)) -> Self {
        let (bar, rate) = (bars.map(new_bar), Rate::default());
        Self { bar, text: String::new(), state, at: Instant::now(), rate }
    }
}

/// Records a second between two looks, smoothed.
#[derive(Default)]
struct Rate {
    attempt: u32,
    records: u64,
    at: Option<Instant>,
    per_second: f64,
}

impl Progress {
    pub(super) fn new(live: bool) -> Self {
        Self { bars: live.then(MultiProgress::new), steps: Vec::new() }
    }

    pub(super) fn show(&mut self, terminal: &mut Terminal, execution: &Execution) {
        let now = Timestamp::now();
        for step in &execution.steps {
            let attempt = step.attempts.last();
            let standing = format!("{}{:?}", step.status, step.waiting_for);
            let state = (standing, step.attempts.len(), attempt.and_then(Attempt::records_seen).unwrap_or(0));
            let known = self.steps.iter().position(|(name, _)| *name == step.name);
            let at = known.unwrap_or_else(|| {
                self.steps.push((step.name.clone(), Shown::new(self.bars.as_ref(), state.clone())));
                self.steps.len() - 1
            });
            let shown = &mut self.steps[at].1;
            if let Some(attempt) = attempt {
                shown.rate.look(attempt);
            }
            shown.text = describe(step, shown.rate.per_second, now);
            if let Some(bar) = &shown.bar {
                bar.set_message(shown.text.clone());
                continue;
            }
            let turned = (&shown.state.0, shown.state.1) != (&state.0, state.1);
            let moved = shown.state.2 != state.2 && shown.at.elapsed() >= PLAIN_EVERY;
            if known.is_none() || turned || moved {
                shown.state = state;
                shown.at = Instant::now();
                terminal.note(&shown.text);
            }
        }
    }

    pub(super) fn note(&self, terminal: &mut Terminal, text: &str) {
        match &self.bars {
            // a failure to draw a remark is no failure of the command
            Some(bars) => drop(bars.println(text)),
            None => terminal.note(text),
        }
    }

    /// Does something that writes while nothing moves.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    /// Takes the picture away.
    pub(super) fn clear(&mut self) {
        for (_, shown) in self.steps.drain(..) {
            if let Some(bar) = shown.bar {
                bar.finish_and_clear();
            }
        }
    }

    /// Turns what moved into plain lines that stay.
    pub(super) fn finish(mut self, terminal: &mut Terminal) {
        let last: Vec<String> =
            self.steps.iter().filter(|(_, s)| s.bar.is_some()).map(|(_, s)| s.text.clone()).collect();
        self.clear();
        last.iter().for_each(|text| terminal.note(text));
    }
}

impl Rate {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn look(&mut self, attempt: &Attempt) {
        let now = Instant::now();
        let records = attempt.records_seen().unwrap_or(0);
        let same = self.attempt == attempt.number && records >= self.records;
        match self.at.filter(|_| same).map(|at| now.duration_since(at).as_secs_f64()) {
            Some(seconds) if seconds > 0.0 => {
                let latest = (records - self.records) as f64 / seconds;
                self.per_second =
                    if self.per_second > 0.0 { 0.6 * self.per_second + 0.4 * latest } else { latest };
            }
            _ => self.per_second = 0.0,
        }
        (self.attempt, self.records, self.at) = (attempt.number, records, Some(now));
    }
}

fn new_bar(bars: &MultiProgress) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = bars.add(ProgressBar::new_spinner().with_style(style));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// A step in one line: name, status, records, bytes, rate, pipe fill, elapsed, attempt, and why it failed. What moves
/// stands within 80 columns.
fn describe(step: &Step, per_second: f64, now: Timestamp) -> String {
    let mut text = format!("{:<12} {:<9}", printable(&step.name), step.status);
    let Some(attempt) = step.attempts.last() else { return text.trim_end().to_owned() };
    let end = attempt.ended_at.as_deref().and_then(|end| end.parse().ok()).unwrap_or(now);
    let elapsed = between(&attempt.started_at, end).unwrap_or(0);
    if let Some(records) = attempt.records_seen() {
        let rate = if attempt.ended_at.is_some() { average(records, elapsed) } else { per_second };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for people")]
        let rate = grouped(rate as u64);
        text += &format!(" {:>9} records {:>9} {rate:>7}/s", grouped(records), bytes(attempt.bytes));
    }
    if let Some(fill) = attempt.pipe_fill_per_mille.filter(|_| attempt.ended_at.is_none()) {
        text += &format!(" pipe {:>3}%", fill.min(1_000) / 10);
    }
    text += &format!(" {:>5}  attempt {}", span(elapsed), attempt.number);
    if !attempt.result.is_null() {
        text += &format!("  result {}", excerpt(&attempt.result));
    }
    if let Some(cause) = &attempt.cause {
        text += &format!("  {}", printable(&cause.to_string()));
    }
    if let Some(what) = &step.waiting_for {
        text += &format!("  waiting: {}", printable(what));
    }
    if let Some(due) = step.next_attempt_at.as_deref().and_then(|due| due.parse::<Timestamp>().ok()) {
        let left = u64::try_from(due.as_millisecond() - now.as_millisecond()).unwrap_or(0);
        text += &format!("  next attempt in {}", span(left));
    }
    text
}

/// The beginning of a result, on one line.
fn excerpt(result: &Value) -> String {
    let text = result.to_string();
    match text.char_indices().nth(RESULT_CHARS) {
        Some((end, _)) => format!("{} …", printable(&text[..end])),
        None => printable(&text),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn average(records: u64, elapsed_ms: u64) -> f64 {
    if elapsed_ms == 0 { 0.0 } else { records as f64 * 1_000.0 / elapsed_ms as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Cause;
    use super::*;

    #[test]
    fn a_step_says_everything_in_one_line() {
        let attempt = Attempt {
            number: 2,
            status: "failed".into(),
            records: 12_000,
            bytes: 3 << 20,
            started_at: "2026-01-01T00:00:00Z".into(),
            ended_at: Some("2026-01-01T00:00:04Z".into()),
            cause: Some(Cause { kind: "signal".into(), message: "tap died of signal 9".into() }),
            ..Attempt::default()
        };
        let step = Step {
            name: "load".into(),
            status: "waiting".into(),
            waiting_for: Some("a permit".into()),
            next_attempt_at: Some("2026-01-01T00:00:05.5Z".into()),
            attempts: vec![attempt],
        };
        let text = describe(&step, 0.0, "2026-01-01T00:00:05Z".parse().unwrap());
        for part in [
            "load",
            "waiting",
            "attempt 2",
            "12,000 records",
            "3.0 MiB",
            "3,000/s",
            "4.0s",
            "signal: tap died of signal 9",
            "waiting: a permit",
            "next attempt in 0.5s",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("result"), "{text}");
        assert_eq!(
            describe(
                &Step { name: "x".into(), status: "waiting".into(), ..Step::default() },
                0.0,
                Timestamp::now()
            ),
            format!("{:<12} waiting", "x")
        );
    }

    #[test]
    fn a_command_has_a_result_and_no_records() {
        let attempt = Attempt {
            number: 1,
            status: "completed".into(),
            started_at: "2026-01-01T00:00:00Z".into(),
            ended_at: Some("2026-01-01T00:00:04Z".into()),
            result: serde_json::json!({"models": 12, "note": "é".repeat(100)}),
            ..Attempt::default()
        };
        let step = Step {
            name: "build".into(),
            status: "completed".into(),
            attempts: vec![attempt],
            ..Step::default()
        };
        let text = describe(&step, 0.0, Timestamp::UNIX_EPOCH);
        assert!(text.contains("4.0s  attempt 1  result {\"models\":12,") && text.ends_with("é …"), "{text}");
        assert!(!text.contains("records"), "{text}");
    }
}
