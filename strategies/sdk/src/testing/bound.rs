//! That loads are bounded, checked on random nodes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::owners;
use super::properties::cases;
use super::shares::fair_shares;
use crate::contract::WEIGHT_MAX;
use crate::{Assign, Node};

/// The most nodes of a random cluster, and the most owners of a partition in it.
const NODES_MAX: usize = 24;
const REPLICAS_MAX: u32 = 4;

/// Checks that no node owns more than `bound` times its fair share, or its fair share rounded up, for
/// random nodes of weights from 1 to [`WEIGHT_MAX`], partitions and replicas.
///
/// Fair shares are those of [`shares`](super::shares).
pub fn no_node_owns_more_than_the_bound(assign: Assign, config: &str, bound: f64) {
    let weights = prop_oneof![
        vec(1..=WEIGHT_MAX, 1..=NODES_MAX),
        vec(prop_oneof![Just(1), Just(2), Just(4), Just(WEIGHT_MAX)], 1..=NODES_MAX)
    ];
    proptest!(cases(), |(weights in weights, bits in 0..=12_u32, replicas in 1..=REPLICAS_MAX)| {
        let node = |(n, weight): (usize, &u32)| {
            Node { weight: *weight, ..Node::named(format!("node-{n}")) }
        };
        let nodes: Vec<Node> = weights.iter().enumerate().map(node).collect();
        let replicas = replicas.min(nodes.len() as u32);
        let partitions = 1_u32 << bits;
        let owners = owners(assign, &nodes, partitions, replicas, config);
        for (node, share) in nodes.iter().zip(fair_shares(&weights, partitions, replicas)) {
            let owned = owners.iter().filter(|owners| owners.contains(&node.id.as_str())).count();
            let most = (share * bound).max(share.ceil());
            // Only rounding in this test's own numbers with a fraction is forgiven.
            prop_assert!(owned as f64 <= most + 1e-6, "{node:?} owns {owned}, its share is {share}");
        }
    });
}
