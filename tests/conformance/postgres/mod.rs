//! The PostgreSQL store: the suite, with a connection of its own for every writer.

use std::sync::Arc;

use flexcore::postgres::PostgresStore;
use flexcore_actors::ports::{BoxFuture, EventStore};
use flexcore_actors::testkit::conformance::Fixture;

use self::database::Database;

mod connections;
pub(crate) mod database;
mod proxy;
mod schema;

pub(crate) struct Postgres {
    database: Database,
    pub(crate) store: Arc<PostgresStore>,
}

impl Fixture for Postgres {
    fn open() -> BoxFuture<'static, Self> {
        Box::pin(async {
            let database = Database::create().await;
            let store = Arc::new(database.store().await);
            Self { database, store }
        })
    }

    fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.store) as Arc<dyn EventStore>
    }

    fn another(&self) -> BoxFuture<'_, Arc<dyn EventStore>> {
        Box::pin(async { Arc::new(self.database.store().await) as Arc<dyn EventStore> })
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            drop(self.store);
            self.database.drop().await;
        })
    }
}

flexcore_actors::event_store_conformance!(Postgres);
