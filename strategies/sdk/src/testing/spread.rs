//! That replicas are spread over zones, checked on random nodes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::owners;
use super::properties::{NODES_MAX, PARTITIONS, cases, nodes};
use crate::{Assign, Node};

/// Checks that a partition's owners are in different zones while there are as many, and that otherwise
/// no zone has two more than another which still has a node that is none of them. A node whose zone
/// is empty counts as a zone of its own.
pub fn replicas_are_spread_over_zones(assign: Assign, config: &str) {
    proptest!(cases(), |(nodes in nodes(1), replicas in 1..=NODES_MAX as u32)| {
        let replicas = replicas.min(nodes.len() as u32);
        let zone_of: BTreeMap<&str, &str> =
            nodes.iter().map(|node| (node.id.as_str(), zone(node))).collect();
        let sizes = count(zone_of.values().copied());
        for owners in owners(assign, &nodes, PARTITIONS, replicas, config) {
            let counts = count(owners.iter().map(|id| zone_of[id]));
            let most = counts.values().copied().max().unwrap_or_default();
            if sizes.len() >= replicas as usize {
                prop_assert_eq!(most, 1, "{:?} are not in different zones", owners);
            }
            for (zone, size) in &sizes {
                let has = counts.get(zone).copied().unwrap_or_default();
                prop_assert!(has == *size || has + 1 >= most, "{owners:?} neglect {zone}");
            }
        }
    });
}

/// What stands for a node's zone: its own id where it names none. No id is the name of a zone here.
fn zone(node: &Node) -> &str {
    if node.zone.is_empty() { &node.id } else { &node.zone }
}

fn count<'n>(zones: impl Iterator<Item = &'n str>) -> BTreeMap<&'n str, usize> {
    let mut counts = BTreeMap::new();
    for zone in zones {
        *counts.entry(zone).or_default() += 1;
    }
    counts
}
