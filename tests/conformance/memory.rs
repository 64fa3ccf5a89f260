//! The in-memory store keeps the same promises as the real ones: tests elsewhere rely on it.

use std::sync::Arc;

use flexcore_actors::ports::{BoxFuture, IntegrityStore, SubscriptionStore};
use flexcore_actors::testkit::conformance::{Fixture, IntegrityFixture, Store, SubscriptionFixture};
use flexcore_actors::testkit::{ManualClock, MemoryIntegrity, MemoryStore, MemorySubscriptions};

pub(crate) struct Memory(Arc<MemoryStore>);

impl Fixture for Memory {
    fn open() -> BoxFuture<'static, Self> {
        let store = MemoryStore::new();
        Box::pin(std::future::ready(Self(Arc::new(store))))
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0) as Arc<dyn Store>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

flexcore_actors::event_store_conformance!(Memory);

/// The same with tiles and checkpoints.
struct SealedMemory(Memory, Arc<MemoryIntegrity>);

impl Fixture for SealedMemory {
    fn open() -> BoxFuture<'static, Self> {
        Box::pin(async {
            let memory = Memory::open().await;
            let integrity = Arc::new(MemoryIntegrity::new(memory.store()));
            Self(memory, integrity)
        })
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store()
    }

    fn close(self) -> BoxFuture<'static, ()> {
        self.0.close()
    }
}

impl IntegrityFixture for SealedMemory {
    fn integrity(&self) -> Arc<dyn IntegrityStore> {
        Arc::clone(&self.1) as Arc<dyn IntegrityStore>
    }
}

flexcore_actors::integrity_store_conformance!(SealedMemory);

struct Subscriptions(Arc<MemorySubscriptions>);

impl SubscriptionFixture for Subscriptions {
    fn open() -> BoxFuture<'static, Self> {
        let store = MemorySubscriptions::new(Arc::new(ManualClock::new(1)));
        Box::pin(std::future::ready(Self(Arc::new(store))))
    }

    fn subscriptions(&self) -> Arc<dyn SubscriptionStore> {
        Arc::clone(&self.0) as Arc<dyn SubscriptionStore>
    }

    fn close(self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

mod subscriptions {
    use super::Subscriptions;

    flexcore_actors::subscription_store_conformance!(Subscriptions);
}
