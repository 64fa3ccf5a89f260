//! The superuser of the database's server.

use std::sync::Arc;

use flexcore::postgres::PostgresStore;
use flexcore_actors::ports::{BoxFuture, IntegrityStore};
use flexcore_actors::testkit::conformance::Store;
use flexcore_test_support::TestDatabase;
use tokio_postgres::Client;

use super::{Attacker, hex};
use crate::postgres::store;

struct Postgres {
    store: Arc<PostgresStore>,
    client: Client,
    _database: TestDatabase, // after the store
}

impl Postgres {
    async fn open() -> Self {
        let database = TestDatabase::create().await;
        let (store, client) = (Arc::new(store(&database).await), database.connect().await);
        client.batch_execute("set session_replication_role = replica").await.unwrap();
        Self { store, client, _database: database }
    }
}

impl Attacker for Postgres {
    fn events(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as _
    }

    fn integrity(&self) -> Arc<dyn IntegrityStore> {
        Arc::clone(&self.store) as _
    }

    fn sql<'a>(&'a self, text: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.client.batch_execute(text).await.unwrap_or_else(|e| panic!("{text}: {e:?}"));
        })
    }

    fn blob(&self, bytes: &[u8]) -> String {
        format!("'\\x{}'::bytea", hex(bytes))
    }

    fn later(&self) -> &'static str {
        "recorded_at + interval '1 second'"
    }
}

super::attacks!(Postgres);
