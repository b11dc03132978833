//! What a table is worth: how evenly it spreads load, how much a change moves, and how far apart a
//! partition's replicas are. Pure functions of nodes and owners, for programs that judge strategies.
//!
//! - [`Placed`]: a table beside the nodes that it speaks of.
//! - [`Balance`]: load against weight; [`Movement`]: from one table to another; [`Spread`]: zones.

mod balance;
mod movement;
mod spread;

pub use self::balance::Balance;
pub use self::movement::{Flow, Movement};
pub use self::spread::Spread;

use crate::StrategyNode;

/// A table beside the nodes that its entries are indexes into.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    nodes: &'a [StrategyNode],
    owners: &'a [u32],
    replicas: usize,
}

impl<'a> Placed<'a> {
    /// The table `owners`, `replicas` entries for each partition, as [`crate::Strategy::assign`]
    /// gives it for `nodes`; `None` if it is no such table.
    #[must_use]
    pub fn new(nodes: &'a [StrategyNode], owners: &'a [u32], replicas: u32) -> Option<Self> {
        let replicas = replicas as usize;
        let is_table = replicas > 0
            && owners.len().is_multiple_of(replicas)
            && owners.iter().all(|&owner| (owner as usize) < nodes.len());
        is_table.then_some(Self { nodes, owners, replicas })
    }

    /// The nodes, each at the index that the owners name.
    #[must_use]
    pub fn nodes(self) -> &'a [StrategyNode] {
        self.nodes
    }

    /// The owners of each partition in turn, the best first.
    pub fn partitions(self) -> impl ExactSizeIterator<Item = &'a [u32]> {
        self.owners.chunks_exact(self.replicas)
    }

    /// How many owners each partition has.
    #[must_use]
    pub fn replicas(self) -> usize {
        self.replicas
    }
}

/// The part of all weight that each of `nodes` has.
fn dues(nodes: &[StrategyNode]) -> impl Iterator<Item = f64> {
    let total: u64 = nodes.iter().map(|node| u64::from(node.weight)).sum();
    nodes.iter().map(move |node| f64::from(node.weight) / total as f64)
}

#[cfg(test)]
mod fixture {
    use super::StrategyNode;

    /// Nodes `a`, `b` and so on of these weights and zones.
    pub(super) fn nodes(described: &[(u32, &str)]) -> Vec<StrategyNode> {
        let node = |(id, &(weight, zone)): (char, &(u32, &str))| StrategyNode {
            id: id.to_string(),
            weight,
            zone: zone.to_owned(),
        };
        ('a'..).zip(described).map(node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_table_is_taken_for_one() {
        let nodes = fixture::nodes(&[(1, ""), (1, "")]);
        assert_eq!(Placed::new(&nodes, &[0, 1, 1, 0], 2).unwrap().partitions().len(), 2);
        assert!(Placed::new(&nodes, &[0, 1, 1], 2).is_none());
        assert!(Placed::new(&nodes, &[0, 2], 1).is_none());
        assert!(Placed::new(&nodes, &[0], 0).is_none());
    }
}
