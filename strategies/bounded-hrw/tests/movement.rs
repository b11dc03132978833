//! How much moves when a node joins or leaves, measured over random clusters: the figures in the
//! crate's documentation.

use bounded_hrw::assign;
use kv_strategy::testing::movement::{Clusters, on_join, on_leave};

/// The weights that the nodes have at random.
const WEIGHTS: &[u32] = &[1, 2, 4];

/// Clusters of so many nodes, on which joins and leaves are looked at.
fn clusters(nodes: usize, config: &str) -> Clusters<'_> {
    Clusters { config, nodes, weights: WEIGHTS, partitions: 4096, replicas: 1, count: 20 }
}

/// Checks joins and leaves alike, for they are the same changes seen from either end.
fn moves_at_most(clusters: &Clusters<'_>, mean: f64, most: f64) {
    for moved in [on_join(assign, clusters), on_leave(assign, clusters)] {
        assert!(moved.mean <= mean && moved.most <= most, "{clusters:?}: {moved:?}");
    }
}

#[test]
fn with_a_hundred_partitions_per_node_half_more_than_the_minimum_moves_at_most() {
    for (nodes, mean) in [(2, 1.05), (3, 1.05), (5, 1.05), (10, 1.05), (20, 1.1), (41, 1.25)] {
        moves_at_most(&clusters(nodes, ""), mean, 1.5);
    }
}

#[test]
fn replicas_move_no_more() {
    for (nodes, replicas) in [(4, 2), (10, 3), (20, 3)] {
        moves_at_most(&Clusters { replicas, ..clusters(nodes, "") }, 1.2, 1.5);
    }
}

#[test]
fn with_few_partitions_per_node_it_is_more() {
    let moved = on_join(assign, &clusters(100, ""));
    assert!((1.4..=1.9).contains(&moved.mean), "the documented figure: {moved:?}");
}

#[test]
fn a_looser_bound_moves_less() {
    let moved = |config| on_join(assign, &clusters(100, config)).mean;
    let [tight, default, loose] = ["bound=1.02", "", "bound=1.25"].map(moved);
    assert!(tight > default && default > loose && loose < 1.2, "{tight}, {default}, {loose}");
}
