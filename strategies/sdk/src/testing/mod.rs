//! A strategy's promises as functions that its own tests call, and the vectors that pin its tables.
//!
//! - [`properties`]: what holds for all nodes, checked on random ones.
//! - [`balance`]: how evenly and how sparingly, checked on nodes as people name them.
//! - [`spread`]: replicas over zones, checked on random nodes.
//! - [`bound`]: loads below a bound, checked on random nodes.
//! - [`shares`]: what every node should own.
//! - [`movement`]: how much moves where more than the minimum does, measured on random clusters.
//! - [`vectors`]: recorded tables, and how to record them anew.
//!
//! Everything here panics where a promise is broken, for that is how a test fails.

use std::collections::BTreeMap;

use crate::{Assign, Node};

pub mod balance;
pub mod bound;
pub mod movement;
pub mod properties;
pub mod shares;
pub mod spread;
pub mod vectors;

/// `count` nodes of weight 1, named as nodes name themselves: `node-0`, `node-1` and so on.
#[must_use]
pub fn equal_nodes(count: usize) -> Vec<Node> {
    (0..count).map(|n| Node::named(format!("node-{n}"))).collect()
}

/// The ids of the owners of every partition, which can be compared where indexes cannot.
fn owners<'n>(
    assign: Assign,
    nodes: &'n [Node],
    partitions: u32,
    replicas: u32,
    config: &str,
) -> Vec<Vec<&'n str>> {
    let table = assign(nodes, partitions, replicas, config)
        .unwrap_or_else(|error| panic!("{error} (for {nodes:?})"));
    assert_eq!(table.len(), partitions as usize * replicas as usize, "the length of the table");
    table
        .chunks(replicas as usize)
        .map(|owners| owners.iter().map(|&index| nodes[index as usize].id.as_str()).collect())
        .collect()
}

/// How many partitions each node owns, by id; a node without any is not there.
fn shares<'n>(owners: &[Vec<&'n str>]) -> BTreeMap<&'n str, u32> {
    let mut shares = BTreeMap::new();
    for id in owners.iter().filter_map(|owners| owners.first()) {
        *shares.entry(*id).or_default() += 1;
    }
    shares
}
