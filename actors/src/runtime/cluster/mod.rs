//! This node among others: membership by a lease, the shards it owns, who should own which, giving them away and taking
//! them over, and the way of a request to the node that owns its aggregate.
//!
//! The store alone decides who owns what; placement is a wish, hints only make news travel faster, and a peer's word is
//! never believed about ownership: whoever is asked serves only what its own epochs and guard allow (S1, S5).

mod alone;
mod handoff;
mod hosting;
mod keeper;
mod membership;
mod peer;
mod placement;
mod remote;
mod router;
mod scheduling;
mod shards;
mod singleton;
mod view;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[cfg(feature = "testkit")]
use crate::domain::ids::Epoch;
use crate::domain::ids::{Incarnation, Name, Shard};
use crate::domain::labels::{Labels, has_all};
use crate::limits::{LEAVE_PATIENCE, NODE_GUARD, NODE_LEASE, NODE_RENEW, NODE_UNBROKEN};
use crate::ports::cluster::{ClusterView, Hint, Join, Member, MemberState, Ownership};
use crate::ports::event_store::StoreError;
use crate::ports::{ClusterStore, Hints, Peers, Uptime};

pub use hosting::Hosted;
pub(super) use keeper::Keeper;
pub use membership::JoinError;
pub(super) use membership::{claim_own, join, renewals};
pub(super) use peer::{Asked, PeerAnswers};
pub use placement::most_shards;
pub(super) use router::Route;
pub(super) use scheduling::Place;
pub use shards::{Shards, Standing};
pub use singleton::{PROJECTIONS, SEALER, Singleton};
pub use view::{ClusterStatus, MemberStatus, ShardStatus, SingletonStatus};

/// What a node needs to be one of several.
pub struct ClusterPorts {
    /// Where members and owners are kept.
    pub store: Arc<dyn ClusterStore>,
    /// The id of the data directory, whose lock this node holds.
    pub home: Uuid,
    /// Where other nodes reach this one; without one it is a cluster of its own.
    pub address: Option<String>,
    /// What `node_selector` looks at.
    pub labels: Labels,
    /// The memory that programs may be promised together here, bytes.
    pub memory: u64,
    /// Asks other nodes.
    pub peers: Arc<dyn Peers>,
    /// Tells and hears news.
    pub hints: Arc<dyn Hints>,
    /// What leases and guards are measured with.
    pub uptime: Arc<dyn Uptime>,
    /// How long leases are, and what follows from it.
    pub timings: Timings,
}

impl ClusterPorts {
    /// A cluster of one: nobody is asked or told anything.
    #[must_use]
    pub fn alone(store: Arc<dyn ClusterStore>, home: Uuid, uptime: Arc<dyn Uptime>) -> Self {
        let (peers, hints) = (Arc::new(alone::NoPeers), Arc::new(alone::NoHints));
        let (address, labels, timings) = (None, Labels::new(), Timings::default());
        Self { store, home, address, labels, memory: u64::MAX, peers, hints, uptime, timings }
    }
}

/// The times of a membership; all nodes of a cluster have the same. `renew` < `guard` < `lease`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How often the lease is renewed.
    pub renew: Duration,
    /// For how long after the sending of a renewal the node serves.
    pub guard: Duration,
    /// How long the lease runs.
    pub lease: Duration,
    /// How long a node's own renewals must have gone well before it marks others dead.
    pub unbroken: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self { renew: NODE_RENEW, guard: NODE_GUARD, lease: NODE_LEASE, unbroken: NODE_UNBROKEN }
    }
}

/// This node's place in the cluster. One a node.
pub struct Cluster {
    pub(super) name: Name,
    pub(super) incarnation: Incarnation,
    home: Uuid,
    address: Option<String>,
    labels: Labels,
    memory: u64,
    store: Arc<dyn ClusterStore>,
    peers: Arc<dyn Peers>,
    hints: Arc<dyn Hints>,
    uptime: Arc<dyn Uptime>,
    timings: Timings,
    /// What this node owns.
    pub shards: Arc<Shards>,
    view: watch::Sender<Arc<ClusterView>>,
    placed: Mutex<Placed>,
    pulse: watch::Sender<membership::Pulse>,
    /// The keeper is to look at the store now.
    look: Notify,
    draining: AtomicBool,
    /// Cancelled when the node learns that it is dead: it can write nothing any more and must end.
    pub superseded: CancellationToken,
}

/// Where the shards belong with these live members.
struct Placed {
    members: Vec<Name>,
    places: Arc<[Option<Name>]>,
}

impl Cluster {
    pub(super) fn new(name: Name, incarnation: Incarnation, ports: ClusterPorts) -> Arc<Self> {
        let ClusterPorts { store, home, address, labels, memory, peers, hints, uptime, timings } = ports;
        let shards = Arc::new(Shards::new(Arc::clone(&uptime)));
        let view = ClusterView { revision: 0, members: Vec::new(), shards: Vec::new() };
        Arc::new(Self {
            name,
            incarnation,
            home,
            address,
            labels,
            memory,
            store,
            peers,
            hints,
            uptime,
            timings,
            shards,
            view: watch::Sender::new(Arc::new(view)),
            placed: Mutex::new(Placed { members: Vec::new(), places: placement::place(&[]).into() }),
            pulse: watch::Sender::default(),
            look: Notify::new(),
            draining: AtomicBool::new(false),
            superseded: CancellationToken::new(),
        })
    }

    /// A node that owns all shards under these epochs for ever and knows nobody: for measurements of parts of the runtime.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn owning(name: Name, store: Arc<dyn ClusterStore>, epochs: &[Epoch]) -> Arc<Self> {
        let uptime = Arc::new(crate::testkit::RunningTime::default());
        let cluster =
            Self::new(name, Incarnation(Uuid::nil()), ClusterPorts::alone(store, Uuid::nil(), uptime));
        let all: Vec<_> = (0..=u8::MAX).map(Shard).zip(epochs.iter().copied()).collect();
        cluster.shards.gain(&all);
        cluster.shards.serve_until(Duration::MAX);
        cluster
    }

    /// The members and owners as this node saw them last.
    pub(super) fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.view.borrow())
    }

    /// The members as the store has them now.
    pub(super) async fn members(&self) -> Result<Vec<Member>, StoreError> {
        self.store.view().await.map(|view| view.members)
    }

    /// Another member by its name.
    pub(super) fn other(&self, name: &str) -> Option<Member> {
        let view = self.view.borrow();
        let named = |member: &&Member| member.name.as_str() == name && member.incarnation != self.incarnation;
        let lives = |member: &&Member| matches!(member.state, MemberState::Live | MemberState::Draining);
        view.members.iter().find(|member| named(member) && lives(member)).cloned()
    }

    /// What this node is said to be.
    pub(super) const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Other members that may be given work: they live, can be reached, and have these labels.
    pub(super) fn able(&self, wanted: &Labels) -> Vec<Member> {
        let view = self.view.borrow();
        let able = |member: &&Member| {
            member.state == MemberState::Live
                && member.incarnation != self.incarnation
                && member.address.is_some()
                && has_all(&member.labels, wanted)
        };
        view.members.iter().filter(able).cloned().collect()
    }

    /// Whether a life of a node goes on, as far as is known here.
    pub(super) fn lives(&self, life: Incarnation) -> bool {
        let view = self.view.borrow();
        let lives = |member: &Member| matches!(member.state, MemberState::Live | MemberState::Draining);
        view.members.iter().any(|member| member.incarnation == life && lives(member))
    }

    /// Gives everything back, as the last thing that the node does.
    pub(super) async fn leave(&self) {
        match tokio::time::timeout(LEAVE_PATIENCE, self.store.leave(self.incarnation)).await {
            Ok(Ok(())) => self.hints.publish(Hint::Left),
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the node's shards are free when its lease has run out");
            }
            Err(_) => tracing::warn!("the node's shards are free when its lease has run out"),
        }
        self.shards.give_up();
    }

    /// Whether there is another to whom its shards can go.
    pub(super) fn has_heirs(&self) -> bool {
        let view = self.view.borrow();
        let heir =
            |member: &Member| member.state == MemberState::Live && member.incarnation != self.incarnation;
        !self.superseded.is_cancelled() && view.members.iter().any(heir)
    }

    /// Whether every shard is another's, as far as is known here.
    pub(super) fn has_handed_over(&self) -> bool {
        let others = |shard: &Ownership| shard.owner.as_ref().is_some_and(|owner| *owner != self.name);
        self.shards.owned().is_empty() && self.view.borrow().shards.iter().all(others)
    }

    /// Lets the keeper look at the store now.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// From now on this node claims nothing and gives away what nobody works for.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.hints.publish(Hint::Draining);
        self.shards.fenced.notify_one();
    }

    /// Where each shard belongs, as the members are in this view. Computed anew only when those have changed, for it takes
    /// a hash for each pair of a member and a shard, and every look at the store asks.
    fn wanted(&self, view: &ClusterView) -> Arc<[Option<Name>]> {
        let live = || view.members.iter().filter(|member| member.state == MemberState::Live);
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        if !placed.members.iter().eq(live().map(|member| &member.name)) {
            let members: Vec<Name> = live().map(|member| member.name.clone()).collect();
            *placed = Placed { places: placement::place(&members).into(), members };
        }
        Arc::clone(&placed.places)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    fn see(&self, view: ClusterView) {
        self.view.send_replace(Arc::new(view));
        self.shards.changed();
    }

    fn joining(&self) -> Join {
        Join {
            name: self.name.clone(),
            incarnation: self.incarnation,
            home: self.home,
            address: self.address.clone(),
            labels: self.labels.clone(),
            lease: self.timings.lease,
        }
    }
}

/// The member that owns a shard, when there is one.
fn owner_of(view: &ClusterView, shard: Shard) -> Option<&Member> {
    let owner = view.shards.get(usize::from(shard.0))?.owner.as_ref()?;
    view.members.iter().find(|member| {
        member.name == *owner && matches!(member.state, MemberState::Live | MemberState::Draining)
    })
}
