//! What a proof is made of (RFC 6962, sections 2.1.1 and 2.1.2). A plan names the subtrees whose hashes it needs, so
//! that they can be fetched together from wherever they are kept; then it is put together without I/O.

use std::ops::Range;

use super::hash::Hash;
use super::subtree::{Subtree, cover, join};

/// There is no such proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves has nothing to prove about {asked}")]
pub struct OutOfRange {
    asked: u64,
    size: u64,
}

/// A proof before its hashes are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofPlan {
    /// The range of leaves that each hash of the proof stands for.
    ranges: Vec<Range<u64>>,
}

impl ProofPlan {
    /// That the leaf at `index` (position − 1) is in the tree of `size` leaves.
    ///
    /// # Errors
    /// When it is beyond the tree.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, OutOfRange> {
        if index >= size {
            return Err(OutOfRange { asked: index, size });
        }
        let mut ranges = Vec::new();
        let mut tree = 0..size;
        while let Some((left, right)) = split(&tree) {
            let (inside, beside) = if index < left.end { (left, right) } else { (right, left) };
            ranges.push(beside);
            tree = inside;
        }
        ranges.reverse();
        Ok(Self { ranges })
    }

    /// That the tree of `to` leaves begins with the tree of `from` leaves. Empty when they are the same tree, or `from`
    /// is 0: then there is nothing to show.
    ///
    /// # Errors
    /// When `from` is larger than `to`.
    pub fn consistency(from: u64, to: u64) -> Result<Self, OutOfRange> {
        if from > to {
            return Err(OutOfRange { asked: from, size: to });
        }
        let mut ranges = Vec::new();
        if from == 0 {
            return Ok(Self { ranges });
        }
        let mut tree = 0..to;
        while tree.end != from {
            let Some((left, right)) = split(&tree) else { break };
            let (inside, beside) = if from <= left.end { (left, right) } else { (right, left) };
            ranges.push(beside);
            tree = inside;
        }
        if tree.start > 0 {
            // where the smaller tree is no complete subtree of the larger one, the verifier has to be told its last part
            ranges.push(tree);
        }
        ranges.reverse();
        Ok(Self { ranges })
    }

    /// The subtrees whose hashes [`ProofPlan::assemble`] asks for.
    pub fn subtrees(&self) -> impl Iterator<Item = Subtree> {
        self.ranges.iter().flat_map(|range| cover(range.clone()))
    }

    /// The proof's hashes, in the order of RFC 6962.
    ///
    /// # Errors
    /// What `hash_of` answers.
    pub fn assemble<E>(&self, mut hash_of: impl FnMut(Subtree) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
        let mut proof = Vec::with_capacity(self.ranges.len());
        for range in &self.ranges {
            let hashes: Vec<Hash> =
                cover(range.clone()).into_iter().map(&mut hash_of).collect::<Result<_, _>>()?;
            proof.push(join(&hashes));
        }
        Ok(proof)
    }
}

/// The two sides of a tree: the left one is the largest power of two below its size. A leaf has no sides.
fn split(tree: &Range<u64>) -> Option<(Range<u64>, Range<u64>)> {
    let size = tree.end - tree.start;
    let left = (size.checked_sub(1)?).checked_ilog2().map(|height| 1_u64 << height)?;
    let middle = tree.start + left;
    Some((tree.start..middle, middle..tree.end))
}
