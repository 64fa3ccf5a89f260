//! Checks proofs by the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2 (which checks RFC 6962's proofs). Needs
//! nothing but the proof: whoever has a checkpoint can run it anywhere.

use super::hash::{Hash, node_hash};

/// Why a proof does not prove what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The proof is of another shape than one for these sizes.
    #[error("the proof has not as many hashes as one for these sizes")]
    Shape,
    /// The sizes contradict themselves.
    #[error("there is no proof for these sizes")]
    Sizes,
    /// The proof leads to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// Checks that `leaf` is at `index` of the tree with `size` leaves and this root.
///
/// # Errors
/// When the proof does not show that.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Sizes);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for part in proof {
        if last == 0 {
            return Err(ProofError::Shape);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(part, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, part);
        }
        node >>= 1;
        last >>= 1;
    }
    match last {
        0 if hash == *root => Ok(()),
        0 => Err(ProofError::Root),
        _ => Err(ProofError::Shape),
    }
}

/// Checks that the tree of `to` leaves with root `to_root` begins with the tree of `from` leaves and `from_root`.
/// Nothing can be said about an empty tree: every tree begins with it, and its proof is empty.
///
/// # Errors
/// When the proof does not show that.
pub fn verify_consistency(
    from: u64,
    to: u64,
    from_root: &Hash,
    to_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if from > to {
        return Err(ProofError::Sizes);
    }
    if from == to || from == 0 {
        return match proof {
            [_, ..] => Err(ProofError::Shape),
            [] if from == to && from_root != to_root => Err(ProofError::Root),
            [] => Ok(()),
        };
    }
    // a tree of a power of two is itself the first hash of the proof, and left out of it
    let (first, rest) = match proof {
        [] => return Err(ProofError::Shape),
        _ if from.is_power_of_two() => (from_root, proof),
        [first, rest @ ..] => (first, rest),
    };
    let (mut node, mut last) = (from - 1, to - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut from_hash, mut to_hash) = (*first, *first);
    for part in rest {
        if last == 0 {
            return Err(ProofError::Shape);
        }
        if node & 1 == 1 || node == last {
            from_hash = node_hash(part, &from_hash);
            to_hash = node_hash(part, &to_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            to_hash = node_hash(&to_hash, part);
        }
        node >>= 1;
        last >>= 1;
    }
    match last {
        0 if from_hash == *from_root && to_hash == *to_root => Ok(()),
        0 => Err(ProofError::Root),
        _ => Err(ProofError::Shape),
    }
}
