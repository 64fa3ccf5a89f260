//! Where durable subscriptions keep their places: how far each has come, who works for it, and the events that it
//! could not handle. Never in here: events; they stay in the event store.
//!
//! The promises, each with its conformance test in the testkit:
//! - one owner at a time: a lease is granted when nobody's runs, to its owner itself, or when it has run out;
//! - each grant raises the epoch, and whoever works under an earlier one can move nothing (fenced);
//! - a checkpoint never goes back.
//!
//! Every change may be repeated: after an error it is not known whether it was made, and making it again is right.

use std::time::Duration;

use jiff::Timestamp;

use super::BoxFuture;
use super::event_store::StoreError;
use crate::domain::ids::{Epoch, Name, Position};

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The claimer owns the subscription now.
    Granted {
        /// What fences it.
        epoch: Epoch,
        /// Everything up to here was handled.
        position: Position,
    },
    /// Another owner's lease runs.
    Held {
        /// Who.
        owner: String,
        /// How long, unless it is renewed.
        until: Timestamp,
    },
}

/// A durable subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its name.
    pub name: Name,
    /// Everything up to here was handled, or parked.
    pub position: Position,
    /// Rises with every grant.
    pub epoch: Epoch,
    /// Who has the lease, or had it last; `None` after it was given back.
    pub owner: Option<String>,
    /// When the lease runs out.
    pub lease_until: Option<Timestamp>,
    /// When its row was last changed.
    pub updated_at: Timestamp,
    /// How many events are parked.
    pub parked: u64,
}

/// An event that a subscription could not handle, put aside so that the others go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedEvent {
    /// The event.
    pub position: Position,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: String,
    /// When it was parked, or last tried again.
    pub parked_at: Timestamp,
}

/// Under which grant a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The subscription.
    pub name: &'a Name,
    /// The epoch of its grant.
    pub epoch: Epoch,
}

/// Where the places of durable subscriptions are kept. Leases run on the store's clock. A change answers false when
/// it was fenced: the grant is not the last one; nothing was changed then.
pub trait SubscriptionStore: Send + Sync + 'static {
    /// Claims a subscription for `owner` for as long as `lease`; one that is not known begins before the first
    /// event. An owner's own lease is granted again at once, under a new epoch: an earlier life of it is fenced.
    fn claim<'a>(
        &'a self,
        name: &'a Name,
        owner: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Claim, StoreError>>;

    /// Moves the checkpoint forward to `position`, if it is beyond, and lets the lease run for `lease` from now.
    fn checkpoint<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Gives the lease back, so that another owner need not wait for its end.
    fn release<'a>(&'a self, grant: Grant<'a>) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Parks an event; one that is parked already gets the new attempts and error. `parked_at` is the store's time.
    fn park<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
        attempts: u32,
        error: &'a str,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Takes a parked event away, because it was handled after all.
    fn unpark<'a>(&'a self, grant: Grant<'a>, position: Position) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// All subscriptions by name; there are a few for each feature that reacts to events.
    fn subscriptions(&self) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>>;

    /// Parked events of a subscription beyond `after`, in order, at most `limit`.
    fn parked<'a>(
        &'a self,
        name: &'a Name,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ParkedEvent>, StoreError>>;
}
