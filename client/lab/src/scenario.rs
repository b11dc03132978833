//! What strategies are asked: the nodes, those that come, and those that go.

use std::collections::BTreeSet;

use kv_core::limits::{MEMBERS_MAX, NAME_BYTES_MAX, REPLICAS_MAX, WEIGHT_MAX, ZONE_BYTES_MAX};
use kv_core::partition::PartitionCount;

use kv_placement::StrategyNode;

/// Nodes, a join and a leave, with as many partitions and replicas throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    nodes: Vec<StrategyNode>,
    joining: Vec<StrategyNode>,
    leaving: Vec<String>,
    partitions: PartitionCount,
    replicas: u32,
}

/// A scenario that no cluster can be in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

impl Scenario {
    /// A scenario that starts with `nodes`. In its join, `joining` come to them; in its leave, those
    /// whose ids are `leaving` go. Both may be empty.
    ///
    /// # Errors
    /// A limit is not kept, an id stands twice, a node that is to leave is not there, or too few
    /// nodes are left for the replicas.
    pub fn new(
        nodes: Vec<StrategyNode>,
        joining: Vec<StrategyNode>,
        leaving: Vec<String>,
        partitions: PartitionCount,
        replicas: u32,
    ) -> Result<Self, ScenarioError> {
        let scenario = Self { nodes, joining, leaving, partitions, replicas };
        scenario.check().map_err(ScenarioError)?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        let Self { nodes, joining, leaving, replicas, .. } = self;
        let most = nodes.len() + joining.len();
        if nodes.is_empty() || most > MEMBERS_MAX {
            return Err(format!(
                "there are {} nodes, and {} join: expected 1 to {MEMBERS_MAX} nodes at any time",
                nodes.len(),
                joining.len()
            ));
        }
        if !(1..=REPLICAS_MAX).contains(replicas) {
            return Err(format!("{replicas} replicas: expected 1 to {REPLICAS_MAX}"));
        }
        let mut ids = BTreeSet::new();
        for node in nodes.iter().chain(joining) {
            check_node(node)?;
            if !ids.insert(&node.id) {
                return Err(format!("there are two nodes of the id {}", node.id));
            }
        }
        let mut gone = BTreeSet::new();
        for id in leaving {
            if !nodes.iter().any(|node| node.id == *id) {
                return Err(format!("node {id} cannot leave: there is no such node"));
            }
            if !gone.insert(id) {
                return Err(format!("node {id} is to leave twice"));
            }
        }
        let left = nodes.len() - leaving.len();
        if left < *replicas as usize {
            return Err(format!(
                "{left} of {} nodes would be left for {replicas} replicas: have fewer leave, or more nodes",
                nodes.len()
            ));
        }
        Ok(())
    }

    /// The nodes that there are at first.
    #[must_use]
    pub fn nodes(&self) -> &[StrategyNode] {
        &self.nodes
    }

    /// The nodes that join.
    #[must_use]
    pub fn joining(&self) -> &[StrategyNode] {
        &self.joining
    }

    /// The ids of the nodes that leave.
    #[must_use]
    pub fn leaving(&self) -> &[String] {
        &self.leaving
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// How many owners each partition has.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        self.replicas
    }

    /// The nodes after the join; `None` if no node joins.
    #[must_use]
    pub fn after_join(&self) -> Option<Vec<StrategyNode>> {
        (!self.joining.is_empty()).then(|| [&self.nodes[..], &self.joining].concat())
    }

    /// The nodes after the leave; `None` if no node leaves.
    #[must_use]
    pub fn after_leave(&self) -> Option<Vec<StrategyNode>> {
        let stays = |node: &&StrategyNode| !self.leaving.contains(&node.id);
        (!self.leaving.is_empty()).then(|| self.nodes.iter().filter(stays).cloned().collect())
    }
}

fn check_node(node: &StrategyNode) -> Result<(), String> {
    let StrategyNode { id, weight, zone } = node;
    if !(1..=NAME_BYTES_MAX).contains(&id.len()) {
        return Err(format!("the node id {id:?} is not 1 to {NAME_BYTES_MAX} bytes long"));
    }
    if !(1..=WEIGHT_MAX).contains(weight) {
        return Err(format!("node {id} has weight {weight}: expected 1 to {WEIGHT_MAX}"));
    }
    if zone.len() > ZONE_BYTES_MAX {
        return Err(format!("the zone of node {id} is longer than {ZONE_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Nodes of weight 1 in no zone, named as nodes name themselves: `node-0`, `node-1` and so on.
#[must_use]
pub fn nodes(numbers: impl IntoIterator<Item = usize>) -> Vec<StrategyNode> {
    let node =
        |number| StrategyNode { id: format!("node-{number}"), weight: 1, zone: String::new() };
    numbers.into_iter().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(
        count: usize,
        joining: usize,
        leaving: &[&str],
        replicas: u32,
    ) -> Result<Scenario, String> {
        let leaving = leaving.iter().map(|id| (*id).to_owned()).collect();
        let partitions = PartitionCount::new(16).unwrap();
        let joining = nodes(count..count + joining);
        Scenario::new(nodes(0..count), joining, leaving, partitions, replicas)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_limit_is_obeyed_and_enforced() {
        assert!(scenario(MEMBERS_MAX - 1, 1, &["node-0"], REPLICAS_MAX).is_ok());
        assert!(scenario(MEMBERS_MAX, 1, &[], 1).unwrap_err().contains("1000 nodes"));
        assert!(scenario(0, 1, &[], 1).unwrap_err().contains("0 nodes"));
        assert!(scenario(9, 0, &[], REPLICAS_MAX + 1).unwrap_err().contains("9 replicas"));
        assert!(scenario(9, 0, &[], 0).unwrap_err().contains("0 replicas"));
        assert!(scenario(3, 0, &["node-0"], 2).is_ok());
        let problem = scenario(3, 0, &["node-0", "node-1"], 2).unwrap_err();
        assert!(problem.contains("1 of 3 nodes would be left for 2 replicas"), "{problem}");
        assert!(scenario(3, 0, &["node-3"], 1).unwrap_err().contains("no such node"));
        assert!(scenario(3, 0, &["node-0", "node-0"], 1).unwrap_err().contains("twice"));
    }

    #[test]
    fn nodes_are_checked_one_by_one() {
        let with = |change: fn(&mut StrategyNode)| {
            let mut two = nodes(0..2);
            change(&mut two[1]);
            let partitions = PartitionCount::new(16).unwrap();
            Scenario::new(two, Vec::new(), Vec::new(), partitions, 1)
                .map_err(|error| error.to_string())
        };
        assert!(with(|node| node.weight = 0).unwrap_err().contains("weight 0"));
        assert!(with(|node| node.weight = WEIGHT_MAX + 1).unwrap_err().contains("weight 257"));
        assert!(with(|node| node.zone = "z".repeat(ZONE_BYTES_MAX + 1)).is_err());
        assert!(with(|node| node.id = "n".repeat(NAME_BYTES_MAX + 1)).is_err());
        assert!(with(|node| node.id.clear()).is_err());
        assert!(with(|node| node.id = "node-0".into()).unwrap_err().contains("two nodes"));
    }

    #[test]
    fn changes_add_and_take_away() {
        let scenario = scenario(3, 2, &["node-1"], 1).unwrap();
        assert_eq!(scenario.after_join(), Some(nodes(0..5)));
        assert_eq!(scenario.after_leave(), Some(nodes([0, 2])));
        let still = Scenario { joining: Vec::new(), leaving: Vec::new(), ..scenario };
        assert_eq!((still.after_join(), still.after_leave()), (None, None));
    }
}
