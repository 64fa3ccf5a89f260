//! The suite of read models on every adapter, and what only one of them can promise.

use std::sync::Arc;

use flexcore::postgres::PostgresStore;
use flexcore::sqlite::SqliteReadModels;
use flexcore_actors::domain::projection::View;
use flexcore_actors::ports::{BoxFuture, ReadModels};
use flexcore_actors::testkit::MemoryReadModels;
use flexcore_actors::testkit::read_models::ReadModelsFixture;
use flexcore_test_support::TestDatabase;

use crate::postgres::store;

struct Memory(Arc<MemoryReadModels>);

impl ReadModelsFixture for Memory {
    fn open() -> BoxFuture<'static, Self> {
        Box::pin(std::future::ready(Self(Arc::default())))
    }

    fn read_models(&self) -> Arc<dyn ReadModels> {
        Arc::clone(&self.0) as Arc<dyn ReadModels>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Sqlite {
    models: Arc<SqliteReadModels>,
    folder: tempfile::TempDir,
}

impl ReadModelsFixture for Sqlite {
    fn open() -> BoxFuture<'static, Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let models = SqliteReadModels::open(folder.path().join("read-models.db")).expect("open");
        Box::pin(std::future::ready(Self { models: Arc::new(models), folder }))
    }

    fn read_models(&self) -> Arc<dyn ReadModels> {
        Arc::clone(&self.models) as Arc<dyn ReadModels>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.folder.close().expect("remove the temporary folder") })
    }
}

struct Postgres {
    database: TestDatabase,
    store: PostgresStore,
}

impl ReadModelsFixture for Postgres {
    fn open() -> BoxFuture<'static, Self> {
        Box::pin(async {
            let database = TestDatabase::create().await;
            let store = store(&database).await;
            Self { database, store }
        })
    }

    fn read_models(&self) -> Arc<dyn ReadModels> {
        Arc::new(self.store.read_models().expect("connect the read models"))
    }

    fn close(self) -> BoxFuture<'static, ()> {
        // the connections end before the database does
        let Self { database, store } = self;
        drop(store);
        drop(database);
        Box::pin(std::future::ready(()))
    }
}

mod memory {
    //! In memory.
    flexcore_actors::read_models_conformance!(super::Memory);
}

mod sqlite {
    //! SQLite.
    flexcore_actors::read_models_conformance!(super::Sqlite);
}

mod postgres {
    //! PostgreSQL.
    flexcore_actors::read_models_conformance!(super::Postgres);
}

/// What was projected is in the file; a file that cannot be read is begun anew, as it can be derived again.
#[tokio::test]
async fn a_file_is_kept_and_a_broken_one_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("read-models.db");
    let first = SqliteReadModels::open(&path).unwrap();
    first.open(View::Plugins, 7).await.unwrap();
    drop(first);
    let again = SqliteReadModels::open(&path).unwrap();
    assert_eq!(again.projections().await.unwrap()[0].shape, 7);
    drop(again);
    std::fs::write(&path, "no database any more").unwrap();
    let anew = SqliteReadModels::open(&path).unwrap();
    assert_eq!(anew.projections().await.unwrap(), []);
    assert!(SqliteReadModels::open(folder.path().join("absent").join("read-models.db")).is_err());
}
