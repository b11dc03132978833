//! The question that a strategy is asked: checked once, then put in several orders of nodes.

use std::time::Duration;

use kv_core::limits::{
    MEMBERS_MAX, NAME_BYTES_MAX, PARTITIONS_MAX, REPLICAS_MAX, STRATEGY_CONFIG_BYTES_MAX,
    WEIGHT_MAX, ZONE_BYTES_MAX,
};

use super::error::StrategyFault;
use super::limits::{fuel_for, verified_fuel_for, verified_time_for};

/// A node as a strategy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrategyNode {
    /// The node's id, distinct within a question.
    pub id: String,
    /// The node's relative capacity, from 1.
    pub weight: u32,
    /// The node's failure domain, empty where none is named.
    pub zone: String,
}

/// A question that obeys the contract.
pub(super) struct StrategyCall<'a> {
    pub(super) nodes: &'a [StrategyNode],
    pub(super) partitions: u32,
    pub(super) replicas: u32,
    pub(super) config: &'a str,
}

/// An order of the nodes: for every place in it, the node's index in [`StrategyCall::nodes`].
pub(super) type Order = Vec<usize>;

impl<'a> StrategyCall<'a> {
    /// Checks what the contract promises to strategies, so that none is asked anything else.
    pub(super) fn new(
        nodes: &'a [StrategyNode],
        partitions: u32,
        replicas: u32,
        config: &'a str,
    ) -> Result<Self, StrategyFault> {
        let refuse = |reason: String| Err(StrategyFault::InvalidQuestion(reason));
        if nodes.is_empty() || nodes.len() > MEMBERS_MAX {
            return refuse(format!("expected 1 to {MEMBERS_MAX} nodes, got {}", nodes.len()));
        }
        if !partitions.is_power_of_two() || partitions > PARTITIONS_MAX {
            return refuse(format!(
                "expected a power of two of partitions from 1 to {PARTITIONS_MAX}, got {partitions}"
            ));
        }
        if replicas == 0 || replicas > REPLICAS_MAX {
            return refuse(format!("expected 1 to {REPLICAS_MAX} replicas, got {replicas}"));
        }
        if config.len() > STRATEGY_CONFIG_BYTES_MAX {
            return refuse(format!(
                "its configuration has {} bytes, and may have {STRATEGY_CONFIG_BYTES_MAX}",
                config.len()
            ));
        }
        let question = Self { nodes, partitions, replicas, config };
        question.check_nodes()?;
        Ok(question)
    }

    fn check_nodes(&self) -> Result<(), StrategyFault> {
        let refuse = |reason: String| Err(StrategyFault::InvalidQuestion(reason));
        for node in self.nodes {
            if node.id.is_empty() || node.id.len() > NAME_BYTES_MAX {
                return refuse(format!(
                    "expected node ids of 1 to {NAME_BYTES_MAX} bytes, got one of {}",
                    node.id.len()
                ));
            }
            if !(1..=WEIGHT_MAX).contains(&node.weight) {
                return refuse(format!(
                    "expected weights from 1 to {WEIGHT_MAX}, node {} has {}",
                    node.id, node.weight
                ));
            }
            if node.zone.len() > ZONE_BYTES_MAX {
                return refuse(format!(
                    "expected zones of at most {ZONE_BYTES_MAX} bytes, node {} has one of {}",
                    node.id,
                    node.zone.len()
                ));
            }
        }
        let sorted = self.sorted();
        match sorted.windows(2).find(|pair| self.nodes[pair[0]].id == self.nodes[pair[1]].id) {
            Some(pair) => refuse(format!("node {} is listed twice", self.nodes[pair[0]].id)),
            None => Ok(()),
        }
    }

    /// The order by id, in which every client asks, whatever order it learnt the nodes in.
    pub(super) fn sorted(&self) -> Order {
        let mut order: Order = (0..self.nodes.len()).collect();
        order.sort_by(|&a, &b| self.nodes[a].id.cmp(&self.nodes[b].id));
        order
    }

    /// Other orders, with a word for each, that an order-dependent strategy answers differently.
    pub(super) fn permutations(&self) -> Vec<(&'static str, Order)> {
        let sorted = self.sorted();
        if sorted.len() < 2 {
            return Vec::new();
        }
        let mut reversed = sorted.clone();
        reversed.reverse();
        let mut rotated = sorted;
        let half = rotated.len() / 2;
        rotated.rotate_left(half);
        vec![("reversed", reversed), ("rotated", rotated)]
    }

    /// The fuel that answering may take.
    pub(super) fn fuel(&self) -> u64 {
        fuel_for(self.nodes.len(), self.partitions, self.replicas)
    }

    /// The fuel that answering five times may take.
    pub(super) fn verified_fuel(&self) -> u64 {
        verified_fuel_for(self.fuel())
    }

    /// The CPU time that answering five times may take.
    pub(super) fn verified_time(&self) -> Duration {
        verified_time_for(self.fuel())
    }

    /// How many owners an answer names.
    pub(super) fn owners(&self) -> usize {
        self.partitions as usize * self.replicas as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[&str]) -> Vec<StrategyNode> {
        ids.iter()
            .map(|id| StrategyNode { id: (*id).to_owned(), weight: 1, zone: String::new() })
            .collect()
    }

    fn reason(nodes: &[StrategyNode], partitions: u32, replicas: u32, config: &str) -> String {
        match StrategyCall::new(nodes, partitions, replicas, config) {
            Err(StrategyFault::InvalidQuestion(reason)) => reason,
            Err(other) => panic!("expected an invalid question, got {other}"),
            Ok(_) => panic!("expected an invalid question, got a valid one"),
        }
    }

    #[test]
    fn every_limit_is_obeyed_and_enforced() {
        let two = nodes(&["b", "a"]);
        assert!(StrategyCall::new(&two, PARTITIONS_MAX, REPLICAS_MAX, "").is_ok());
        assert!(reason(&two, PARTITIONS_MAX * 2, 1, "").contains("power of two"));
        assert!(reason(&two, 3, 1, "").contains("got 3"));
        assert!(reason(&two, 0, 1, "").contains("got 0"));
        assert!(reason(&two, 4, 0, "").contains("replicas"));
        assert!(reason(&two, 4, REPLICAS_MAX + 1, "").contains("replicas"));
        assert!(StrategyCall::new(&two, 4, 1, &"x".repeat(STRATEGY_CONFIG_BYTES_MAX)).is_ok());
        assert!(
            reason(&two, 4, 1, &"x".repeat(STRATEGY_CONFIG_BYTES_MAX + 1))
                .contains("configuration")
        );
        assert!(reason(&[], 4, 1, "").contains("got 0"));
        assert!(reason(&nodes(&["a", "b", "a"]), 4, 1, "").contains("node a is listed twice"));
    }

    #[test]
    fn the_number_of_nodes_is_limited() {
        let ids: Vec<String> = (0..=MEMBERS_MAX).map(|n| format!("node-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert!(StrategyCall::new(&nodes(&ids[1..]), 4, 1, "").is_ok());
        assert!(reason(&nodes(&ids), 4, 1, "").contains("nodes"));
    }

    #[test]
    fn ids_weights_and_zones_are_limited() {
        let with = |change: fn(&mut StrategyNode)| {
            let mut nodes = nodes(&["a", "b"]);
            change(&mut nodes[1]);
            nodes
        };
        assert!(reason(&with(|n| n.id = String::new()), 4, 1, "").contains("ids"));
        assert!(reason(&with(|n| n.id = "x".repeat(NAME_BYTES_MAX + 1)), 4, 1, "").contains("ids"));
        assert!(reason(&with(|n| n.weight = 0), 4, 1, "").contains("weights"));
        assert!(reason(&with(|n| n.weight = WEIGHT_MAX + 1), 4, 1, "").contains("weights"));
        assert!(
            reason(&with(|n| n.zone = "z".repeat(ZONE_BYTES_MAX + 1)), 4, 1, "").contains("zone")
        );
        let most = with(|n| (n.weight, n.zone) = (WEIGHT_MAX, "z".repeat(ZONE_BYTES_MAX)));
        assert!(StrategyCall::new(&most, 4, 1, "").is_ok());
    }

    #[test]
    fn orders_are_permutations_of_all_nodes() {
        let nodes = nodes(&["c", "a", "d", "b"]);
        let question = StrategyCall::new(&nodes, 4, 1, "").unwrap();
        assert_eq!(question.sorted(), [1, 3, 0, 2]);
        assert_eq!(
            question.permutations(),
            [("reversed", vec![2, 0, 3, 1]), ("rotated", vec![0, 2, 1, 3])]
        );
    }
}
