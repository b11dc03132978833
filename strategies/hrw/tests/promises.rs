//! What this strategy promises, and the vectors that pin its tables.

use hrw::{INFO, assign};
use kv_strategy::testing::{balance, properties, vectors};

#[test]
fn equal_nodes_share_equally() {
    balance::equal_nodes_share_equally(assign, 1.06);
}

#[test]
fn a_newcomer_takes_its_share() {
    balance::a_newcomer_takes_its_share(assign, 1.06);
}

#[test]
fn weights_are_honoured() {
    balance::weights_are_honoured(assign, 0.03);
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
fn only_the_changed_node_moves() {
    properties::only_the_changed_node_moves(assign, "");
}

#[test]
fn a_heavier_node_only_gains() {
    properties::a_heavier_node_only_gains(assign, "");
}

#[test]
fn impossible_questions_are_refused() {
    properties::impossible_questions_are_refused(assign, "");
}

#[test]
fn tables_are_the_recorded_ones() {
    vectors::check(assign, INFO, vectors::corpus());
}
