//! How much a strategy moves when a node joins or leaves, over many random clusters.
//!
//! For strategies that move more than the minimum, where [`properties`](super::properties) checks that
//! nothing more moves. The clusters are the same in every run.

use super::shares::fair_shares;
use super::{owners, properties};
use crate::{Assign, Node, hash};

/// The clusters that are looked at.
#[derive(Clone, Debug)]
pub struct Clusters<'a> {
    /// The configuration text.
    pub config: &'a str,
    /// The number of nodes, one that joins not counted, one that leaves counted.
    pub nodes: usize,
    /// The weights, of which every node has a random one.
    pub weights: &'a [u32],
    /// The number of partitions.
    pub partitions: u32,
    /// The number of owners of each.
    pub replicas: u32,
    /// How many clusters there are.
    pub count: u32,
}

/// What moved, in relation to what had to.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// The mean over all clusters.
    pub mean: f64,
    /// The most that moved in one of them.
    pub most: f64,
}

/// What moves when a node joins, in relation to its fair share.
#[must_use]
pub fn on_join(assign: Assign, clusters: &Clusters<'_>) -> Moved {
    clusters.measure(clusters.nodes + 1, |nodes| {
        let weights: Vec<u32> = nodes.iter().map(|node| node.weight).collect();
        let due = fair_shares(&weights, clusters.partitions, clusters.replicas)[0];
        clusters.gained(assign, &nodes[1..], nodes) / due
    })
}

/// What moves when a node leaves, in relation to what it owned.
#[must_use]
pub fn on_leave(assign: Assign, clusters: &Clusters<'_>) -> Moved {
    clusters.measure(clusters.nodes, |nodes| {
        let before = owners(assign, nodes, clusters.partitions, clusters.replicas, clusters.config);
        let owned = before.iter().filter(|owners| owners.contains(&nodes[0].id.as_str())).count();
        clusters.gained(assign, nodes, &nodes[1..]) / owned as f64
    })
}

impl Clusters<'_> {
    fn measure(&self, nodes: usize, ratio: impl Fn(&[Node]) -> f64) -> Moved {
        let ratios: Vec<f64> = (0..self.count).map(|n| ratio(&self.cluster(n, nodes))).collect();
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        Moved { mean, most: ratios.into_iter().fold(0.0, f64::max) }
    }

    /// The nodes of the `n`-th cluster.
    fn cluster(&self, n: u32, nodes: usize) -> Vec<Node> {
        let seed = hash::nth(self.nodes as u64, n);
        let node = |n| {
            let random = hash::nth(seed, n);
            let weight = self.weights[(random & 0xffff) as usize % self.weights.len()];
            Node { weight, ..Node::named(format!("node-{:012x}", random >> 16)) }
        };
        (0..).take(nodes).map(node).collect()
    }

    /// How many replicas get an owner that their partition did not have.
    fn gained(&self, assign: Assign, before: &[Node], after: &[Node]) -> f64 {
        let owners = |nodes| owners(assign, nodes, self.partitions, self.replicas, self.config);
        let (before, after) = (owners(before), owners(after));
        let gained = before
            .iter()
            .zip(&after)
            .map(|(before, after)| properties::gained(before, after).count());
        gained.sum::<usize>() as f64
    }
}
