//! Who should own which shard: rendezvous hashing with a bound on what one node gets. Pure: all nodes that see the same
//! members come to the same answer without asking each other. Never in here: who owns a shard now.

use sha2::{Digest, Sha256};

use crate::domain::ids::{Name, Shard};
use crate::limits::PLACEMENT_SLACK;

/// How many shards there are.
const SHARDS: usize = 256;

/// The member that each shard belongs with, by index; `None` without members. Each shard goes to the member that ranks it
/// highest among those that have room: when a member comes or goes, few other shards move.
#[must_use]
pub fn place(members: &[Name]) -> Vec<Option<Name>> {
    let room = most_shards(members.len());
    let mut loads = vec![0_usize; members.len()];
    (0..=u8::MAX)
        .map(|shard| {
            let free = (0..members.len()).filter(|&n| loads[n] < room);
            let chosen = free.max_by_key(|&n| rank(Shard(shard), &members[n]))?;
            loads[chosen] += 1;
            Some(members[chosen].clone())
        })
        .collect()
}

/// The most shards that one of so many members gets.
#[must_use]
pub fn most_shards(members: usize) -> usize {
    (SHARDS * (100 + PLACEMENT_SLACK)).div_ceil(100 * members.max(1)).min(SHARDS)
}

/// How much a member wants a shard; a node that is started again under its name wants the same ones.
fn rank(shard: Shard, member: &Name) -> [u8; 32] {
    Sha256::new_with_prefix([shard.0]).chain_update(member.as_str()).finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(numbers: &[u8]) -> Vec<Name> {
        numbers.iter().map(|n| Name::new(format!("node-{n}")).unwrap()).collect()
    }

    #[test]
    fn nobody_gets_nothing_and_one_gets_all() {
        assert!(place(&[]).iter().all(Option::is_none));
        let one = names(&[1]);
        assert!(place(&one).iter().all(|owner| owner.as_ref() == Some(&one[0])));
    }

    proptest! {
        #[test]
        fn it_is_balanced_whatever_the_order(mut numbers in prop::collection::btree_set(any::<u8>(), 1..40)
            .prop_map(|set| set.into_iter().collect::<Vec<_>>()), turn in any::<usize>()) {
            let placed = place(&names(&numbers));
            let turn = turn % numbers.len();
            numbers.rotate_left(turn);
            prop_assert_eq!(&placed, &place(&names(&numbers)), "the order of the members matters to nobody");
            for name in names(&numbers) {
                let load = placed.iter().flatten().filter(|owner| **owner == name).count();
                prop_assert!(load <= most_shards(numbers.len()), "{} has {} of {}", name, load, numbers.len());
            }
            prop_assert!(placed.iter().all(Option::is_some));
        }

        #[test]
        fn few_others_move_when_one_leaves(numbers in prop::collection::btree_set(any::<u8>(), 2..20)
            .prop_map(|set| set.into_iter().collect::<Vec<_>>()), gone in any::<usize>()) {
            let gone = gone % numbers.len();
            let rest: Vec<u8> = numbers.iter().copied().filter(|n| *n != numbers[gone]).collect();
            let (before, after) = (place(&names(&numbers)), place(&names(&rest)));
            let left = names(&[numbers[gone]]).remove(0);
            let moved = before.iter().zip(&after).filter(|(b, a)| **b != Some(left.clone()) && b != a).count();
            // those that had found no room with their first choice; without the bound there would be none
            prop_assert!(moved <= SHARDS / 5, "{moved} others moved");
        }
    }
}
