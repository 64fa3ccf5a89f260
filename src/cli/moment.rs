//! The moment that `show` asks for: now, or one of the past. Never in here: how what was asked for looks.

use jiff::Timestamp;
use serde_json::Value;

use super::args_resources::ShowArgs;
use super::client::escaped;
use super::wire::Execution;

/// Where the node answers what `args` ask for, below the API's base.
#[must_use]
pub fn path(collection: &str, args: &ShowArgs) -> String {
    let path = format!("/{collection}/{}", escaped(&args.name));
    match (args.at, args.at_version) {
        (Some(time), _) => format!("{path}?at={}", escaped(&time.to_string())),
        (None, Some(version)) => format!("{path}?at_version={version}"),
        (None, None) => path,
    }
}

/// The time until which durations of an execution count: of one as it was at a version, its last step's.
#[must_use]
pub fn of_execution(args: &ShowArgs, answer: &Value, execution: &Execution) -> Timestamp {
    let now = Timestamp::now();
    if args.at_version.is_none() {
        return args.at.map_or(now, |at| at.min(now));
    }
    let own = ["/queued_at", "/started_at"].map(|time| answer.pointer(time).and_then(Value::as_str));
    let attempts = execution.steps.iter().flat_map(|step| &step.attempts);
    let attempts =
        attempts.flat_map(|attempt| [Some(attempt.started_at.as_str()), attempt.ended_at.as_deref()]);
    own.into_iter().chain(attempts).flatten().filter_map(|time| time.parse().ok()).max().unwrap_or(now)
}
