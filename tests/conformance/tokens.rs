//! The conformance suite of the store of tokens, on the same stores as that of events.

use std::sync::Arc;

use flexcore::sqlite::SqliteBeside;
use flexcore_actors::ports::{BoxFuture, TokenStore};
use flexcore_actors::testkit::MemoryTokens;
use flexcore_actors::testkit::conformance::{Fixture, TokenFixture};

mod memory {
    //! In memory.
    flexcore_actors::token_store_conformance!(super::Memory);
}

mod postgres {
    //! In PostgreSQL.
    flexcore_actors::token_store_conformance!(crate::postgres::Postgres);
}

mod sqlite {
    //! In SQLite.
    flexcore_actors::token_store_conformance!(super::Sqlite);
}

struct Memory(Arc<MemoryTokens>);

impl TokenFixture for Memory {
    fn open() -> BoxFuture<'static, Self> {
        Box::pin(std::future::ready(Self(Arc::default())))
    }

    fn tokens(&self) -> Arc<dyn TokenStore> {
        Arc::clone(&self.0) as Arc<dyn TokenStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl TokenFixture for crate::postgres::Postgres {
    fn open() -> BoxFuture<'static, Self> {
        Fixture::open()
    }

    fn tokens(&self) -> Arc<dyn TokenStore> {
        Arc::clone(&self.store) as Arc<dyn TokenStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Fixture::close(self)
    }
}

/// Beside a store that has the same file open.
struct Sqlite(crate::sqlite::Sqlite, Arc<SqliteBeside>);

impl TokenFixture for Sqlite {
    fn open() -> BoxFuture<'static, Self> {
        Box::pin(async {
            let store: crate::sqlite::Sqlite = Fixture::open().await;
            let beside = SqliteBeside::open(store.store.path()).expect("open the store's file");
            Self(store, Arc::new(beside))
        })
    }

    fn tokens(&self) -> Arc<dyn TokenStore> {
        Arc::clone(&self.1) as Arc<dyn TokenStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Fixture::close(self.0)
    }
}
