//! The places of durable subscriptions. Each change is one function call of its own transaction (see
//! `migrations/postgres/V4__subscriptions.sql`), which may be repeated; so they go over the readers' connections.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use flexcore_actors::domain::ids::{Epoch, Name, Position};
use flexcore_actors::ports::BoxFuture;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::subscription_store::{
    Claim, Grant, ParkedEvent, Subscription, SubscriptionStore,
};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::{PostgresStore, value};

impl PostgresStore {
    /// Calls a function that answers whether it was done.
    async fn change(
        &self,
        operation: &'static str,
        call: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<bool, StoreError> {
        let change = async |db: &ClientWrapper| {
            let statement = db.prepare_cached(call).await?;
            db.query_one(&statement, parameters).await?.try_get::<_, Option<bool>>(0)
        };
        self.read(operation, change).await.map(Option::unwrap_or_default)
    }
}

impl SubscriptionStore for PostgresStore {
    fn claim<'a>(
        &'a self,
        name: &'a Name,
        owner: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Claim, StoreError>> {
        let claim = async move |db: &ClientWrapper| {
            let statement = db
                .prepare_cached(
                    "select granted, epoch, position, owner, lease_until \
                     from flexcore_claim_subscription($1, $2, $3)",
                )
                .await?;
            claimed(&db.query_one(&statement, &[&name.as_str(), &owner, &millis(lease)]).await?)
        };
        Box::pin(self.read("claim a subscription", claim))
    }

    fn checkpoint<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let (epoch, position) = (value::integer(grant.epoch.0), value::integer(position.0));
            let parameters: [&(dyn ToSql + Sync); 4] =
                [&grant.name.as_str(), &epoch, &position, &millis(lease)];
            self.change("save a checkpoint", "select flexcore_checkpoint($1, $2, $3, $4)", &parameters).await
        })
    }

    fn release<'a>(&'a self, grant: Grant<'a>) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let parameters: [&(dyn ToSql + Sync); 2] = [&grant.name.as_str(), &value::integer(grant.epoch.0)];
            let call = "select flexcore_release_subscription($1, $2)";
            self.change("release a subscription", call, &parameters).await
        })
    }

    fn park<'a>(
        &'a self,
        grant: Grant<'a>,
        position: Position,
        attempts: u32,
        error: &'a str,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let (epoch, position) = (value::integer(grant.epoch.0), value::integer(position.0));
            let attempts = i32::try_from(attempts).unwrap_or(i32::MAX);
            let parameters: [&(dyn ToSql + Sync); 5] =
                [&grant.name.as_str(), &epoch, &position, &attempts, &error];
            self.change("park an event", "select flexcore_park($1, $2, $3, $4, $5)", &parameters).await
        })
    }

    fn unpark<'a>(&'a self, grant: Grant<'a>, position: Position) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let (epoch, position) = (value::integer(grant.epoch.0), value::integer(position.0));
            let parameters: [&(dyn ToSql + Sync); 3] = [&grant.name.as_str(), &epoch, &position];
            self.change("unpark an event", "select flexcore_unpark($1, $2, $3)", &parameters).await
        })
    }

    fn subscriptions(&self) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        let list = async |db: &ClientWrapper| {
            let statement = db
                .prepare_cached(
                    "select name, position, epoch, owner, lease_until, updated_at, \
                     (select count(*) from parked_event p where p.subscription = s.name) as parked \
                     from subscription s order by name",
                )
                .await?;
            db.query(&statement, &[]).await?.iter().map(subscription).collect()
        };
        Box::pin(self.read("list subscriptions", list))
    }

    fn parked<'a>(
        &'a self,
        name: &'a Name,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ParkedEvent>, StoreError>> {
        let list = async move |db: &ClientWrapper| {
            let statement = db
                .prepare_cached(
                    "select position, attempts, error, parked_at from parked_event \
                     where subscription = $1 and position > $2 order by position limit $3",
                )
                .await?;
            let (after, limit) = (value::integer(after.0), value::rows(limit));
            db.query(&statement, &[&name.as_str(), &after, &limit]).await?.iter().map(parked).collect()
        };
        Box::pin(self.read("list parked events", list))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn claimed(row: &Row) -> Result<Claim, Error> {
    Ok(if row.try_get("granted")? {
        Claim::Granted {
            epoch: Epoch(value::counter(row, "epoch")?),
            position: Position(value::counter(row, "position")?),
        }
    } else {
        Claim::Held { owner: row.try_get("owner")?, until: row.try_get("lease_until")? }
    })
}

fn subscription(row: &Row) -> Result<Subscription, Error> {
    Ok(Subscription {
        name: value::name(row, "name")?,
        position: Position(value::counter(row, "position")?),
        epoch: Epoch(value::counter(row, "epoch")?),
        owner: row.try_get("owner")?,
        lease_until: row.try_get("lease_until")?,
        updated_at: row.try_get("updated_at")?,
        parked: value::counter(row, "parked")?,
    })
}

fn parked(row: &Row) -> Result<ParkedEvent, Error> {
    Ok(ParkedEvent {
        position: Position(value::counter(row, "position")?),
        attempts: row.try_get::<_, i32>("attempts")?.unsigned_abs(),
        error: row.try_get("error")?,
        parked_at: row.try_get("parked_at")?,
    })
}
