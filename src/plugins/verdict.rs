//! Why an attempt did not complete. Pure: fates of programs and links in, causes out.
//!
//! The rules: a program's failure is its own unless FlexCore ended it, or its downstream closed the pipe first. Of
//! several own failures the first in time is the attempt's cause, but a program that failed after its input had ended
//! answers to what failed before it in the pipe.

use std::time::Instant;

use flexcore_actors::domain::ids::Name;
use flexcore_actors::domain::outcome::{Cause, CauseKind};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::launch::{Ended, Status};
use super::relay::Outcome;

/// What became of one program.
#[derive(Debug, Clone)]
pub struct Fate {
    /// The plugin.
    pub plugin: Name,
    /// How it ended and when that was known; absent when it never started.
    pub ended: Option<(Ended, Instant)>,
    /// A failure that is no matter of how it ended: not started, out of time, a broken protocol.
    pub broken: Option<(Cause, Instant)>,
    /// Since when FlexCore has been ending it, and why.
    pub ending: Option<(Reason, Instant)>,
}

/// Why FlexCore ended a program that had not failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The execution was cancelled or its step timed out.
    Stopped,
    /// Another program of the pipe failed.
    Other(Name),
}

/// What became of the link from a program to the next one.
#[derive(Debug, Clone)]
pub struct LinkFate {
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Instant,
}

/// The causes of an attempt.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// The attempt's cause; none when every program completed or only FlexCore ended it.
    pub root: Option<Cause>,
    /// One entry a program.
    pub programs: Vec<Option<Cause>>,
}

/// Judges an attempt. `links[n]` leads from program `n` to the next (or, from a program that stands alone, nowhere).
#[must_use]
pub fn judge(fates: &[Fate], links: &[Option<LinkFate>]) -> Verdict {
    let judged = |n| cause_of(n, fates, links).map(|(cause, at)| (with_denials(cause, &fates[n]), at));
    let causes: Vec<Option<(Cause, Instant)>> = (0..fates.len()).map(judged).collect();
    let own = |n: usize| causes[n].as_ref().filter(|(cause, _)| cause.kind != CauseKind::Cancelled);
    let first = (0..fates.len()).filter(|n| own(*n).is_some()).min_by_key(|n| own(*n).map(|(_, at)| *at));
    let root = first.map(|first| {
        let mut root = first;
        for upstream in (0..first).rev() {
            let input_had_ended = link(links, upstream).is_some_and(|l| is_end_of_input(&l.outcome));
            if !input_had_ended {
                break;
            }
            if own(upstream).is_some() {
                root = upstream;
            }
        }
        root
    });
    Verdict {
        root: root.and_then(own).map(|(cause, _)| cause.clone()),
        programs: causes.into_iter().map(|cause| cause.map(|(cause, _)| cause)).collect(),
    }
}

/// The cause of an end that nobody asked for; none for exit code 0.
#[must_use]
pub fn cause_of_status(plugin: &Name, status: Status) -> Option<Cause> {
    Some(match status {
        Status::Exit(0) => return None,
        Status::Exit(code) => {
            Cause::new(CauseKind::Exit, format!("{plugin} ended with exit code {code}; its log says why"))
                .with_detail(json!({"plugin": plugin, "exit_code": code}))
        }
        Status::Signal(signal) => {
            let name = Signal::try_from(signal).map_or("an unknown signal", Signal::as_str);
            Cause::new(CauseKind::Signal, format!("{plugin} was ended by {name}"))
                .with_detail(json!({"plugin": plugin, "signal": signal, "name": name}))
        }
        Status::Oom { limit, peak } => Cause::new(
            CauseKind::Oom,
            format!(
                "{plugin} used more memory than its limit of {} MiB ({} MiB measured); raise limits.memory in its manifest",
                limit >> 20,
                peak >> 20
            ),
        )
        .with_detail(json!({"plugin": plugin, "limit_bytes": limit, "peak_bytes": peak})),
        Status::LeaseOver => Cause::new(
            CauseKind::LostNode,
            format!("{plugin} was ended because its node could not renew its lease: another may have taken over"),
        )
        .with_detail(json!({"plugin": plugin})),
        Status::Lost => {
            Cause::new(CauseKind::LostNode, format!("the launcher of {plugin} died, and {plugin} with it"))
                .with_detail(json!({"plugin": plugin}))
        }
    })
}

/// A broken protocol.
#[must_use]
pub fn protocol_error(plugin: &Name, what: &str, line: Option<u64>) -> Cause {
    let (place, detail) = match line {
        Some(line) => (format!(" line {line} of its output"), json!({"plugin": plugin, "line": line})),
        None => (String::new(), json!({"plugin": plugin})),
    };
    Cause::new(CauseKind::ProtocolError, format!("{plugin}:{place} {what}")).with_detail(detail)
}

fn cause_of(n: usize, fates: &[Fate], links: &[Option<LinkFate>]) -> Option<(Cause, Instant)> {
    let fate = &fates[n];
    let output = link(links, n);
    if let Some(broken) = &fate.broken {
        return Some(broken.clone());
    }
    if let Some((cause, at)) = output.and_then(|l| broken_output(&fate.plugin, l)) {
        return Some((cause, at));
    }
    let (ended, at) = fate.ended.as_ref()?;
    let at = *at;
    let ending = fate.ending.as_ref().filter(|(_, since)| *since <= at);
    let closed_before = output.is_some_and(|l| l.outcome == Outcome::DownstreamClosed && l.at <= at);
    let unread_input = n.checked_sub(1).and_then(|n| link(links, n)).is_some_and(|input| {
        let before_ending = ending.is_none_or(|(_, since)| input.at <= *since);
        input.outcome == Outcome::DownstreamClosed && before_ending && !closed_before
    });
    let unread =
        || (protocol_error(&fate.plugin, "it stopped reading before the end of its input", None), at);
    if let Some((reason, _)) = ending {
        return Some(if unread_input { unread() } else { (ended_by_us(&fate.plugin, reason), at) });
    }
    if closed_before && ended.status != Status::Exit(0) {
        let next = fates.get(n + 1).map_or(&fate.plugin, |f| &f.plugin);
        return Some((ended_by_us(&fate.plugin, &Reason::Other(next.clone())), at));
    }
    if let Some(cause) = cause_of_status(&fate.plugin, ended.status) {
        return Some((cause, at));
    }
    if unread_input {
        return Some(unread());
    }
    match output.map(|l| &l.outcome) {
        Some(Outcome::HalfLine(line)) => {
            Some((protocol_error(&fate.plugin, "is cut off: the output ended within it", Some(*line)), at))
        }
        _ => None,
    }
}

/// What the program was denied may be why it failed, and may not: it stands beside the cause.
fn with_denials(mut cause: Cause, fate: &Fate) -> Cause {
    let Some((ended, _)) = &fate.ended else { return cause };
    let hosts = ended.network.iter().flat_map(|network| &network.denials).map(|denial| json!(denial));
    let denials: Vec<Value> = hosts.chain(ended.denials.iter().map(|denial| json!(denial))).collect();
    if let Some(detail) = cause.detail.as_object_mut().filter(|_| !denials.is_empty()) {
        detail.insert("denials".to_owned(), Value::Array(denials));
    }
    cause
}

fn broken_output(plugin: &Name, link: &LinkFate) -> Option<(Cause, Instant)> {
    match &link.outcome {
        Outcome::BadLine(line, fault) => {
            Some((protocol_error(plugin, &fault.to_string(), Some(*line)), link.at))
        }
        Outcome::Broken(error) => Some((
            protocol_error(plugin, &format!("its output could not be relayed: {error}"), None),
            link.at,
        )),
        _ => None,
    }
}

fn ended_by_us(plugin: &Name, reason: &Reason) -> Cause {
    let why = match reason {
        Reason::Stopped => "it was asked to".to_owned(),
        Reason::Other(other) => format!("{other} did not go on"),
    };
    Cause::new(CauseKind::Cancelled, format!("{plugin} ended because {why}"))
}

fn is_end_of_input(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Complete | Outcome::HalfLine(_) | Outcome::BadLine(..))
}

fn link(links: &[Option<LinkFate>], n: usize) -> Option<&LinkFate> {
    links.get(n).and_then(Option::as_ref)
}

#[cfg(test)]
mod tests;
