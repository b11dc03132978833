//! The rounds in which partitions ask and nodes accept.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use kv_strategy::score;

use crate::{Bidder, swaps};

/// What stands for an owner that a partition still lacks.
pub(crate) const NOBODY: u32 = u32::MAX;

/// The state between rounds. Nodes go by their ranks, their places among the bidders.
pub struct Rounds<'b> {
    bidders: &'b [Bidder],
    /// For each partition its owners so far, [`NOBODY`] behind them: a row of as many as replicas.
    owners: Vec<u32>,
    replicas: usize,
    /// For each node how many more replicas it takes.
    rooms: Vec<u32>,
}

/// The open nodes of one weight, which are compared by their draws alone. Only the best draws become
/// scores, which cost much more.
struct Class<'b> {
    weight: f64,
    members: Vec<(u32, &'b Bidder)>,
}

/// A request of a partition to a node: the score's bits, which are in the order of the scores since
/// these are positive, and the partition, which decides between equal scores.
type Request = (u64, u32);

impl<'b> Rounds<'b> {
    /// No node owns anything. The bidders' capacities together are at least `partitions` times
    /// `replicas`, and none exceeds `partitions`.
    #[must_use]
    pub fn new(bidders: &'b [Bidder], partitions: u32, replicas: usize) -> Self {
        Self {
            bidders,
            owners: vec![NOBODY; partitions as usize * replicas],
            replicas,
            rooms: bidders.iter().map(|bidder| bidder.capacity).collect(),
        }
    }

    /// The ranks of the owners of all partitions, the best of each first.
    ///
    /// They need no sorting: what a partition asks for in one round scores below what it asked for in the
    /// rounds before, since more nodes had room then.
    #[must_use]
    pub fn table(mut self) -> Vec<u32> {
        let mut lacking: Vec<u32> = (0..).take(self.owners.len() / self.replicas).collect();
        while !lacking.is_empty() {
            lacking = self.round(&lacking);
        }
        let swapped = swaps::complete(&mut self.owners, self.replicas, &mut self.rooms);
        for partition in swapped {
            self.sort(partition);
        }
        self.owners
    }

    /// Has the partitions that lack owners ask the best open nodes, each as many as it lacks, and the
    /// nodes accept what they have room for.
    ///
    /// Gives the partitions that go on. One that owns every open node already does not: rooms only
    /// shrink.
    fn round(&mut self, lacking: &[u32]) -> Vec<u32> {
        let classes = self.open_classes();
        let requests = |&room: &u32| BinaryHeap::with_capacity(lacking.len().min(room as usize));
        let mut accepted: Vec<BinaryHeap<Reverse<Request>>> =
            self.rooms.iter().map(requests).collect();
        let mut refused = Vec::new();
        let mut asked = Vec::with_capacity(lacking.len());
        let mut draws = Vec::new();
        let mut best = Vec::new();
        for &partition in lacking {
            let row = self.row(partition);
            let (owners, seats) = split_at_nobody(&mut self.owners[row]);
            best_open(&classes, partition, owners, seats.len(), &mut draws, &mut best);
            if !best.is_empty() {
                asked.push(partition);
            }
            for (seat, &(value, rank)) in seats.iter_mut().zip(&best) {
                *seat = rank;
                let request = (f64::to_bits(value), partition);
                let room = self.rooms[rank as usize];
                if let Some((_, partition)) = accept(&mut accepted[rank as usize], room, request) {
                    refused.push((partition, rank));
                }
            }
        }
        for (room, requests) in self.rooms.iter_mut().zip(&accepted) {
            // There are no more of them than there was room.
            *room -= requests.len() as u32;
        }
        for (partition, rank) in refused {
            self.take_back(partition, rank);
        }
        asked.retain(|&partition| self.owners[self.row(partition)].last() == Some(&NOBODY));
        asked
    }

    /// The nodes that have room, by their weight.
    fn open_classes(&self) -> Vec<Class<'b>> {
        let mut classes: Vec<Class<'b>> = Vec::new();
        for (rank, bidder) in (0..).zip(self.bidders) {
            if self.rooms[rank as usize] == 0 {
                continue;
            }
            let known = classes.iter().position(|class| class.weight == bidder.weight);
            let class = known.unwrap_or_else(|| {
                classes.push(Class { weight: bidder.weight, members: Vec::new() });
                classes.len() - 1
            });
            classes[class].members.push((rank, bidder));
        }
        classes
    }

    /// Makes the node of `rank` no owner of `partition`, whose other owners move up.
    fn take_back(&mut self, partition: u32, rank: u32) {
        let row = self.row(partition);
        let owners = &mut self.owners[row];
        if let Some(place) = owners.iter().position(|&owner| owner == rank) {
            owners[place..].rotate_left(1);
            owners[self.replicas - 1] = NOBODY;
        }
    }

    /// Where the owners of `partition` are.
    fn row(&self, partition: u32) -> Range<usize> {
        let start = partition as usize * self.replicas;
        start..start + self.replicas
    }

    /// Puts the owners of `partition` in the order of their scores.
    fn sort(&mut self, partition: u32) {
        let row = self.row(partition);
        self.owners[row].sort_by_cached_key(|&rank| {
            let bidder = &self.bidders[rank as usize];
            let value = score::of(bidder.weight, bidder.draws.of(partition));
            (Reverse(value.to_bits()), rank)
        });
    }
}

/// Divides a row into its owners and the seats that no node has.
fn split_at_nobody(row: &mut [u32]) -> (&[u32], &mut [u32]) {
    let owners = row.iter().position(|&owner| owner == NOBODY).unwrap_or(row.len());
    let (owners, seats) = row.split_at_mut(owners);
    (owners, seats)
}

/// Keeps `request` where it is among the highest for which there is `room`. Gives the one that there is
/// no room for.
fn accept(
    requests: &mut BinaryHeap<Reverse<Request>>,
    room: u32,
    request: Request,
) -> Option<Request> {
    if requests.len() < room as usize {
        requests.push(Reverse(request));
        return None;
    }
    match requests.peek_mut() {
        Some(mut lowest) if lowest.0 < request => {
            Some(std::mem::replace(&mut *lowest, Reverse(request)).0)
        }
        _ => Some(request),
    }
}

/// The `wanted` highest scores for `partition` of nodes that are not among its `owners`, with their
/// ranks, highest first. Of equal scores the smaller rank's comes first.
fn best_open(
    classes: &[Class<'_>],
    partition: u32,
    owners: &[u32],
    wanted: usize,
    draws: &mut Vec<(u64, u32)>,
    best: &mut Vec<(f64, u32)>,
) {
    best.clear();
    for class in classes {
        let bar = best.get(wanted - 1);
        let bar = bar.map_or(0, |&(value, _)| score::lowest_draw_above(class.weight, value));
        class.highest_draws(partition, owners, bar, wanted, draws);
        for &(draw, rank) in draws.iter() {
            insert(best, wanted, score::of(class.weight, draw), rank);
        }
    }
}

impl Class<'_> {
    /// The `limit` highest draws for `partition`, none below `bar`, of members that are not among its
    /// `owners`, with their ranks, highest first. Of equal draws the smaller rank's comes first.
    fn highest_draws(
        &self,
        partition: u32,
        owners: &[u32],
        mut bar: u64,
        limit: usize,
        highest: &mut Vec<(u64, u32)>,
    ) {
        highest.clear();
        for &(rank, bidder) in &self.members {
            let draw = bidder.draws.of(partition);
            if draw >= bar && !owners.contains(&rank) {
                insert(highest, limit, draw, rank);
                bar = highest.get(limit - 1).map_or(bar, |last| bar.max(last.0 + 1));
            }
        }
    }
}

/// Keeps the `limit` highest values, highest first, each with whose it is. Of equal values the one
/// of the smaller number comes first.
fn insert<T: PartialOrd>(highest: &mut Vec<(T, u32)>, limit: usize, value: T, of: u32) {
    let before = |other: &(T, u32)| other.0 > value || (other.0 == value && other.1 < of);
    let place = highest.partition_point(before);
    highest.insert(place, (value, of));
    highest.truncate(limit);
}

#[cfg(test)]
mod tests {
    use kv_strategy::hash;

    use super::*;
    use crate::draws::Draws;

    fn bidders(capacities: &[u32], partitions: u32) -> Vec<Bidder> {
        let bidder = |(n, &capacity)| {
            let draws = Draws::new(hash::nth(1, n), partitions);
            Bidder { weight: 1.0, draws, capacity }
        };
        (0..).zip(capacities).map(bidder).collect()
    }

    fn loads(table: &[u32], nodes: usize) -> Vec<u32> {
        let mut loads = vec![0; nodes];
        for &rank in table {
            loads[rank as usize] += 1;
        }
        loads
    }

    #[test]
    fn a_node_keeps_the_highest_for_which_it_has_room() {
        let mut requests = BinaryHeap::new();
        let mut refused = Vec::new();
        for request in [(5, 0), (9, 1), (7, 2), (7, 3), (1, 4)] {
            refused.extend(accept(&mut requests, 2, request));
        }
        assert_eq!(refused, [(5, 0), (7, 2), (1, 4)]);
        let mut kept: Vec<Request> = requests.into_iter().map(|Reverse(kept)| kept).collect();
        kept.sort_unstable();
        assert_eq!(kept, [(7, 3), (9, 1)]);
    }

    #[test]
    fn with_room_for_all_everybody_gets_the_best() {
        let bidders = bidders(&[64; 5], 64);
        let table = Rounds::new(&bidders, 64, 2).table();
        for (partition, owners) in (0..).zip(table.chunks(2)) {
            let mut ranks: Vec<u32> = (0..5).collect();
            ranks.sort_by_key(|&rank| Reverse(bidders[rank as usize].draws.of(partition)));
            assert_eq!(owners, &ranks[..2]);
        }
    }

    #[test]
    fn capacities_that_leave_no_room_are_filled_exactly_and_the_best_owner_comes_first() {
        let capacities = [10, 50, 4, 64, 64];
        let bidders = bidders(&capacities, 64);
        let table = Rounds::new(&bidders, 64, 3).table();
        assert_eq!(loads(&table, 5), capacities);
        for (partition, owners) in (0..).zip(table.chunks(3)) {
            // Weights are equal and no two draws are, so the owners are distinct as well.
            let draw = |rank: u32| bidders[rank as usize].draws.of(partition);
            assert!(owners.windows(2).all(|pair| draw(pair[0]) > draw(pair[1])), "{owners:?}");
        }
    }

    #[test]
    fn a_full_node_refuses_the_lowest_scores() {
        let bidders = bidders(&[16, 64], 64);
        let table = Rounds::new(&bidders, 64, 1).table();
        let score = |partition: usize| bidders[0].draws.of(partition as u32);
        let first_choice = |p: &usize| score(*p) > bidders[1].draws.of(*p as u32);
        let (kept, refused): (Vec<usize>, Vec<usize>) =
            (0..64).filter(first_choice).partition(|&p| table[p] == 0);
        assert_eq!(kept.len(), 16);
        let lowest = kept.into_iter().map(score).min().unwrap();
        assert!(refused.into_iter().all(|partition| score(partition) < lowest));
    }
}
