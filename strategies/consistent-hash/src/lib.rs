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

kv_strategy::export!(assign, settings::HELP);

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
    let by_id = check(nodes, partitions, replicas)?;
    Ok(Ring::new(nodes, by_id, settings.points, partitions, replicas as usize)?.table())
}
