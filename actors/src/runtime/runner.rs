//! The runner: one supervised actor for each open execution. It compares what the execution's state says has to be
//! done with what runs here, and makes the difference go away: starts attempts, stops them, records their ends.
//! It keeps nothing that cannot be found again from events, so a runner (or node) that dies is simply started again. It
//! runs on the node that owns the execution, and speaks with no other node's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::admission::Permits;
use super::aggregate::SubmitError;
use super::cluster::Place;
use super::follow::{Follower, follow, follow_admission, follow_stop};
use super::inspect::Probe;
use super::live::{Alive, LiveAttempt, Shown};
use super::retry;
use super::services::{InternalRequest, Services};
use super::supervisor::{Child, SupervisorHandle};
use super::worker::Work;
use crate::domain::aggregate::Rejection;
use crate::domain::execution::{Action, Execution, ExecutionCommand, Phase};
use crate::domain::ids::{CorrelationId, ExecutionId, Name, StreamId};
use crate::domain::outcome::{AttemptReport, Cause, CauseKind};
use crate::domain::pipeline::{Pipeline, Step};
use crate::domain::plugin::AttemptId;
use crate::limits::WAIT_POLL;
use crate::ports::BoxFuture;
use crate::ports::plugin_host::AttemptEnd;

/// Starts a runner for an execution below `supervisor`; does nothing when it has one.
pub(super) async fn start(
    services: Arc<Services>,
    supervisor: &SupervisorHandle,
    id: ExecutionId,
    correlation_id: CorrelationId,
) {
    let stop = services.draining.child_token();
    let Some(claim) = services.live.claim(id, stop.clone()) else { return };
    let probe = supervisor.probe(&format!("runner-{id}"), "runner");
    let shared = Arc::clone(&probe);
    let spawn = Arc::new(move |supervisor| {
        // the supervisor drops this closure, and the claim with it, when it forgets the runner
        let _ = &claim;
        let (services, probe, stop) = (Arc::clone(&services), Arc::clone(&shared), stop.clone());
        let spawned: BoxFuture<'static, _> = Box::pin(async move {
            let stream = StreamId::execution(id);
            let runner = Runner { services, probe, id, stream, correlation_id, stop };
            let (actor, _) = Actor::spawn_linked(None, runner, (), supervisor).await?;
            actor.cast(RunnerMsg::Reconcile).unwrap_or_default();
            Ok(actor.get_cell())
        });
        spawned
    });
    supervisor.start(Child { probe, spawn }).await;
}

struct Runner {
    services: Arc<Services>,
    probe: Arc<Probe>,
    id: ExecutionId,
    stream: StreamId,
    correlation_id: CorrelationId,
    /// Cancelled when the node drains or the execution goes on at another: nothing new is started.
    stop: CancellationToken,
}

pub(super) enum RunnerMsg {
    /// Something may have changed.
    Reconcile,
    /// The timer of a step's retry fired.
    Due(Name),
    /// A worker is done.
    Ended { step: Name, attempt: u32, end: Box<AttemptEnd> },
}

struct State {
    _alive: Alive,
    live: HashMap<Name, LiveWorker>,
    /// Steps for which there is no node yet.
    unplaced: HashMap<Name, Shown>,
    /// Timers of retries.
    timers: HashMap<Name, Timer>,
    /// Tells this actor of changes; ends with it.
    followers: Vec<Follower>,
    /// The pipeline's state as of its last change, while the execution waits to begin.
    pipeline: Option<watch::Receiver<Arc<Pipeline>>>,
}

struct Timer {
    due: Timestamp,
    /// It has run out: the retry is due, whatever the clock says.
    fired: bool,
}

struct LiveWorker {
    attempt: u32,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl State {
    /// Whether a retry that was to be started at `due` may start.
    fn is_due(&self, step: &Name, due: Timestamp, now: Timestamp) -> bool {
        due <= now || self.timers.get(step).is_some_and(|timer| timer.fired && timer.due == due)
    }
}

impl Drop for LiveWorker {
    fn drop(&mut self) {
        // a worker dies with its runner; dropping the host's future kills its programs
        self.task.abort();
    }
}

impl Actor for Runner {
    type Msg = RunnerMsg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<RunnerMsg>, (): ()) -> Result<State, ActorProcessingErr> {
        Ok(State {
            _alive: self.services.live.alive(),
            live: HashMap::new(),
            unplaced: HashMap::new(),
            timers: HashMap::new(),
            followers: Vec::new(),
            pipeline: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<RunnerMsg>,
        message: RunnerMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        self.probe.enqueued();
        let _busy = self.probe.busy();
        match message {
            RunnerMsg::Reconcile => {}
            RunnerMsg::Due(step) => {
                if let Some(timer) = state.timers.get_mut(&step) {
                    timer.fired = true;
                }
            }
            RunnerMsg::Ended { step, attempt, end } => {
                state.live.remove(&step);
                self.record_end(&step, attempt, *end).await;
            }
        }
        match self.reconcile(&myself, state).await {
            // another node owns the execution now, and runs it
            Err(error) if error.downcast_ref() == Some(&SubmitError::Fenced) => {
                myself.stop(None);
                Ok(())
            }
            done => done,
        }
    }
}

impl Runner {
    async fn reconcile(
        &self,
        myself: &ActorRef<RunnerMsg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if self.stop.is_cancelled() && state.live.is_empty() {
            myself.stop(None);
            return Ok(());
        }
        let (execution, changes) =
            self.patient(|| self.services.executions.follow_here(&self.stream)).await?;
        if state.followers.is_empty() {
            state.followers.push(follow(changes.clone(), myself.clone()));
            state.followers.push(follow_stop(self.stop.clone(), myself.clone()));
        }
        if execution.phase == Some(Phase::Queued) && !execution.cancel_requested {
            return self.begin(myself, state, &execution).await;
        }
        for action in execution.actions() {
            self.act(myself, state, action, &execution, &changes).await?;
        }
        if execution.ended() && state.live.is_empty() {
            self.close(&execution);
            myself.stop(None);
        }
        Ok(())
    }

    /// Begins the execution when its pipeline admits it; otherwise waits until the pipeline's changes concern it.
    async fn begin(
        &self,
        myself: &ActorRef<RunnerMsg>,
        state: &mut State,
        execution: &Execution,
    ) -> Result<(), ActorProcessingErr> {
        if self.stop.is_cancelled() {
            return Ok(());
        }
        if let Some(pipeline) = &execution.pipeline {
            if state.pipeline.is_none() {
                let stream = StreamId::pipeline(pipeline);
                let (_, changes) = self.patient(|| self.services.pipelines.follow(&stream)).await?;
                state.followers.push(follow_admission(changes.clone(), self.id, myself.clone()));
                state.pipeline = Some(changes);
            }
            // looked at, not asked: with many that wait, each question would fill the pipeline's mailbox
            let pipeline = state.pipeline.as_ref().map(|changes| Arc::clone(&changes.borrow()));
            if let Some(pipeline) = pipeline.filter(|pipeline| !pipeline.admits(self.id)) {
                if !self.replace(pipeline.replaced_by(self.id)).await {
                    myself.send_after(WAIT_POLL, || RunnerMsg::Reconcile);
                }
                return Ok(());
            }
        }
        let command = ExecutionCommand::Begin { node: self.services.node.clone() };
        self.command(command).await?;
        Ok(())
    }

    /// Cancels executions that this one replaces; false when that has to be tried again.
    async fn replace(&self, replaced: &[ExecutionId]) -> bool {
        let mut done = true;
        for other in replaced {
            let request = InternalRequest::of(self.correlation_id);
            let stream = StreamId::execution(*other);
            let cancelled =
                self.services.command(&self.services.executions, &stream, ExecutionCommand::Cancel, request);
            if let Err(error) = cancelled.await {
                // one that has just ended refuses, which is as good
                done &= !matches!(error, SubmitError::Unavailable(_) | SubmitError::Overloaded);
                tracing::info!(execution = %other, %error, "the replaced execution was not cancelled");
            }
        }
        done
    }

    fn now(&self) -> Timestamp {
        self.services.shared.clock.now()
    }

    async fn act(
        &self,
        myself: &ActorRef<RunnerMsg>,
        state: &mut State,
        action: Action,
        execution: &Execution,
        changes: &watch::Receiver<Arc<Execution>>,
    ) -> Result<(), SubmitError> {
        match action {
            Action::Start { .. } if self.stop.is_cancelled() => Ok(()),
            Action::Start { step, due: Some(due), .. } if !state.is_due(&step, due, self.now()) => {
                if state.timers.get(&step).is_none_or(|timer| timer.due != due) {
                    state.timers.insert(step.clone(), Timer { due, fired: false });
                    // by the clock of the node that recorded it, which may be another's and go wrong
                    let longest = execution.step(&step).map(|state| state.step.retry.longest_pause());
                    let pause = Duration::try_from(due.duration_since(self.now())).unwrap_or_default();
                    let pause = pause.min(longest.unwrap_or_default());
                    myself.send_after(pause, || RunnerMsg::Due(step));
                }
                Ok(())
            }
            Action::Start { step, attempt, .. } if !state.live.contains_key(&step) => {
                let Some(place) = self.place(myself, state, execution, &step).await else { return Ok(()) };
                let node = match &place {
                    Place::Here => self.services.node.clone(),
                    Place::At(member) => member.name.to_string(),
                };
                let start = ExecutionCommand::StartStep { step: step.clone(), attempt, node };
                if !self.command(start).await? {
                    return Ok(());
                }
                let worker = self.work(myself, execution, changes.clone(), &step, attempt, place);
                if let Some(worker) = worker {
                    state.live.insert(step, worker);
                }
                Ok(())
            }
            Action::Start { .. } => Ok(()),
            Action::Keep { step, attempt } | Action::Stop { step, attempt }
                if state.live.get(&step).is_none_or(|w| w.attempt != attempt) =>
            {
                let cause = Cause::new(CauseKind::LostNode, "the node or worker that ran it is gone");
                let end = AttemptEnd { cause: Some(cause), report: AttemptReport::default() };
                if let Some(lost) = execution.step(&step) {
                    // its programs may run elsewhere, until it is seen there that nobody listens
                    let at =
                        lost.attempts.last().and_then(|last| self.services.shared.cluster.other(&last.node));
                    if let Some(at) = at {
                        self.services.shared.cluster.until_gone(&at, self.id, &step, attempt).await;
                    }
                    // a worker that was torn down has given nothing back
                    self.attempt(&lost.step, attempt).give_back_all(&end).await;
                }
                self.record_end(&step, attempt, end).await;
                Ok(())
            }
            Action::Keep { .. } => Ok(()),
            Action::Stop { step, .. } => {
                state.live.get(&step).into_iter().for_each(|worker| worker.cancel.cancel());
                Ok(())
            }
        }
    }

    /// Where a step's programs are to run; `None` while they can nowhere, which is looked at again.
    async fn place(
        &self,
        myself: &ActorRef<RunnerMsg>,
        state: &mut State,
        execution: &Execution,
        step: &Name,
    ) -> Option<Place> {
        let pipe = &execution.step(step)?.step.pipe;
        match self.services.place(pipe).await {
            Ok(place) => {
                state.unplaced.remove(step);
                Some(place)
            }
            Err(what) => {
                let plugins = pipe.iter().map(|program| program.plugin.clone());
                let waits = Arc::new(LiveAttempt::unplaced(plugins, what));
                state.unplaced.insert(step.clone(), self.services.live.show(self.id, step, &waits));
                myself.send_after(WAIT_POLL, || RunnerMsg::Reconcile);
                None
            }
        }
    }

    fn work(
        &self,
        myself: &ActorRef<RunnerMsg>,
        execution: &Execution,
        changes: watch::Receiver<Arc<Execution>>,
        step: &Name,
        attempt: u32,
        place: Place,
    ) -> Option<LiveWorker> {
        let definition = execution.step(step)?.step.clone();
        let cancel = CancellationToken::new();
        let live = Arc::new(LiveAttempt::new(definition.pipe.iter().map(|p| p.plugin.clone())));
        let shown = self.services.live.show(self.id, step, &live);
        let work = Work {
            services: Arc::clone(&self.services),
            execution: changes,
            id: self.id,
            correlation_id: self.correlation_id,
            step: definition,
            attempt,
            place,
            live,
            cancel: cancel.clone(),
        };
        let (myself, step) = (myself.clone(), step.clone());
        let held = self.attempt(&work.step, attempt);
        let task = tokio::spawn(async move {
            // a panic in the worker is a failed attempt, not a failed runner
            let ran = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work.run())).await;
            drop(shown);
            let end = match ran {
                Ok(end) => end,
                Err(_) => {
                    let why = "the worker failed; the node's log has the details";
                    let cause = Some(Cause::new(CauseKind::LostNode, why));
                    let end = AttemptEnd { cause, report: AttemptReport::default() };
                    held.give_back_all(&end).await;
                    end
                }
            };
            myself.cast(RunnerMsg::Ended { step, attempt, end: Box::new(end) }).unwrap_or_default();
        });
        Some(LiveWorker { attempt, cancel, task })
    }

    /// What an attempt may hold of plugins.
    fn attempt(&self, step: &Step, attempt: u32) -> Permits {
        Permits {
            services: Arc::clone(&self.services),
            correlation_id: self.correlation_id,
            attempt: AttemptId { execution: self.id, step: step.name.clone(), attempt },
            plugins: step.pipe.iter().map(|program| program.plugin.clone()).collect(),
        }
    }

    async fn record_end(&self, step: &Name, attempt: u32, end: AttemptEnd) {
        let finish = |cause, report| ExecutionCommand::FinishAttempt {
            step: step.clone(),
            attempt,
            cause,
            report: Box::new(report),
            fraction: self.services.shared.ids.fraction(),
        };
        let programs = end.report.programs.clone();
        let mut recorded = self.command(finish(end.cause, end.report)).await;
        // unrecorded it would count as lost and be run again and again, each time with the same end
        if let Err(SubmitError::Rejected(Rejection::Invalid(problems))) = &recorded {
            let why = format!("what step {step} reported cannot be recorded: {problems}");
            let report = AttemptReport { programs, ..AttemptReport::default() };
            recorded = self.command(finish(Some(Cause::new(CauseKind::ProtocolError, why)), report)).await;
        }
        if let Err(error) = recorded {
            tracing::warn!(execution = %self.id, %step, attempt, %error, "the end of an attempt was not recorded");
        }
    }

    /// Counts the end. The pipeline learns of it by a reaction to the event.
    fn close(&self, execution: &Execution) {
        let counter = match execution.phase {
            Some(Phase::Completed) => &self.services.live.completed,
            Some(Phase::Cancelled) => &self.services.live.cancelled,
            _ => &self.services.live.failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// While the store is away the runner waits: its execution cannot change meanwhile.
    async fn patient<T, F>(&self, attempt: impl Fn() -> F + Send + Sync) -> Result<T, SubmitError>
    where
        F: Future<Output = Result<T, SubmitError>> + Send,
    {
        retry::until_known(&self.services, "execution", attempt).await
    }

    /// Submits a command to the execution; false when it was refused as stale.
    async fn command(&self, command: ExecutionCommand) -> Result<bool, SubmitError> {
        let submitted = self.patient(|| {
            let request = InternalRequest::of(self.correlation_id);
            let submission = self.services.submission(command.clone(), request);
            // only while this node owns the execution: another one's runner would do the same
            self.services.executions.submit_here(&self.stream, submission)
        });
        match submitted.await {
            // what is no longer to be done was decided by someone else: the state tells what is
            Ok(_) => Ok(true),
            Err(SubmitError::Rejected(Rejection::Stale(_))) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
