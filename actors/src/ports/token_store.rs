//! Where API tokens are kept: a hash of each, beside the events. Every node asks at every request, so that a token that was
//! revoked is worth nothing anywhere at once.
//!
//! The promises, each with its conformance test in the testkit:
//! - what was kept is found by its hash, and only so;
//! - a hash and an id are kept once;
//! - what was revoked stays so, with the time of the first revocation.

use jiff::Timestamp;

use super::BoxFuture;
use super::event_store::StoreError;
use crate::domain::access::{ApiToken, TokenHash, TokenId};

/// Where tokens are kept.
pub trait TokenStore: Send + Sync + 'static {
    /// The token with this hash, whether it is valid or not.
    ///
    /// # Errors
    /// When the store is away or holds what cannot be a token.
    fn find<'a>(&'a self, hash: &'a TokenHash) -> BoxFuture<'a, Result<Option<ApiToken>, StoreError>>;

    /// Tokens by id, beyond `after` (exclusive), at most `limit`; those that were revoked, too.
    ///
    /// # Errors
    /// As [`TokenStore::find`].
    fn list(&self, after: Option<TokenId>, limit: usize) -> BoxFuture<'_, Result<Vec<ApiToken>, StoreError>>;

    /// Keeps a new token; durable when it returns.
    ///
    /// # Errors
    /// When it may not have been kept, or one with its id or hash is there.
    fn create<'a>(&'a self, token: &'a ApiToken) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Revokes a token; says whether there is one of this id. Repeating it changes nothing.
    ///
    /// # Errors
    /// When it may still be valid.
    fn revoke(&self, id: TokenId, at: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>>;
}
