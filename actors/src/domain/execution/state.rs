//! The state of an execution: its step graph and how events change it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::events::{ExecutionEvent, ExecutionQueued};
use crate::domain::aggregate::Recorded;
use crate::domain::ids::{ExecutionId, Name, Version};
use crate::domain::outcome::{AttemptReport, Cause, CauseKind, Usage};
use crate::domain::pipeline::{Step, When};

/// An execution; the default is one that does not exist. A changed shape, or a changed meaning of an event, is a new
/// [`SHAPE`](crate::domain::aggregate::Aggregate::SHAPE).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// Its id.
    pub id: Option<ExecutionId>,
    /// The pipeline it runs.
    pub pipeline: Option<Name>,
    /// The plugin it runs alone.
    pub plugin: Option<Name>,
    /// The pipeline's revision.
    pub revision: Option<u64>,
    /// Its parameters.
    pub parameters: Map<String, Value>,
    /// Whether its first attempts ignore the bookmarks.
    pub from_scratch: bool,
    /// Where it is in its life; `None` while it does not exist.
    pub phase: Option<Phase>,
    /// Whether a cancel is recorded.
    pub cancel_requested: bool,
    /// Its steps, in the order of the definition.
    pub steps: Vec<StepState>,
    /// Why it did not complete.
    pub cause: Option<Cause>,
    /// The node that began it.
    pub node: Option<String>,
    /// When it was asked for.
    pub queued_at: Option<Timestamp>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The version of its stream.
    pub version: Version,
}

/// Where an execution is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for its pipeline to admit it.
    Queued,
    /// Its steps run.
    Running,
    /// Starts nothing new until it is resumed.
    Paused,
    /// Ended, all steps well or skipped.
    Completed,
    /// Ended, at least one step failed.
    Failed,
    /// Ended by a cancel.
    Cancelled,
}

impl Phase {
    /// The contract's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it is over.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A step and what became of it so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepState {
    /// As it was defined.
    pub step: Step,
    /// Where it is.
    pub phase: StepPhase,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Whether it failed, or was skipped because one before it did: what a later `any_failed` step looks for.
    pub not_well: bool,
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepPhase {
    /// For the steps before it, or for the execution to begin.
    Waiting,
    /// Its last attempt runs.
    Running,
    /// For its next attempt.
    Retrying {
        /// When that is due.
        due: Timestamp,
    },
    /// Ended well.
    Completed,
    /// Ended otherwise.
    Failed,
    /// Ended by a cancel, begun or not.
    Cancelled,
    /// Not run, because of how those before it ended.
    Skipped,
}

impl StepPhase {
    /// The contract's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting | Self::Retrying { .. } => "waiting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// Whether nothing of it will run any more.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Skipped)
    }
}

/// One attempt of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// The node that runs or ran it.
    pub node: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it did not complete.
    pub cause: Option<Cause>,
    /// What was measured; empty while it runs.
    pub report: AttemptReport,
}

/// What the steps before a step allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// They have not all ended.
    NotYet,
    /// It may begin.
    Ready,
    /// It never will.
    Never,
}

impl Execution {
    /// Whether it is over.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.phase.is_some_and(Phase::ended)
    }

    /// A step by name.
    #[must_use]
    pub fn step(&self, name: &Name) -> Option<&StepState> {
        self.steps.iter().find(|s| s.step.name == *name)
    }

    /// What the steps before `step` allow it.
    #[must_use]
    pub fn readiness(&self, step: &Step) -> Readiness {
        let before: Vec<&StepState> = step.depends_on.iter().filter_map(|name| self.step(name)).collect();
        let all_ended = before.iter().all(|s| s.phase.ended());
        let completed = |s: &&StepState| s.phase == StepPhase::Completed;
        match step.when {
            When::AllSucceeded if before.iter().all(completed) => Readiness::Ready,
            When::AllSucceeded if before.iter().any(|s| s.phase.ended() && !completed(s)) => Readiness::Never,
            When::AllDone if all_ended => Readiness::Ready,
            When::AnyFailed if all_ended && self.any_before_not_well(step) => Readiness::Ready,
            When::AnyFailed if all_ended => Readiness::Never,
            _ => Readiness::NotYet,
        }
    }

    fn any_before_not_well(&self, step: &Step) -> bool {
        step.depends_on.iter().filter_map(|name| self.step(name)).any(|before| before.not_well)
    }

    /// What its programs used together: times are added, the memory peak is the largest of one program.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let programs = self.steps.iter().flat_map(|s| &s.attempts).flat_map(|a| &a.report.programs);
        programs.fold(Usage::default(), |sum, program| Usage {
            wall_ms: sum.wall_ms.saturating_add(program.usage.wall_ms),
            cpu_ms: sum.cpu_ms.saturating_add(program.usage.cpu_ms),
            peak_memory_bytes: sum.peak_memory_bytes.max(program.usage.peak_memory_bytes),
        })
    }

    /// Records given to the last programs of its completed attempts.
    #[must_use]
    pub fn records(&self) -> u64 {
        let completed = self.steps.iter().filter(|s| s.phase == StepPhase::Completed);
        completed
            .filter_map(|s| s.attempts.last())
            .flat_map(|a| a.report.streams.values())
            .fold(0, |sum: u64, s| sum.saturating_add(s.written))
    }

    pub(super) fn change(&mut self, event: &ExecutionEvent, recorded: Recorded) {
        let at = recorded.at;
        match event {
            ExecutionEvent::ExecutionQueued(e) => self.queue(e, at),
            ExecutionEvent::ExecutionStarted(e) => {
                self.phase = Some(Phase::Running);
                self.node = Some(e.node.clone());
                self.started_at = Some(at);
            }
            ExecutionEvent::ExecutionCancelRequested(_) => self.cancel_requested = true,
            ExecutionEvent::ExecutionPaused(_) => self.phase = Some(Phase::Paused),
            ExecutionEvent::ExecutionResumed(_) => {
                self.phase = Some(if self.started_at.is_some() { Phase::Running } else { Phase::Queued });
            }
            ExecutionEvent::StepStarted(e) => {
                let attempt = Attempt {
                    number: e.attempt,
                    node: e.node.clone(),
                    started_at: at,
                    ended_at: None,
                    cause: None,
                    report: AttemptReport::default(),
                };
                self.change_step(&e.step, StepPhase::Running, |step| step.attempts.push(attempt));
            }
            ExecutionEvent::StepRetryScheduled(e) => {
                let phase = StepPhase::Retrying { due: e.due };
                self.end_attempt(&e.step, phase, Some(&e.cause), &e.report, at);
            }
            ExecutionEvent::StepCompleted(e) => {
                self.end_attempt(&e.step, StepPhase::Completed, None, &e.report, at)
            }
            ExecutionEvent::StepFailed(e) => {
                let cancelled = e.cause.kind == CauseKind::Cancelled;
                let phase = if cancelled { StepPhase::Cancelled } else { StepPhase::Failed };
                self.end_attempt(&e.step, phase, Some(&e.cause), &e.report, at);
                self.change_step(&e.step, phase, |step| step.not_well = !cancelled);
            }
            ExecutionEvent::StepSkipped(e) => {
                let not_well = self.step(&e.step).is_some_and(|s| self.any_before_not_well(&s.step));
                self.change_step(&e.step, StepPhase::Skipped, |step| step.not_well = not_well);
            }
            ExecutionEvent::ExecutionCompleted(_) => self.end(Phase::Completed, None, at),
            ExecutionEvent::ExecutionFailed(e) => self.end(Phase::Failed, Some(e.cause.clone()), at),
            ExecutionEvent::ExecutionCancelled(_) => {
                self.end(Phase::Cancelled, Some(Cause::new(CauseKind::Cancelled, "it was cancelled")), at);
            }
        }
        self.version = recorded.version;
    }

    fn queue(&mut self, queued: &ExecutionQueued, at: Timestamp) {
        self.id = Some(queued.execution);
        self.pipeline.clone_from(&queued.pipeline);
        self.plugin.clone_from(&queued.plugin);
        self.revision = queued.revision;
        self.parameters.clone_from(&queued.parameters);
        self.from_scratch = queued.from_scratch;
        let waiting = |step: &Step| StepState {
            step: step.clone(),
            phase: StepPhase::Waiting,
            attempts: Vec::new(),
            not_well: false,
        };
        self.steps = queued.steps.iter().map(waiting).collect();
        self.phase = Some(Phase::Queued);
        self.queued_at = Some(at);
    }

    fn change_step(&mut self, name: &Name, phase: StepPhase, change: impl FnOnce(&mut StepState)) {
        if let Some(step) = self.steps.iter_mut().find(|s| s.step.name == *name) {
            step.phase = phase;
            change(step);
        }
    }

    fn end_attempt(
        &mut self,
        step: &Name,
        phase: StepPhase,
        cause: Option<&Cause>,
        report: &AttemptReport,
        at: Timestamp,
    ) {
        self.change_step(step, phase, |step| {
            if let Some(attempt) = step.attempts.last_mut() {
                attempt.ended_at = Some(at);
                attempt.cause = cause.cloned();
                attempt.report = report.clone();
            }
        });
    }

    fn end(&mut self, phase: Phase, cause: Option<Cause>, at: Timestamp) {
        self.phase = Some(phase);
        self.cause = cause;
        self.ended_at = Some(at);
        for step in self.steps.iter_mut().filter(|s| !s.phase.ended()) {
            step.phase = StepPhase::Cancelled;
        }
    }
}
