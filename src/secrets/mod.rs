//! Secrets: encrypted before they reach a store, decrypted for the one who starts a program. Never in here: where they are
//! stored, who may have which, and how a program gets them.

mod keys;
mod seal;
#[cfg(test)]
mod tests;
mod vault;

pub use keys::{KeyError, KeyPlace, generate};
pub use vault::{Listed, Rotated, Vault, VaultError};
