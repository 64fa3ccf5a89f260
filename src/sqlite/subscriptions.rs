//! The places of durable subscriptions, changed on the writer's thread, each change in a transaction of its own.

use std::time::Duration;

use flexcore_actors::domain::ids::{Epoch, Name, Position};
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::subscription_store::{
    Claim, Grant, ParkedEvent, Subscription, SubscriptionStore,
};
use flexcore_actors::ports::{BoxFuture, Clock};
use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, params};

use super::{SqliteStore, value};

impl SubscriptionStore for SqliteStore {
    fn claim<'a>(
        &'a self,
        name: &'a Name,
        owner: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, std::result::Result<Claim, StoreError>> {
        let (name, owner) = (name.clone(), owner.to_owned());
        let claim = move |tx: &Transaction<'_>| claim(tx, now(), &name, &owner, lease);
        Box::pin(self.writer.write("claim a subscription", claim))
    }

    fn checkpoint<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
        lease: Duration,
    ) -> BoxFuture<'a, std::result::Result<bool, StoreError>> {
        let (name, epoch) = (grant.name.clone(), value::integer(grant.epoch.0));
        let save = move |tx: &Transaction<'_>| {
            let now = now();
            let mut statement = tx.prepare_cached(
                "update subscription set position = max(position, ?3), lease_until = ?4, updated_at = ?5 \
                 where name = ?1 and epoch = ?2",
            )?;
            let position = value::integer(position.0);
            statement.execute(params![name.as_str(), epoch, position, until(now, lease), now]).map(|n| n == 1)
        };
        Box::pin(self.writer.write("save a checkpoint", save))
    }

    fn release<'a>(&'a self, grant: Grant<'a>) -> BoxFuture<'a, std::result::Result<bool, StoreError>> {
        let (name, epoch) = (grant.name.clone(), value::integer(grant.epoch.0));
        let release = move |tx: &Transaction<'_>| {
            let now = now();
            let mut statement = tx.prepare_cached(
                "update subscription set owner = null, lease_until = null, updated_at = ?3 \
                 where name = ?1 and epoch = ?2",
            )?;
            statement.execute(params![name.as_str(), epoch, now]).map(|n| n == 1)
        };
        Box::pin(self.writer.write("release a subscription", release))
    }

    fn park<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
        attempts: u32,
        error: &'a str,
    ) -> BoxFuture<'a, std::result::Result<bool, StoreError>> {
        let (name, epoch, error) = (grant.name.clone(), grant.epoch, error.to_owned());
        let park = move |tx: &Transaction<'_>| {
            let now = now();
            if !granted(tx, &name, epoch)? {
                return Ok(false);
            }
            let mut statement = tx.prepare_cached(
                "insert into parked_event (subscription, position, attempts, error, parked_at) \
                 values (?1, ?2, ?3, ?4, ?5) on conflict (subscription, position) do update \
                 set attempts = excluded.attempts, error = excluded.error, parked_at = excluded.parked_at",
            )?;
            statement.execute(params![name.as_str(), value::integer(position.0), attempts, error, now])?;
            Ok(true)
        };
        Box::pin(self.writer.write("park an event", park))
    }

    fn unpark<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
    ) -> BoxFuture<'a, std::result::Result<bool, StoreError>> {
        let (name, epoch) = (grant.name.clone(), grant.epoch);
        let unpark = move |tx: &Transaction<'_>| {
            if !granted(tx, &name, epoch)? {
                return Ok(false);
            }
            tx.prepare_cached("delete from parked_event where subscription = ?1 and position = ?2")?
                .execute(params![name.as_str(), value::integer(position.0)])?;
            Ok(true)
        };
        Box::pin(self.writer.write("unpark an event", unpark))
    }

    fn subscriptions(&self) -> BoxFuture<'_, std::result::Result<Vec<Subscription>, StoreError>> {
        Box::pin(self.readers.read("list subscriptions", list))
    }

    fn parked<'a>(
        &'a self,
        name: &'a Name,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'a, std::result::Result<Vec<ParkedEvent>, StoreError>> {
        let name = name.clone();
        let list = move |db: &Connection| {
            let mut statement = db.prepare_cached(
                "select position, attempts, error, parked_at from parked_event \
                 where subscription = ?1 and position > ?2 order by position limit ?3",
            )?;
            let bounds = params![name.as_str(), value::integer(after.0), value::rows(limit)];
            statement.query_map(bounds, parked)?.collect()
        };
        Box::pin(self.readers.read("list parked events", list))
    }
}

/// The time in microseconds: a file has one node, so its leases run on that node's clock.
fn now() -> i64 {
    System.now().as_microsecond()
}

/// Microseconds at which a lease given now ends.
fn until(now: i64, lease: Duration) -> i64 {
    now.saturating_add(i64::try_from(lease.as_micros()).unwrap_or(i64::MAX))
}

fn granted(tx: &Transaction<'_>, name: &Name, epoch: Epoch) -> Result<bool> {
    tx.prepare_cached("select 1 from subscription where name = ?1 and epoch = ?2")?
        .exists(params![name.as_str(), value::integer(epoch.0)])
}

fn claim(tx: &Transaction<'_>, now: i64, name: &Name, owner: &str, lease: Duration) -> Result<Claim> {
    tx.prepare_cached(
        "insert into subscription (name, position, epoch, updated_at) values (?1, 0, 0, ?2) \
         on conflict (name) do nothing",
    )?
    .execute(params![name.as_str(), now])?;
    let mut statement = tx.prepare_cached(
        "update subscription set owner = ?2, epoch = epoch + 1, lease_until = ?3, updated_at = ?4 \
         where name = ?1 and (owner is null or owner = ?2 or lease_until <= ?4) returning epoch, position",
    )?;
    let taken = statement.query_row(params![name.as_str(), owner, until(now, lease), now], |row| {
        let (epoch, position) = (Epoch(value::counter(row, 0)?), Position(value::counter(row, 1)?));
        Ok(Claim::Granted { epoch, position })
    });
    if let Some(granted) = taken.optional()? {
        return Ok(granted);
    }
    tx.prepare_cached("select owner, lease_until from subscription where name = ?1")?
        .query_row([name.as_str()], |row| Ok(Claim::Held { owner: row.get(0)?, until: value::time(row, 1)? }))
}

fn list(db: &Connection) -> Result<Vec<Subscription>> {
    let mut statement = db.prepare_cached(
        "select name, position, epoch, owner, lease_until, updated_at, \
         (select count(*) from parked_event p where p.subscription = s.name) from subscription s order by name",
    )?;
    let subscription = |row: &Row<'_>| {
        Ok(Subscription {
            name: value::name(row, 0)?,
            position: Position(value::counter(row, 1)?),
            epoch: Epoch(value::counter(row, 2)?),
            owner: row.get(3)?,
            lease_until: row.get::<_, Option<i64>>(4)?.map(|_| value::time(row, 4)).transpose()?,
            updated_at: value::time(row, 5)?,
            parked: value::counter(row, 6)?,
        })
    };
    statement.query_map([], subscription)?.collect()
}

fn parked(row: &Row<'_>) -> Result<ParkedEvent> {
    Ok(ParkedEvent {
        position: Position(value::counter(row, 0)?),
        attempts: row.get(1)?,
        error: row.get(2)?,
        parked_at: value::time(row, 3)?,
    })
}
