//! API tokens in the store's file.

use flexcore_actors::domain::access::{ApiToken, TokenHash, TokenId};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::{BoxFuture, TokenStore, batch};
use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Result, Row, params};

use super::beside::SqliteBeside;
use super::value;

const COLUMNS: &str = "select id, hash, role, created_by, created_at, expires_at, revoked_at from api_token";

impl TokenStore for SqliteBeside {
    fn find<'a>(
        &'a self,
        hash: &'a TokenHash,
    ) -> BoxFuture<'a, std::result::Result<Option<ApiToken>, StoreError>> {
        let hash = *hash;
        let find = move |db: &Connection| {
            let mut statement = db.prepare_cached(&format!("{COLUMNS} where hash = ?1"))?;
            statement.query_map([hash], token)?.next().transpose()
        };
        Box::pin(self.readers.read("find a token", find))
    }

    fn list(
        &self,
        after: Option<TokenId>,
        limit: usize,
    ) -> BoxFuture<'_, std::result::Result<Vec<ApiToken>, StoreError>> {
        let list = move |db: &Connection| {
            let after = after.map(|id| id.0.into_bytes().to_vec()).unwrap_or_default();
            let mut statement =
                db.prepare_cached(&format!("{COLUMNS} where id > ?1 order by id limit ?2"))?;
            statement.query_map(params![after, value::rows(limit)], token)?.collect()
        };
        Box::pin(self.readers.read("list tokens", list))
    }

    fn create<'a>(&'a self, token: &'a ApiToken) -> BoxFuture<'a, std::result::Result<(), StoreError>> {
        const CREATE: &str = "insert into api_token (id, hash, role, created_by, created_at, expires_at) \
                              values (?1, ?2, ?3, ?4, ?5, ?6)";
        let (id, hash, role) = (token.id.0.into_bytes(), token.hash, token.role.as_str());
        let (by, at, end) =
            (token.created_by.clone(), micros(token.created_at), token.expires_at.map(micros));
        let create = self.write("keep a token", CREATE, (id, hash, role, by, at, end));
        Box::pin(async { create.await.map(drop) })
    }

    fn revoke(&self, id: TokenId, at: Timestamp) -> BoxFuture<'_, std::result::Result<bool, StoreError>> {
        const REVOKE: &str = "update api_token set revoked_at = coalesce(revoked_at, ?2) where id = ?1";
        Box::pin(self.write("revoke a token", REVOKE, (id.0.into_bytes(), micros(at))))
    }
}

fn micros(time: Timestamp) -> i64 {
    batch::whole_micros(time).as_microsecond()
}

fn token(row: &Row<'_>) -> Result<ApiToken> {
    let role: String = row.get(2)?;
    let unfit = |why: String| Error::FromSqlConversionFailure(2, Type::Text, why.into());
    let optional = |column| row.get::<_, Option<i64>>(column)?.map(|_| value::time(row, column)).transpose();
    Ok(ApiToken {
        id: TokenId(value::uuid(row, 0)?),
        hash: row.get(1)?,
        role: role.parse().map_err(unfit)?,
        created_by: row.get(3)?,
        created_at: value::time(row, 4)?,
        expires_at: optional(5)?,
        revoked_at: optional(6)?,
    })
}
