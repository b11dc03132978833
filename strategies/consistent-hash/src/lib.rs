//! Consistent hashing on a ring, with virtual nodes.
//!
//! The ring is the circle of all 64-bit hashes. Every node holds many pseudo-random points on it, in
//! proportion to its weight; a partition is a range of the ring, and the node of the first point at
//! or after the range's beginning owns it. A node's points do not depend on the other nodes, so when
//! one comes or goes only its own partitions move. (Karger, Lehman, Leighton, Panigrahy, Levine and
//! Lewin, "Consistent hashing and random trees", STOC 1997. Virtual nodes with weights: DeCandia et
//! al., "Dynamo", SOSP 2007.)
//!
//! More replicas are the next nodes along the ring. It does not look at zones.
//!
//! Its one setting is `points=N`, the points of a node of weight 1, from 1 to
//! [`POINTS_MAX`](settings::POINTS_MAX), [`POINTS_DEFAULT`](settings::POINTS_DEFAULT) unless given.
//! More points balance better and make a longer ring, which [`RING_POINTS_MAX`](ring::RING_POINTS_MAX)
//! bounds.
//!
//! ```
//! use kv_strategy::Node;
//!
//! let nodes = ["node-0", "node-1", "node-2"].map(Node::named);
//! let table = consistent_hash::assign(&nodes, 4096, 1, "points=1000")?;
//! assert_eq!(table.len(), 4096);
//! # Ok::<(), kv_strategy::Error>(())
//! ```

use kv_strategy::{Error, Node, check};

use crate::ring::Ring;
use crate::settings::Settings;

pub mod ring;
pub mod settings;

kv_strategy::export!(assign);

/// The owners of every partition; see [`kv_strategy::Assign`].
///
/// # Errors
/// [`Error::InvalidConfig`] for settings that are not as above, [`Error::Unsupported`] for nodes whose
/// points exceed [`ring::RING_POINTS_MAX`], and what [`check`] refuses.
pub fn assign(
    nodes: &[Node],
    partitions: u32,
    replicas: u32,
    config: &str,
) -> Result<Vec<u32>, Error> {
    let settings: Settings = config.parse()?;
    check(nodes, partitions, replicas)?;
    let ring = Ring::new(nodes, settings.points)?;
    let mut table = Vec::with_capacity(partitions as usize * replicas as usize);
    for partition in 0..partitions {
        ring.push_owners(position(partition, partitions), replicas as usize, &mut table);
    }
    Ok(table)
}

/// Where a partition begins on the ring: at the smallest hash of its keys.
const fn position(partition: u32, partitions: u32) -> u64 {
    // In 128 bits, since the width of a single partition is 2^64.
    let width = (1_u128 << 64) / partitions as u128;
    (partition as u128 * width) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_divide_the_ring_evenly() {
        assert_eq!(position(0, 1), 0);
        assert_eq!(position(1, 2), 1 << 63);
        assert_eq!(position(4095, 4096), 4095 << 52);
        assert_eq!(position(65_535, 65_536), 65_535 << 48);
    }
}
