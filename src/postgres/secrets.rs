//! Secrets in the database, as they were encrypted, on the reading connections: they are few and seldom change. Nothing
//! here knows a key.

use deadpool_postgres::ClientWrapper;
use flexcore_actors::domain::secret::SecretName;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::secret_store::{SealedSecret, SecretKeyId};
use flexcore_actors::ports::{BoxFuture, SecretStore};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::{PostgresStore, value};

impl SecretStore for PostgresStore {
    fn load<'a>(&'a self, names: &'a [SecretName]) -> BoxFuture<'a, Result<Vec<SealedSecret>, StoreError>> {
        const LOAD: &str = "select name, key_id, nonce, ciphertext, set_at from secret \
                            where name = any ($1) order by name";
        let names: Vec<&str> = names.iter().map(SecretName::as_str).collect();
        Box::pin(self.read("load secrets", async move |db| rows(db, LOAD, &[&names]).await))
    }

    fn list<'a>(
        &'a self,
        after: Option<&'a SecretName>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<SealedSecret>, StoreError>> {
        const LIST: &str = "select name, key_id, nonce, ciphertext, set_at from secret \
                            where name > $1 order by name limit $2";
        let (after, limit) = (after.map_or("", SecretName::as_str), value::rows(limit));
        Box::pin(self.read("list secrets", async move |db| rows(db, LIST, &[&after, &limit]).await))
    }

    fn put<'a>(&'a self, secret: &'a SealedSecret) -> BoxFuture<'a, Result<(), StoreError>> {
        const PUT: &str = "insert into secret (name, key_id, nonce, ciphertext, set_at) values ($1, $2, $3, $4, $5) \
                           on conflict (name) do update set key_id = excluded.key_id, nonce = excluded.nonce, \
                           ciphertext = excluded.ciphertext, set_at = excluded.set_at";
        Box::pin(self.read("keep a secret", async move |db| write(db, PUT, secret, None).await.map(drop)))
    }

    fn replace<'a>(
        &'a self,
        secret: &'a SealedSecret,
        known: &'a [u8; 24],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        const REPLACE: &str = "update secret set key_id = $2, nonce = $3, ciphertext = $4, set_at = $5 \
                               where name = $1 and nonce = $6";
        Box::pin(self.read("replace a secret", async move |db| write(db, REPLACE, secret, Some(known)).await))
    }

    fn delete<'a>(&'a self, name: &'a SecretName) -> BoxFuture<'a, Result<bool, StoreError>> {
        let delete = async move |db: &ClientWrapper| {
            let statement = db.prepare_cached("delete from secret where name = $1").await?;
            Ok(db.execute(&statement, &[&name.as_str()]).await? > 0)
        };
        Box::pin(self.read("delete a secret", delete))
    }
}

async fn rows(
    db: &ClientWrapper,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<SealedSecret>, Error> {
    let statement = db.prepare_cached(sql).await?;
    db.query(&statement, values).await?.iter().map(sealed).collect()
}

fn sealed(row: &Row) -> Result<SealedSecret, Error> {
    Ok(SealedSecret {
        name: value::secret_name(row, "name")?,
        key: SecretKeyId(value::fixed(row, "key_id")?),
        nonce: value::fixed(row, "nonce")?,
        ciphertext: value::bytes(row, "ciphertext")?,
        set_at: row.try_get("set_at")?,
    })
}

async fn write(
    db: &ClientWrapper,
    sql: &str,
    secret: &SealedSecret,
    known: Option<&[u8; 24]>,
) -> Result<bool, Error> {
    let statement = db.prepare_cached(sql).await?;
    let (name, set_at) = (secret.name.as_str(), value::time(secret.set_at));
    let (key, nonce, ciphertext) = (&secret.key.0[..], &secret.nonce[..], &secret.ciphertext[..]);
    let known = known.map(|known| &known[..]);
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&name, &key, &nonce, &ciphertext, &set_at];
    values.extend(known.as_ref().map(|known| known as &(dyn ToSql + Sync)));
    Ok(db.execute(&statement, &values).await? > 0)
}
