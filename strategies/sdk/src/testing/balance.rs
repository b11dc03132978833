//! How evenly a strategy places, and how little it moves, for nodes as people name them.

use super::{equal_nodes, owners, shares};
use crate::Assign;

/// The number of partitions that clusters have by default.
const PARTITIONS: u32 = 4096;

/// Clusters of 2 to this many equal nodes are looked at.
const EQUAL_NODES_MAX: usize = 16;

/// Checks that of 2 to 16 equal nodes none owns more than `ratio_max` times the mean.
pub fn equal_nodes_share_equally(assign: Assign, ratio_max: f64) {
    for count in 2..=EQUAL_NODES_MAX {
        let nodes = equal_nodes(count);
        let owners = owners(assign, &nodes, PARTITIONS, 1, "");
        let shares = shares(&owners);
        let most = shares.values().copied().max().unwrap_or_default();
        let ratio = f64::from(most) / (f64::from(PARTITIONS) / count as f64);
        assert!(ratio <= ratio_max, "of {count} nodes one owns {ratio} times the mean: {shares:?}");
        assert_eq!(shares.len(), count, "every node owns something");
    }
}

/// Checks that the `n`-th of 2 to 16 equal nodes takes, when it joins, at most `ratio_max` times the
/// partitions that must move to make all equal, and that no others move.
pub fn a_newcomer_takes_its_share(assign: Assign, ratio_max: f64) {
    for count in 2..=EQUAL_NODES_MAX {
        let nodes = equal_nodes(count);
        let newcomer = nodes[count - 1].id.as_str();
        let before = owners(assign, &nodes[..count - 1], PARTITIONS, 1, "");
        let after = owners(assign, &nodes, PARTITIONS, 1, "");
        let moved: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
        assert!(moved.iter().all(|(_, new)| new[0] == newcomer), "only {newcomer} gains");
        let ratio = moved.len() as f64 / (f64::from(PARTITIONS) / count as f64);
        assert!(ratio <= ratio_max, "the {count}-th node moved {ratio} times the minimum");
    }
}

/// Checks that nodes of weights 1, 2, 3 and 4 own partitions in these proportions, each within
/// `tolerance` (0.1 for a tenth) of its due.
pub fn weights_are_honoured(assign: Assign, tolerance: f64) {
    const PARTITIONS: u32 = 65_536;
    let mut nodes = equal_nodes(4);
    for (weight, node) in (1..).zip(&mut nodes) {
        node.weight = weight;
    }
    let owners = owners(assign, &nodes, PARTITIONS, 1, "");
    let shares = shares(&owners);
    for node in &nodes {
        let due = f64::from(PARTITIONS) * f64::from(node.weight) / 10.0;
        let ratio = f64::from(shares[node.id.as_str()]) / due;
        assert!((ratio - 1.0).abs() <= tolerance, "{} owns {ratio} times its due", node.id);
    }
}
