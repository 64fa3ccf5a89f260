//! The conformance suite of the snapshot store, on the same stores as that of events.

use std::sync::Arc;

use flexcore_actors::ports::{BoxFuture, SnapshotStore};
use flexcore_actors::testkit::MemorySnapshots;
use flexcore_actors::testkit::conformance::{Fixture, SnapshotFixture};

mod memory {
    //! In memory.
    flexcore_actors::snapshot_store_conformance!(super::Memory);
}

mod postgres {
    //! In PostgreSQL.
    flexcore_actors::snapshot_store_conformance!(crate::postgres::Postgres);
}

mod sqlite {
    //! In SQLite.
    flexcore_actors::snapshot_store_conformance!(crate::sqlite::Sqlite);
}

struct Memory(Arc<MemorySnapshots>);

impl SnapshotFixture for Memory {
    fn open() -> BoxFuture<'static, Self> {
        Box::pin(std::future::ready(Self(Arc::default())))
    }

    fn snapshots(&self) -> Arc<dyn SnapshotStore> {
        Arc::clone(&self.0) as Arc<dyn SnapshotStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Stores that keep both.
macro_rules! beside_events {
    ($($fixture:ty),+) => {$(
        impl SnapshotFixture for $fixture {
            fn open() -> BoxFuture<'static, Self> {
                Fixture::open()
            }

            fn snapshots(&self) -> Arc<dyn SnapshotStore> {
                Arc::clone(&self.store) as Arc<dyn SnapshotStore>
            }

            fn close(self) -> BoxFuture<'static, ()> {
                Fixture::close(self)
            }
        }
    )+};
}

beside_events!(crate::postgres::Postgres, crate::sqlite::Sqlite);
