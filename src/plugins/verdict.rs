//! Why an attempt did not complete. Pure: fates of programs and links in, causes out.
//!
//! The rules: a program's failure is its own unless FlexCore ended it, or its downstream closed the pipe first. Of
//! several own failures the first in time is the attempt's cause, but a program that failed after its input had ended
//! answers to what failed before it in the pipe.

use std::time::Instant;

use flexcore_actors::domain::ids::Name;
use flexcore_actors::domain::outcome::{Cause, CauseKind};
use nix::sys::signal::Signal;
use serde_json::json;

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
    let causes: Vec<Option<(Cause, Instant)>> = (0..fates.len()).map(|n| cause_of(n, fates, links)).collect();
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
    let (ended, at) = fate.ended?;
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
mod tests {
    use std::time::Duration;

    use flexcore_actors::domain::outcome::Usage;

    use super::*;
    use crate::plugins::relay::check::Fault;

    /// Times are in milliseconds after a beginning.
    struct Case {
        begin: Instant,
        fates: Vec<Fate>,
        links: Vec<Option<LinkFate>>,
    }

    impl Case {
        fn new(names: &[&str]) -> Self {
            let fate = |name: &&str| Fate {
                plugin: Name::new(*name).unwrap(),
                ended: None,
                broken: None,
                ending: None,
            };
            Self {
                begin: Instant::now(),
                fates: names.iter().map(fate).collect(),
                links: vec![None; names.len() - 1],
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.begin + Duration::from_millis(ms)
        }

        fn ended(mut self, n: usize, status: Status, ms: u64) -> Self {
            let ended = Ended { status, usage: Usage::default(), survivors: 0 };
            self.fates[n].ended = Some((ended, self.at(ms)));
            self
        }

        fn link(mut self, n: usize, outcome: Outcome, ms: u64) -> Self {
            self.links[n] = Some(LinkFate { outcome, at: self.at(ms) });
            self
        }

        fn ending(mut self, n: usize, reason: Reason, ms: u64) -> Self {
            self.fates[n].ending = Some((reason, self.at(ms)));
            self
        }

        /// The root as `plugin:kind`, and the kinds of all programs.
        fn judged(&self) -> (Option<String>, Vec<Option<&'static str>>) {
            let verdict = judge(&self.fates, &self.links);
            let root = verdict.root.map(|cause| {
                let plugin =
                    self.fates.iter().map(|f| f.plugin.as_str()).find(|p| cause.message.starts_with(p));
                format!("{}:{}", plugin.unwrap_or("?"), cause.kind.as_str())
            });
            (root, verdict.programs.iter().map(|c| c.as_ref().map(|c| c.kind.as_str())).collect())
        }
    }

    fn some(root: &str) -> Option<String> {
        Some(root.to_owned())
    }

    #[test]
    fn all_ended_well() {
        let case = Case::new(&["tap", "target"])
            .ended(0, Status::Exit(0), 1)
            .link(0, Outcome::Complete, 1)
            .ended(1, Status::Exit(0), 2);
        assert_eq!(case.judged(), (None, vec![None, None]));
    }

    #[test]
    fn a_failed_tap_is_the_cause_even_when_the_target_is_heard_of_first() {
        let case = Case::new(&["tap", "target"])
            .link(0, Outcome::Complete, 1)
            .ended(1, Status::Exit(1), 2)
            .ended(0, Status::Exit(3), 3);
        assert_eq!(case.judged(), (some("tap:exit"), vec![Some("exit"), Some("exit")]));
    }

    #[test]
    fn a_tap_behind_a_dead_target_is_no_cause() {
        for tap in [Status::Signal(13), Status::Exit(1)] {
            let case = Case::new(&["tap", "target"])
                .link(0, Outcome::DownstreamClosed, 1)
                .ended(0, tap, 2)
                .ended(1, Status::Signal(9), 3);
            assert_eq!(case.judged(), (some("target:signal"), vec![Some("cancelled"), Some("signal")]));
        }
    }

    #[test]
    fn a_tap_that_failed_before_its_target_died_is_the_cause() {
        let case = Case::new(&["tap", "target"])
            .ended(0, Status::Exit(3), 1)
            .link(0, Outcome::DownstreamClosed, 2)
            .ended(1, Status::Exit(1), 3);
        assert_eq!(case.judged(), (some("tap:exit"), vec![Some("exit"), Some("exit")]));
    }

    #[test]
    fn a_middle_program_is_found() {
        let case = Case::new(&["tap", "map", "target"])
            .link(0, Outcome::DownstreamClosed, 1)
            .link(1, Outcome::Complete, 1)
            .ended(1, Status::Signal(11), 2)
            .ended(2, Status::Exit(1), 3)
            .ending(0, Reason::Other(Name::new("map").unwrap()), 2)
            .ended(0, Status::Exit(0), 4);
        assert_eq!(
            case.judged(),
            (some("map:signal"), vec![Some("cancelled"), Some("signal"), Some("exit")])
        );
    }

    #[test]
    fn through_a_program_that_did_nothing_wrong() {
        let case = Case::new(&["tap", "map", "target"])
            .ended(0, Status::Signal(9), 5)
            .link(0, Outcome::Complete, 1)
            .link(1, Outcome::Complete, 2)
            .ended(1, Status::Exit(0), 3)
            .ended(2, Status::Exit(1), 4);
        assert_eq!(case.judged().0, some("tap:signal"));
    }

    #[test]
    fn a_bad_line_is_named() {
        let case = Case::new(&["tap", "target"])
            .link(0, Outcome::BadLine(17, Fault::NoType), 1)
            .ending(0, Reason::Other(Name::new("tap").unwrap()), 1)
            .ended(0, Status::Signal(15), 2)
            .ended(1, Status::Exit(0), 3);
        let root = judge(&case.fates, &case.links).root.unwrap();
        assert_eq!((root.kind, &root.detail["line"]), (CauseKind::ProtocolError, &json!(17)));
        assert!(root.message.starts_with("tap: line 17 of its output is JSON but"), "{}", root.message);
    }

    #[test]
    fn half_a_last_line_matters_only_when_the_tap_claims_success() {
        let half = |status| {
            Case::new(&["tap", "target"])
                .link(0, Outcome::HalfLine(9), 1)
                .ended(0, status, 2)
                .ended(1, Status::Exit(0), 3)
                .judged()
                .0
        };
        assert_eq!(half(Status::Exit(0)), some("tap:protocol_error"));
        assert_eq!(half(Status::Signal(6)), some("tap:signal"));
    }

    #[test]
    fn a_target_that_leaves_input_unread_did_not_complete() {
        let case = Case::new(&["tap", "target"])
            .link(0, Outcome::DownstreamClosed, 1)
            .ended(1, Status::Exit(0), 1)
            .ended(0, Status::Exit(0), 2);
        assert_eq!(case.judged(), (some("target:protocol_error"), vec![None, Some("protocol_error")]));
    }

    #[test]
    fn a_target_that_closes_its_input_and_lingers_is_the_cause() {
        let target = || Reason::Other(Name::new("target").unwrap());
        let case = Case::new(&["tap", "target"])
            .link(0, Outcome::DownstreamClosed, 1)
            .ending(0, target(), 2)
            .ended(0, Status::Signal(15), 3)
            .ending(1, target(), 4)
            .ended(1, Status::Signal(15), 5);
        assert_eq!(
            case.judged(),
            (some("target:protocol_error"), vec![Some("cancelled"), Some("protocol_error")])
        );
    }

    #[test]
    fn a_mapper_that_leaves_because_its_target_died_is_no_cause() {
        for mapper in [Status::Exit(0), Status::Exit(1), Status::Signal(13)] {
            let case = Case::new(&["tap", "map", "target"])
                .link(1, Outcome::DownstreamClosed, 1)
                .link(0, Outcome::DownstreamClosed, 2)
                .ended(1, mapper, 3)
                .ended(0, Status::Signal(13), 4)
                .ended(2, Status::Signal(9), 5);
            assert_eq!(case.judged().0, some("target:signal"), "{mapper:?}");
        }
    }

    #[test]
    fn what_was_stopped_has_no_cause_of_its_own() {
        for status in [Status::Exit(0), Status::Exit(1), Status::Signal(15), Status::Signal(9)] {
            let case = Case::new(&["tap", "target"])
                .ending(0, Reason::Stopped, 1)
                .ending(1, Reason::Stopped, 1)
                .link(0, Outcome::Stopped, 2)
                .ended(0, status, 3)
                .ended(1, status, 4);
            assert_eq!(case.judged(), (None, vec![Some("cancelled"), Some("cancelled")]), "{status:?}");
        }
    }

    #[test]
    fn a_failure_before_the_stop_stays_the_cause() {
        let case = Case::new(&["tap", "target"])
            .ended(0, Status::Exit(3), 1)
            .link(0, Outcome::Complete, 1)
            .ending(1, Reason::Stopped, 2)
            .ended(1, Status::Exit(0), 3);
        assert_eq!(case.judged(), (some("tap:exit"), vec![Some("exit"), Some("cancelled")]));
    }
}
