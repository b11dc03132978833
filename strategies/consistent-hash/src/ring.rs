//! The ring: the nodes' points, and the walk along them.

use kv_strategy::{Error, Node, hash};

/// The most points on a ring, which takes 8 MiB then.
pub const RING_POINTS_MAX: u64 = 1 << 19;

/// The seed of the nodes' hashes, a part of the strategy: another seed is another table.
///
/// Any seed is as good on average. Of the first thousand this is the best for nodes as they name
/// themselves: of 2 to 16 equal nodes node-0, node-1 and so on none is more than 8 percent above the
/// mean, which `tests/promises.rs` checks.
const SEED: u64 = 477;

/// The points of all nodes, in the order of their positions.
pub struct Ring {
    points: Vec<Point>,
}

/// One of a node's points.
struct Point {
    position: u64,
    /// Where its node stands in the caller's list.
    index: u32,
}

impl Ring {
    /// The ring of `nodes`, on which a node of weight 1 has `points_per_weight` points.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where that makes more than [`RING_POINTS_MAX`] points.
    pub fn new(nodes: &[Node], points_per_weight: u32) -> Result<Self, Error> {
        let weights: u64 = nodes.iter().map(|node| u64::from(node.weight)).sum();
        let wanted = weights.saturating_mul(u64::from(points_per_weight));
        if wanted > RING_POINTS_MAX {
            return Err(Error::Unsupported(format!(
                "a ring of {wanted} points, {points_per_weight} for each unit of a total weight of \
                 {weights}, expected at most {RING_POINTS_MAX}; {}",
                remedy(weights)
            )));
        }
        let mut by_id: Vec<(u32, &Node)> = (0..).zip(nodes).collect();
        by_id.sort_by_key(|&(_, node)| &node.id);
        let mut points = Vec::with_capacity(wanted as usize);
        for (index, node) in by_id {
            let seed = hash::of_bytes(SEED, node.id.as_bytes());
            let count = node.weight.saturating_mul(points_per_weight);
            points.extend((0..count).map(|n| Point { position: hash::nth(seed, n), index }));
        }
        Ok(Self::of_points(points))
    }

    /// The ring of `points` that come in the order of their nodes' ids.
    ///
    /// Where two nodes hold the same position the sort, which is stable, leaves the smaller id first,
    /// so the ring does not depend on the order in which the caller has the nodes.
    fn of_points(mut points: Vec<Point>) -> Self {
        points.sort_by_key(|point| point.position);
        Self { points }
    }

    /// Pushes the nodes of the first points at or after `position`, `replicas` different ones.
    ///
    /// There must be that many nodes, or there are fewer owners.
    pub fn push_owners(&self, position: u64, replicas: usize, table: &mut Vec<u32>) {
        let first = self.points.partition_point(|point| point.position < position);
        let (before, after) = self.points.split_at(first);
        let start = table.len();
        for point in after.iter().chain(before) {
            if table.len() - start == replicas {
                break;
            }
            if !table[start..].contains(&point.index) {
                table.push(point.index);
            }
        }
    }
}

/// What an operator can do about a ring that is too long.
fn remedy(weights: u64) -> String {
    match RING_POINTS_MAX / weights.max(1) {
        0 => "use smaller weights or another strategy".to_owned(),
        most => format!("set points={most} or less, or use smaller weights"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(points: &[(u64, u32)]) -> Ring {
        Ring::of_points(points.iter().map(|&(position, index)| Point { position, index }).collect())
    }

    fn owners(ring: &Ring, position: u64, replicas: usize) -> Vec<u32> {
        let mut table = vec![0];
        ring.push_owners(position, replicas, &mut table);
        table.split_off(1)
    }

    fn refusal(weights: &[u32], points_per_weight: u32) -> Option<String> {
        let node = |(n, &weight)| Node { weight, ..Node::named(format!("node-{n}")) };
        let nodes: Vec<Node> = weights.iter().enumerate().map(node).collect();
        Ring::new(&nodes, points_per_weight).err().map(|error| error.to_string())
    }

    #[test]
    fn the_walk_begins_at_the_position_and_goes_round() {
        let ring = ring(&[(10, 0), (20, 1), (30, 0), (40, 2)]);
        assert_eq!(owners(&ring, 20, 1), [1]);
        assert_eq!(owners(&ring, 21, 2), [0, 2]);
        assert_eq!(owners(&ring, 41, 1), [0]);
        assert_eq!(owners(&ring, 25, 3), [0, 2, 1]);
    }

    #[test]
    fn of_equal_positions_the_smaller_id_comes_first() {
        // The node at index 7 has the smaller id: its points came first.
        let ring = ring(&[(20, 7), (50, 7), (20, 3)]);
        assert_eq!(owners(&ring, 15, 2), [7, 3]);
    }

    #[test]
    fn a_ring_is_as_long_as_allowed_and_no_longer() {
        let most = (RING_POINTS_MAX / 256) as u32;
        assert_eq!(refusal(&[256], most), None);
        let message = refusal(&[256, 1], most).unwrap();
        assert!(message.contains("expected at most 524288"), "{message}");
        assert!(message.contains("points=2040"), "{message}");
    }

    #[test]
    fn where_no_setting_helps_the_refusal_does_not_advise_one() {
        let message = refusal(&[256; 2049], 1).unwrap();
        assert!(message.contains("smaller weights") && !message.contains("points="), "{message}");
    }
}
