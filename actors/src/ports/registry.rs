//! Members and owners as plain values, for stores that only one process opens (SQLite, in memory): the rules of a
//! [`ClusterStore`](super::ClusterStore) without a database. Time is an argument; nothing is stored here.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::cluster::{ClusterView, Join, Joined, Member, MemberState, Ownership, Renewed};
use crate::domain::ids::{Epoch, Incarnation, Name, Shard};

/// Ended lives that are still shown.
const ENDED_SHOWN: usize = 100;

/// Who is a member and who owns what.
#[derive(Debug, Clone)]
pub struct Registry {
    revision: u64,
    /// In the order in which they joined.
    lives: Vec<Life>,
    shards: Vec<Ownership>,
}

#[derive(Debug, Clone)]
struct Life {
    member: Member,
    home: Uuid,
    lease_until: Instant,
}

impl Life {
    const fn is_member(&self) -> bool {
        matches!(self.member.state, MemberState::Live | MemberState::Draining)
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.is_member() && self.lease_until <= now
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::with_epochs(&[Epoch(0); 256])
    }
}

impl Registry {
    /// Without members, so that nobody owns a shard; the epochs go on from these.
    #[must_use]
    pub fn with_epochs(epochs: &[Epoch; 256]) -> Self {
        let shards = epochs.iter().map(|epoch| Ownership { owner: None, epoch: *epoch }).collect();
        Self { revision: 0, lives: Vec::new(), shards }
    }

    /// Who owns a shard, and under which epoch.
    #[must_use]
    pub fn owner(&self, shard: Shard) -> &Ownership {
        &self.shards[usize::from(shard.0)]
    }

    /// See [`ClusterStore::join`](super::ClusterStore::join).
    pub fn join(&mut self, join: &Join, now: Instant) -> Joined {
        let alone = join.address.is_none();
        for life in self.lives.iter_mut().filter(|life| life.is_member()) {
            let other = life.member.incarnation != join.incarnation;
            let silent = life.lease_until <= now && (life.member.name == join.name || alone);
            if other && (life.home == join.home || silent) {
                life.member.state = MemberState::Dead;
            }
        }
        self.free_shards();
        let others = || {
            let lives = self.lives.iter().filter(|life| life.is_member());
            lives.filter(|life| life.member.incarnation != join.incarnation)
        };
        if let Some(same) = others().find(|life| life.member.name == join.name) {
            return Joined::NameTaken { left: same.lease_until.saturating_duration_since(now) };
        }
        let unreachable = others().filter(|life| alone || life.member.address.is_none());
        if let Some(other) = unreachable.map(|life| &life.member.name).min() {
            return Joined::NotAlone { other: other.clone() };
        }
        if !self.lives.iter().any(|life| life.member.incarnation == join.incarnation) {
            let Join { name, incarnation, home, address, labels, lease } = join.clone();
            let state = MemberState::Live;
            let member = Member { name, incarnation, address, labels, state, lease_left: lease };
            self.lives.push(Life { member, home, lease_until: now + lease });
        }
        let ended = self.lives.iter().filter(|life| !life.is_member()).count();
        let mut surplus = ended.saturating_sub(ENDED_SHOWN);
        self.lives.retain(|life| {
            let gone = surplus > 0 && !life.is_member();
            surplus -= usize::from(gone);
            !gone
        });
        Joined::Member
    }

    /// See [`ClusterStore::renew`](super::ClusterStore::renew).
    pub fn renew(&mut self, id: Incarnation, state: MemberState, lease: Duration, now: Instant) -> Renewed {
        let mut alive = false;
        if let Some(life) = self.member(id) {
            alive = true;
            life.lease_until = now + lease;
            let changed = life.member.state != state;
            life.member.state = state;
            self.revision += u64::from(changed);
        }
        let silent = self.lives.iter().any(|life| life.member.incarnation != id && life.is_silent(now));
        Renewed { alive, revision: self.revision, silent }
    }

    /// See [`ClusterStore::leave`](super::ClusterStore::leave).
    pub fn leave(&mut self, id: Incarnation) {
        if let Some(life) = self.member(id) {
            life.member.state = MemberState::Left;
            self.free_shards();
        }
    }

    /// See [`ClusterStore::mark_dead`](super::ClusterStore::mark_dead).
    pub fn mark_dead(&mut self, by: Incarnation, id: Incarnation, now: Instant) -> bool {
        if self.member(by).is_none() {
            return false;
        }
        let Some(life) = self.member(id).filter(|life| life.is_silent(now)) else { return false };
        life.member.state = MemberState::Dead;
        self.free_shards();
        true
    }

    /// See [`ClusterStore::claim`](super::ClusterStore::claim).
    pub fn claim(&mut self, id: Incarnation, shards: &[Shard]) -> Vec<(Shard, Epoch)> {
        let live = self.member(id).filter(|life| life.member.state == MemberState::Live);
        let Some(name) = live.map(|life| life.member.name.clone()) else { return Vec::new() };
        let mut claimed = Vec::new();
        for shard in shards {
            let held = &mut self.shards[usize::from(shard.0)];
            if held.owner.is_none() {
                *held = Ownership { owner: Some(name.clone()), epoch: Epoch(held.epoch.0 + 1) };
                claimed.push((*shard, held.epoch));
            }
        }
        self.revision += u64::from(!claimed.is_empty());
        claimed
    }

    /// See [`ClusterStore::release`](super::ClusterStore::release).
    pub fn release(&mut self, id: Incarnation, shards: &[Shard]) {
        let Some(name) = self.member(id).map(|life| life.member.name.clone()) else { return };
        for shard in shards {
            let held = &mut self.shards[usize::from(shard.0)];
            if held.owner.as_ref() == Some(&name) {
                held.owner = None;
                self.revision += 1;
            }
        }
    }

    /// See [`ClusterStore::view`](super::ClusterStore::view).
    #[must_use]
    pub fn view(&self, now: Instant) -> ClusterView {
        let shown = |life: &Life| {
            let lease_left = life.lease_until.saturating_duration_since(now);
            Member { lease_left, ..life.member.clone() }
        };
        let mut members: Vec<Member> = self.lives.iter().map(shown).collect();
        members.sort_by(|a, b| (&a.name, a.incarnation).cmp(&(&b.name, b.incarnation)));
        ClusterView { revision: self.revision, members, shards: self.shards.clone() }
    }

    fn member(&mut self, id: Incarnation) -> Option<&mut Life> {
        self.lives.iter_mut().find(|life| life.member.incarnation == id && life.is_member())
    }

    /// Nobody owns what belonged to those who are no members; counts the change.
    fn free_shards(&mut self) {
        let members: Vec<&Name> =
            self.lives.iter().filter(|life| life.is_member()).map(|life| &life.member.name).collect();
        for held in &mut self.shards {
            held.owner.take_if(|owner| !members.contains(&&*owner));
        }
        self.revision += 1;
    }
}
