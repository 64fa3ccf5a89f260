//! Keeps what this node owns near what it should own: marks silent members dead, claims free shards that belong here and
//! takes over what is open in them, gives away those that belong elsewhere. Renewals go on beside it whatever it waits for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Cluster, claim_own, handoff};
use crate::domain::ids::{Incarnation, Shard};
use crate::limits::{HANDOFF_AGAIN, HANDOFFS, VIEW_EVERY};
use crate::ports::cluster::{ClusterView, Heard, Hint, MemberState};
use crate::ports::event_store::StoreError;
use crate::runtime::recovery::{lose_holders, resume, take_over};
use crate::runtime::services::Services;
use crate::runtime::supervisor::SupervisorHandle;

/// The least pause between two looks at the store, whoever asks for one.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// How often what could not be given away yet is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// The keeper of a node's shards.
pub(in crate::runtime) struct Keeper {
    services: Arc<Services>,
    runners: SupervisorHandle,
    cluster: Arc<Cluster>,
    heard: mpsc::Receiver<Heard>,
    /// Members that were alive when the keeper looked last.
    alive: HashSet<Incarnation>,
    /// Answers the shard that stays after all.
    handoffs: JoinSet<Option<Shard>>,
    /// Shards that could not be given away, and when.
    kept: HashMap<Shard, Instant>,
    takeovers: JoinSet<()>,
    /// The store did not answer the last time.
    failing: bool,
}

impl Keeper {
    pub(in crate::runtime) fn new(services: Arc<Services>, runners: SupervisorHandle) -> Self {
        let cluster = Arc::clone(&services.shared.cluster);
        let (heard, alive) = (cluster.hints.listen(), alive(&cluster.view()));
        Self {
            services,
            runners,
            cluster,
            heard,
            alive,
            handoffs: JoinSet::new(),
            kept: HashMap::new(),
            takeovers: JoinSet::new(),
            failing: false,
        }
    }

    /// Works until the node has been superseded.
    pub(in crate::runtime) async fn run(mut self) {
        let cluster = Arc::clone(&self.cluster);
        while !cluster.superseded.is_cancelled() {
            let kept = self.keep().await;
            let failed = kept.is_err();
            match (&kept, self.failing) {
                (Err(error), false) => {
                    let error = error as &dyn std::error::Error;
                    tracing::warn!(error, "the cluster's members and shards cannot be looked after now");
                }
                (Ok(_), true) => tracing::info!("the cluster's members and shards are looked after again"),
                // it is tried many times a second, and told once
                (Err(_), true) | (Ok(_), false) => {}
            }
            self.failing = failed;
            let pending = kept.unwrap_or(true);
            tokio::time::sleep(LOOK_PAUSE).await;
            self.wait(if pending { AGAIN } else { VIEW_EVERY }).await;
        }
    }

    /// Returns when there is something to look at.
    async fn wait(&mut self, at_most: Duration) {
        let cluster = Arc::clone(&self.cluster);
        let (known, mut pulse) = (cluster.view().revision, cluster.pulse.subscribe());
        let may = |pulse: &super::membership::Pulse| pulse.silent && cluster.may_bury(pulse);
        let news = pulse.wait_for(|pulse| pulse.revision > known || may(pulse));
        let (handoffs, takeovers) = (&mut self.handoffs, &mut self.takeovers);
        tokio::select! {
            _ = news => {}
            Some(_) = self.heard.recv() => {}
            () = cluster.look.notified() => {}
            Some(done) = handoffs.join_next(), if !handoffs.is_empty() => {
                self.kept.extend(done.ok().flatten().map(|shard| (shard, Instant::now())));
            }
            Some(_) = takeovers.join_next(), if !takeovers.is_empty() => {}
            () = tokio::time::sleep(at_most) => {}
            () = cluster.superseded.cancelled() => {}
        }
    }

    /// Does what there is to do; whether something is left.
    async fn keep(&mut self) -> Result<bool, StoreError> {
        while let Some(done) = self.handoffs.try_join_next() {
            self.kept.extend(done.ok().flatten().map(|shard| (shard, Instant::now())));
        }
        // one look answers every hint that has come before it
        while self.heard.try_recv().is_ok() {}
        self.bury().await?;
        let claimed = claim_own(&self.cluster).await?;
        let now = alive(&self.cluster.view());
        let died = self.alive.difference(&now).next().is_some();
        self.alive = now;
        if died {
            let services = Arc::clone(&self.services);
            self.takeovers.spawn(async move { lose_holders(&services).await });
        }
        if !claimed.is_empty() {
            let (services, runners) = (Arc::clone(&self.services), self.runners.clone());
            self.takeovers.spawn(async move {
                if let Err(error) = take_over(&services, &runners, &claimed).await {
                    // open executions that nobody runs are looked for now and then
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "what is open in claimed shards was not taken over at once");
                }
            });
        }
        self.return_unheld().await?;
        Ok(self.give_away())
    }

    /// Marks those dead whose leases have run out, unless it is this node that was away.
    async fn bury(&self) -> Result<(), StoreError> {
        let cluster = &self.cluster;
        let pulse = *cluster.pulse.borrow();
        if !pulse.silent || !cluster.may_bury(&pulse) {
            return Ok(());
        }
        let view = cluster.store.view().await?;
        for member in view.members.iter().filter(|member| {
            is_member(member.state)
                && member.lease_left.is_zero()
                && member.incarnation != cluster.incarnation
        }) {
            if cluster.store.mark_dead(cluster.incarnation, member.incarnation).await? {
                tracing::warn!(node = %member.name, incarnation = %member.incarnation, "a silent node was marked dead");
                cluster.hints.publish(Hint::Shards);
            }
        }
        Ok(())
    }

    /// Shards that are this node's by the store and not by what it holds: the answer to a claim was lost. They are given
    /// back, to be claimed under an epoch that is known.
    async fn return_unheld(&self) -> Result<(), StoreError> {
        let cluster = &self.cluster;
        let view = cluster.view();
        let own = |shard: &Shard| view.shards[usize::from(shard.0)].owner.as_ref() == Some(&cluster.name);
        let unheld: Vec<Shard> =
            (0..=u8::MAX).map(Shard).filter(own).filter(|shard| !cluster.shards.owns(*shard)).collect();
        if !unheld.is_empty() {
            cluster.store.release(cluster.incarnation, &unheld).await?;
            cluster.look();
        }
        Ok(())
    }

    /// Begins to give away shards that belong elsewhere and for which no attempt runs; whether some are left.
    fn give_away(&mut self) -> bool {
        let cluster = &self.cluster;
        self.kept.retain(|_, at| at.elapsed() < HANDOFF_AGAIN);
        let (places, kept) = (cluster.wanted(&cluster.view()), &self.kept);
        let elsewhere = |shard: &Shard| {
            !kept.contains_key(shard)
                && places[usize::from(shard.0)].as_ref().is_some_and(|place| *place != cluster.name)
        };
        let surplus: Vec<Shard> = cluster.shards.owned().into_iter().filter(elsewhere).collect();
        let idle = surplus.iter().filter(|shard| handoff::is_idle(&self.services, **shard));
        let fresh = idle.filter(|shard| cluster.shards.epoch(**shard).is_some());
        let room = HANDOFFS.saturating_sub(self.handoffs.len());
        let chosen: Vec<Shard> =
            fresh.filter(|shard| !cluster.shards.is_leaving(**shard)).take(room).copied().collect();
        for shard in chosen {
            let (services, runners) = (Arc::clone(&self.services), self.runners.clone());
            self.handoffs.spawn(async move {
                let gone = handoff::give_away(&services, shard).await;
                if !gone {
                    resume(&services, &runners, shard).await;
                }
                (!gone).then_some(shard)
            });
        }
        !surplus.is_empty()
    }
}

impl Cluster {
    /// Whether this node's own renewals went well for long enough that another's silence is the other's.
    pub(super) fn may_bury(&self, pulse: &super::membership::Pulse) -> bool {
        let unbroken =
            pulse.unbroken_since.map(|since| self.uptime.uptime().saturating_sub(since)).unwrap_or_default();
        unbroken >= self.timings.unbroken && !self.shards.guard_left().is_zero()
    }
}

const fn is_member(state: MemberState) -> bool {
    matches!(state, MemberState::Live | MemberState::Draining)
}

fn alive(view: &ClusterView) -> HashSet<Incarnation> {
    view.members.iter().filter(|m| is_member(m.state)).map(|m| m.incarnation).collect()
}
