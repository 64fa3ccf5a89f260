//! The places of durable subscriptions in memory, for tests; see the event store beside it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::ids::{Epoch, Name, Position};
use crate::ports::event_store::StoreError;
use crate::ports::subscription_store::{Claim, Grant, ParkedEvent, Subscription, SubscriptionStore};
use crate::ports::{BoxFuture, Clock, batch};

/// A store of subscriptions that keeps everything in memory.
pub struct MemorySubscriptions {
    clock: Arc<dyn Clock>,
    rows: Mutex<BTreeMap<Name, Row>>,
}

struct Row {
    subscription: Subscription,
    parked: BTreeMap<Position, ParkedEvent>,
}

impl MemorySubscriptions {
    /// No subscriptions.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, rows: Mutex::default() }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<Name, Row>> {
        self.rows.lock().expect("no holder of this lock panics")
    }

    fn now(&self) -> Timestamp {
        batch::whole_micros(self.clock.now())
    }

    /// Changes a subscription under its last grant; false under another.
    fn change<'a>(
        &self,
        grant: Grant<'_>,
        change: impl FnOnce(&mut Row, Timestamp),
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let now = self.now();
        let mut rows = self.rows();
        let row = rows.get_mut(grant.name).filter(|row| row.subscription.epoch == grant.epoch);
        let done = row.is_some();
        if let Some(row) = row {
            change(row, now);
        }
        Box::pin(std::future::ready(Ok(done)))
    }
}

impl SubscriptionStore for MemorySubscriptions {
    fn claim<'a>(
        &'a self,
        name: &'a Name,
        owner: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Claim, StoreError>> {
        let now = self.now();
        let mut rows = self.rows();
        let row = rows.entry(name.clone()).or_insert_with(|| Row {
            subscription: Subscription {
                name: name.clone(),
                position: Position(0),
                epoch: Epoch(0),
                owner: None,
                lease_until: None,
                updated_at: now,
                parked: 0,
            },
            parked: BTreeMap::new(),
        });
        let subscription = &mut row.subscription;
        let claim = match (&subscription.owner, subscription.lease_until) {
            (Some(other), Some(until)) if other != owner && until > now => {
                Claim::Held { owner: other.clone(), until }
            }
            _ => {
                subscription.owner = Some(owner.to_owned());
                subscription.epoch.0 += 1;
                subscription.lease_until = Some(now + lease);
                subscription.updated_at = now;
                Claim::Granted { epoch: subscription.epoch, position: subscription.position }
            }
        };
        Box::pin(std::future::ready(Ok(claim)))
    }

    fn checkpoint<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.change(grant, |row, now| {
            row.subscription.position = row.subscription.position.max(position);
            row.subscription.lease_until = Some(now + lease);
            row.subscription.updated_at = now;
        })
    }

    fn release<'a>(&'a self, grant: Grant<'a>) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.change(grant, |row, now| {
            row.subscription.owner = None;
            row.subscription.lease_until = None;
            row.subscription.updated_at = now;
        })
    }

    fn park<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
        attempts: u32,
        error: &'a str,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.change(grant, |row, now| {
            let parked = ParkedEvent { position, attempts, error: error.to_owned(), parked_at: now };
            row.parked.insert(position, parked);
        })
    }

    fn unpark<'a>(&'a self, grant: Grant<'a>, position: Position) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.change(grant, |row, _| drop(row.parked.remove(&position)))
    }

    fn subscriptions(&self) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        let rows = self.rows();
        let with_count =
            |row: &Row| Subscription { parked: row.parked.len() as u64, ..row.subscription.clone() };
        Box::pin(std::future::ready(Ok(rows.values().map(with_count).collect())))
    }

    fn parked<'a>(
        &'a self,
        name: &'a Name,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ParkedEvent>, StoreError>> {
        let rows = self.rows();
        let parked = rows.get(name).into_iter().flat_map(|row| row.parked.values());
        let page = parked.filter(|event| event.position > after).take(limit).cloned().collect();
        Box::pin(std::future::ready(Ok(page)))
    }
}
