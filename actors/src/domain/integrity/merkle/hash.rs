//! The two hashes of RFC 6962, section 2.1. Their prefixes keep a leaf from being taken for an inner node.

use sha2::{Digest, Sha256};

/// A SHA-256 value: of a leaf, of an inner node, or of a whole tree.
pub type Hash = [u8; 32];

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The hash of a leaf with this data.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    let mut hasher = Sha256::new_with_prefix([0]);
    hasher.update(data);
    hasher.finalize().into()
}

/// The hash of the node over two others.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new_with_prefix([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}
