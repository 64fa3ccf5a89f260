//! The in-memory store keeps the same promises as the real ones: tests elsewhere rely on it.

use std::sync::Arc;

use flexcore_actors::ports::{BoxFuture, EventStore};
use flexcore_actors::testkit::MemoryStore;
use flexcore_actors::testkit::conformance::Fixture;

pub(crate) struct Memory(Arc<MemoryStore>);

impl Fixture for Memory {
    fn open() -> BoxFuture<'static, Self> {
        let store = MemoryStore::new();
        Box::pin(std::future::ready(Self(Arc::new(store))))
    }

    fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.0) as Arc<dyn EventStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

flexcore_actors::event_store_conformance!(Memory);
