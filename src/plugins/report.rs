//! From fates and counts to what is recorded about an attempt. Pure, but for remarks in logs.

use std::collections::BTreeMap;
use std::time::Duration;

use flexcore_actors::domain::outcome::{
    AttemptReport, Cause, Denial, Denied, NetworkUse, ProgramReport, StreamCounts, Unreached, Usage, Waits,
};
use flexcore_actors::ports::plugin_host::AttemptEnd;
use serde_json::Value;

use super::launch::Status;
use super::log::ProgramLog;
use super::relay::{LinkEnd, Tally};
use super::verdict::{Fate, LinkFate, Verdict, judge};

/// The end of an attempt of piped programs.
#[must_use]
pub fn of_pipe(
    fates: &[Fate],
    pids: &[Option<u32>],
    links: &[Option<LinkFate>],
    ends: &[Option<LinkEnd>],
) -> AttemptEnd {
    let verdict = judge(fates, links);
    let first = ends.first().and_then(Option::as_ref);
    // the link into the last program; the only one, when it stands alone
    let last = ends.get(fates.len().saturating_sub(2)).and_then(Option::as_ref);
    let mut streams: BTreeMap<String, StreamCounts> = BTreeMap::new();
    for stream in first.map(|end| end.tally.streams()).unwrap_or_default() {
        streams.entry(stream.name.clone()).or_default().read = stream.checked;
    }
    if fates.len() > 1 {
        for stream in last.map(|end| end.tally.streams()).unwrap_or_default() {
            streams.entry(stream.name.clone()).or_default().written = stream.delivered;
        }
    }
    let waits = Waits {
        upstream_ms: first.map_or(0, |end| ms(end.upstream_wait)),
        downstream_ms: last.map_or(0, |end| ms(end.downstream_wait)),
    };
    let bytes = last.map_or(0, |end| end.tally.bytes);
    end(fates, pids, verdict, AttemptReport { streams, bytes, waits, ..AttemptReport::default() })
}

/// The end of an attempt of one program that stands alone.
#[must_use]
pub fn of_one(
    fate: Fate,
    pid: Option<u32>,
    streams: BTreeMap<String, StreamCounts>,
    result: Value,
) -> AttemptEnd {
    let fates = [fate];
    let verdict = judge(&fates, &[]);
    end(&fates, &[pid], verdict, AttemptReport { streams, result, ..AttemptReport::default() })
}

/// Says in a program's log what the relay made of its output, when that is out of the ordinary.
pub fn remark_on(tally: &Tally, log: &ProgramLog) {
    if tally.blank > 0 {
        log.remark(format!("{} blank lines of its output were dropped", tally.blank));
    }
    if tally.non_finite > 0 {
        log.remark(format!("{} lines hold NaN or Infinity, which JSON does not know", tally.non_finite));
    }
}

/// Says in a program's log which hosts it did not reach, and why.
pub fn remark_on_network(network: Option<&NetworkUse>, log: &ProgramLog) {
    let Some(network) = network else { return };
    let host = |one: &Unreached| match one.port {
        Some(port) if one.host.contains(':') => format!("[{}]:{port}", one.host),
        Some(port) => format!("{}:{port}", one.host),
        None => one.host.clone(),
    };
    for denial in &network.denials {
        let cure = "capabilities.connect of its manifest names what it may reach";
        log.remark(format!(
            "it was denied {}{}: {}; {cure}",
            host(denial),
            often(denial.times),
            denial.reason
        ));
    }
    for failure in &network.failures {
        log.remark(format!("it did not reach {}{}: {}", host(failure), often(failure.times), failure.reason));
    }
    if network.unlisted > 0 {
        log.remark(format!("{} more connections were denied or failed", network.unlisted));
    }
}

fn often(times: u64) -> String {
    if times == 1 { String::new() } else { format!(" ({times} times)") }
}

/// The same of a program that may have ended, with whatever else it was denied.
pub fn remark_on_end(fate: &Fate, log: &ProgramLog) {
    let Some((ended, _)) = &fate.ended else { return };
    remark_on_network(ended.network.as_ref(), log);
    for Denial { what, reason, times } in &ended.denials {
        match what {
            Denied::Call(call) => log.remark(format!(
                "it was denied the call {call}{}: {reason}; capabilities.api of its manifest names those it may make",
                often(*times)
            )),
            Denied::SystemCall(call) => {
                log.remark(format!("it was denied the system call {call}{}: {reason}", often(*times)));
            }
        }
    }
}

fn end(fates: &[Fate], pids: &[Option<u32>], verdict: Verdict, report: AttemptReport) -> AttemptEnd {
    let programs = fates
        .iter()
        .zip(pids)
        .zip(verdict.programs)
        .map(|((fate, pid), cause)| program_report(fate, *pid, cause))
        .collect();
    AttemptEnd { cause: verdict.root, report: AttemptReport { programs, ..report } }
}

fn program_report(fate: &Fate, pid: Option<u32>, cause: Option<Cause>) -> ProgramReport {
    let ended = fate.ended.as_ref().map(|(ended, _)| ended);
    ProgramReport {
        plugin: fate.plugin.clone(),
        pid,
        exit_code: ended.and_then(|e| match e.status {
            Status::Exit(code) => Some(code),
            _ => None,
        }),
        cause,
        usage: ended.map_or(Usage::default(), |e| e.usage),
        network: ended.and_then(|e| e.network.clone()),
        sandbox: ended.and_then(|e| e.sandbox.clone()),
        denials: ended.map(|e| e.denials.clone()).unwrap_or_default(),
        warm: ended.is_some_and(|e| e.warm),
    }
}

fn ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}
