//! Members and owners: each change is one function call of its own transaction (see `migrations/postgres/V9__cluster.sql`),
//! which may be repeated. Renewals have a connection of their own, so that neither appends nor reads keep them waiting.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use flexcore_actors::domain::ids::{Epoch, Incarnation, Shard};
use flexcore_actors::ports::cluster::{ClusterView, Join, Joined, Member, MemberState, Ownership, Renewed};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::{BoxFuture, ClusterStore};
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config, Error, Row, Statement};

use super::config::RENEW_TIMEOUT;
use super::{PostgresStore, error, session, value};

const RENEW: &str = "select alive, revision, silent from flexcore_renew($1, $2, $3)";
const MEMBERS: &str = "select incarnation, name, address, labels::text, state, \
     greatest(0, (extract(epoch from lease_until - clock_timestamp()) * 1000)::bigint) as left_ms \
     from node order by name, incarnation";

/// The connection that renews; made when it is first needed, and again when it failed.
pub(super) struct Leases {
    config: Config,
    session: Mutex<Option<(Client, Statement)>>,
}

impl Leases {
    pub(super) fn new(config: Config) -> Self {
        Self { config, session: Mutex::new(None) }
    }

    async fn renew(
        &self,
        member: Incarnation,
        state: MemberState,
        lease: Duration,
    ) -> Result<Renewed, StoreError> {
        const OPERATION: &str = "renew the node's lease";
        let mut slot = self.session.lock().await;
        // taken out, so that a connection that fails or is given up is made anew
        let (client, renew) = match slot.take().filter(|(client, _)| !client.is_closed()) {
            Some(session) => session,
            None => {
                let client = session::connect(&self.config, OPERATION).await?;
                let renew = client.prepare(RENEW).await.map_err(|e| error::not_stored(OPERATION, e))?;
                (client, renew)
            }
        };
        let (state, lease) = (word(state), millis(lease));
        let row = {
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&member.0, &state, &lease];
            match tokio::time::timeout(RENEW_TIMEOUT, client.query_one(&renew, &parameters)).await {
                Ok(row) => row.map_err(|e| error::not_stored(OPERATION, e))?,
                Err(_) => {
                    let source = error::too_slow(RENEW_TIMEOUT);
                    return Err(StoreError::Unavailable { operation: OPERATION, source });
                }
            }
        };
        *slot = Some((client, renew));
        let renewed = || {
            Ok(Renewed {
                alive: row.try_get("alive")?,
                revision: value::counter(&row, "revision")?,
                silent: row.try_get("silent")?,
            })
        };
        renewed().map_err(|e| error::not_stored(OPERATION, e))
    }
}

impl ClusterStore for PostgresStore {
    fn join<'a>(&'a self, join: &'a Join) -> BoxFuture<'a, Result<Joined, StoreError>> {
        const CALL: &str = "select outcome, other, left_ms from flexcore_join($1, $2, $3, $4, $5, $6)";
        Box::pin(async move {
            // text to text: it can always be written
            let labels = serde_json::to_string(&join.labels).unwrap_or_default();
            let call = async |db: &ClientWrapper| {
                let statement = db.prepare_cached(CALL).await?;
                let (name, lease) = (join.name.as_str(), millis(join.lease));
                let (life, home) = (join.incarnation.0, join.home);
                let row =
                    db.query_one(&statement, &[&name, &life, &home, &join.address, &labels, &lease]).await?;
                Ok(match row.try_get("outcome")? {
                    "member" => Joined::Member,
                    "name_taken" => {
                        Joined::NameTaken { left: Duration::from_millis(value::counter(&row, "left_ms")?) }
                    }
                    _ => Joined::NotAlone { other: value::name(&row, "other")? },
                })
            };
            self.read("join the cluster", call).await
        })
    }

    fn renew(
        &self,
        member: Incarnation,
        state: MemberState,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Renewed, StoreError>> {
        Box::pin(self.leases.renew(member, state, lease))
    }

    fn leave(&self, member: Incarnation) -> BoxFuture<'_, Result<(), StoreError>> {
        let call = async move |db: &ClientWrapper| {
            let statement = db.prepare_cached("select flexcore_leave($1)").await?;
            db.query_one(&statement, &[&member.0]).await.map(drop)
        };
        Box::pin(self.read("leave the cluster", call))
    }

    fn mark_dead(&self, by: Incarnation, member: Incarnation) -> BoxFuture<'_, Result<bool, StoreError>> {
        let call = async move |db: &ClientWrapper| {
            let statement = db.prepare_cached("select flexcore_mark_dead($1, $2)").await?;
            db.query_one(&statement, &[&by.0, &member.0]).await?.try_get(0)
        };
        Box::pin(self.read("mark a node dead", call))
    }

    fn claim<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<Vec<(Shard, Epoch)>, StoreError>> {
        let call = async move |db: &ClientWrapper| {
            let statement = db.prepare_cached("select shard, epoch from flexcore_claim($1, $2)").await?;
            let rows = db.query(&statement, &[&member.0, &numbers(shards)]).await?;
            rows.iter().map(|row| Ok((shard(row)?, Epoch(value::counter(row, "epoch")?)))).collect()
        };
        Box::pin(self.read("claim shards", call))
    }

    fn release<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let call = async move |db: &ClientWrapper| {
            let statement = db.prepare_cached("select flexcore_release($1, $2)").await?;
            db.query_one(&statement, &[&member.0, &numbers(shards)]).await.map(drop)
        };
        Box::pin(self.read("release shards", call))
    }

    fn view(&self) -> BoxFuture<'_, Result<ClusterView, StoreError>> {
        let view = async |db: &ClientWrapper| {
            // the revision first: what changes meanwhile is seen again with the next
            let revision = db.prepare_cached("select revision from cluster").await?;
            let revision = value::counter(&db.query_one(&revision, &[]).await?, "revision")?;
            let members = db.prepare_cached(MEMBERS).await?;
            let members = db.query(&members, &[]).await?.iter().map(member).collect::<Result<_, _>>()?;
            let shards = db.prepare_cached("select owner, epoch from shard order by shard").await?;
            let shards = db.query(&shards, &[]).await?.iter().map(ownership).collect::<Result<_, _>>()?;
            Ok(ClusterView { revision, members, shards })
        };
        Box::pin(self.read("read the cluster", view))
    }
}

const fn word(state: MemberState) -> &'static str {
    match state {
        MemberState::Live => "live",
        MemberState::Draining => "draining",
        MemberState::Left => "left",
        MemberState::Dead => "dead",
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn numbers(shards: &[Shard]) -> Vec<i16> {
    shards.iter().map(|shard| i16::from(shard.0)).collect()
}

fn shard(row: &Row) -> Result<Shard, Error> {
    // the table has the 256 and the function adds none
    row.try_get::<_, i16>("shard").map(|shard| Shard(shard.to_le_bytes()[0]))
}

fn member(row: &Row) -> Result<Member, Error> {
    let labels: &str = row.try_get("labels")?;
    Ok(Member {
        name: value::name(row, "name")?,
        incarnation: Incarnation(row.try_get("incarnation")?),
        address: row.try_get("address")?,
        // somebody else's labels select nothing
        labels: serde_json::from_str(labels).unwrap_or_default(),
        state: match row.try_get("state")? {
            "live" => MemberState::Live,
            "draining" => MemberState::Draining,
            "left" => MemberState::Left,
            _ => MemberState::Dead,
        },
        lease_left: Duration::from_millis(value::counter(row, "left_ms")?),
    })
}

fn ownership(row: &Row) -> Result<Ownership, Error> {
    let owner: Option<&str> = row.try_get("owner")?;
    let owner = owner.is_some().then(|| value::name(row, "owner")).transpose()?;
    Ok(Ownership { owner, epoch: Epoch(value::counter(row, "epoch")?) })
}
