//! How much every node may own.
//!
//! With `R` replicas of `P` partitions there are `P R` to own. A node's fair share is the part of
//! them that its weight is of all weights. A node cannot own a partition twice, so one so heavy
//! that its share would exceed `P` owns one replica of each partition, and the others share the
//! rest in the same way.
//!
//! A capacity is the bound times the fair share, rounded down, and at least the fair share, rounded
//! up, and at most `P`. No capacity is below its fair share, so together they always suffice, and
//! since none exceeds `P`, they can always be filled with distinct owners.

/// The capacities of nodes of the given `weights`, in their order, in replicas.
///
/// The weights are from 1 to 256, `replicas` no more than there are, and the bound at least 1000
/// thousandths.
#[must_use]
pub fn of_all(weights: &[u32], partitions: u32, replicas: u32, bound_thousandths: u32) -> Vec<u32> {
    let (weight_rest, replicas_rest) = rest(weights, replicas);
    let capacity = |&weight: &u32| {
        // At most 2^16 partitions times 2^6 replicas times a weight of 2^8 times 2^11 thousandths.
        let share = u64::from(partitions) * replicas_rest * u64::from(weight);
        if share >= u64::from(partitions) * weight_rest {
            return partitions;
        }
        let bounded = share * u64::from(bound_thousandths) / (1000 * weight_rest);
        let capacity = bounded.max(share.div_ceil(weight_rest)).min(u64::from(partitions));
        // It is at most the number of partitions, so nothing is lost.
        capacity as u32
    };
    weights.iter().map(capacity).collect()
}

/// The total weight of the nodes that are not so heavy that they own a replica of every partition, and
/// the number of replicas that the heavy ones leave to them.
fn rest(weights: &[u32], replicas: u32) -> (u64, u64) {
    let mut heaviest_first = weights.to_vec();
    heaviest_first.sort_unstable_by(|one, other| other.cmp(one));
    let mut weight_rest: u64 = heaviest_first.iter().copied().map(u64::from).sum();
    let mut replicas_rest = u64::from(replicas);
    for weight in heaviest_first {
        // As long as the next node's share is more than one replica of each partition.
        if replicas_rest * u64::from(weight) <= weight_rest {
            break;
        }
        weight_rest -= u64::from(weight);
        replicas_rest -= 1;
    }
    (weight_rest, replicas_rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_the_bound_rounded_down() {
        // The fair shares are 409.6, and 585.1 and its multiples.
        assert_eq!(of_all(&[1; 10], 4096, 1, 1050), [430; 10]);
        assert_eq!(of_all(&[1, 2, 4], 4096, 1, 1050), [614, 1228, 2457]);
    }

    #[test]
    fn a_small_share_is_rounded_up_instead() {
        assert_eq!(of_all(&[1; 1000], 4096, 1, 1050)[0], 5);
        assert_eq!(of_all(&[1; 16], 64, 1, 1050), [4; 16]);
        assert_eq!(of_all(&[1, 256], 4096, 1, 1050), [16, 4096]);
    }

    #[test]
    fn the_heaviest_own_a_replica_of_each_partition_and_the_others_share_the_rest() {
        assert_eq!(of_all(&[256, 1, 1], 100, 2, 1050), [100, 52, 52]);
        assert_eq!(of_all(&[1, 256, 10, 1], 100, 3, 1050), [52, 100, 100, 52]);
        assert_eq!(of_all(&[5, 1, 9], 100, 3, 1050), [100; 3]);
    }

    #[test]
    fn together_they_suffice() {
        for weights in [vec![1; 7], vec![1, 2, 4], vec![256, 1, 1, 1], (1..=200).collect()] {
            for replicas in 1..=weights.len().min(8) as u32 {
                for partitions in [1, 2, 64, 4096] {
                    let all = of_all(&weights, partitions, replicas, 1010);
                    assert!(all.iter().sum::<u32>() >= partitions * replicas, "{weights:?}");
                    assert!(all.iter().all(|&capacity| capacity <= partitions), "{all:?}");
                }
            }
        }
    }
}
