//! What an execution can be asked to do, and what comes of it. Nothing here acts: [`Execution::actions`] says what
//! has to be running or started, and the runner makes it so.
//!
//! **S7:** from `ExecutionCancelRequested` on nothing is started. **S8:** a step has at most one live attempt.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::events::{
    ExecutionCancelRequested, ExecutionCancelled, ExecutionCompleted, ExecutionEvent, ExecutionFailed,
    ExecutionPaused, ExecutionResumed, ExecutionStarted, StepCompleted, StepFailed, StepRetryScheduled,
    StepSkipped, StepStarted,
};
use super::state::{Attempt, Execution, Phase, Readiness, StepPhase, StepState};
use crate::domain::aggregate::{Aggregate, Decision, Recorded, Rejection};
use crate::domain::ids::{Category, Name, StreamId, Version};
use crate::domain::outcome::{AttemptReport, Cause, CauseKind};

/// What an execution can be asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionCommand {
    /// Begin: its pipeline admitted it.
    Begin {
        /// The node that runs it.
        node: String,
    },
    /// Begin the next attempt of a step.
    StartStep {
        /// The step.
        step: Name,
        /// The attempt; another number than the next is refused.
        attempt: u32,
        /// The node that runs it.
        node: String,
    },
    /// An attempt ended, and everything it started is gone.
    FinishAttempt {
        /// The step.
        step: Name,
        /// The attempt.
        attempt: u32,
        /// Why it did not complete.
        cause: Option<Cause>,
        /// What was measured.
        report: Box<AttemptReport>,
        /// Random in 0..1, for the jitter of a retry.
        fraction: f64,
    },
    /// Start nothing any more and end what runs.
    Cancel,
    /// Start nothing new until resumed.
    Pause,
    /// Go on.
    Resume,
}

/// What the runner has to do for an execution in its present state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Record and run an attempt.
    Start {
        /// The step.
        step: Name,
        /// The attempt.
        attempt: u32,
        /// Not before.
        due: Option<Timestamp>,
    },
    /// This attempt is recorded as running: make sure that it does, or that its loss is recorded.
    Keep {
        /// The step.
        step: Name,
        /// The attempt.
        attempt: u32,
    },
    /// End this attempt's programs, if any run.
    Stop {
        /// The step.
        step: Name,
        /// The attempt.
        attempt: u32,
    },
}

impl Aggregate for Execution {
    type Command = ExecutionCommand;
    type Event = ExecutionEvent;
    const CATEGORY: Category = Category::Execution;
    const SHAPE: u32 = 1;

    fn decide(
        &self,
        command: ExecutionCommand,
        now: Timestamp,
    ) -> Result<Decision<ExecutionEvent>, Rejection> {
        let Some(phase) = self.phase else { return Err(Rejection::NotFound) };
        let events = match command {
            ExecutionCommand::Begin { node } => self.begin(phase, node),
            ExecutionCommand::StartStep { step, attempt, node } => {
                self.start_step(phase, step, attempt, node)?
            }
            ExecutionCommand::FinishAttempt { step, attempt, cause, report, fraction } => {
                self.finish_attempt(&step, attempt, cause, *report, now, fraction)
            }
            ExecutionCommand::Cancel => self.cancel(phase)?,
            ExecutionCommand::Pause => self.pause(phase)?,
            ExecutionCommand::Resume => self.resume(phase)?,
        };
        let events = self.with_consequences(events, now);
        let mut decision = Decision::events(events);
        // a stand-alone execution has nothing left to do once it has ended; that of a pipeline is closed by the pipeline
        if let (Some(id), true) =
            (self.id.filter(|_| self.plugin.is_some()), decision.events.iter().any(is_terminal))
        {
            decision.wakeups = vec![(StreamId::execution(id), None)];
        }
        Ok(decision)
    }

    fn apply(&mut self, event: &ExecutionEvent, recorded: Recorded) {
        self.change(event, recorded);
    }
}

impl Execution {
    /// What has to be done now; empty once it has ended.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        self.steps.iter().filter_map(|step| self.action(step)).collect()
    }

    fn action(&self, state: &StepState) -> Option<Action> {
        let step = state.step.name.clone();
        let attempt = state.attempts.last().map_or(0, |a| a.number);
        let may_start = self.phase == Some(Phase::Running) && !self.cancel_requested;
        match state.phase {
            StepPhase::Running if self.cancel_requested => Some(Action::Stop { step, attempt }),
            StepPhase::Running => Some(Action::Keep { step, attempt }),
            StepPhase::Retrying { due } if may_start => {
                Some(Action::Start { step, attempt: attempt + 1, due: Some(due) })
            }
            StepPhase::Waiting if may_start && self.readiness(&state.step) == Readiness::Ready => {
                Some(Action::Start { step, attempt: 1, due: None })
            }
            _ => None,
        }
    }

    fn begin(&self, phase: Phase, node: String) -> Vec<ExecutionEvent> {
        if phase == Phase::Queued && !self.cancel_requested {
            vec![ExecutionStarted { node }.into()]
        } else {
            Vec::new()
        }
    }

    fn start_step(
        &self,
        phase: Phase,
        step: Name,
        attempt: u32,
        node: String,
    ) -> Result<Vec<ExecutionEvent>, Rejection> {
        let state = self.step(&step).ok_or(Rejection::NotFound)?;
        let next = matches!(self.action(state), Some(Action::Start { attempt: next, .. }) if next == attempt);
        if phase != Phase::Running || !next {
            return Err(Rejection::Stale(format!(
                "attempt {attempt} of step {step} is not to be started now"
            )));
        }
        Ok(vec![StepStarted { step, attempt, node }.into()])
    }

    fn finish_attempt(
        &self,
        step: &Name,
        attempt: u32,
        cause: Option<Cause>,
        report: AttemptReport,
        now: Timestamp,
        fraction: f64,
    ) -> Vec<ExecutionEvent> {
        let running = |s: &&StepState| {
            s.phase == StepPhase::Running && s.attempts.last().is_some_and(|a| a.number == attempt)
        };
        let Some(state) = self.step(step).filter(running) else { return Vec::new() };
        let step = step.clone();
        let Some(cause) = cause else { return vec![StepCompleted { step, attempt, report }.into()] };
        if self.cancel_requested {
            let cause = Cause::new(CauseKind::Cancelled, "the execution was cancelled");
            return vec![StepFailed { step, attempt, cause, report }.into()];
        }
        let is_lost = |a: &&Attempt| a.cause.as_ref().is_some_and(|c| c.kind == CauseKind::LostNode);
        let lost =
            state.attempts.iter().filter(is_lost).count() + usize::from(cause.kind == CauseKind::LostNode);
        let counted = state.attempts.len() - lost;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let pause = state.step.retry.pause(cause.kind, count(counted), count(lost), fraction);
        match pause.and_then(|pause| SignedDuration::try_from(pause).ok()) {
            Some(pause) => vec![StepRetryScheduled { step, attempt, cause, report, due: now + pause }.into()],
            None => vec![StepFailed { step, attempt, cause, report }.into()],
        }
    }

    fn cancel(&self, phase: Phase) -> Result<Vec<ExecutionEvent>, Rejection> {
        if phase.ended() {
            return Err(self.over(phase));
        }
        Ok(if self.cancel_requested { Vec::new() } else { vec![ExecutionCancelRequested {}.into()] })
    }

    fn pause(&self, phase: Phase) -> Result<Vec<ExecutionEvent>, Rejection> {
        match phase {
            ended if ended.ended() || self.cancel_requested => Err(self.over(ended)),
            Phase::Paused => Ok(Vec::new()),
            _ => Ok(vec![ExecutionPaused {}.into()]),
        }
    }

    fn resume(&self, phase: Phase) -> Result<Vec<ExecutionEvent>, Rejection> {
        match phase {
            ended if ended.ended() || self.cancel_requested => Err(self.over(ended)),
            Phase::Paused => Ok(vec![ExecutionResumed {}.into()]),
            _ => Ok(Vec::new()),
        }
    }

    /// It has ended, or a cancel, which is final, was asked for.
    fn over(&self, phase: Phase) -> Rejection {
        let id = self.id.map(|id| id.to_string()).unwrap_or_default();
        let past = match phase {
            Phase::Completed => "has already completed",
            Phase::Failed => "has already failed",
            Phase::Cancelled => "has already been cancelled",
            Phase::Queued | Phase::Running | Phase::Paused => "is being cancelled",
        };
        Rejection::WrongState(format!("execution {id} {past}: start another"))
    }

    /// Adds what follows at once from `events`: steps that can never run are skipped, and the execution ends when
    /// all its steps have, or when it was cancelled and nothing of it runs.
    fn with_consequences(&self, mut events: Vec<ExecutionEvent>, now: Timestamp) -> Vec<ExecutionEvent> {
        if events.is_empty() {
            return events;
        }
        let recorded = Recorded { version: Version(0), at: now };
        let mut after = self.clone();
        events.iter().for_each(|event| after.change(event, recorded));
        if !after.cancel_requested {
            while let Some(skipped) = after.next_skipped() {
                after.change(&skipped, recorded);
                events.push(skipped);
            }
        }
        events.extend(after.terminal());
        events
    }

    fn next_skipped(&self) -> Option<ExecutionEvent> {
        let never =
            |s: &&StepState| s.phase == StepPhase::Waiting && self.readiness(&s.step) == Readiness::Never;
        let state = self.steps.iter().find(never)?;
        let before: Vec<String> = state
            .step
            .depends_on
            .iter()
            .filter_map(|name| self.step(name))
            .map(|s| format!("{} {}", s.step.name, s.phase.as_str()))
            .collect();
        Some(StepSkipped { step: state.step.name.clone(), reason: before.join(", ") }.into())
    }

    fn terminal(&self) -> Option<ExecutionEvent> {
        if self.ended() {
            return None;
        }
        let (usage, records) = (self.usage(), self.records());
        if self.cancel_requested {
            let runs = self.steps.iter().any(|s| s.phase == StepPhase::Running);
            return (!runs).then(|| ExecutionCancelled { usage, records }.into());
        }
        if !self.steps.iter().all(|s| s.phase.ended()) {
            return None;
        }
        let failed = self.steps.iter().find(|s| matches!(s.phase, StepPhase::Failed | StepPhase::Cancelled));
        Some(match failed.and_then(|s| s.attempts.last()).and_then(|a| a.cause.clone()) {
            Some(cause) => ExecutionFailed { cause, usage, records }.into(),
            None => ExecutionCompleted { usage, records }.into(),
        })
    }
}

/// Whether an event is one of the three that end an execution; each execution has exactly one.
const fn is_terminal(event: &ExecutionEvent) -> bool {
    matches!(
        event,
        ExecutionEvent::ExecutionCompleted(_)
            | ExecutionEvent::ExecutionFailed(_)
            | ExecutionEvent::ExecutionCancelled(_)
    )
}
