//! Has another node run the programs of an attempt. The owner of the execution goes on to record: permits, bookmarks and the
//! end are its own; the other tells what its programs do, and answers nothing for them. Never in here: which node.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Cluster;
use super::hosting::millis;
use crate::domain::codec::{from_bytes, to_bytes};
use crate::domain::ids::{ExecutionId, Name};
use crate::domain::outcome::{AttemptReport, Cause, CauseKind};
use crate::limits::{GONE_AGAIN, MAX_PEER_MESSAGE};
use crate::ports::cluster::{Member, PeerError};
use crate::ports::plugin_host::{
    Asked, AttemptEnd, CallRefusal, Calls, HostEvent, PipeSpec, ProgramSpec, Progress,
};

/// Words of either side that may wait for the other.
pub(super) const WORDS: usize = 64;

/// What a conversation about an attempt begins with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opening {
    execution: ExecutionId,
    step: Name,
    attempt: u32,
    /// References to secrets travel, never their values: the node that runs the programs reveals them.
    programs: Vec<ProgramSpec>,
    state: Option<Value>,
    grace_ms: u64,
}

impl Opening {
    fn of(spec: &PipeSpec) -> Self {
        Self {
            execution: spec.execution,
            step: spec.step.clone(),
            attempt: spec.attempt,
            programs: spec.programs.clone(),
            state: spec.state.clone(),
            grace_ms: millis(spec.grace),
        }
    }

    /// What is to be run, its calls answered so.
    pub(super) fn spec(self, calls: Arc<dyn Calls>) -> PipeSpec {
        let Self { execution, step, attempt, programs, state, grace_ms } = self;
        PipeSpec { execution, step, attempt, programs, state, grace: Duration::from_millis(grace_ms), calls }
    }
}

/// What the node that runs the programs says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Told {
    /// Something happened.
    Event { event: HostEvent },
    /// So far they have come.
    Progress { counts: Counts },
    /// A program makes a call.
    Asked { number: u64, asked: Asked },
    /// Everything has ended and is gone.
    Ended { end: Box<AttemptEnd> },
}

/// What the owner of the execution says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Tell {
    /// The programs are to end in an orderly way.
    Stop,
    /// The answer to a call.
    Answered { number: u64, answer: Result<Value, CallRefusal> },
}

/// The counters of [`Progress`] at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Counts {
    records: u64,
    bytes: u64,
    upstream_ms: u64,
    downstream_ms: u64,
    fill_per_mille: u64,
}

impl Counts {
    pub(super) fn of(progress: &Progress) -> Self {
        Self {
            records: Progress::get(&progress.records),
            bytes: Progress::get(&progress.bytes),
            upstream_ms: Progress::get(&progress.upstream_ms),
            downstream_ms: Progress::get(&progress.downstream_ms),
            fill_per_mille: Progress::get(&progress.fill_per_mille),
        }
    }

    fn show(&self, progress: &Progress) {
        progress.records.store(self.records, Relaxed);
        progress.bytes.store(self.bytes, Relaxed);
        progress.upstream_ms.store(self.upstream_ms, Relaxed);
        progress.downstream_ms.store(self.downstream_ms, Relaxed);
        progress.fill_per_mille.store(self.fill_per_mille, Relaxed);
    }
}

impl Cluster {
    /// Has a member run the programs of an attempt, as [`PluginHost::run`](crate::ports::PluginHost::run) does here. When the
    /// member is lost, this returns when it says that nothing of the attempt runs there, or when its lease has run out:
    /// its programs are stopped before that.
    pub(in crate::runtime) async fn run_at(
        &self,
        to: &Member,
        spec: PipeSpec,
        events: mpsc::Sender<HostEvent>,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> AttemptEnd {
        let opening = to_bytes(&Opening::of(&spec));
        if opening.len() > MAX_PEER_MESSAGE {
            let large = format!(
                "its configuration is larger than the {MAX_PEER_MESSAGE} bytes that can be sent to node {}, which is to run it",
                to.name
            );
            return ended(Cause::new(CauseKind::StartFailed, large));
        }
        let (say, said) = mpsc::channel(WORDS);
        let end = match self.peers.talk(to, opening, said).await {
            Ok(heard) => self.listen(to, heard, say, &*spec.calls, &events, &progress, &stop).await,
            Err(PeerError::Unreachable(_)) => {
                return ended(Cause::new(
                    CauseKind::LostNode,
                    format!("node {}, which was to run it, cannot be reached", to.name),
                ));
            }
            Err(PeerError::Lost(_)) => None,
        };
        if let Some(end) = end {
            return end;
        }
        tracing::warn!(execution = %spec.execution, step = %spec.step, node = %to.name, "a node that runs programs for this one was lost");
        self.until_gone(to, spec.execution, &spec.step, spec.attempt).await;
        ended(Cause::new(CauseKind::LostNode, format!("node {}, which ran its programs, was lost", to.name)))
    }

    /// Hears what a member says until the attempt has ended; `None` when the member is lost.
    #[expect(clippy::too_many_arguments, reason = "the two ends of a conversation, each with what it needs")]
    async fn listen(
        &self,
        to: &Member,
        mut heard: mpsc::Receiver<Bytes>,
        say: mpsc::Sender<Bytes>,
        calls: &dyn Calls,
        events: &mpsc::Sender<HostEvent>,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Option<AttemptEnd> {
        let (mut answers, mut changes) = (FuturesUnordered::new(), self.shards.changes());
        let mut stopped = false;
        loop {
            // what a member says whose lease has run out moves nothing any more (S9)
            if !self.lives(to.incarnation) {
                return None;
            }
            tokio::select! {
                told = heard.recv() => match from_bytes(&told?).ok()? {
                    // the worker goes on to its end
                    Told::Event { event } => drop(events.send(event).await),
                    Told::Progress { counts } => counts.show(progress),
                    Told::Asked { number, asked } => answers.push(async move { (number, calls.answer(asked).await) }),
                    Told::Ended { end } => return Some(*end),
                },
                Some((number, answer)) = answers.next(), if !answers.is_empty() => {
                    say.send(to_bytes(&Tell::Answered { number, answer })).await.ok()?;
                }
                () = stop.cancelled(), if !stopped => {
                    stopped = true;
                    say.send(to_bytes(&Tell::Stop)).await.ok()?;
                }
                _ = changes.changed() => {}
            }
        }
    }

    /// Returns when nothing of an attempt runs at a member any more (S8).
    pub(in crate::runtime) async fn until_gone(
        &self,
        at: &Member,
        execution: ExecutionId,
        step: &Name,
        attempt: u32,
    ) {
        while self.lives(at.incarnation) && !self.superseded.is_cancelled() {
            if self.is_gone(at, execution, step, attempt).await {
                return;
            }
            self.look();
            tokio::time::sleep(GONE_AGAIN).await;
        }
    }
}

fn ended(cause: Cause) -> AttemptEnd {
    AttemptEnd { cause: Some(cause), report: AttemptReport::default() }
}
