//! The conformance suite of the store of secrets, on the same stores as that of events.

use std::sync::Arc;

use flexcore::sqlite::SqliteBeside;
use flexcore_actors::ports::{BoxFuture, SecretStore};
use flexcore_actors::testkit::MemorySecrets;
use flexcore_actors::testkit::conformance::{Fixture, SecretFixture};

mod memory {
    //! In memory.
    flexcore_actors::secret_store_conformance!(super::Memory);
}

mod postgres {
    //! In PostgreSQL.
    flexcore_actors::secret_store_conformance!(crate::postgres::Postgres);
}

mod sqlite {
    //! In SQLite.
    flexcore_actors::secret_store_conformance!(super::Sqlite);
}

struct Memory(Arc<MemorySecrets>);

impl SecretFixture for Memory {
    fn open() -> BoxFuture<'static, Self> {
        Box::pin(std::future::ready(Self(Arc::default())))
    }

    fn secrets(&self) -> Arc<dyn SecretStore> {
        Arc::clone(&self.0) as Arc<dyn SecretStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl SecretFixture for crate::postgres::Postgres {
    fn open() -> BoxFuture<'static, Self> {
        Fixture::open()
    }

    fn secrets(&self) -> Arc<dyn SecretStore> {
        Arc::clone(&self.store) as Arc<dyn SecretStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Fixture::close(self)
    }
}

/// Beside a store that has the same file open.
struct Sqlite(crate::sqlite::Sqlite, Arc<SqliteBeside>);

impl SecretFixture for Sqlite {
    fn open() -> BoxFuture<'static, Self> {
        Box::pin(async {
            let store: crate::sqlite::Sqlite = Fixture::open().await;
            let secrets = SqliteBeside::open(store.store.path()).expect("open the store's file");
            Self(store, Arc::new(secrets))
        })
    }

    fn secrets(&self) -> Arc<dyn SecretStore> {
        Arc::clone(&self.1) as Arc<dyn SecretStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Fixture::close(self.0)
    }
}
