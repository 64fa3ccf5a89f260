//! What seals the log beside its store: who signs checkpoints, and where copies of them are kept *outside* the store, so
//! that a store that was rolled back or rewritten can be told from the one that was sealed.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::BoxFuture;
use crate::domain::integrity::note::{KeyName, NoteSignature, VerifierKey};

/// Where a key or the copies of the checkpoints lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// In words: a path, as a rule.
    pub at: String,
    /// Whether it lies beside the store: whoever can change the one can then change the other.
    pub beside_store: bool,
}

/// A key whose checkpoints are to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// The public key.
    pub key: VerifierKey,
    /// The largest checkpoint it has signed, once it signs no more.
    pub until: Option<u64>,
}

impl fmt::Display for TrustedKey {
    /// One line: the key, and the size up to which it signed, or `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(size) => write!(f, "{} {size}", self.key),
            None => write!(f, "{} -", self.key),
        }
    }
}

/// Holds the private keys and signs with them.
pub trait Signer: Send + Sync + 'static {
    /// The name of the key, which is that of a log that begins with it.
    fn name(&self) -> KeyName;

    /// Signs a checkpoint's text; more than one signature while a key is being replaced.
    fn sign(&self, text: &str) -> Vec<NoteSignature>;

    /// A checkpoint of this size is stored with the signatures of [`Signer::sign`]: a key that was being replaced
    /// need sign no more.
    fn sealed(&self, size: u64) -> BoxFuture<'_, ()>;

    /// All keys whose checkpoints are to be believed: those that sign, and those that did.
    fn trusted(&self) -> Vec<TrustedKey>;

    /// Where the private key lies.
    fn place(&self) -> Place;
}

/// Why the copies outside cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// It may be over by itself or by an operator's hand.
    #[error("checkpoint directory: cannot {operation}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// What is there is no list of checkpoints.
    #[error("checkpoint directory: {0}")]
    Damaged(String),
}

/// What became of a note that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is there, durably.
    Written,
    /// Somebody else has written since [`OutsideCheckpoints::latest`] was asked: nothing was added. Ask again, and compare
    /// before anything is added.
    Changed,
}

/// A place in the sequence of all copies; the default is its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotePlace {
    /// The file, where there are several.
    pub file: String,
    /// How far into it, in the keeper's own units.
    pub offset: u64,
}

/// Some copies in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotePage {
    /// The notes; none at the end.
    pub notes: Vec<String>,
    /// Where the next page begins.
    pub next: NotePlace,
}

/// Keeps copies of checkpoints outside the store; they are only ever added.
pub trait OutsideCheckpoints: Send + Sync + 'static {
    /// The latest note; none when there is none yet.
    fn latest(&self) -> BoxFuture<'_, Result<Option<String>, OutsideError>>;

    /// All copies, page by page, in the order in which they were added.
    ///
    /// # Errors
    /// When they cannot be read, or what is there is no list of checkpoints.
    fn notes(&self, from: NotePlace) -> BoxFuture<'_, Result<NotePage, OutsideError>>;

    /// Adds a note, durably; one that is there already is left as it is. `at` is when it was sealed.
    ///
    /// # Errors
    /// When it cannot be written, or what is there is no list of checkpoints.
    fn publish<'a>(&'a self, note: &'a str, at: Timestamp) -> BoxFuture<'a, Result<Published, OutsideError>>;

    /// Where they lie.
    fn place(&self) -> Place;
}
