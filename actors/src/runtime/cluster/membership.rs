//! Being a member: joining, and renewing the lease for as long as the node lives. Whoever learns that it is dead ends.
//! Never in here: which shards to own; it must not keep a renewal waiting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Cluster;
use crate::domain::ids::{Name, Shard};
use crate::limits::NAME_PATIENCE;
use crate::ports::cluster::{Hint, Joined, MemberState, Renewed};
use crate::ports::event_store::StoreError;

/// The pause before a name that is still taken is asked for again.
const NAME_PAUSE: Duration = Duration::from_millis(250);

/// What the last renewal told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pulse {
    /// The cluster's revision.
    pub revision: u64,
    /// Whether the lease of another member has run out.
    pub silent: bool,
    /// The uptime at which the last good renewal was sent.
    pub renewed: Option<Duration>,
    /// The uptime since which every renewal went well.
    pub unbroken_since: Option<Duration>,
}

/// Why a node cannot join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The store does not answer.
    #[error("the node cannot join the cluster")]
    Store(#[from] StoreError),
    /// Another process lives under the name.
    #[error("another node named {0} runs on this event store: set another node.name, or stop that one")]
    NameTaken(Name),
    /// This node or the other cannot be reached by others.
    #[error(
        "node {0} runs on this event store, and only nodes of a cluster may share one: set cluster.redis_url and \
         cluster.secret on all of them, or stop that one (if it has died, its lease ends within 5s)"
    )]
    NotAlone(Name),
}

/// Makes the node a member. A former holder of its name that ended without a word is waited for.
pub(in crate::runtime) async fn join(cluster: &Cluster) -> Result<(), JoinError> {
    let began = Instant::now();
    loop {
        let sent = cluster.uptime.uptime();
        match cluster.store.join(&cluster.joining()).await? {
            Joined::Member => {
                cluster.shards.serve_until(sent + cluster.timings.guard);
                cluster.pulse.send_modify(|pulse| {
                    (pulse.renewed, pulse.unbroken_since) = (Some(sent), Some(sent));
                });
                cluster.hints.publish(Hint::Hello);
                return Ok(());
            }
            Joined::NameTaken { .. } if began.elapsed() >= NAME_PATIENCE => {
                return Err(JoinError::NameTaken(cluster.name.clone()));
            }
            Joined::NotAlone { other } if began.elapsed() >= NAME_PATIENCE => {
                return Err(JoinError::NotAlone(other));
            }
            Joined::NameTaken { .. } | Joined::NotAlone { .. } => {
                if began.elapsed() < NAME_PAUSE {
                    tracing::warn!("another node is on this event store: waiting for its lease to end");
                }
                tokio::time::sleep(NAME_PAUSE).await;
            }
        }
    }
}

/// Claims the free shards that belong with this node; answers them.
pub(in crate::runtime) async fn claim_own(cluster: &Cluster) -> Result<Vec<Shard>, StoreError> {
    let view = cluster.store.view().await?;
    let places = cluster.wanted(&view);
    let own = |shard: &Shard| {
        let at = usize::from(shard.0);
        view.shards[at].owner.is_none() && places[at].as_ref() == Some(&cluster.name)
    };
    let free: Vec<Shard> = (0..=u8::MAX).map(Shard).filter(own).collect();
    cluster.see(view);
    if free.is_empty() || cluster.is_draining() {
        return Ok(Vec::new());
    }
    let claimed = cluster.store.claim(cluster.incarnation, &free).await?;
    cluster.shards.gain(&claimed);
    if !claimed.is_empty() {
        tracing::info!(shards = claimed.len(), "shards were claimed");
        // what others see of it they see by the revision; this node's own view is read again with it
        cluster.see(cluster.store.view().await?);
        cluster.hints.publish(Hint::Shards);
    }
    Ok(claimed.into_iter().map(|(shard, _)| shard).collect())
}

/// Renews the lease until the node has been superseded.
pub(in crate::runtime) async fn renewals(cluster: Arc<Cluster>) {
    while !cluster.superseded.is_cancelled() {
        let began = Instant::now();
        renew(&cluster).await;
        let pause = cluster.timings.renew.saturating_sub(began.elapsed());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // an append was fenced: perhaps this node is dead and does not know it
            () = cluster.shards.fenced.notified() => {}
        }
    }
}

async fn renew(cluster: &Cluster) {
    let Cluster { timings, incarnation, .. } = cluster;
    let state = if cluster.is_draining() { MemberState::Draining } else { MemberState::Live };
    // the guard counts from here: what is sent now may be granted much later
    let sent = cluster.uptime.uptime();
    let renewal = cluster.store.renew(*incarnation, state, timings.lease);
    match tokio::time::timeout(timings.guard, renewal).await {
        Ok(Ok(Renewed { alive: true, revision, silent })) => {
            cluster.shards.serve_until(sent + timings.guard);
            cluster.pulse.send_modify(|pulse| {
                // a gap between two good ones, such as a pause of this process, is as bad as a failed one
                let gap = pulse.renewed.is_none_or(|last| sent.saturating_sub(last) >= timings.guard);
                if gap || pulse.unbroken_since.is_none() {
                    pulse.unbroken_since = Some(sent);
                }
                (pulse.revision, pulse.silent, pulse.renewed) = (revision, silent, Some(sent));
            });
        }
        Ok(Ok(Renewed { alive: false, .. })) => {
            tracing::error!(
                "this node was superseded or marked dead by another: it can write nothing any more"
            );
            cluster.shards.give_up();
            cluster.superseded.cancel();
        }
        Ok(Err(error)) => {
            cluster.pulse.send_modify(|pulse| pulse.unbroken_since = None);
            let left = cluster.shards.guard_left();
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                ?left,
                "the lease cannot be renewed now"
            );
        }
        Err(_) => {
            cluster.pulse.send_modify(|pulse| pulse.unbroken_since = None);
            tracing::warn!("the lease cannot be renewed: the event store does not answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::{ClusterPorts, Timings};
    use super::*;
    use crate::domain::ids::Incarnation;
    use crate::ports::ClusterStore;
    use crate::testkit::{ManualClock, MemoryStore};

    struct World {
        store: Arc<MemoryStore>,
        clock: Arc<ManualClock>,
        cluster: Arc<Cluster>,
    }

    impl World {
        async fn member() -> Self {
            let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(ManualClock::new(1)));
            let cluster = node(&store, &clock, "a");
            join(&cluster).await.unwrap();
            Self { store, clock, cluster }
        }

        fn pulse(&self) -> Pulse {
            *self.cluster.pulse.borrow()
        }

        async fn renew_after(&self, pause: Duration) {
            self.clock.advance(pause);
            renew(&self.cluster).await;
        }
    }

    fn node(store: &Arc<MemoryStore>, clock: &Arc<ManualClock>, name: &str) -> Arc<Cluster> {
        let (store, uptime) = (Arc::clone(store) as _, Arc::clone(clock) as _);
        let ports = ClusterPorts {
            address: Some(format!("{name}:1")),
            ..ClusterPorts::alone(store, Uuid::now_v7(), uptime)
        };
        Cluster::new(Name::new(name).unwrap(), Incarnation(Uuid::now_v7()), ports)
    }

    #[tokio::test]
    async fn the_guard_counts_from_the_sending_of_a_renewal() {
        let world = World::member().await;
        let Timings { guard, renew, .. } = Timings::default();
        assert_eq!(world.cluster.shards.guard_left(), guard);
        world.renew_after(renew).await;
        assert_eq!(world.cluster.shards.guard_until(), renew + guard);
        world.clock.advance(guard);
        assert_eq!(world.cluster.shards.guard_left(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_gap_between_renewals_buries_nobody() {
        let world = World::member().await;
        let Timings { unbroken, renew, guard, .. } = Timings::default();
        assert!(!world.cluster.may_bury(&world.pulse()), "it has only joined");
        for _ in 0..unbroken.as_secs() / renew.as_secs() {
            world.renew_after(renew).await;
        }
        assert!(world.cluster.may_bury(&world.pulse()));
        world.renew_after(guard).await;
        assert!(!world.cluster.may_bury(&world.pulse()), "it was away itself");
    }

    #[tokio::test]
    async fn who_learns_that_it_is_dead_has_nothing_left() {
        let world = World::member().await;
        assert_eq!(claim_own(&world.cluster).await.unwrap().len(), 256);
        world.store.leave(world.cluster.incarnation).await.unwrap();
        world.renew_after(Duration::from_secs(1)).await;
        assert!(world.cluster.superseded.is_cancelled());
        assert_eq!(world.cluster.shards.owned(), []);
    }

    #[tokio::test]
    async fn each_claims_what_belongs_with_it() {
        let world = World::member().await;
        let other = node(&world.store, &world.clock, "b");
        join(&other).await.unwrap();
        let (own, others) = (claim_own(&world.cluster).await.unwrap(), claim_own(&other).await.unwrap());
        assert_eq!(own.len() + others.len(), 256);
        assert!(own.len() >= 96 && others.len() >= 96, "{} and {}", own.len(), others.len());
        assert_eq!(claim_own(&world.cluster).await.unwrap(), [], "once");
        let status = world.cluster.status();
        assert_eq!((status.own_shards, status.unowned_shards), (own.len(), 0));
        let loads: Vec<usize> = status.members.iter().map(|member| member.shards).collect();
        assert_eq!(loads, [own.len(), others.len()]);
    }
}
