//! The session of the singer protocol: starts the programs of a pipe, relays between them, and brings all of them to
//! an end when one fails or nobody wants them any more. What their ends mean is the verdict's business.

mod start;

use std::time::{Duration, Instant};

use flexcore_actors::domain::outcome::{Cause, CauseKind};
use flexcore_actors::domain::quantity::format_duration;
use flexcore_actors::ports::BoxFuture;
use flexcore_actors::ports::plugin_host::AttemptEnd;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::plugins::host::{Attempt, Host};
use crate::plugins::launch::{Control, Ended, Status};
use crate::plugins::limits::{CLOSE_GRACE, DRAIN_GRACE};
use crate::plugins::program::Prepared;
use crate::plugins::relay::check::Fault;
use crate::plugins::relay::{self, LinkEnd, Order, Outcome};
use crate::plugins::report;
use crate::plugins::verdict::{Fate, LinkFate, Reason, protocol_error};

/// Runs the programs of a pipe, one or more, to their end.
pub async fn run(host: &Host, attempt: &Attempt<'_>, programs: Vec<Prepared>) -> AttemptEnd {
    let mut pipe = Pipe::new(attempt, programs);
    if let Err((n, cause)) = pipe.start(host).await {
        pipe.break_start(n, cause);
    }
    pipe.supervise().await;
    pipe.finish().await
}

/// What happens to a pipe.
enum Happening {
    Ended(usize, Ended),
    Link(usize, Option<LinkEnd>),
    /// The output of the last program is read to its end, or wrong.
    Output(Result<(), String>),
}

struct Pipe<'a> {
    attempt: &'a Attempt<'a>,
    programs: Vec<Prepared>,
    fates: Vec<Fate>,
    pids: Vec<Option<u32>>,
    running: Vec<Option<Running>>,
    relays: Vec<Option<Relay>>,
    ends: Vec<Option<LinkEnd>>,
    happenings: FuturesUnordered<BoxFuture<'static, Happening>>,
    /// Readers of standard error; aborted when dropped.
    readers: JoinSet<()>,
    /// When what still runs is asked to stop, how long it has then, and why.
    last_call: Option<(Instant, Duration, Reason)>,
    stopped: bool,
}

/// A program that has not ended.
struct Running {
    control: Box<dyn Control>,
    deadline: Option<Instant>,
    gone: CancellationToken,
}

/// A relay thread; told to leave when dropped.
struct Relay(relay::Control);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.order(Order::Abandon);
    }
}

impl<'a> Pipe<'a> {
    fn new(attempt: &'a Attempt<'a>, programs: Vec<Prepared>) -> Self {
        let fate = |p: &Prepared| Fate { plugin: p.plugin.clone(), ended: None, broken: None, ending: None };
        let count = programs.len();
        Self {
            attempt,
            fates: programs.iter().map(fate).collect(),
            programs,
            pids: vec![None; count],
            running: (0..count).map(|_| None).collect(),
            relays: (0..count).map(|_| None).collect(),
            ends: (0..count).map(|_| None).collect(),
            happenings: FuturesUnordered::new(),
            readers: JoinSet::new(),
            last_call: None,
            stopped: false,
        }
    }

    /// Until every program and every relay has ended.
    async fn supervise(&mut self) {
        let stop = self.attempt.stop.clone();
        let mut programs_gone = None;
        while !self.happenings.is_empty() {
            let all_ended = self.running.iter().all(Option::is_none);
            if all_ended && programs_gone.is_none() {
                programs_gone = Some(Instant::now() + CLOSE_GRACE);
            }
            let deadline = if all_ended { programs_gone } else { self.next_deadline() };
            tokio::select! {
                Some(happening) = self.happenings.next() => self.happened(happening),
                () = stop.cancelled(), if !self.stopped => self.stop(),
                () = until(deadline) => {
                    if all_ended {
                        self.abandon_closed_pipes();
                        programs_gone = Some(Instant::now() + CLOSE_GRACE);
                    } else {
                        self.on_time();
                    }
                }
            }
        }
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Ended(n, ended) => self.program_ended(n, ended),
            Happening::Link(n, Some(end)) => self.link_ended(n, end),
            Happening::Link(n, None) => {
                let cause = protocol_error(&self.fates[n].plugin, "its relay ended without a word", None);
                self.break_program(n, cause);
            }
            Happening::Output(Ok(())) => {}
            Happening::Output(Err(why)) => {
                let last = self.programs.len() - 1;
                self.break_program(last, protocol_error(&self.fates[last].plugin, &why, None));
            }
        }
    }

    fn program_ended(&mut self, n: usize, ended: Ended) {
        let at = Instant::now();
        if let Some(running) = self.running[n].take() {
            running.gone.cancel();
        }
        if let Some(relay) = &self.relays[n] {
            relay.0.order(Order::UpstreamGone);
        }
        if ended.survivors > 0 {
            self.programs[n].log.remark(format!("{} of its processes would not end", ended.survivors));
        }
        // one that ends well before its input does is noticed by the relay before it
        if ended.status != Status::Exit(0) {
            self.end_neighbours(n);
        }
        self.fates[n].ended = Some((ended, at));
    }

    fn link_ended(&mut self, n: usize, mut end: LinkEnd) {
        if let Outcome::BadLine(_, Fault::NotJson(_, Some(excerpt))) = &mut end.outcome {
            *excerpt = self.programs[n].redactor.redact(excerpt);
        }
        let bad = matches!(end.outcome, Outcome::BadLine(..) | Outcome::Broken(_));
        let closed = end.outcome == Outcome::DownstreamClosed;
        self.ends[n] = Some(end);
        if bad {
            let name = self.fates[n].plugin.clone();
            self.end_program(n, &Reason::Other(name), self.attempt.spec.grace);
            self.end_neighbours(n);
        } else if closed {
            // whether it ended or only stopped reading, the program after it is of no more use
            self.end_neighbours(n + 1);
        }
    }

    /// A program failed by something else than its end: it is ended.
    fn break_program(&mut self, n: usize, cause: Cause) {
        let fate = &mut self.fates[n];
        fate.broken.get_or_insert((cause, Instant::now()));
        let name = fate.plugin.clone();
        self.end_program(n, &Reason::Other(name), self.attempt.spec.grace);
        self.end_neighbours(n);
    }

    /// A program did not start: those that did have nothing to do.
    fn break_start(&mut self, n: usize, cause: Cause) {
        let reason = Reason::Other(self.fates[n].plugin.clone());
        self.fates[n].broken = Some((cause, Instant::now()));
        for other in 0..self.fates.len() {
            self.end_program(other, &reason, self.attempt.spec.grace);
        }
    }

    /// Nothing of what comes before a failed program is of use any more; but one that has closed its output already
    /// is ending, perhaps for a reason of its own that must not be lost. What comes after the failed one may finish
    /// what it was given.
    fn end_neighbours(&mut self, failed: usize) {
        let last = self.fates.len() - 1;
        let failed = failed.min(last);
        let reason = Reason::Other(self.fates[failed].plugin.clone());
        for n in 0..failed {
            let ending = |end: &LinkEnd| matches!(end.outcome, Outcome::Complete | Outcome::HalfLine(_));
            if !self.ends[n].as_ref().is_some_and(ending) {
                self.end_program(n, &reason, self.attempt.spec.grace);
            }
        }
        if self.last_call.is_none() {
            let patience = if failed == last { CLOSE_GRACE } else { DRAIN_GRACE };
            self.last_call = Some((Instant::now() + patience, self.attempt.spec.grace, reason));
        }
    }

    /// Nobody wants the pipe any more: the source is asked to stop, which ends the input of the others; who is still
    /// there after half of the grace is asked too, and killed at its end.
    fn stop(&mut self) {
        self.stopped = true;
        if let Some(relay) = &self.relays[0] {
            relay.0.order(Order::Finish);
        }
        let now = Instant::now();
        for n in 0..self.fates.len() {
            if self.running[n].is_some() && self.fates[n].ending.is_none() {
                self.fates[n].ending = Some((Reason::Stopped, now));
            }
        }
        self.end_program(0, &Reason::Stopped, self.attempt.spec.grace);
        let half = self.attempt.spec.grace / 2;
        self.last_call = Some((now + half, half, Reason::Stopped));
    }

    fn end_program(&mut self, n: usize, reason: &Reason, grace: Duration) {
        if let Some(running) = &mut self.running[n] {
            // it is being ended: running out of time no longer matters
            running.deadline = None;
            running.control.stop(grace);
            self.fates[n].ending.get_or_insert((reason.clone(), Instant::now()));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let own = self.running.iter().flatten().filter_map(|r| r.deadline);
        own.chain(self.last_call.as_ref().map(|(at, ..)| *at)).min()
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        for n in 0..self.running.len() {
            if self.running[n].as_ref().and_then(|r| r.deadline).is_some_and(|at| at <= now) {
                self.break_program(n, out_of_time(&self.programs[n]));
            }
        }
        if self.last_call.as_ref().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, grace, reason)) = self.last_call.take()
        {
            for n in 0..self.running.len() {
                self.end_program(n, &reason, grace);
            }
            // should one fail now, the others have been asked already
            self.last_call = Some((now + DRAIN_GRACE, grace, reason));
        }
    }

    /// Every program is gone, so every pipe should be at its end. A relay that hands bookmarks over waits for us.
    fn abandon_closed_pipes(&self) {
        let standing_alone = self.programs.len() == 1;
        for relay in self.relays.iter().flatten().filter(|_| !standing_alone) {
            relay.0.order(Order::Abandon);
        }
    }

    async fn finish(mut self) -> AttemptEnd {
        while self.readers.join_next().await.is_some() {}
        let links: Vec<Option<LinkFate>> = self
            .ends
            .iter()
            .map(|end| end.as_ref().map(|e| LinkFate { outcome: e.outcome.clone(), at: e.at }))
            .collect();
        for ((program, end), fate) in self.programs.iter().zip(&self.ends).zip(&self.fates) {
            end.iter().for_each(|end| report::remark_on(&end.tally, &program.log));
            report::remark_on_end(fate, &program.log);
            program.log.close();
        }
        report::of_pipe(&self.fates, &self.pids, &links, &self.ends)
    }
}

/// Until a time; for ever without one.
pub async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The cause of a program that ran longer than `limits.wall_time`.
pub fn out_of_time(program: &Prepared) -> Cause {
    let limit = program.limits.wall_time.unwrap_or_default();
    Cause::new(
        CauseKind::Timeout,
        format!("{} ran longer than limits.wall_time ({})", program.plugin, format_duration(limit)),
    )
    .with_detail(json!({"plugin": program.plugin, "wall_time_ms": u64::try_from(limit.as_millis()).ok()}))
}
