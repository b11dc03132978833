//! The plan of a rebalance: what would move, before anything does. Pure.

use std::collections::BTreeMap;

use kv_core::digest::Digest;
use kv_core::layout::{Member, StrategyPin, Table};
use kv_core::partition::Partition;
use kv_core::window::{Moving, Size};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::change::Change;

/// The version of a plan's own shape.
pub(crate) const PLAN_FORMAT: u32 = 1;

/// What a rebalance would move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Plan {
    /// The version of the plan's shape.
    pub format: u32,
    /// The cluster that it was made for.
    pub cluster: Uuid,
    /// The epoch that it was made for. Once the layout has moved on, the plan is of no more use.
    pub epoch: u64,
    /// What is to be changed.
    pub change: Change,
    /// The strategy that places the data afterwards.
    pub strategy: StrategyPin,
    /// The digest of the table afterwards.
    pub table: Digest,
    /// How many partitions the cluster has.
    pub partitions: u32,
    /// How many of them change their owner.
    pub partitions_moved: u32,
    /// How many would have to, at least, for the nodes to have as many as they get.
    pub partitions_minimum: u32,
    /// How many keys move.
    pub keys_moved: u64,
    /// How many bytes of keys and values move.
    pub bytes_moved: u64,
    /// How many partitions are lost with nodes that are given up.
    pub partitions_lost: u32,
    /// What each node has before and after, by ascending id.
    pub nodes: Vec<NodePlan>,
}

/// What a node has before and after a rebalance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlan {
    /// The node's id.
    pub id: String,
    /// What it has before.
    pub before: Load,
    /// What it has after.
    pub after: Load,
}

/// What a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Partitions.
    pub partitions: u32,
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// What a plan is made of.
pub(crate) struct Facts<'a> {
    pub(crate) before: (&'a [Member], &'a Table),
    pub(crate) after: (&'a [Member], &'a Table),
    pub(crate) moving: &'a [Moving],
    /// What the moving partitions have.
    pub(crate) sizes: &'a BTreeMap<Partition, Size>,
    /// What the nodes have.
    pub(crate) stored: &'a BTreeMap<Uuid, Size>,
    pub(crate) lost: &'a [Uuid],
}

/// The loads of all nodes, and the least number of partitions that have to move.
pub(crate) fn loads(facts: &Facts<'_>) -> (Vec<NodePlan>, u32) {
    let mut nodes: BTreeMap<Uuid, NodePlan> = BTreeMap::new();
    for member in facts.before.0.iter().chain(facts.after.0) {
        let id = member.id.to_string();
        let stored = facts.stored.get(&member.uuid).copied().unwrap_or_default();
        let load = Load { partitions: 0, keys: stored.keys, bytes: stored.bytes };
        nodes.entry(member.uuid).or_insert(NodePlan { id, before: load, after: load });
    }
    let owned = |(members, table): (&[Member], &Table)| -> BTreeMap<Uuid, u32> {
        let count = |index| u32::try_from(table.owned_by(index).count()).unwrap_or(u32::MAX);
        (0..).zip(members).map(|(index, member)| (member.uuid, count(index))).collect()
    };
    let (before, after) = (owned(facts.before), owned(facts.after));
    let mut minimum = 0;
    for (uuid, node) in &mut nodes {
        node.before.partitions = before.get(uuid).copied().unwrap_or(0);
        node.after.partitions = after.get(uuid).copied().unwrap_or(0);
        minimum += node.before.partitions.saturating_sub(node.after.partitions);
    }
    for Moving { partition, from, to } in facts.moving {
        let size = facts.sizes.get(partition).copied().unwrap_or_default();
        if let Some(node) = nodes.get_mut(from) {
            node.after.keys = node.after.keys.saturating_sub(size.keys);
            node.after.bytes = node.after.bytes.saturating_sub(size.bytes);
        }
        if let Some(node) = nodes.get_mut(to).filter(|_| !facts.lost.contains(from)) {
            node.after.keys += size.keys;
            node.after.bytes += size.bytes;
        }
    }
    let mut nodes: Vec<NodePlan> = nodes.into_values().collect();
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    (nodes, minimum)
}

#[cfg(test)]
mod tests {
    use kv_core::partition::PartitionCount;

    use super::*;

    fn member(number: u128) -> Member {
        Member {
            id: format!("node-{number}").parse().unwrap(),
            uuid: Uuid::from_u128(number),
            weight: 1,
            zone: String::new(),
        }
    }

    #[test]
    fn loads_follow_from_what_moves() {
        let partitions = PartitionCount::new(4).unwrap();
        let (two, three) = (vec![member(1), member(2)], vec![member(1), member(2), member(3)]);
        let before = Table::new(&[0, 0, 1, 1], partitions, 1, 2).unwrap();
        let after = Table::new(&[0, 2, 1, 0], partitions, 1, 3).unwrap();
        let moving = [(1, 1, 3), (3, 2, 1)].map(|(partition, from, to)| Moving {
            partition: Partition(partition),
            from: Uuid::from_u128(from),
            to: Uuid::from_u128(to),
        });
        let sizes = BTreeMap::from([
            (Partition(1), Size { keys: 10, bytes: 100 }),
            (Partition(3), Size { keys: 5, bytes: 50 }),
        ]);
        let stored = BTreeMap::from([
            (Uuid::from_u128(1), Size { keys: 30, bytes: 300 }),
            (Uuid::from_u128(2), Size { keys: 20, bytes: 200 }),
        ]);
        let facts = Facts {
            before: (&two, &before),
            after: (&three, &after),
            moving: &moving,
            sizes: &sizes,
            stored: &stored,
            lost: &[],
        };
        let (nodes, minimum) = loads(&facts);
        let after: Vec<_> =
            nodes.iter().map(|it| (&*it.id, it.after.partitions, it.after.keys)).collect();
        assert_eq!(after, [("node-1", 2, 25), ("node-2", 1, 15), ("node-3", 1, 10)]);
        assert_eq!(nodes[0].before, Load { partitions: 2, keys: 30, bytes: 300 });
        // Two moved, where one from node-2 to node-3 would have done.
        assert_eq!(minimum, 1);
    }
}
