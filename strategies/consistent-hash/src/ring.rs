//! The ring: the nodes' points, and who comes next.
//!
//! Every partition has an arc of the ring. The whole ring is never kept, for of an arc only the first
//! points of different nodes can decide anything, as many as there are replicas. So nothing has to be
//! sorted, and many points cost time but no memory.

use kv_strategy::{Error, Node, hash};

/// The most points on a ring, which take some 5 milliseconds.
pub const RING_POINTS_MAX: u64 = 1 << 20;

/// The seed of the nodes' hashes, a part of the strategy: another seed is another table.
///
/// Any seed is as good on average. Of the first thousand this is the best for nodes as they name
/// themselves: of 2 to 16 equal nodes node-0, node-1 and so on none is more than 8 percent above the
/// mean, which `tests/promises.rs` checks.
const SEED: u64 = 477;

/// The low bits of a point, which hold its node's rank; the others are its position.
const RANK_BITS: u32 = 21;
const RANK_MASK: u64 = (1 << RANK_BITS) - 1;

/// What stands behind the last point of an arc: no point, since no node has this rank.
const NO_POINT: u64 = u64::MAX;

// Every node has a point, so there are never more nodes than points, and every rank fits.
const _: () = assert!(RING_POINTS_MAX < RANK_MASK);

/// What decides on a ring: the first points of every partition's arc.
pub struct Ring {
    /// For each partition the first points of different nodes on its arc, in order, [`NO_POINT`]
    /// behind them: a row of as many as there are replicas.
    ///
    /// A point is its position, and in its low bits the rank of its node. As one number, two points at
    /// the same position are in the order of their nodes' ids, whatever the caller's order.
    arcs: Vec<u64>,
    /// The length of a row.
    replicas: usize,
    /// For each rank, that is in the order of the nodes' ids, where the node stands in the caller's
    /// list.
    indexes: Vec<u32>,
}

impl Ring {
    /// The ring of `nodes`, on which a node of weight 1 has `points_per_weight` points. It has a power
    /// of two of `partitions`, with at least one replica each.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where that makes more than [`RING_POINTS_MAX`] points.
    pub fn new(
        nodes: &[Node],
        by_id: Vec<u32>,
        points_per_weight: u32,
        partitions: u32,
        replicas: usize,
    ) -> Result<Self, Error> {
        check_length(nodes, points_per_weight)?;
        let mut arcs = vec![NO_POINT; partitions as usize * replicas];
        for (rank, &index) in (0..).zip(&by_id) {
            let node = &nodes[index as usize];
            let seed = hash::of_bytes(SEED, node.id.as_bytes());
            for n in 0..node.weight.saturating_mul(points_per_weight) {
                let position = hash::nth(seed, n);
                let row = partition_at(position, partitions) * replicas;
                insert(&mut arcs[row..row + replicas], point(position, rank));
            }
        }
        Ok(Self { arcs, replicas, indexes: by_id })
    }

    /// The owners of all partitions: for each those of the first points from its arc's beginning on,
    /// as many different nodes as there are replicas. There must be that many nodes.
    #[must_use]
    pub fn table(&self) -> Vec<u32> {
        let mut table = vec![0; self.arcs.len()];
        let mut ranks = Vec::with_capacity(self.replicas + 1);
        // Backwards, since an arc's owners are those on it and then those of the next arc. The ring is
        // closed: the second time round, the first arc's owners are there when the last arc's turn
        // comes.
        for _ in 0..2 {
            let rows = table.chunks_exact_mut(self.replicas);
            for (row, arc) in rows.zip(self.arcs.chunks_exact(self.replicas)).rev() {
                for &point in arc.iter().rev().filter(|point| **point != NO_POINT) {
                    move_to_front(&mut ranks, self.replicas, point & RANK_MASK);
                }
                for (entry, rank) in row.iter_mut().zip(&ranks) {
                    *entry = self.indexes[*rank as usize];
                }
            }
        }
        table
    }
}

/// Refuses nodes whose points would take too long.
fn check_length(nodes: &[Node], points_per_weight: u32) -> Result<(), Error> {
    let weights: u64 = nodes.iter().map(|node| u64::from(node.weight)).sum();
    let points = weights.saturating_mul(u64::from(points_per_weight));
    if points <= RING_POINTS_MAX {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "a ring of {points} points, {points_per_weight} for each unit of a total weight of {weights}, \
         expected at most {RING_POINTS_MAX}; {}",
        remedy(weights)
    )))
}

/// What an operator can do about a ring that is too long.
fn remedy(weights: u64) -> String {
    match RING_POINTS_MAX / weights.max(1) {
        0 => "use smaller weights or another strategy".to_owned(),
        most => format!("set points={most} or less, or use smaller weights"),
    }
}

/// The point at `position` of the node of `rank`.
const fn point(position: u64, rank: u64) -> u64 {
    position & !RANK_MASK | rank
}

/// The partition on whose arc `position` is: the one that a key of this hash belongs to.
const fn partition_at(position: u64, partitions: u32) -> usize {
    // There is a power of two of them, so these are the top bits. Shifting in two steps keeps the
    // shift below 64 for a single partition. A product of 128 bits would be a call in WebAssembly.
    ((position >> 1) >> (63 - partitions.trailing_zeros())) as usize
}

/// Inserts `point` into an arc's first points, where it comes before the last of them, and drops its
/// node's later point, or the last one. Its node's earlier point keeps it out.
fn insert(arc: &mut [u64], point: u64) {
    if arc.last().is_none_or(|&last| last < point) {
        return;
    }
    let same_node = |other: &u64| (other ^ point) & RANK_MASK == 0;
    let place = arc.iter().take_while(|&&other| other < point).count();
    if arc[..place].iter().any(same_node) {
        return;
    }
    let later = arc[place..].iter().take_while(|other| !same_node(other)).count();
    let dropped = (place + later).min(arc.len() - 1);
    arc.copy_within(place..dropped, place + 1);
    arc[place] = point;
}

/// Puts `rank` before the others, of which at most `limit` are left.
fn move_to_front(ranks: &mut Vec<u64>, limit: usize, rank: u64) {
    if ranks.first() != Some(&rank) {
        ranks.retain(|&other| other != rank);
        ranks.insert(0, rank);
        ranks.truncate(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The owners of each of 4 partitions, on a ring of points that are given as the eighth of the
    /// ring where they are and a rank. Rank 0 stands at index 10.
    fn owners(points: &[(u64, u64)], replicas: usize) -> Vec<Vec<u32>> {
        let mut arcs = vec![NO_POINT; 4 * replicas];
        for &(eighth, rank) in points {
            let row = partition_at(eighth << 61, 4) * replicas;
            insert(&mut arcs[row..row + replicas], point(eighth << 61, rank));
        }
        let ring = Ring { arcs, replicas, indexes: vec![10, 11, 12] };
        ring.table().chunks(replicas).map(<[u32]>::to_vec).collect()
    }

    fn refusal(weights: &[u32], points_per_weight: u32) -> Option<String> {
        let node = |(n, &weight)| Node { weight, ..Node::named(format!("node-{n}")) };
        let nodes: Vec<Node> = weights.iter().enumerate().map(node).collect();
        Ring::new(&nodes, (0..).take(nodes.len()).collect(), points_per_weight, 16, 1)
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn arcs_divide_the_ring_evenly() {
        assert_eq!(partition_at(u64::MAX, 1), 0);
        assert_eq!(partition_at((1 << 63) - 1, 2), 0);
        assert_eq!(partition_at(1 << 63, 2), 1);
        assert_eq!(partition_at(4095 << 52, 4096), 4095);
        assert_eq!(partition_at(u64::MAX, 65_536), 65_535);
    }

    #[test]
    fn owners_are_the_next_different_nodes_and_the_ring_is_closed() {
        // Partitions begin at 0, 2, 4 and 6 eighths.
        let points = [(5, 2), (3, 1), (1, 0), (2, 1), (5, 0)];
        assert_eq!(owners(&points, 1), [[10], [11], [10], [10]]);
        assert_eq!(owners(&points, 2), [[10, 11], [11, 10], [10, 12], [10, 11]]);
        assert_eq!(owners(&points, 3), [[10, 11, 12], [11, 10, 12], [10, 12, 11], [10, 11, 12]]);
    }

    #[test]
    fn of_equal_positions_the_smaller_id_comes_first() {
        for points in [[(5, 2), (5, 1), (7, 2)], [(7, 2), (5, 1), (5, 2)]] {
            assert_eq!(owners(&points, 2)[2], [11, 12]);
        }
    }

    #[test]
    fn an_arc_keeps_the_first_point_of_each_node_and_no_more_than_fit() {
        let mut arc = [NO_POINT; 3];
        let at = |position: u64, rank| point(position << RANK_BITS, rank);
        for (position, rank) in [(50, 0), (40, 1), (30, 0), (60, 1), (45, 2), (35, 3), (99, 4)] {
            insert(&mut arc, at(position, rank));
        }
        assert_eq!(arc, [at(30, 0), at(35, 3), at(40, 1)]);
    }

    #[test]
    fn a_ring_is_as_long_as_allowed_and_no_longer() {
        let most = (RING_POINTS_MAX / 256) as u32;
        assert_eq!(refusal(&[256], most), None);
        let message = refusal(&[256, 1], most).unwrap();
        assert!(message.contains("expected at most 1048576"), "{message}");
        assert!(message.contains("points=4080"), "{message}");
    }

    #[test]
    fn where_no_setting_helps_the_refusal_does_not_advise_one() {
        let message = refusal(&[256; 4097], 1).unwrap();
        assert!(message.contains("smaller weights") && !message.contains("points="), "{message}");
    }
}
