//! The runner: one supervised actor for each open execution. It compares what the execution's state says has to be
//! done with what runs here, and makes the difference go away: starts attempts, stops them, records their ends.
//! It keeps nothing that cannot be found again from events, so a runner (or node) that dies is simply started again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use jiff::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::aggregate::SubmitError;
use super::inspect::Probe;
use super::live::LiveAttempt;
use super::retry;
use super::services::{InternalRequest, Services};
use super::supervisor::{Child, SupervisorHandle};
use super::worker::Work;
use crate::domain::aggregate::Rejection;
use crate::domain::execution::{Action, Execution, ExecutionCommand, Phase};
use crate::domain::ids::{CommandId, CorrelationId, ExecutionId, Name, StreamId};
use crate::domain::outcome::{AttemptReport, Cause, CauseKind};
use crate::domain::pipeline::{OnConflict, Outcome, PipelineCommand};
use crate::ports::BoxFuture;
use crate::ports::plugin_host::AttemptEnd;

/// Starts a runner for an execution below `supervisor`.
pub(super) async fn start(
    services: Arc<Services>,
    supervisor: &SupervisorHandle,
    id: ExecutionId,
    correlation_id: CorrelationId,
) {
    let probe = supervisor.probe(&format!("runner-{id}"), "runner");
    let shared = Arc::clone(&probe);
    let spawn = Arc::new(move |supervisor| {
        let (services, probe) = (Arc::clone(&services), Arc::clone(&shared));
        let spawned: BoxFuture<'static, _> = Box::pin(async move {
            let runner = Runner { services, probe, id, stream: StreamId::execution(id), correlation_id };
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
}

enum RunnerMsg {
    /// Something may have changed.
    Reconcile,
    /// A worker is done.
    Ended { step: Name, attempt: u32, end: Box<AttemptEnd> },
}

#[derive(Default)]
struct State {
    live: HashMap<Name, LiveWorker>,
    /// Timers of retries that are set, by due time.
    timers: HashMap<Name, Timestamp>,
    /// Tells this actor of changes; ends with it.
    followers: Vec<Follower>,
    follows_pipeline: bool,
}

struct LiveWorker {
    attempt: u32,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for LiveWorker {
    fn drop(&mut self) {
        // a worker dies with its runner; dropping the host's future kills its programs
        self.task.abort();
    }
}

struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Actor for Runner {
    type Msg = RunnerMsg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<RunnerMsg>, (): ()) -> Result<State, ActorProcessingErr> {
        self.services.live.running.fetch_add(1, Relaxed);
        Ok(State::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<RunnerMsg>,
        message: RunnerMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        self.probe.enqueued();
        let _busy = self.probe.busy();
        if let RunnerMsg::Ended { step, attempt, end } = message {
            state.live.remove(&step);
            self.record_end(&step, attempt, *end).await;
        }
        self.reconcile(&myself, state).await
    }

    async fn post_stop(&self, _: ActorRef<RunnerMsg>, _: &mut State) -> Result<(), ActorProcessingErr> {
        self.services.live.running.fetch_sub(1, Relaxed);
        Ok(())
    }
}

impl Runner {
    async fn reconcile(
        &self,
        myself: &ActorRef<RunnerMsg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if self.services.draining.is_cancelled() && state.live.is_empty() {
            myself.stop(None);
            return Ok(());
        }
        let (execution, changes) = self.patient(|| self.services.executions.follow(&self.stream)).await?;
        if state.followers.is_empty() {
            state.followers.push(follow(changes.clone(), myself.clone()));
            state.followers.push(follow_draining(self.services.draining.clone(), myself.clone()));
        }
        if execution.phase == Some(Phase::Queued) && !execution.cancel_requested {
            return self.begin(myself, state, &execution).await;
        }
        for action in execution.actions() {
            self.act(myself, state, action, &execution, &changes).await?;
        }
        if execution.ended() && state.live.is_empty() {
            self.close(&execution).await?;
            myself.stop(None);
        }
        Ok(())
    }

    /// Begins the execution when its pipeline admits it; otherwise waits for a change of the pipeline.
    async fn begin(
        &self,
        myself: &ActorRef<RunnerMsg>,
        state: &mut State,
        execution: &Execution,
    ) -> Result<(), ActorProcessingErr> {
        if self.services.draining.is_cancelled() {
            return Ok(());
        }
        if let Some(pipeline) = &execution.pipeline {
            let stream = StreamId::pipeline(pipeline);
            let (pipeline, changes) = self.patient(|| self.services.pipelines.follow(&stream)).await?;
            if !state.follows_pipeline {
                state.follows_pipeline = true;
                state.followers.push(follow(changes, myself.clone()));
            }
            if !pipeline.admits(self.id) {
                let policy = pipeline.definition.as_ref().map(|d| d.concurrency.on_conflict);
                if policy == Some(OnConflict::Replace) {
                    self.replace(&pipeline.open).await;
                }
                return Ok(());
            }
        }
        let command = ExecutionCommand::Begin { node: self.services.node.clone() };
        self.command(command).await?;
        Ok(())
    }

    /// Cancels the executions before this one.
    async fn replace(&self, open: &[ExecutionId]) {
        for other in open.iter().take_while(|id| **id != self.id) {
            let request = InternalRequest::of(self.correlation_id);
            let stream = StreamId::execution(*other);
            let cancelled =
                self.services.command(&self.services.executions, &stream, ExecutionCommand::Cancel, request);
            if let Err(error) = cancelled.await {
                tracing::info!(execution = %other, %error, "the replaced execution was not cancelled");
            }
        }
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
            Action::Start { .. } if self.services.draining.is_cancelled() => Ok(()),
            Action::Start { step, due: Some(due), .. } if due > self.services.shared.clock.now() => {
                if state.timers.insert(step, due) != Some(due) {
                    let pause = due.duration_since(self.services.shared.clock.now());
                    let pause = pause.try_into().unwrap_or_default();
                    myself.send_after(pause, || RunnerMsg::Reconcile);
                }
                Ok(())
            }
            Action::Start { step, attempt, .. } if !state.live.contains_key(&step) => {
                let node = self.services.node.clone();
                self.command(ExecutionCommand::StartStep { step: step.clone(), attempt, node }).await?;
                let worker = self.work(myself, execution, changes.clone(), &step, attempt);
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

    fn work(
        &self,
        myself: &ActorRef<RunnerMsg>,
        execution: &Execution,
        changes: watch::Receiver<Arc<Execution>>,
        step: &Name,
        attempt: u32,
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
            live,
            cancel: cancel.clone(),
        };
        let (myself, step) = (myself.clone(), step.clone());
        let task = tokio::spawn(async move {
            // a panic in the worker is a failed attempt, not a failed runner
            let ran = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work.run())).await;
            drop(shown);
            let end = ran.unwrap_or_else(|_| AttemptEnd {
                cause: Some(Cause::new(
                    CauseKind::LostNode,
                    "the worker failed; the node's log has the details",
                )),
                report: AttemptReport::default(),
            });
            myself.cast(RunnerMsg::Ended { step, attempt, end: Box::new(end) }).unwrap_or_default();
        });
        Some(LiveWorker { attempt, cancel, task })
    }

    async fn record_end(&self, step: &Name, attempt: u32, end: AttemptEnd) {
        let command = ExecutionCommand::FinishAttempt {
            step: step.clone(),
            attempt,
            cause: end.cause,
            report: Box::new(end.report),
            fraction: self.services.shared.ids.fraction(),
        };
        if let Err(error) = self.command(command).await {
            tracing::warn!(execution = %self.id, %step, attempt, %error, "the end of an attempt was not recorded");
        }
    }

    /// Tells the pipeline that the execution has ended. The command id is derived from the execution's, so it
    /// happens once, whatever crashes in between.
    async fn close(&self, execution: &Execution) -> Result<(), SubmitError> {
        let (outcome, counter) = match execution.phase {
            Some(Phase::Completed) => (Outcome::Completed, &self.services.live.completed),
            Some(Phase::Cancelled) => (Outcome::Cancelled, &self.services.live.cancelled),
            _ => (Outcome::Failed, &self.services.live.failed),
        };
        if let Some(pipeline) = &execution.pipeline {
            let command =
                PipelineCommand::Complete { execution: self.id, outcome, cause: execution.cause.clone() };
            let id = Some(CommandId::derived(self.id.0, "complete-pipeline"));
            let request = InternalRequest { id, ..InternalRequest::of(self.correlation_id) };
            let stream = StreamId::pipeline(pipeline);
            self.patient(async || {
                self.services
                    .command(&self.services.pipelines, &stream, command.clone(), request.clone())
                    .await
            })
            .await?;
        }
        counter.fetch_add(1, Relaxed);
        Ok(())
    }

    /// While the store is away the runner waits: its execution cannot change meanwhile.
    async fn patient<T, F>(&self, attempt: impl Fn() -> F + Send + Sync) -> Result<T, SubmitError>
    where
        F: Future<Output = Result<T, SubmitError>> + Send,
    {
        retry::until_known(&self.services, "execution", attempt).await
    }

    async fn command(&self, command: ExecutionCommand) -> Result<(), SubmitError> {
        let submitted = self.patient(|| {
            let request = InternalRequest::of(self.correlation_id);
            self.services.command(&self.services.executions, &self.stream, command.clone(), request)
        });
        match submitted.await {
            // what is no longer to be done was decided by someone else: the state tells what is
            Ok(_) | Err(SubmitError::Rejected(Rejection::Stale(_))) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Sends a message for each change, until the state's owner or the runner is gone.
fn follow<T: Send + Sync + 'static>(
    mut changes: watch::Receiver<T>,
    runner: ActorRef<RunnerMsg>,
) -> Follower {
    Follower(tokio::spawn(async move {
        while changes.changed().await.is_ok() && runner.cast(RunnerMsg::Reconcile).is_ok() {}
    }))
}

/// Sends a message when the node begins to drain.
fn follow_draining(draining: CancellationToken, runner: ActorRef<RunnerMsg>) -> Follower {
    Follower(tokio::spawn(async move {
        draining.cancelled().await;
        runner.cast(RunnerMsg::Reconcile).unwrap_or_default();
    }))
}
