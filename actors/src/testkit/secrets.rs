//! Secrets in memory, as they are stored: for tests. Never offered to users.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::domain::secret::SecretName;
use crate::ports::event_store::StoreError;
use crate::ports::secret_store::SealedSecret;
use crate::ports::{BoxFuture, SecretStore, batch};

/// A store of secrets that keeps everything in memory.
#[derive(Default)]
pub struct MemorySecrets(Mutex<BTreeMap<SecretName, SealedSecret>>);

impl MemorySecrets {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<SecretName, SealedSecret>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

fn insert(kept: &mut BTreeMap<SecretName, SealedSecret>, secret: &SealedSecret) {
    let set_at = batch::whole_micros(secret.set_at);
    kept.insert(secret.name.clone(), SealedSecret { set_at, ..secret.clone() });
}

impl SecretStore for MemorySecrets {
    fn load<'a>(&'a self, names: &'a [SecretName]) -> BoxFuture<'a, Result<Vec<SealedSecret>, StoreError>> {
        let found = self.kept().values().filter(|kept| names.contains(&kept.name)).cloned().collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn list<'a>(
        &'a self,
        after: Option<&'a SecretName>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<SealedSecret>, StoreError>> {
        let beyond = |name: &SecretName| after.is_none_or(|after| name > after);
        let found = self.kept().values().filter(|kept| beyond(&kept.name)).take(limit).cloned().collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn put<'a>(&'a self, secret: &'a SealedSecret) -> BoxFuture<'a, Result<(), StoreError>> {
        insert(&mut self.kept(), secret);
        Box::pin(std::future::ready(Ok(())))
    }

    fn replace<'a>(
        &'a self,
        secret: &'a SealedSecret,
        known: &'a [u8; 24],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let mut kept = self.kept();
        let fits = kept.get(&secret.name).is_some_and(|there| there.nonce == *known);
        if fits {
            insert(&mut kept, secret);
        }
        Box::pin(std::future::ready(Ok(fits)))
    }

    fn delete<'a>(&'a self, name: &'a SecretName) -> BoxFuture<'a, Result<bool, StoreError>> {
        let was_there = self.kept().remove(name).is_some();
        Box::pin(std::future::ready(Ok(was_there)))
    }
}
