//! What is open in the store gets someone who works for it: when the node starts, and again and again while it lives.
//! Never in here: how an execution runs.

use std::collections::HashSet;
use std::sync::Arc;

use super::node::StartError;
use super::runner;
use super::services::{InternalRequest, Services};
use super::supervisor::SupervisorHandle;
use crate::domain::ids::{Category, CorrelationId, ExecutionId, StreamId, Version};
use crate::domain::plugin::PluginCommand;
use crate::limits::RECOVERY_PAGE;
use crate::ports::event_store::StoreError;

/// Goes on with what was open: permits of earlier lives are given back, then each open execution gets its runner.
pub(super) async fn take_over(
    services: &Arc<Services>,
    runners: &SupervisorHandle,
) -> Result<(), StartError> {
    let open = open_streams(services).await?;
    let of = |category| open.iter().filter(move |stream| stream.category() == category);
    for plugin in of(Category::Plugin) {
        lose_permits(services, plugin).await?;
    }
    let executions = of(Category::Execution).count();
    if executions > 0 {
        tracing::info!(executions, "open executions are taken over");
    }
    for stream in of(Category::Execution) {
        let correlation_id = correlation_of(services, stream).await?;
        let id: ExecutionId = stream.id().parse().map_err(|_| StartError::Recovery {
            what: stream.clone(),
            reason: "its name holds no execution id".to_owned(),
        })?;
        runner::start(Arc::clone(services), runners, id, correlation_id).await;
    }
    Ok(())
}

/// Open executions that nobody runs: they were stored, but whoever stored them was not told (the store's answer was
/// lost for good, or a task died in between). Without a runner each of them would also keep those behind it waiting.
#[derive(Default)]
pub(super) struct Orphans {
    /// Those found last time. One that is found twice is no execution that is just beginning or ending.
    suspects: HashSet<ExecutionId>,
}

impl Orphans {
    /// Starts the runners of executions that were found without one twice in a row.
    pub(super) async fn adopt(&mut self, services: &Arc<Services>, runners: &SupervisorHandle) {
        if services.draining.is_cancelled() || services.shared.superseded.is_cancelled() {
            return;
        }
        let open = match open_streams(services).await {
            Ok(open) => open,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "open executions cannot be listed now");
                return;
            }
        };
        let executions = open.iter().filter(|stream| stream.category() == Category::Execution);
        let without = |id: &ExecutionId| !services.live.is_claimed(*id);
        let found: HashSet<_> = executions.filter_map(|s| s.id().parse().ok()).filter(without).collect();
        for id in found.intersection(&self.suspects) {
            let Ok(correlation_id) = correlation_of(services, &StreamId::execution(*id)).await else { break };
            tracing::warn!(execution = %id, "an open execution that nobody ran is taken over");
            runner::start(Arc::clone(services), runners, *id, correlation_id).await;
        }
        self.suspects = found;
    }
}

/// All streams in which there is work.
async fn open_streams(services: &Services) -> Result<Vec<StreamId>, StoreError> {
    let mut open: Vec<StreamId> = Vec::new();
    loop {
        let page = services.shared.store.wakeups(open.last(), RECOVERY_PAGE).await?;
        let full = page.len() == RECOVERY_PAGE;
        open.extend(page.into_iter().map(|wakeup| wakeup.stream));
        if !full {
            return Ok(open);
        }
    }
}

async fn lose_permits(services: &Services, stream: &StreamId) -> Result<(), StartError> {
    let command = PluginCommand::LoseOthers { survivor: services.incarnation };
    let request = InternalRequest::of(CorrelationId(services.shared.ids.uuid()));
    let lost = services.command(&services.plugins, stream, command, request).await;
    lost.map(drop).map_err(|error| StartError::Recovery { what: stream.clone(), reason: error.to_string() })
}

/// The correlation of what started an execution: that of its first event.
async fn correlation_of(services: &Services, stream: &StreamId) -> Result<CorrelationId, StoreError> {
    let first = services.shared.store.read_stream(stream, Version(0), 1).await?;
    let fresh = || CorrelationId(services.shared.ids.uuid());
    Ok(first.first().map_or_else(fresh, |event| event.origin.correlation_id))
}
