//! What this strategy promises, and the vectors that pin its tables.

use consistent_hash::{INFO, assign};
use kv_strategy::testing::{balance, equal_nodes, properties, vectors};

/// A short ring: what holds for all nodes holds for any number of points.
const QUICK: &str = "points=20";

#[test]
fn equal_nodes_share_equally() {
    balance::equal_nodes_share_equally(assign, 1.08);
}

#[test]
fn a_newcomer_takes_its_share() {
    balance::a_newcomer_takes_its_share(assign, 1.08);
}

#[test]
fn weights_are_honoured() {
    balance::weights_are_honoured(assign, 0.08);
}

#[test]
fn the_order_of_nodes_does_not_matter() {
    properties::the_order_of_nodes_does_not_matter(assign, QUICK);
}

#[test]
fn owners_are_distinct() {
    properties::owners_are_distinct(assign, QUICK);
}

#[test]
fn more_replicas_keep_the_first() {
    properties::more_replicas_keep_the_first(assign, QUICK);
}

#[test]
fn only_the_changed_node_moves() {
    properties::only_the_changed_node_moves(assign, QUICK);
}

#[test]
fn a_heavier_node_only_gains() {
    properties::a_heavier_node_only_gains(assign, QUICK);
}

#[test]
fn impossible_questions_are_refused() {
    properties::impossible_questions_are_refused(assign, QUICK);
}

#[test]
fn tables_are_the_recorded_ones() {
    let mut cases = vectors::corpus();
    for points in [1, 64, 1000] {
        let name = format!("points-{points}");
        let config = format!("points={points}");
        let case = vectors::case(&name, 4096, 2, equal_nodes(10));
        cases.push(vectors::Case { config, ..case });
    }
    vectors::check(assign, INFO, cases);
}
