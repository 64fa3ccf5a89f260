//! The published vectors of the certificate transparency project (its reference tree of eight leaves), and properties
//! against the definitions of RFC 6962 written down as they stand there.

use super::*;

const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
/// Index, size, proof.
const INCLUSION: [(u64, u64, &[&str]); 5] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];
/// From, to, proof.
const CONSISTENCY: [(u64, u64, &[&str]); 5] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        6,
        7,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hash(hex: &str) -> Hash {
    bytes(hex).try_into().unwrap()
}

fn hashes(hex: &[&str]) -> Vec<Hash> {
    hex.iter().map(|hex| hash(hex)).collect()
}

fn reference_leaves() -> Vec<Hash> {
    LEAVES.iter().map(|data| leaf_hash(&bytes(data))).collect()
}

/// Leaves that differ from each other.
fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// `MTH(D[n])` as RFC 6962 defines it.
fn defined_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node_hash(&defined_root(&leaves[..k]), &defined_root(&leaves[k..]))
        }
    }
}

/// `PATH(m, D[n])` as RFC 6962 defines it.
fn defined_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut path, other) = if index < k {
        (defined_path(index, &leaves[..k]), defined_root(&leaves[k..]))
    } else {
        (defined_path(index - k, &leaves[k..]), defined_root(&leaves[..k]))
    };
    path.push(other);
    path
}

/// `SUBPROOF(m, D[n], b)` as RFC 6962 defines it.
fn defined_subproof(from: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if from == leaves.len() {
        return if whole { Vec::new() } else { vec![defined_root(leaves)] };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut proof, other) = if from <= k {
        (defined_subproof(from, &leaves[..k], whole), defined_root(&leaves[k..]))
    } else {
        (defined_subproof(from - k, &leaves[k..], false), defined_root(&leaves[..k]))
    };
    proof.push(other);
    proof
}

fn assembled(plan: &ProofPlan, leaves: &[Hash]) -> Vec<Hash> {
    let hash_of = |subtree: Subtree| {
        let from = usize::try_from(subtree.index << subtree.height).unwrap();
        Ok::<_, ()>(defined_root(&leaves[from..from + (1 << subtree.height)]))
    };
    plan.assemble(hash_of).unwrap()
}

fn built(leaves: &[Hash]) -> (TreeBuilder, Vec<Tile>) {
    let (mut tree, mut tiles) = (TreeBuilder::default(), Vec::new());
    leaves.iter().for_each(|leaf| tree.append(*leaf, |tile| tiles.push(tile)));
    (tree, tiles)
}

#[test]
fn the_reference_tree_has_its_published_roots() {
    assert_eq!(empty_root(), hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    assert_eq!(TreeBuilder::default().root(), empty_root());
    let leaves = reference_leaves();
    for size in 1..=8 {
        assert_eq!(built(&leaves[..size]).0.root(), hash(ROOTS[size - 1]), "size {size}");
    }
}

#[test]
fn the_reference_tree_has_its_published_proofs() {
    let leaves = reference_leaves();
    let root = |size: u64| hash(ROOTS[usize::try_from(size).unwrap() - 1]);
    for (index, size, published) in INCLUSION {
        let proof = assembled(&ProofPlan::inclusion(index, size).unwrap(), &leaves);
        assert_eq!(proof, hashes(published), "{index} in {size}");
        let leaf = &leaves[usize::try_from(index).unwrap()];
        verify_inclusion(leaf, index, size, &proof, &root(size)).unwrap();
    }
    for (from, to, published) in CONSISTENCY {
        let proof = assembled(&ProofPlan::consistency(from, to).unwrap(), &leaves);
        assert_eq!(proof, hashes(published), "{from} to {to}");
        verify_consistency(from, to, &root(from), &root(to), &proof).unwrap();
    }
}

#[test]
fn roots_and_proofs_are_as_defined_at_every_size() {
    let leaves = leaves(70);
    for size in 1..=leaves.len() {
        let (tree, n) = (&leaves[..size], size as u64);
        let root = built(tree).0.root();
        assert_eq!(root, defined_root(tree), "size {size}");
        for index in 0..size {
            let proof = assembled(&ProofPlan::inclusion(index as u64, n).unwrap(), tree);
            assert_eq!(proof, defined_path(index, tree), "{index} in {size}");
            verify_inclusion(&tree[index], index as u64, n, &proof, &root).unwrap();
        }
        for from in 1..=size {
            let proof = assembled(&ProofPlan::consistency(from as u64, n).unwrap(), tree);
            assert_eq!(proof, defined_subproof(from, tree, true), "{from} to {size}");
            verify_consistency(from as u64, n, &defined_root(&tree[..from]), &root, &proof).unwrap();
        }
    }
}

/// The manglings that the reference implementation's own tests try.
#[test]
fn a_changed_inclusion_proof_is_refused() {
    let leaves = reference_leaves();
    for (index, size, published) in &INCLUSION[1..] {
        let (index, size, proof) = (*index, *size, hashes(published));
        let (leaf, root) =
            (leaves[usize::try_from(index).unwrap()], hash(ROOTS[usize::try_from(size).unwrap() - 1]));
        let refused = |index, size, leaf: &Hash, root: &Hash, proof: &[Hash], what: &str| {
            assert!(verify_inclusion(leaf, index, size, proof, root).is_err(), "{what}: {index} in {size}");
        };
        refused(index.wrapping_sub(1), size, &leaf, &root, &proof, "index - 1");
        refused(index + 1, size, &leaf, &root, &proof, "index + 1");
        refused(index ^ 2, size, &leaf, &root, &proof, "index ^ 2");
        refused(index, size * 2, &leaf, &root, &proof, "size * 2");
        refused(index, size / 2, &leaf, &root, &proof, "size / 2");
        refused(index, size, &[7; 32], &root, &proof, "other leaf");
        refused(index, size, &leaf, &empty_root(), &proof, "other root");
        refused(index, size, &leaf, &root, &[&proof[..], &[root]].concat(), "one more");
        refused(index, size, &leaf, &root, &[&[root], &proof[..]].concat(), "one before");
        refused(index, size, &leaf, &root, &proof[1..], "first left out");
        refused(index, size, &leaf, &root, &proof[..proof.len() - 1], "last left out");
        for changed in 0..proof.len() {
            let mut proof = proof.clone();
            proof[changed][0] ^= 8;
            refused(index, size, &leaf, &root, &proof, "one bit");
        }
    }
}

#[test]
fn a_changed_consistency_proof_is_refused() {
    let root = |size: u64| hash(ROOTS[usize::try_from(size).unwrap() - 1]);
    for (from, to, published) in &CONSISTENCY[1..] {
        let (from, to, proof) = (*from, *to, hashes(published));
        let refused = |from, to, from_root: &Hash, to_root: &Hash, proof: &[Hash], what: &str| {
            assert!(
                verify_consistency(from, to, from_root, to_root, proof).is_err(),
                "{what}: {from} to {to}"
            );
        };
        let (a, b) = (root(from), root(to));
        if from > 1 {
            refused(from - 1, to, &a, &b, &proof, "from - 1");
        }
        refused(from + 1, to, &a, &b, &proof, "from + 1");
        refused(from ^ 2, to, &a, &b, &proof, "from ^ 2");
        refused(from, to * 2, &a, &b, &proof, "to * 2");
        refused(from, to / 2, &a, &b, &proof, "to / 2");
        refused(from, to, &[7; 32], &b, &proof, "other root before");
        refused(from, to, &a, &[7; 32], &proof, "other root after");
        refused(from, to, &b, &a, &proof, "roots swapped");
        refused(from, to, &a, &b, &[], "no proof");
        refused(from, to, &a, &b, &[&proof[..], &[a]].concat(), "one more");
        refused(from, to, &a, &b, &[&[b], &proof[..]].concat(), "one before");
        refused(from, to, &a, &b, &proof[..proof.len() - 1], "last left out");
        for changed in 0..proof.len() {
            let mut proof = proof.clone();
            proof[changed][0] ^= 16;
            refused(from, to, &a, &b, &proof, "one bit");
        }
    }
}

#[test]
fn proofs_about_nothing() {
    let (a, b) = ([1; 32], [2; 32]);
    verify_consistency(0, 0, &a, &a, &[]).unwrap();
    verify_consistency(0, 1, &a, &b, &[]).unwrap();
    assert_eq!(verify_consistency(0, 0, &a, &b, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(0, 1, &a, &b, &[a]), Err(ProofError::Shape));
    assert_eq!(verify_consistency(1, 1, &a, &a, &[a]), Err(ProofError::Shape));
    assert_eq!(verify_consistency(2, 1, &a, &b, &[]), Err(ProofError::Sizes));
    assert_eq!(verify_inclusion(&a, 0, 0, &[], &empty_root()), Err(ProofError::Sizes));
    assert_eq!(verify_inclusion(&a, 0, u64::MAX, &[], &a), Err(ProofError::Shape));
    assert!(ProofPlan::inclusion(3, 3).is_err() && ProofPlan::consistency(4, 3).is_err());
    assert_eq!(ProofPlan::consistency(0, 3).unwrap().subtrees().count(), 0);
}

/// Beyond one tile and beyond one level of tiles; tiles hold what the definition says.
#[test]
fn tiles_are_completed_in_order_and_hold_the_tree() {
    let leaves = leaves(66_000);
    let (tree, tiles) = built(&leaves);
    assert_eq!(tree.root(), defined_root(&leaves));
    let of = |level| tiles.iter().filter(move |tile| tile.level == level);
    assert_eq!((of(0).count(), of(1).count(), of(2).count()), (257, 1, 0));
    for (index, tile) in of(0).enumerate() {
        assert_eq!((tile.index, tile.leaves()), (index as u64, (index as u64 + 1) * 256));
        assert_eq!(tile.hashes, leaves[index * 256..(index + 1) * 256]);
    }
    let above = of(1).next().unwrap();
    assert_eq!((above.index, above.leaves()), (0, 65_536));
    assert_eq!(above.hashes, of(0).take(256).map(Tile::root).collect::<Vec<_>>());
}

#[test]
fn a_builder_goes_on_where_another_stopped() {
    let leaves = leaves(66_000);
    let last = built(&leaves).0.root();
    for size in [0_usize, 1, 255, 256, 65_535, 65_536, 65_900] {
        let (whole, tiles) = built(&leaves[..size]);
        let roots: Vec<Hash> = tiles.iter().filter(|tile| tile.level == 0).map(Tile::root).collect();
        let above: Vec<Hash> = tiles.iter().filter(|tile| tile.level == 1).map(Tile::root).collect();
        let tails = vec![
            leaves[size / 256 * 256..size].to_vec(),
            roots[roots.len() / 256 * 256..].to_vec(),
            above[above.len() / 256 * 256..].to_vec(),
        ];
        let mut resumed = TreeBuilder::resume(size as u64, tails).unwrap();
        assert_eq!((resumed.root(), resumed.size()), (whole.root(), size as u64));
        leaves[size..].iter().for_each(|leaf| resumed.append(*leaf, drop));
        assert_eq!(resumed.root(), last);
    }
    let error = TreeBuilder::resume(257, vec![vec![[0; 32]; 1]]).unwrap_err().to_string();
    assert_eq!(error, "a tree of 257 leaves has 1 hashes beyond the complete tiles of level 1, not 0");
}
