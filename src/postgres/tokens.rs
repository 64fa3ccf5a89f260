//! API tokens in the database, on the reading connections: a request asks for one by its hash.

use deadpool_postgres::ClientWrapper;
use flexcore_actors::domain::access::{ApiToken, TokenHash, TokenId};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::{BoxFuture, TokenStore};
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::{PostgresStore, value};

impl TokenStore for PostgresStore {
    fn find<'a>(&'a self, hash: &'a TokenHash) -> BoxFuture<'a, Result<Option<ApiToken>, StoreError>> {
        const FIND: &str = "select id, hash, role, created_by, created_at, expires_at, revoked_at \
                            from api_token where hash = $1";
        let find = async move |db: &ClientWrapper| Ok(rows(db, FIND, &[&&hash[..]]).await?.pop());
        Box::pin(self.read("find a token", find))
    }

    fn list(&self, after: Option<TokenId>, limit: usize) -> BoxFuture<'_, Result<Vec<ApiToken>, StoreError>> {
        const LIST: &str = "select id, hash, role, created_by, created_at, expires_at, revoked_at \
                            from api_token where $1::uuid is null or id > $1 order by id limit $2";
        let (after, limit) = (after.map(|id| id.0), value::rows(limit));
        Box::pin(self.read("list tokens", async move |db| rows(db, LIST, &[&after, &limit]).await))
    }

    fn create<'a>(&'a self, token: &'a ApiToken) -> BoxFuture<'a, Result<(), StoreError>> {
        const CREATE: &str = "select flexcore_token_create($1, $2, $3, $4, $5, $6)";
        let create = async move |db: &ClientWrapper| {
            let statement = db.prepare_cached(CREATE).await?;
            let (hash, role, at) = (&token.hash[..], token.role.as_str(), value::time(token.created_at));
            let end = token.expires_at.map(value::time);
            let values: [&(dyn ToSql + Sync); 6] = [&token.id.0, &hash, &role, &token.created_by, &at, &end];
            db.execute(&statement, &values).await.map(drop)
        };
        Box::pin(self.read("keep a token", create))
    }

    fn revoke(&self, id: TokenId, at: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        const REVOKE: &str = "select flexcore_token_revoke($1, $2)";
        let revoke = async move |db: &ClientWrapper| {
            let statement = db.prepare_cached(REVOKE).await?;
            db.query_one(&statement, &[&id.0, &value::time(at)]).await?.try_get(0)
        };
        Box::pin(self.read("revoke a token", revoke))
    }
}

async fn rows(db: &ClientWrapper, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<ApiToken>, Error> {
    let statement = db.prepare_cached(sql).await?;
    db.query(&statement, values).await?.iter().map(token).collect()
}

fn token(row: &Row) -> Result<ApiToken, Error> {
    Ok(ApiToken {
        id: TokenId(row.try_get::<_, Uuid>("id")?),
        hash: value::digest(row, "hash")?,
        role: value::role(row, "role")?,
        created_by: row.try_get("created_by")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}
