//! Programs that run on this node, be it for its own executions or for another node's: how much memory they are promised,
//! whether those of an attempt are gone, and the side of a conversation that runs them for the other node.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::remote::{Counts, Opening, Tell, Told, WORDS};
use crate::domain::codec::{from_bytes, to_bytes};
use crate::domain::ids::{ExecutionId, Name};
use crate::domain::outcome::{AttemptReport, Cause, CauseKind};
use crate::limits::REMOTE_PROGRESS;
use crate::ports::BoxFuture;
use crate::ports::plugin_host::{Asked, AttemptEnd, CallRefusal, Calls, PipeSpec, ProgramSpec, Progress};
use crate::runtime::admission::denied_by;
use crate::runtime::services::Services;

/// Attempts that are remembered as over; beyond that the memory begins anew, for it only guards against what is late.
const OVER: usize = 4_096;

/// What runs on this node.
#[derive(Debug, Default)]
pub struct Hosted(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    /// By execution, step and attempt: the memory promised, and whether it is for another node.
    running: HashMap<(ExecutionId, Name, u32), (u64, bool)>,
    /// The last attempt of a step that somebody was told to be gone: it must not begin any more.
    over: HashMap<(ExecutionId, Name), u32>,
}

impl Hosted {
    /// Begins to run an attempt; `None` when it was said to be gone. It has ended when the guard is dropped.
    pub(in crate::runtime) fn begin(self: &Arc<Self>, spec: &PipeSpec, foreign: bool) -> Option<Run> {
        let step = (spec.execution, spec.step.clone());
        let mut runs = self.runs();
        if runs.over.get(&step).is_some_and(|over| *over >= spec.attempt) {
            return None;
        }
        let key = (spec.execution, spec.step.clone(), spec.attempt);
        runs.running.insert(key.clone(), (memory_of(&spec.programs), foreign));
        Some(Run { hosted: Arc::clone(self), key })
    }

    /// Whether nothing of this attempt and those before it runs here, now and in future.
    pub(super) fn gone(&self, execution: ExecutionId, step: &Name, attempt: u32) -> bool {
        let mut runs = self.runs();
        if runs.over.len() >= OVER {
            runs.over.clear();
        }
        let over = runs.over.entry((execution, step.clone())).or_default();
        *over = attempt.max(*over);
        !runs.running.keys().any(|(id, name, n)| *id == execution && name == step && *n <= attempt)
    }

    /// The memory that is promised to what runs, bytes.
    pub(super) fn memory(&self) -> u64 {
        self.runs().running.values().fold(0, |sum, (memory, _)| sum.saturating_add(*memory))
    }

    /// How many attempts run here for other nodes.
    pub(in crate::runtime) fn foreign(&self) -> usize {
        self.runs().running.values().filter(|(_, foreign)| *foreign).count()
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that programs are promised together, bytes.
pub(super) fn memory_of(programs: &[ProgramSpec]) -> u64 {
    programs.iter().fold(0, |sum, program| sum.saturating_add(program.manifest.limits.memory.0))
}

/// An attempt that runs here.
pub(in crate::runtime) struct Run {
    hosted: Arc<Hosted>,
    key: (ExecutionId, Name, u32),
}

impl Drop for Run {
    fn drop(&mut self) {
        self.hosted.runs().running.remove(&self.key);
    }
}

/// Runs the programs of another node's attempt. When that node is no longer heard, they are killed: it records what they
/// reach, and without it they would work in vain beside the next attempt.
pub(super) async fn run_for_another(
    services: Arc<Services>,
    opening: Opening,
    mut heard: mpsc::Receiver<Bytes>,
    says: mpsc::Sender<Bytes>,
) {
    let calls = Arc::new(Asking { says: says.clone(), next: AtomicU64::new(0), open: DashMap::new() });
    let spec = opening.spec(Arc::clone(&calls) as _);
    let denied = spec.programs.iter().find_map(|program| denied_by(&services.policy, &program.manifest));
    let run = services.hosted.begin(&spec, true).filter(|_| !services.draining.is_cancelled());
    let end = match (denied, run) {
        (Some(cause), _) => Some(ended(cause)),
        (None, None) => Some(ended(shut_down(&services))),
        (None, Some(run)) => {
            let end = attend(&services, spec, &calls, &mut heard, &says).await;
            drop(run);
            end
        }
    };
    if let Some(end) = end {
        let _ = says.send(to_bytes(&Told::Ended { end: Box::new(end) })).await;
    }
}

/// Runs them and tells of them until they have ended; `None` when the other is no longer heard.
async fn attend(
    services: &Services,
    spec: PipeSpec,
    calls: &Asking,
    heard: &mut mpsc::Receiver<Bytes>,
    says: &mpsc::Sender<Bytes>,
) -> Option<AttemptEnd> {
    let (stop, progress) = (CancellationToken::new(), Arc::new(Progress::default()));
    let (events, mut told) = mpsc::channel(WORDS);
    let mut running = services.host.run(spec, events, Arc::clone(&progress), stop.clone());
    let mut tick = tokio::time::interval(REMOTE_PROGRESS);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shut = false;
    let mut end = loop {
        let said = tokio::select! {
            end = &mut running => break end,
            Some(event) = told.recv() => Told::Event { event },
            _ = tick.tick() => Told::Progress { counts: Counts::of(&progress) },
            () = services.draining.cancelled(), if !shut => {
                shut = true;
                stop.cancel();
                continue;
            }
            tell = heard.recv() => {
                match from_bytes(&tell?).ok()? {
                    Tell::Stop => stop.cancel(),
                    Tell::Answered { number, answer } => calls.answered(number, answer),
                }
                continue;
            }
        };
        says.send(to_bytes(&said)).await.ok()?;
    };
    while let Ok(event) = told.try_recv() {
        says.send(to_bytes(&Told::Event { event })).await.ok()?;
    }
    says.send(to_bytes(&Told::Progress { counts: Counts::of(&progress) })).await.ok()?;
    if shut && end.cause.as_ref().is_none_or(|cause| cause.kind == CauseKind::Cancelled) {
        end.cause = Some(shut_down(services));
    }
    Some(end)
}

fn shut_down(services: &Services) -> Cause {
    Cause::new(CauseKind::LostNode, format!("node {}, which ran its programs, was shut down", services.node))
}

fn ended(cause: Cause) -> AttemptEnd {
    AttemptEnd { cause: Some(cause), report: AttemptReport::default() }
}

/// Has calls answered by the node whose attempt it is.
#[derive(Debug)]
struct Asking {
    says: mpsc::Sender<Bytes>,
    next: AtomicU64,
    open: DashMap<u64, oneshot::Sender<Result<Value, CallRefusal>>>,
}

impl Asking {
    fn answered(&self, number: u64, answer: Result<Value, CallRefusal>) {
        if let Some((_, waits)) = self.open.remove(&number) {
            let _ = waits.send(answer);
        }
    }
}

impl Calls for Asking {
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<Value, CallRefusal>> {
        Box::pin(async move {
            let number = self.next.fetch_add(1, Relaxed);
            let (answer, answered) = oneshot::channel();
            self.open.insert(number, answer);
            let away = || CallRefusal::Failed("the node that answers calls is away".to_owned());
            let said = self.says.send(to_bytes(&Told::Asked { number, asked })).await;
            said.map_err(|_| away())?;
            answered.await.map_err(|_| away())?
        })
    }
}

/// A duration in whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[derive(Debug)]
    struct Nobody;

    impl Calls for Nobody {
        fn answer(&self, _: Asked) -> BoxFuture<'_, Result<Value, CallRefusal>> {
            Box::pin(std::future::ready(Err(CallRefusal::NotGranted)))
        }
    }

    fn spec(execution: ExecutionId, attempt: u32) -> PipeSpec {
        let step = Name::new("load").unwrap();
        let grace = Duration::ZERO;
        PipeSpec {
            execution,
            step,
            attempt,
            programs: Vec::new(),
            state: None,
            grace,
            calls: Arc::new(Nobody),
        }
    }

    #[test]
    fn what_was_said_to_be_gone_does_not_begin() {
        let hosted = Arc::new(Hosted::default());
        let (id, step) = (ExecutionId(Uuid::now_v7()), Name::new("load").unwrap());
        let first = hosted.begin(&spec(id, 1), true).expect("nothing was said of it");
        assert!(!hosted.gone(id, &step, 1) && hosted.foreign() == 1);
        drop(first);
        assert!(hosted.gone(id, &step, 1) && hosted.foreign() == 0);
        assert!(hosted.begin(&spec(id, 1), true).is_none(), "it came late");
        let second = hosted.begin(&spec(id, 2), false).expect("the next is another");
        assert!(hosted.gone(id, &step, 1) && !hosted.gone(id, &step, 2));
        drop(second);
    }
}
