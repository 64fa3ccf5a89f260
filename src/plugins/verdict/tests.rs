//! Whose failure an end was, case by case.

use std::time::Duration;

use flexcore_actors::domain::outcome::{NetworkUse, Unreached, Usage};

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
        let fate =
            |name: &&str| Fate { plugin: Name::new(*name).unwrap(), ended: None, broken: None, ending: None };
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
        let ended = Ended {
            status,
            usage: Usage::default(),
            survivors: 0,
            result: None,
            network: None,
            denials: Vec::new(),
            warm: false,
            sandbox: None,
        };
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
            let plugin = self.fates.iter().map(|f| f.plugin.as_str()).find(|p| cause.message.starts_with(p));
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
    assert_eq!(case.judged(), (some("map:signal"), vec![Some("cancelled"), Some("signal"), Some("exit")]));
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

#[test]
fn denials_stand_beside_whatever_was_the_cause() {
    let denial =
        Unreached { host: "evil.example".to_owned(), port: None, reason: "not granted".to_owned(), times: 1 };
    let mut case = Case::new(&["tap", "target"])
        .ended(0, Status::Exit(3), 1)
        .link(0, Outcome::Complete, 1)
        .ended(1, Status::Exit(0), 2);
    let network = NetworkUse { denials: vec![denial.clone()], ..NetworkUse::default() };
    for fate in &mut case.fates {
        fate.ended.as_mut().unwrap().0.network = Some(network.clone());
    }
    let verdict = judge(&case.fates, &case.links);
    let cause = verdict.root.unwrap();
    assert_eq!((cause.kind.as_str(), &cause.detail["exit_code"]), ("exit", &json!(3)));
    assert_eq!(cause.detail["denials"], json!([denial]));
    assert_eq!(verdict.programs, [Some(cause), None], "who completed has no cause");
}
