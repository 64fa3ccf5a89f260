//! The Merkle tree at any size: every proof verifies, and none of them verifies for anything else.

use flexcore_actors::domain::integrity::merkle::{
    Hash, ProofPlan, Subtree, TreeBuilder, leaf_hash, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

/// Beyond three tiles; the definition is compared at every small size beside the code.
const LARGEST: u64 = 900;
/// Each hashes thousands of times.
const CASES: u32 = 64;

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = TreeBuilder::default();
    leaves.iter().for_each(|leaf| tree.append(*leaf, drop));
    tree.root()
}

fn proof(plan: &ProofPlan, leaves: &[Hash]) -> Vec<Hash> {
    let hash_of = |subtree: Subtree| {
        let from = usize::try_from(subtree.index << subtree.height).unwrap();
        Ok::<_, ()>(root(&leaves[from..from + (1 << subtree.height)]))
    };
    plan.assemble(hash_of).unwrap()
}

fn at<T>(items: &[T], index: u64) -> &T {
    &items[usize::try_from(index).unwrap()]
}

fn up_to(items: &[Hash], size: u64) -> &[Hash] {
    &items[..usize::try_from(size).unwrap()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_leaf_is_proved_at_its_place_alone(
        (size, index) in (1..LARGEST).prop_flat_map(|size| (Just(size), 0..size)),
        other in 0..LARGEST,
        bit in 0..256_usize,
    ) {
        let leaves = leaves(size);
        let (leaf, root) = (at(&leaves, index), root(&leaves));
        let path = proof(&ProofPlan::inclusion(index, size).unwrap(), &leaves);
        prop_assert_eq!(verify_inclusion(leaf, index, size, &path, &root), Ok(()));
        if other != index {
            prop_assert!(verify_inclusion(leaf, other, size, &path, &root).is_err());
        }
        for changed in 0..path.len() {
            let mut path = path.clone();
            path[changed][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify_inclusion(leaf, index, size, &path, &root).is_err());
        }
    }

    #[test]
    fn a_tree_is_consistent_with_its_beginnings_alone(
        (to, from) in (1..LARGEST).prop_flat_map(|to| (Just(to), 1..=to)),
        changed in 0..LARGEST,
    ) {
        let leaves = leaves(to);
        let (from_root, to_root) = (root(up_to(&leaves, from)), root(&leaves));
        let path = proof(&ProofPlan::consistency(from, to).unwrap(), &leaves);
        prop_assert_eq!(verify_consistency(from, to, &from_root, &to_root, &path), Ok(()));
        // history rewritten before `from`: no proof that its tree can give leads to the root that was seen
        let mut rewritten = leaves.clone();
        rewritten[usize::try_from(changed % from).unwrap()][0] ^= 1;
        let forged = proof(&ProofPlan::consistency(from, to).unwrap(), &rewritten);
        prop_assert!(verify_consistency(from, to, &from_root, &root(&rewritten), &forged).is_err());
    }
}
