//! The cluster of a store that one process opens: members live in its memory, for nobody else could join; owners and
//! epochs of shards are rows, by which appends are fenced. Whoever opens the file anew begins without members.

use std::time::{Duration, Instant};

use flexcore_actors::domain::ids::{Epoch, Incarnation, Shard};
use flexcore_actors::ports::cluster::{ClusterView, Join, Joined, MemberState, Ownership, Renewed};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::registry::Registry;
use flexcore_actors::ports::{BoxFuture, ClusterStore};
use rusqlite::{Connection, Transaction, params};
use tokio::sync::Mutex;

use super::{SqliteStore, value};

/// The members; the lock is held while their shards are stored, so that rows and members agree.
pub(super) struct Members(Mutex<Registry>);

impl Members {
    pub(super) fn new(epochs: &[Epoch; 256]) -> Self {
        Self(Mutex::new(Registry::with_epochs(epochs)))
    }
}

/// The epoch of each shard.
pub(super) fn epochs(db: &Connection) -> rusqlite::Result<[Epoch; 256]> {
    let mut epochs = [Epoch(0); 256];
    let mut statement = db.prepare("select shard, epoch from shard")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let shard: u8 = row.get(0)?;
        epochs[usize::from(shard)] = Epoch(value::counter(row, 1)?);
    }
    Ok(epochs)
}

impl SqliteStore {
    /// Changes the members, once the owners that this changes are stored.
    async fn change<T>(
        &self,
        operation: &'static str,
        change: impl FnOnce(&mut Registry) -> T,
    ) -> Result<T, StoreError> {
        let mut registry = self.members.0.lock().await;
        let mut changed = registry.clone();
        let answer = change(&mut changed);
        let (before, after) = (owners(&registry), owners(&changed));
        if before != after {
            let rows: Vec<_> = (0..=u8::MAX).zip(after).zip(before).filter(|((_, a), b)| a != b).collect();
            let rows = rows.into_iter().map(|(row, _)| row).collect();
            self.writer.write(operation, |tx| store(tx, rows)).await?;
        }
        *registry = changed;
        Ok(answer)
    }
}

fn owners(registry: &Registry) -> Vec<Ownership> {
    (0..=u8::MAX).map(|shard| registry.owner(Shard(shard)).clone()).collect()
}

fn store(tx: &Transaction<'_>, rows: Vec<(u8, Ownership)>) -> rusqlite::Result<()> {
    let mut statement = tx.prepare_cached("update shard set owner = ?2, epoch = ?3 where shard = ?1")?;
    for (shard, Ownership { owner, epoch }) in rows {
        let owner = owner.as_ref().map(|name| name.as_str());
        statement.execute(params![shard, owner, value::integer(epoch.0)])?;
    }
    Ok(())
}

impl ClusterStore for SqliteStore {
    fn join<'a>(&'a self, join: &'a Join) -> BoxFuture<'a, Result<Joined, StoreError>> {
        Box::pin(self.change("join", move |members| members.join(join, Instant::now())))
    }

    fn renew(
        &self,
        member: Incarnation,
        state: MemberState,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Renewed, StoreError>> {
        Box::pin(async move { Ok(self.members.0.lock().await.renew(member, state, lease, Instant::now())) })
    }

    fn leave(&self, member: Incarnation) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change("leave", move |members| members.leave(member)))
    }

    fn mark_dead(&self, by: Incarnation, member: Incarnation) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(
            self.change("mark a node dead", move |members| members.mark_dead(by, member, Instant::now())),
        )
    }

    fn claim<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<Vec<(Shard, Epoch)>, StoreError>> {
        Box::pin(self.change("claim shards", move |members| members.claim(member, shards)))
    }

    fn release<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.change("release shards", move |members| members.release(member, shards)))
    }

    fn view(&self) -> BoxFuture<'_, Result<ClusterView, StoreError>> {
        Box::pin(async move { Ok(self.members.0.lock().await.view(Instant::now())) })
    }
}
