//! What this strategy promises, and the vectors that pin its tables.
//!
//! It does not promise that asking for more replicas or losing one keeps the order of the others: which
//! node of a zone is asked first depends on the whole zone. Which nodes own a partition changes as
//! little as can be, and the first owner is that of plain rendezvous hashing.

use kv_strategy::Node;
use kv_strategy::testing::{balance, equal_nodes, properties, spread, vectors};
use zone_hrw::{INFO, assign};

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
fn replicas_are_spread_over_zones() {
    spread::replicas_are_spread_over_zones(assign, "");
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
fn only_a_newcomer_gains() {
    properties::only_a_newcomer_gains(assign, "");
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
fn one_replica_is_plain_rendezvous_hashing() {
    for case in vectors::corpus().into_iter().filter(|case| case.replicas == 1) {
        let table = assign(&case.nodes, case.partitions, 1, "");
        assert_eq!(table, hrw::assign(&case.nodes, case.partitions, 1, ""), "{}", case.name);
    }
}

#[test]
fn a_zone_that_is_too_heavy_leaves_the_rest_to_the_others() {
    // Nine of ten nodes are in the east, and with two replicas each zone owns one of each partition.
    let node = |(n, node): (usize, Node)| Node {
        zone: if n == 0 { "west" } else { "east" }.to_owned(),
        ..node
    };
    let nodes: Vec<Node> = equal_nodes(10).into_iter().enumerate().map(node).collect();
    let table = assign(&nodes, 4096, 2, "").unwrap();
    assert_eq!(table.iter().filter(|owner| **owner == 0).count(), 4096);
}

#[test]
fn tables_are_the_recorded_ones() {
    let mut cases = vectors::corpus();
    let node = |(n, node): (usize, Node)| Node { zone: format!("rack-{}", n % 7), ..node };
    let nodes: Vec<Node> = equal_nodes(20).into_iter().enumerate().map(node).collect();
    for replicas in [2, 3, 8] {
        let name = format!("zones-7-replicas-{replicas}");
        cases.push(vectors::case(&name, 4096, replicas, nodes.clone()));
    }
    vectors::check(assign, INFO, cases);
}
