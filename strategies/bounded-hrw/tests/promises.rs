//! What this strategy promises, and the vectors that pin its tables. How much it moves: `movement.rs`.

use bounded_hrw::{INFO, assign};
use kv_strategy::testing::{balance, bound, equal_nodes, properties, vectors};

#[test]
fn no_node_owns_more_than_the_bound() {
    bound::no_node_owns_more_than_the_bound(assign, "", 1.05);
}

#[test]
fn no_node_owns_more_than_another_bound() {
    for (config, most) in [("bound=1.01", 1.01), ("bound=1.3", 1.3), ("bound=2", 2.0)] {
        bound::no_node_owns_more_than_the_bound(assign, config, most);
    }
}

#[test]
fn equal_nodes_share_equally() {
    balance::equal_nodes_share_equally(assign, 1.05);
}

#[test]
fn weights_are_honoured() {
    balance::weights_are_honoured(assign, 0.05);
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
fn impossible_questions_are_refused() {
    properties::impossible_questions_are_refused(assign, "");
}

#[test]
fn tables_are_the_recorded_ones() {
    let mut cases = vectors::corpus();
    for config in ["bound=1.01", "bound=1.25", "bound=2"] {
        let case = vectors::case(&config.replace('=', "-"), 4096, 2, equal_nodes(10));
        cases.push(vectors::Case { config: config.to_owned(), ..case });
    }
    vectors::check(assign, INFO, cases);
}
