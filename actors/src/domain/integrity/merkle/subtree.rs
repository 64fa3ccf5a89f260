//! Complete subtrees: what every range of leaves that a tree hashes as one is made of. Where their hashes come from is
//! not known here.

use std::ops::Range;

use super::hash::{Hash, empty_root, node_hash};

/// A complete subtree: the 2^`height` leaves from index `index` · 2^`height`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtree {
    /// 0 is a leaf.
    pub height: u8,
    /// Its place among those of its height, from 0.
    pub index: u64,
}

/// The largest complete subtrees that make up a range of leaves, from left to right. The range begins where a tree
/// of its length may begin: at a multiple of the first power of two that is not below its length.
#[must_use]
pub fn cover(range: Range<u64>) -> Vec<Subtree> {
    let (mut start, mut left) = (range.start, range.end.saturating_sub(range.start));
    let mut subtrees = Vec::new();
    while let Some(height) = left.checked_ilog2() {
        let height = u8::try_from(height).expect("a logarithm of 64 bits");
        subtrees.push(Subtree { height, index: start >> height });
        start += 1 << height;
        left -= 1 << height;
    }
    subtrees
}

/// The hash over the subtrees of one [`cover`], given from left to right.
#[must_use]
pub fn join(hashes: &[Hash]) -> Hash {
    let joined = hashes.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
    joined.unwrap_or_else(empty_root)
}
