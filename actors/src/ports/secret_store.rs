//! Where secrets are kept: encrypted, under their names, beside the events and never among them. What is in here can be
//! neither read nor made without the key, which is nowhere near.
//!
//! The promises, each with its conformance test in the testkit:
//! - what was put comes back byte for byte, also when it makes no sense;
//! - a put takes the place of what was there; a replacement only of what it names;
//! - what was deleted is gone.

use bytes::Bytes;
use jiff::Timestamp;

use super::BoxFuture;
use super::event_store::StoreError;
use crate::domain::secret::SecretName;

/// Tells keys apart without telling anything about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretKeyId(pub [u8; 8]);

impl std::fmt::Display for SecretKeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Its name; the ciphertext is bound to it.
    pub name: SecretName,
    /// The key that it was encrypted with.
    pub key: SecretKeyId,
    /// The nonce: a new one at each encryption, so that it also tells one value of a secret from the next.
    pub nonce: [u8; 24],
    /// The encrypted value with its tag.
    pub ciphertext: Bytes,
    /// When the value was set, to the microsecond; encrypting it with another key does not change that.
    pub set_at: Timestamp,
}

/// Where secrets are kept.
pub trait SecretStore: Send + Sync + 'static {
    /// Those of the named secrets that there are, by name.
    ///
    /// # Errors
    /// When the store is away or holds what cannot be a secret.
    fn load<'a>(&'a self, names: &'a [SecretName]) -> BoxFuture<'a, Result<Vec<SealedSecret>, StoreError>>;

    /// Secrets by name, beyond `after` (exclusive), at most `limit`.
    ///
    /// # Errors
    /// As [`SecretStore::load`].
    fn list<'a>(
        &'a self,
        after: Option<&'a SecretName>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<SealedSecret>, StoreError>>;

    /// Keeps a secret in the place of an earlier one of its name; durable when it returns.
    ///
    /// # Errors
    /// When it may not have been kept; repeating it does no harm.
    fn put<'a>(&'a self, secret: &'a SealedSecret) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Keeps a secret if the one of its name still has the nonce `known`; says whether it did.
    ///
    /// # Errors
    /// As [`SecretStore::put`].
    fn replace<'a>(
        &'a self,
        secret: &'a SealedSecret,
        known: &'a [u8; 24],
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Removes a secret; says whether there was one.
    ///
    /// # Errors
    /// When it may still be there.
    fn delete<'a>(&'a self, name: &'a SecretName) -> BoxFuture<'a, Result<bool, StoreError>>;
}
