//! What is open in the store gets someone who works for it: when shards were claimed, when another node has died, and again
//! and again while the node lives. Never in here: how an execution runs.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::aggregate::SubmitError;
use super::cluster::Standing;
use super::node::StartError;
use super::runner;
use super::services::{InternalRequest, Services};
use super::supervisor::SupervisorHandle;
use crate::domain::ids::{Category, CorrelationId, ExecutionId, Incarnation, Shard, StreamId, Version};
use crate::domain::plugin::PluginCommand;
use crate::limits::RECOVERY_PAGE;
use crate::ports::cluster::MemberState;
use crate::ports::event_store::StoreError;

/// The pause before permits of nodes that ended are looked for again, when they could not be given back.
const AGAIN: Duration = Duration::from_secs(1);

/// Goes on with what is open in these shards, which were claimed: permits of lives that have ended are given back, then
/// each open execution gets its runner.
pub(super) async fn take_over(
    services: &Arc<Services>,
    runners: &SupervisorHandle,
    shards: &[Shard],
) -> Result<(), StartError> {
    let open = open_streams(services, |shard| shards.contains(&shard)).await?;
    let of = |category| open.iter().filter(move |stream| stream.category() == category);
    lose_permits(services, of(Category::Plugin)).await?;
    let executions = of(Category::Execution).count();
    if executions > 0 {
        tracing::info!(executions, "open executions are taken over");
    }
    for stream in of(Category::Execution) {
        let id: ExecutionId = stream.id().parse().map_err(|_| StartError::Recovery {
            what: stream.clone(),
            reason: "its name holds no execution id".to_owned(),
        })?;
        let correlation_id = correlation_of(services, stream).await?;
        runner::start(Arc::clone(services), runners, id, correlation_id).await;
    }
    Ok(())
}

/// Goes on with the executions of a shard that was not given away after all.
pub(super) async fn resume(services: &Arc<Services>, runners: &SupervisorHandle, shard: Shard) {
    if let Err(error) = take_over(services, runners, &[shard]).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, shard = shard.0, "executions go on when they are looked for");
    }
}

/// Nodes have died: what they held of this node's plugins is given back. Tried until it is done.
pub(super) async fn lose_holders(services: &Services) {
    while !services.shared.cluster.superseded.is_cancelled() {
        let lost = async {
            let open = open_streams(services, |shard| services.shared.cluster.shards.owns(shard)).await?;
            lose_permits(services, open.iter().filter(|stream| stream.category() == Category::Plugin)).await
        };
        match lost.await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "permits of nodes that died are not given back yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Open executions that nobody runs: they were stored, but whoever stored them was not told (the store's answer was
/// lost for good, or a task died in between). Without a runner each of them would also keep those behind it waiting.
#[derive(Default)]
pub(super) struct Orphans {
    /// Those found last time. One that is found twice is no execution that is just beginning or ending.
    suspects: HashSet<ExecutionId>,
}

impl Orphans {
    /// Starts the runners of this node's executions that were found without one twice in a row.
    pub(super) async fn adopt(&mut self, services: &Arc<Services>, runners: &SupervisorHandle) {
        let cluster = &services.shared.cluster;
        if services.draining.is_cancelled() || cluster.superseded.is_cancelled() {
            return;
        }
        let served = |shard| matches!(cluster.shards.standing(shard), Standing::Serving(_));
        let open = match open_streams(services, served).await {
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

/// The streams of some shards in which there is work.
async fn open_streams(
    services: &Services,
    which: impl Fn(Shard) -> bool,
) -> Result<Vec<StreamId>, StoreError> {
    let (mut open, mut last): (Vec<StreamId>, Option<StreamId>) = (Vec::new(), None);
    loop {
        let page = services.shared.store.wakeups(last.as_ref(), RECOVERY_PAGE).await?;
        let full = page.len() == RECOVERY_PAGE;
        last = page.last().map(|wakeup| wakeup.stream.clone()).or(last);
        open.extend(page.into_iter().map(|wakeup| wakeup.stream).filter(|stream| which(stream.shard())));
        if !full {
            return Ok(open);
        }
    }
}

/// Gives back what lives of nodes that have ended hold of plugins. Who holds something is read before who lives: a node
/// that joined in between holds nothing yet.
async fn lose_permits(
    services: &Services,
    plugins: impl Iterator<Item = &StreamId>,
) -> Result<(), StartError> {
    let unanswered = |what: &StreamId, error: SubmitError| StartError::Recovery {
        what: what.clone(),
        reason: error.to_string(),
    };
    let mut holders: Vec<(&StreamId, BTreeSet<Incarnation>)> = Vec::new();
    for stream in plugins {
        match services.plugins.follow_here(stream).await {
            Ok((plugin, _)) => {
                holders.push((stream, plugin.running.values().map(|permit| permit.incarnation).collect()));
            }
            // its next owner does the same
            Err(SubmitError::Fenced) => {}
            Err(error) => return Err(unanswered(stream, error)),
        }
    }
    if holders.is_empty() {
        return Ok(());
    }
    let members = services.shared.cluster.members().await?;
    let lives: HashSet<Incarnation> = members
        .iter()
        .filter(|member| matches!(member.state, MemberState::Live | MemberState::Draining))
        .map(|member| member.incarnation)
        .collect();
    for (stream, holders) in holders {
        let ended: Vec<Incarnation> = holders.into_iter().filter(|life| !lives.contains(life)).collect();
        if ended.is_empty() {
            continue;
        }
        let request = InternalRequest::of(CorrelationId(services.shared.ids.uuid()));
        let submission = services.submission(PluginCommand::Lose { ended }, request);
        match services.plugins.submit_here(stream, submission).await {
            Ok(_) | Err(SubmitError::Fenced) => {}
            Err(error) => return Err(unanswered(stream, error)),
        }
    }
    Ok(())
}

/// The correlation of what started an execution: that of its first event.
async fn correlation_of(services: &Services, stream: &StreamId) -> Result<CorrelationId, StoreError> {
    let first = services.shared.store.read_stream(stream, Version(0), 1).await?;
    let fresh = || CorrelationId(services.shared.ids.uuid());
    Ok(first.first().map_or_else(fresh, |event| event.origin.correlation_id))
}
