//! API tokens in memory: for tests. Never offered to users.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;

use crate::domain::access::{ApiToken, TokenHash, TokenId};
use crate::ports::event_store::StoreError;
use crate::ports::{BoxFuture, TokenStore, batch};

/// A store of tokens that keeps everything in memory.
#[derive(Default)]
pub struct MemoryTokens(Mutex<BTreeMap<TokenId, ApiToken>>);

impl MemoryTokens {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<TokenId, ApiToken>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl TokenStore for MemoryTokens {
    fn find<'a>(&'a self, hash: &'a TokenHash) -> BoxFuture<'a, Result<Option<ApiToken>, StoreError>> {
        let found = self.kept().values().find(|token| token.hash == *hash).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn list(&self, after: Option<TokenId>, limit: usize) -> BoxFuture<'_, Result<Vec<ApiToken>, StoreError>> {
        let beyond = |token: &&ApiToken| after.is_none_or(|after| token.id > after);
        let found = self.kept().values().filter(beyond).take(limit).cloned().collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn create<'a>(&'a self, token: &'a ApiToken) -> BoxFuture<'a, Result<(), StoreError>> {
        let mut kept = self.kept();
        let twin = kept.values().any(|other| other.id == token.id || other.hash == token.hash);
        let answer = if twin {
            Err(StoreError::Failed { operation: "keep a token", source: "there is one like it".into() })
        } else {
            let whole = |time: Timestamp| batch::whole_micros(time);
            let (created_at, expires_at) = (whole(token.created_at), token.expires_at.map(whole));
            kept.insert(token.id, ApiToken { created_at, expires_at, ..token.clone() });
            Ok(())
        };
        Box::pin(std::future::ready(answer))
    }

    fn revoke(&self, id: TokenId, at: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut kept = self.kept();
        let found = kept.get_mut(&id).map(|token| {
            token.revoked_at.get_or_insert(batch::whole_micros(at));
        });
        Box::pin(std::future::ready(Ok(found.is_some())))
    }
}
