//! What wakes a runner: changes of its execution, of what its pipeline means for it, and the order to stop. Never in
//! here: what the runner then does.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::runner::RunnerMsg;
use crate::domain::ids::ExecutionId;
use crate::domain::pipeline::Pipeline;

/// A task that follows something until it is dropped.
pub(super) struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a message when what the pipeline means for an execution that waits has changed: whether it may begin, and
/// whom it replaces. Other changes must not wake the many that wait.
pub(super) fn follow_admission(
    mut changes: watch::Receiver<Arc<Pipeline>>,
    id: ExecutionId,
    runner: ActorRef<RunnerMsg>,
) -> Follower {
    let standing = move |pipeline: &Pipeline| (pipeline.admits(id), pipeline.replaced_by(id).len());
    let mut known = standing(&changes.borrow());
    Follower(tokio::spawn(async move {
        while let Ok(pipeline) = changes.wait_for(|pipeline| standing(pipeline) != known).await {
            known = standing(&pipeline);
            drop(pipeline);
            if runner.cast(RunnerMsg::Reconcile).is_err() {
                break;
            }
        }
    }))
}

/// Sends a message for each change, until the state's owner or the runner is gone.
pub(super) fn follow<T: Send + Sync + 'static>(
    mut changes: watch::Receiver<T>,
    runner: ActorRef<RunnerMsg>,
) -> Follower {
    Follower(tokio::spawn(async move {
        while changes.changed().await.is_ok() && runner.cast(RunnerMsg::Reconcile).is_ok() {}
    }))
}

/// Sends a message when the runner is to stop.
pub(super) fn follow_stop(stop: CancellationToken, runner: ActorRef<RunnerMsg>) -> Follower {
    Follower(tokio::spawn(async move {
        stop.cancelled().await;
        runner.cast(RunnerMsg::Reconcile).unwrap_or_default();
    }))
}
