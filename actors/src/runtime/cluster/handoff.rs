//! Giving one shard away in an orderly way: admit nothing more, let what works for it stop, let its aggregates leave
//! memory, then release it. Never in here: which shard, and to whom.

use std::time::{Duration, Instant};

use super::Standing;
use crate::domain::ids::{ExecutionId, Shard, StreamId};
use crate::limits::HANDOFF_PATIENCE;
use crate::ports::cluster::Hint;
use crate::runtime::services::Services;

/// How often it is looked whether everything has stopped.
const POLL: Duration = Duration::from_millis(5);

/// Whether no attempt runs here for an execution in the shard. Others may wait, for a retry or their turn: they go on at the
/// new owner as if nothing had happened.
pub(super) fn is_idle(services: &Services, shard: Shard) -> bool {
    !services.live.executing().into_iter().any(|id| in_shard(id, shard))
}

/// Gives a shard away; false when it stays because something in it did not stop in time.
pub(super) async fn give_away(services: &Services, shard: Shard) -> bool {
    let cluster = &services.shared.cluster;
    if !matches!(cluster.shards.standing(shard), Standing::Serving(_)) {
        return true;
    }
    cluster.shards.set_leaving(shard, true);
    services.live.stop(|id| in_shard(id, shard));
    if !stopped(services, shard).await {
        tracing::info!(shard = shard.0, "a shard is not given away yet: something in it goes on");
        cluster.shards.set_leaving(shard, false);
        return false;
    }
    // whatever becomes of the release: nothing is written any more, and what the store has as this node's and the node
    // does not hold is given back later
    cluster.shards.lose(shard);
    match cluster.store.release(cluster.incarnation, &[shard]).await {
        Ok(()) => cluster.hints.publish(Hint::Shards),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, shard = shard.0, "a shard cannot be released now");
        }
    }
    cluster.look();
    true
}

/// Waits until nobody works for the shard and none of its aggregates is in memory.
async fn stopped(services: &Services, shard: Shard) -> bool {
    let began = Instant::now();
    loop {
        let still = services.live.has_claimed(|id| in_shard(id, shard));
        // each of them, though one does not go yet
        let gone = [
            services.pipelines.evict(shard),
            services.executions.evict(shard),
            services.plugins.evict(shard),
            services.externals.evict(shard),
        ];
        if !still && gone == [true; 4] {
            return true;
        }
        if began.elapsed() >= HANDOFF_PATIENCE {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn in_shard(execution: ExecutionId, shard: Shard) -> bool {
    StreamId::execution(execution).shard() == shard
}
