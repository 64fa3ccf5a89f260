//! The tree over the first leaves as the roots of its complete subtrees: 64 hashes at most, however long the log is. For
//! whoever only asks for roots; tiles are [`TreeBuilder`]'s. Where leaves come from is not known here.
//!
//! [`TreeBuilder`]: super::TreeBuilder

use super::hash::{Hash, node_hash};
use super::subtree::{cover, join};

/// A tree that grows leaf by leaf and gives its root at any size on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    /// Roots of the complete subtrees, from left to right: see [`cover`].
    parts: Vec<Hash>,
}

impl CompactRange {
    /// Goes on with a tree of `size` leaves, by the hashes of its complete subtrees from left to right. None when they
    /// are not as many as there must be; whether they are right shows at the next root that is compared.
    #[must_use]
    pub fn resume(size: u64, parts: Vec<Hash>) -> Option<Self> {
        (parts.len() == cover(0..size).len()).then_some(Self { size, parts })
    }

    /// How many leaves it has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // each 1 at the end of the size is a subtree that the new leaf completes
        for _ in 0..self.size.trailing_ones() {
            let left = self.parts.pop().expect("a subtree for each 1 of the size");
            hash = node_hash(&left, &hash);
        }
        self.parts.push(hash);
        self.size += 1;
    }

    /// The root of the tree as it is.
    #[must_use]
    pub fn root(&self) -> Hash {
        join(&self.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TreeBuilder, leaf_hash};
    use super::*;

    #[test]
    fn its_roots_are_those_of_the_tree() {
        let (mut range, mut tree) = (CompactRange::default(), TreeBuilder::default());
        assert_eq!(range.root(), tree.root());
        for n in 0..1_100_u64 {
            let leaf = leaf_hash(&n.to_be_bytes());
            range.append(leaf);
            tree.append(leaf, drop);
            assert_eq!((range.size(), range.root()), (tree.size(), tree.root()), "size {}", n + 1);
            range = CompactRange::resume(range.size, range.parts).unwrap();
        }
        assert_eq!(CompactRange::resume(3, vec![[0; 32]]), None);
    }
}
