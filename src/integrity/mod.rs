//! What seals the log beside its store: the file of the signing key, and the directory that keeps copies of checkpoints.
//! Never in here: what is sealed, and when; the runtime decides that.

mod directory;
mod history;
mod keys;
#[cfg(test)]
mod tests;

pub use directory::CheckpointDirectory;
pub use keys::{KeyError, KeyFile, adopt, generate, read_trusted, rotate};
