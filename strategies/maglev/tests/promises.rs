//! What this strategy promises, and the vectors that pin its tables.
//!
//! Balance is what it promises, not little movement: a newcomer's claims push others on. So the tests
//! that nothing else moves are not here, and how much does is measured instead.

use kv_strategy::testing::movement::{Clusters, on_join, on_leave};
use kv_strategy::testing::{balance, properties, vectors};
use maglev::{INFO, assign};

#[test]
fn equal_nodes_share_equally() {
    // Of 15 nodes most own 273 partitions and one 274, and no sharing is more equal.
    balance::equal_nodes_share_equally(assign, 1.004);
}

#[test]
fn weights_are_honoured() {
    balance::weights_are_honoured(assign, 0.001);
}

#[test]
fn the_order_of_nodes_does_not_matter() {
    properties::the_order_of_nodes_does_not_matter(assign, "");
}

#[test]
fn owners_are_distinct() {
    properties::owners_are_distinct(assign, "");
}

#[test]
fn more_replicas_keep_the_first() {
    properties::more_replicas_keep_the_first(assign, "");
}

#[test]
fn impossible_questions_are_refused() {
    properties::impossible_questions_are_refused(assign, "");
}

/// Clusters of equal nodes, as in the documentation.
fn clusters(nodes: usize, partitions: u32) -> Clusters<'static> {
    Clusters { config: "", nodes, weights: &[1], partitions, replicas: 1, count: 20 }
}

#[test]
fn movement_is_near_the_minimum_for_few_nodes() {
    for (nodes, partitions, mean_max) in [(3, 4096, 1.05), (10, 4096, 1.2), (10, 16_384, 1.1)] {
        for moved in
            [on_join, on_leave].map(|measure| measure(assign, &clusters(nodes, partitions)))
        {
            assert!(moved.mean <= mean_max && moved.most <= 1.25, "{nodes} nodes: {moved:?}");
        }
    }
}

#[test]
fn movement_is_a_multiple_of_the_minimum_for_many_nodes() {
    for (nodes, mean) in [(30, 1.6), (100, 4.0)] {
        let moved = on_join(assign, &clusters(nodes, 4096));
        assert!((moved.mean / mean - 1.0).abs() < 0.1, "the documented figure: {moved:?}");
    }
}

#[test]
fn tables_are_the_recorded_ones() {
    vectors::check(assign, INFO, vectors::corpus());
}
