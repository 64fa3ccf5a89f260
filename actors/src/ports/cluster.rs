//! The cluster: who is alive and who owns which shard (as the store decides), how nodes reach each other, and the hints
//! that make news travel faster. Never in here: who should own a shard.
//!
//! The promises of a [`ClusterStore`], each with its conformance test in the testkit:
//! - a shard has at most one owner, and its epoch rises with every change of owner (S4);
//! - a member that was marked dead stays dead: it can renew, claim and release nothing any more (S4);
//! - a member is marked dead only when its lease has run out, by the store's clock, or by its own next life;
//! - whoever asks with the last revision learns whether anything has changed since.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::BoxFuture;
use super::event_store::StoreError;
use crate::domain::ids::{Epoch, Incarnation, Name, Shard};

/// What a node says of itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Its name; no two live members have the same.
    pub name: Name,
    /// This life of it.
    pub incarnation: Incarnation,
    /// Its data directory, whose lock it holds: whoever joins from the same one supersedes the former life at once.
    pub home: Uuid,
    /// Where the other nodes reach it, `host:port`; without one it is a cluster of its own, and joins only when no other
    /// member lives.
    pub address: Option<String>,
    /// What `node_selector` looks at.
    pub labels: BTreeMap<String, String>,
    /// How long it counts as alive without a renewal.
    pub lease: Duration,
}

/// The answer to a [`Join`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// It is a member; shards of its former lives are free.
    Member,
    /// Another process lives under the name, and has not been silent for its lease.
    NameTaken {
        /// How long its lease runs.
        left: Duration,
    },
    /// Other members live, and one of the two sides has no address.
    NotAlone {
        /// The first of them by name.
        other: Name,
    },
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It may own shards.
    Live,
    /// It gives its shards away and ends.
    Draining,
    /// It ended in an orderly way.
    Left,
    /// It was silent for its lease and marked dead by another, or superseded by its next life.
    Dead,
}

/// A member, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: Name,
    /// Its life.
    pub incarnation: Incarnation,
    /// Where the others reach it.
    pub address: Option<String>,
    /// What `node_selector` looks at.
    pub labels: BTreeMap<String, String>,
    /// How it is.
    pub state: MemberState,
    /// How long its lease runs, by the store's clock; zero when it has run out.
    pub lease_left: Duration,
}

/// Who owns a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The owner's name; `None` when nobody does.
    pub owner: Option<Name>,
    /// The current epoch.
    pub epoch: Epoch,
}

/// The cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// Rises with every change of members (but for renewals) and owners.
    pub revision: u64,
    /// All members by name, those too that left or died lately.
    pub members: Vec<Member>,
    /// The owners of the 256 shards, by index.
    pub shards: Vec<Ownership>,
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// False when the member was marked dead or superseded: it must end.
    pub alive: bool,
    /// The revision now.
    pub revision: u64,
    /// Whether the lease of another member has run out.
    pub silent: bool,
}

/// Where members and owners are kept. Every change is one short transaction under the lock that appends take too, so that
/// no append of an earlier owner commits after it.
pub trait ClusterStore: Send + Sync + 'static {
    /// Makes the node a member.
    fn join<'a>(&'a self, join: &'a Join) -> BoxFuture<'a, Result<Joined, StoreError>>;

    /// Lets the member's lease run for `lease` from now, and says how it is: [`MemberState::Live`] or
    /// [`MemberState::Draining`].
    fn renew(
        &self,
        member: Incarnation,
        state: MemberState,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Renewed, StoreError>>;

    /// Gives everything back and marks the member as left.
    fn leave(&self, member: Incarnation) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Marks a member dead whose lease has run out; its shards are free then. False when it has not run out.
    fn mark_dead(&self, by: Incarnation, member: Incarnation) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Takes those of the shards that nobody owns; answers them with their new epochs. A member that drains gets none.
    fn claim<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<Vec<(Shard, Epoch)>, StoreError>>;

    /// Gives those of the shards back that the member owns.
    fn release<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Everything.
    fn view(&self) -> BoxFuture<'_, Result<ClusterView, StoreError>>;
}

/// Why a peer gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The request certainly did not reach it.
    #[error("{0} cannot be reached")]
    Unreachable(Name),
    /// The request may have reached it.
    #[error("the connection to {0} was lost")]
    Lost(Name),
}

/// Asks other nodes. What is asked and answered is the runtime's own (MessagePack); adapters carry it, and let only nodes
/// of the cluster in.
pub trait Peers: Send + Sync + 'static {
    /// One question, one answer, each at most [`crate::limits::MAX_PEER_MESSAGE`]; gives up after `patience`.
    fn ask<'a>(
        &'a self,
        to: &'a Member,
        question: Bytes,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Bytes, PeerError>>;

    /// A conversation: what is sent into `said` reaches the peer in order, what it says comes from the receiver. Either
    /// side ends it by dropping its end; a peer that is lost ends it too, without a word.
    fn talk<'a>(
        &'a self,
        to: &'a Member,
        opening: Bytes,
        said: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'a, Result<mpsc::Receiver<Bytes>, PeerError>>;
}

/// What peers ask of this node; the adapter of [`Peers`] calls it at the other end.
pub trait PeerService: Send + Sync + 'static {
    /// Answers a question.
    fn answer(&self, question: Bytes) -> BoxFuture<'static, Bytes>;

    /// Takes part in a conversation until either side ends it.
    fn converse(
        &self,
        opening: Bytes,
        heard: mpsc::Receiver<Bytes>,
        says: mpsc::Sender<Bytes>,
    ) -> BoxFuture<'static, ()>;
}

/// News for the other nodes. Nothing depends on them: whoever misses one learns the same from the store a little later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Hint {
    /// A member joined.
    Hello,
    /// A member gives its shards away.
    Draining,
    /// A member left.
    Left,
    /// Owners have changed.
    Shards,
    /// A plugin was registered, changed or released.
    PluginUpdated {
        /// Its name.
        plugin: Name,
    },
}

/// What is heard of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A hint of another member.
    Hint {
        /// Its life.
        from: Incarnation,
        /// What it says.
        hint: Hint,
    },
    /// Hints may have been missed (a gap in a sender's numbers, a lag, a reconnection): look at the store.
    Gap,
}

/// Publishes and hears hints.
pub trait Hints: Send + Sync + 'static {
    /// Publishes a hint. Never waits, never fails: a hint that cannot be sent is dropped and counted.
    fn publish(&self, hint: Hint);

    /// What is heard from now on. There is one listener, and its queue is bounded: who lags hears [`Heard::Gap`].
    fn listen(&self) -> mpsc::Receiver<Heard>;

    /// Whether hints pass now; for people (`/ready`, `/inspect/cluster`).
    fn connected(&self) -> bool;
}
