//! The Merkle tree over the log, by RFC 6962, section 2.1: its leaves are the leaf hashes of the events, in the order
//! of their positions (index = position − 1). Nothing here knows an event or a store: [`TreeBuilder`] makes roots and
//! tiles of leaves that are streamed through it, [`ProofPlan`] says which parts of a tree a proof is made of, and
//! [`verify_inclusion`] and [`verify_consistency`] check proofs. Only standard proofs: any RFC 6962 verifier will do.

mod builder;
mod hash;
mod proof;
mod range;
mod subtree;
#[cfg(test)]
mod tests;
mod verify;

pub use builder::{MAX_LEVELS, TILE_HEIGHT, TILE_WIDTH, Tail, Tile, TreeBuilder, WrongTail};
pub use hash::{Hash, empty_root, leaf_hash, node_hash};
pub use proof::{OutOfRange, ProofPlan};
pub use range::CompactRange;
pub use subtree::{Subtree, cover, join};
pub use verify::{ProofError, verify_consistency, verify_inclusion};
