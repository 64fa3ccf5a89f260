//! The execution aggregate: one run of a pipeline against one frozen revision, or of one plugin alone. A state
//! machine over the step graph that says what has to be done ([`Action`]); the runner does it.

mod decide;
mod events;
mod state;
#[cfg(test)]
mod tests;

pub use decide::{Action, ExecutionCommand};
pub use events::{
    ExecutionCancelRequested, ExecutionCancelled, ExecutionCompleted, ExecutionEvent, ExecutionFailed,
    ExecutionPaused, ExecutionQueued, ExecutionResumed, ExecutionStarted, StepCompleted, StepFailed,
    StepRetryScheduled, StepSkipped, StepStarted,
};
pub use state::{Attempt, Execution, Phase, Readiness, StepPhase, StepState};
