//! What can be seen of the cluster from this node: for people, `/ready` and metrics. Asks nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::singleton::SINGLETONS;
use super::{Cluster, owner_of};
use crate::domain::ids::{Epoch, Incarnation, Name, Shard};
use crate::ports::cluster::MemberState;

/// The cluster as one of its nodes sees it.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterStatus {
    /// The node that was asked.
    pub node: Name,
    /// Rises with every change of members and owners.
    pub revision: u64,
    /// All members by name, those too that ended lately.
    pub members: Vec<MemberStatus>,
    /// Work that one node does for all, and who does.
    pub singletons: Vec<SingletonStatus>,
    /// Shards without an owner.
    pub unowned_shards: usize,
    /// Shards of this node.
    pub own_shards: usize,
    /// Shards that this node is giving away.
    pub handoffs: usize,
    /// For how long this node may serve without another renewal, milliseconds; 0 when it must not.
    pub guard_left_ms: u64,
    /// How long ago the last good renewal was sent, milliseconds.
    pub renewed_ms_ago: Option<u64>,
    /// Whether hints pass.
    pub hints_connected: bool,
}

/// A member as seen from another.
#[derive(Debug, Clone, Serialize)]
pub struct MemberStatus {
    /// Its name.
    pub name: Name,
    /// This life of it.
    pub incarnation: Incarnation,
    /// Where others reach it.
    pub address: Option<String>,
    /// What selects it for work.
    pub labels: BTreeMap<String, String>,
    /// How it is.
    pub state: MemberState,
    /// How many shards it owns.
    pub shards: usize,
    /// How long its lease ran when this node looked last, milliseconds.
    pub lease_left_ms: u64,
}

/// Who does what one node does for all, as one of the nodes sees it.
#[derive(Debug, Clone, Serialize)]
pub struct SingletonStatus {
    /// The work.
    pub name: &'static str,
    /// The shard whose owner does it.
    pub shard: Shard,
    /// The owner's name, when it has one.
    pub owner: Option<Name>,
}

/// Who owns a shard, as one of the nodes sees it.
#[derive(Debug, Clone, Serialize)]
pub struct ShardStatus {
    /// The shard.
    pub shard: Shard,
    /// The owner's name, when it has one.
    pub owner: Option<Name>,
    /// Rises with every change of owner.
    pub epoch: Epoch,
}

impl Cluster {
    /// All shards, as this node saw their owners last.
    pub(in crate::runtime) fn owners(&self) -> Vec<ShardStatus> {
        let view = self.view();
        let shards = (0..=u8::MAX).map(Shard).zip(&view.shards);
        shards.map(|(shard, at)| ShardStatus { shard, owner: at.owner.clone(), epoch: at.epoch }).collect()
    }

    /// What this node sees.
    pub(in crate::runtime) fn status(&self) -> ClusterStatus {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (view, pulse) = (self.view(), *self.pulse.borrow());
        let mut loads: BTreeMap<Incarnation, usize> = BTreeMap::new();
        let owners = (0..=u8::MAX).filter_map(|shard| owner_of(&view, Shard(shard)));
        owners.for_each(|owner| *loads.entry(owner.incarnation).or_default() += 1);
        let shown = view.members.iter().map(|member| MemberStatus {
            name: member.name.clone(),
            incarnation: member.incarnation,
            address: member.address.clone(),
            labels: member.labels.clone(),
            state: member.state,
            shards: loads.get(&member.incarnation).copied().unwrap_or_default(),
            lease_left_ms: millis(member.lease_left),
        });
        let now = self.uptime.uptime();
        ClusterStatus {
            node: self.name.clone(),
            revision: view.revision,
            members: shown.collect(),
            singletons: SINGLETONS
                .into_iter()
                .map(|name| {
                    let shard = Shard::of(name);
                    SingletonStatus {
                        name,
                        shard,
                        owner: owner_of(&view, shard).map(|owner| owner.name.clone()),
                    }
                })
                .collect(),
            unowned_shards: view.shards.iter().filter(|shard| shard.owner.is_none()).count(),
            own_shards: self.shards.owned().len(),
            handoffs: self.shards.leaving(),
            // rounded up: 0 is nothing left
            guard_left_ms: millis(self.shards.guard_left() + Duration::from_nanos(999_999)),
            renewed_ms_ago: pulse.renewed.map(|at| millis(now.saturating_sub(at))),
            hints_connected: self.hints.connected(),
        }
    }
}
