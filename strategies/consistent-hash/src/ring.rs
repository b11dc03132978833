//! The ring: the nodes' points, and the walk along them.

use kv_strategy::{Error, Node, hash};

/// The most points on a ring, which takes 8 MiB then.
pub const RING_POINTS_MAX: u64 = 1 << 19;

/// The seed of the nodes' hashes, a part of the strategy: another seed is another table.
const SEED: u64 = 0;

/// The points of all nodes, in the order of their positions.
pub struct Ring {
    points: Vec<Point>,
}

/// One of a node's points. Points are ordered by position; the field after it breaks ties.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    position: u64,
    /// The node's index in the caller's list.
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
        // The sort is stable and the points come in the order of the nodes' ids, so where two nodes
        // hold the same position the smaller id comes first, in whatever order the nodes came.
        points.sort_by_key(|point| point.position);
        Ok(Self { points })
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
