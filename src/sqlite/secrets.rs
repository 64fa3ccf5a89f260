//! Secrets in the store's file, as they were encrypted. Nothing here knows a key.

use flexcore_actors::domain::secret::SecretName;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::secret_store::{SealedSecret, SecretKeyId};
use flexcore_actors::ports::{BoxFuture, SecretStore, batch};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Params, Result, Row, params};

use super::beside::SqliteBeside;
use super::value;

const COLUMNS: &str = "select name, key_id, nonce, ciphertext, set_at from secret";

impl SecretStore for SqliteBeside {
    fn load<'a>(
        &'a self,
        names: &'a [SecretName],
    ) -> BoxFuture<'a, std::result::Result<Vec<SealedSecret>, StoreError>> {
        let mut names = names.to_vec();
        names.sort();
        let load = move |db: &Connection| {
            let mut statement = db.prepare_cached(&format!("{COLUMNS} where name = ?1"))?;
            let mut found = Vec::with_capacity(names.len());
            for name in &names {
                found.extend(rows(&mut statement, [name.as_str()])?);
            }
            Ok(found)
        };
        Box::pin(self.readers.read("load secrets", load))
    }

    fn list<'a>(
        &'a self,
        after: Option<&'a SecretName>,
        limit: usize,
    ) -> BoxFuture<'a, std::result::Result<Vec<SealedSecret>, StoreError>> {
        let after = after.map(SecretName::to_string).unwrap_or_default();
        let list = move |db: &Connection| {
            let mut statement =
                db.prepare_cached(&format!("{COLUMNS} where name > ?1 order by name limit ?2"))?;
            rows(&mut statement, params![after, value::rows(limit)])
        };
        Box::pin(self.readers.read("list secrets", list))
    }

    fn put<'a>(&'a self, secret: &'a SealedSecret) -> BoxFuture<'a, std::result::Result<(), StoreError>> {
        const PUT: &str = "insert into secret (name, key_id, nonce, ciphertext, set_at) values (?1, ?2, ?3, ?4, ?5) \
                           on conflict (name) do update set key_id = excluded.key_id, nonce = excluded.nonce, \
                           ciphertext = excluded.ciphertext, set_at = excluded.set_at";
        let Fields { name, key_id, nonce, ciphertext, set_at } = fields(secret);
        let put = self.write("keep a secret", PUT, (name, key_id, nonce, ciphertext, set_at));
        Box::pin(async { put.await.map(drop) })
    }

    fn replace<'a>(
        &'a self,
        secret: &'a SealedSecret,
        known: &'a [u8; 24],
    ) -> BoxFuture<'a, std::result::Result<bool, StoreError>> {
        const REPLACE: &str = "update secret set key_id = ?2, nonce = ?3, ciphertext = ?4, set_at = ?5 \
                               where name = ?1 and nonce = ?6";
        let Fields { name, key_id, nonce, ciphertext, set_at } = fields(secret);
        let values = (name, key_id, nonce, ciphertext, set_at, *known);
        Box::pin(self.write("replace a secret", REPLACE, values))
    }

    fn delete<'a>(&'a self, name: &'a SecretName) -> BoxFuture<'a, std::result::Result<bool, StoreError>> {
        Box::pin(self.write("delete a secret", "delete from secret where name = ?1", [name.to_string()]))
    }
}

/// What a row holds.
struct Fields {
    name: String,
    key_id: [u8; 8],
    nonce: [u8; 24],
    ciphertext: Vec<u8>,
    set_at: i64,
}

fn fields(secret: &SealedSecret) -> Fields {
    Fields {
        name: secret.name.to_string(),
        key_id: secret.key.0,
        nonce: secret.nonce,
        ciphertext: secret.ciphertext.to_vec(),
        set_at: batch::whole_micros(secret.set_at).as_microsecond(),
    }
}

fn rows(statement: &mut rusqlite::CachedStatement<'_>, values: impl Params) -> Result<Vec<SealedSecret>> {
    statement.query_map(values, sealed)?.collect()
}

fn sealed(row: &Row<'_>) -> Result<SealedSecret> {
    let name: String = row.get(0)?;
    let name =
        SecretName::new(name).map_err(|e| Error::FromSqlConversionFailure(0, Type::Text, Box::new(e)))?;
    Ok(SealedSecret {
        name,
        key: SecretKeyId(row.get(1)?),
        nonce: row.get(2)?,
        ciphertext: value::bytes(row, 3)?,
        set_at: value::time(row, 4)?,
    })
}
