//! Counting what is in partitions, at the nodes that own them.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use kv_core::layout::Assignment;
use kv_core::partition::Partition;
use kv_core::window::{Moving, Size};
use kv_protocol::reply::{Content, PartitionSize};
use kv_protocol::request::{Command, Count};

use crate::ask::{Asker, Trouble};

/// Counts what the `moving` partitions have at the nodes that serve them now. Those of nodes that do
/// not exist any more are left out.
pub(crate) async fn count(
    asker: Asker<'_>,
    moving: &[Moving],
) -> Result<BTreeMap<Partition, Size>, Trouble> {
    let assignments = &asker.view.assignments;
    let mut by_node: BTreeMap<u16, Vec<Partition>> = BTreeMap::new();
    for Moving { partition, .. } in moving {
        let node = match assignments.get(*partition) {
            Some(Assignment::Owned(owner)) => Some(owner),
            Some(Assignment::Frozen(it) | Assignment::Moving(it)) => it.source,
            None => None,
        };
        let lost = asker.view.layout.rebalance.iter().flat_map(|it| &it.lost);
        let is_lost = |node: u16| {
            let member = assignments.nodes().get(usize::from(node));
            member.is_some_and(|member| lost.clone().any(|uuid| *uuid == member.uuid))
        };
        if let Some(node) = node.filter(|node| !is_lost(*node)) {
            by_node.entry(node).or_default().push(*partition);
        }
    }
    let counts = by_node.into_iter().map(|(node, partitions)| count_at(asker, node, partitions));
    Ok(try_join_all(counts).await?.into_iter().flatten().collect())
}

/// Counts what these partitions have at the node that serves them. Those without keys are left out.
pub(crate) async fn count_at(
    asker: Asker<'_>,
    node: u16,
    mut partitions: Vec<Partition>,
) -> Result<Vec<(Partition, Size)>, Trouble> {
    let mut sizes = Vec::new();
    // One that does not follow would only say that it may count later.
    asker.confirm(node).await?;
    loop {
        let command = Command::Count(Count { partitions: partitions.clone() });
        let Content::Count(counted) = asker.ask(node, command).await? else {
            return Err(asker.nonsense(node, "it is not the answer to COUNT"));
        };
        let size = |it: &PartitionSize| (it.partition, Size { keys: it.keys, bytes: it.bytes });
        sizes.extend(counted.partitions.iter().map(size));
        let Some(next) = counted.next else { return Ok(sizes) };
        let done = partitions.partition_point(|it| *it < next);
        if done == 0 {
            return Err(asker.nonsense(node, "its count does not get on"));
        }
        partitions.drain(..done);
    }
}
