//! What helps a partition that every open node owns already.
//!
//! It happens with several replicas only, and rarely: nearly all nodes are full, and the few open
//! ones are among the partition's owners, which must be distinct. Then another partition, which the
//! open node does not own, takes that node for one of its owners, and this owner, which keeps its
//! load, takes the partition in need.
//!
//! One such swap always suffices. The open node has less than its capacity, which is at most one of
//! each partition, so there is a partition that it does not own, and that one is complete, or it
//! would have asked the open node in the rounds. Of its `replicas` owners at most `replicas - 2`
//! own the partition in need, which has at most `replicas - 1` and the open node among them.

use std::collections::BTreeSet;

use crate::rounds::NOBODY;

/// Gives every partition the owners that it lacks. `owners` has a row for each partition, and `rooms`
/// what every node still takes. Gives the partitions whose owners have changed.
pub(crate) fn complete(owners: &mut [u32], replicas: usize, rooms: &mut [u32]) -> BTreeSet<u32> {
    let mut changed = BTreeSet::new();
    for seat in 0..owners.len() {
        if owners[seat] == NOBODY {
            let row = seat / replicas * replicas;
            let (other, open) = find(owners, replicas, row, rooms)
                .expect("capacities suffice, so there is an open node and a swap for it");
            owners[seat] = owners[other];
            owners[other] = open;
            rooms[open as usize] -= 1;
            // There are no more than 65,536 partitions.
            changed.extend([seat, other].map(|seat| (seat / replicas) as u32));
        }
    }
    changed
}

/// A seat whose owner may take the partition of `row`, and the open node that may take that seat. The
/// nodes with most room come first, and the search begins behind the partition in need, so that swaps
/// are spread over nodes and partitions.
fn find(owners: &[u32], replicas: usize, row: usize, rooms: &[u32]) -> Option<(usize, u32)> {
    let in_need = &owners[row..row + replicas];
    let open = in_need.iter().filter(|&&owner| owner != NOBODY && rooms[owner as usize] > 0);
    let open = open.copied().max_by_key(|&owner| (rooms[owner as usize], u32::MAX - owner))?;
    let behind = (row + replicas..owners.len()).step_by(replicas);
    let all_others = behind.chain((0..row).step_by(replicas));
    for other in all_others {
        let candidates = &owners[other..other + replicas];
        if candidates.contains(&open) || candidates.contains(&NOBODY) {
            continue;
        }
        if let Some(at) = candidates.iter().position(|owner| !in_need.contains(owner)) {
            return Some((other + at, open));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_in_need_swaps_with_the_next_that_can() {
        // Node 0 is open and owns partition 1, which lacks an owner; partition 2 owns node 0 too.
        let mut owners = [1, 2, 0, NOBODY, 0, 2, 3, 1];
        let mut rooms = [1, 0, 0, 0];
        let changed = complete(&mut owners, 2, &mut rooms);
        assert!(changed.into_iter().eq([1, 3]));
        assert_eq!(owners, [1, 2, 0, 3, 0, 2, 0, 1]);
        assert_eq!(rooms, [0; 4]);
    }

    #[test]
    fn an_owner_that_the_partition_in_need_has_already_is_passed_over() {
        let mut owners = [0, 1, NOBODY, 1, 2, 3];
        let mut rooms = [1, 0, 0, 0];
        complete(&mut owners, 3, &mut rooms);
        assert_eq!(owners, [0, 1, 2, 1, 0, 3]);
    }

    #[test]
    fn where_nobody_lacks_anything_nothing_changes() {
        let mut owners = [0, 1, 1, 0];
        assert!(complete(&mut owners, 2, &mut [3, 3]).is_empty());
        assert_eq!(owners, [0, 1, 1, 0]);
    }
}
