//! The PostgreSQL store: the suite, with a connection of its own for every writer.

use std::sync::Arc;

use flexcore::postgres::PostgresStore;
use flexcore_actors::ports::{BoxFuture, IntegrityStore, SubscriptionStore};
use flexcore_actors::testkit::conformance::{Fixture, IntegrityFixture, Store, SubscriptionFixture};
use flexcore_test_support::TestDatabase;

mod archive;
mod connections;
mod schema;

pub(crate) struct Postgres {
    pub(crate) store: Arc<PostgresStore>,
    database: TestDatabase, // after the store
}

/// A store on a database; it migrates what is not migrated.
pub(crate) async fn store(database: &TestDatabase) -> PostgresStore {
    PostgresStore::connect_with(database.config()).await.expect("connect the store")
}

impl Fixture for Postgres {
    fn open() -> BoxFuture<'static, Self> {
        Box::pin(async {
            let database = TestDatabase::create().await;
            let store = Arc::new(store(&database).await);
            Self { store, database }
        })
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn another(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { Arc::new(store(&self.database).await) as Arc<dyn Store> })
    }

    fn close(self) -> BoxFuture<'static, ()> {
        drop(self);
        Box::pin(std::future::ready(()))
    }
}

impl IntegrityFixture for Postgres {
    fn integrity(&self) -> Arc<dyn IntegrityStore> {
        Arc::clone(&self.store) as Arc<dyn IntegrityStore>
    }

    fn another_integrity(&self) -> BoxFuture<'_, Arc<dyn IntegrityStore>> {
        Box::pin(async { Arc::new(store(&self.database).await) as Arc<dyn IntegrityStore> })
    }
}

flexcore_actors::event_store_conformance!(Postgres);
flexcore_actors::integrity_store_conformance!(Postgres);

impl SubscriptionFixture for Postgres {
    fn open() -> BoxFuture<'static, Self> {
        Fixture::open()
    }

    fn subscriptions(&self) -> Arc<dyn SubscriptionStore> {
        Arc::clone(&self.store) as Arc<dyn SubscriptionStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Fixture::close(self)
    }
}

mod subscriptions {
    use super::Postgres;

    flexcore_actors::subscription_store_conformance!(Postgres);
}
