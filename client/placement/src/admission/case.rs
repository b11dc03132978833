//! What strategies are asked before they are adopted, from the smallest question to the largest, so
//! that the first counterexample is the smallest.

use std::fmt;

use kv_core::limits::{MEMBERS_MAX, PARTITIONS_DEFAULT, PARTITIONS_MAX, WEIGHT_MAX};

use crate::StrategyNode;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thoroughness {
    /// What has to be known before the strategy is adopted, in a moment.
    Gate,
    /// That, the largest clusters, and many at random.
    Full,
}

/// Numbers of equal nodes. With the default number of partitions, the largest has so many of them on
/// each node that chance alone makes little difference.
const EQUAL: [usize; 8] = [1, 2, 3, 4, 5, 8, 10, 16];
/// Weights, which are few enough for each node to have its due at this number of partitions.
const WEIGHTS: [&[u32]; 5] =
    [&[1, 2], &[1, 2, 4], &[1, 1, 8], &[3, 5, 7, 9, 11], &[1, 2, 4, 1, 2, 4, 1, 2, 4]];
const WEIGHED_PARTITIONS: u32 = 1 << 13;
/// Zones, and the numbers of replicas that are placed in them.
const ZONES: [(&[&str], u32); 6] = [
    (&["", ""], 2),
    (&["x", "y"], 2),
    (&["x", "x", "y"], 2),
    (&["x", "y", "z", "x", "y", "z"], 2),
    (&["x", "y", "z", "x", "y", "z"], 3),
    (&["x", "x", "x", "x", "x", "y", "y", "z"], 3),
];
/// How many clusters at random are looked at.
const RANDOM: u64 = 24;

/// A question, which obeys the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExamCase {
    /// The nodes to choose among, in the order in which the strategy gets them.
    pub nodes: Vec<StrategyNode>,
    /// The number of partitions.
    pub partitions: u32,
    /// The owners of each.
    pub replicas: u32,
}

impl ExamCase {
    /// So many nodes of weight 1, with the default number of partitions.
    pub(super) fn equal(nodes: usize) -> Self {
        Self::of((0..nodes).map(|number| node(number, 1, "")).collect(), PARTITIONS_DEFAULT, 1)
    }

    pub(super) fn of(nodes: Vec<StrategyNode>, partitions: u32, replicas: u32) -> Self {
        Self { nodes, partitions, replicas }
    }

    /// The same without one of the nodes.
    pub(super) fn without(&self, index: usize) -> Self {
        let mut less = self.clone();
        less.nodes.remove(index);
        less
    }

    /// The numbers of nodes whose shares are compared.
    pub(super) fn equal_sizes() -> impl Iterator<Item = usize> {
        EQUAL.into_iter()
    }

    pub(super) fn weighted() -> impl Iterator<Item = Self> {
        WEIGHTS.into_iter().map(|weights| {
            let nodes = weights.iter().enumerate().map(|(number, &it)| node(number, it, ""));
            Self::of(nodes.collect(), WEIGHED_PARTITIONS, 1)
        })
    }

    pub(super) fn zoned() -> impl Iterator<Item = Self> {
        ZONES.into_iter().map(|(zones, replicas)| {
            let nodes = zones.iter().enumerate().map(|(number, zone)| node(number, 1, zone));
            Self::of(nodes.collect(), PARTITIONS_DEFAULT, replicas)
        })
    }

    /// The largest clusters that there can be.
    pub(super) fn largest() -> [Self; 2] {
        [100, MEMBERS_MAX].map(|count| {
            let nodes = (0..count).map(|number| node(number, 1 + (number % 4) as u32, "rack"));
            Self::of(nodes.collect(), PARTITIONS_MAX, 1)
        })
    }

    /// Clusters that are drawn at random, the same ones every time.
    pub(super) fn random() -> impl Iterator<Item = Self> {
        (0..RANDOM).map(|number| {
            let mut draws = Draws(number);
            let count = 1 + draws.below(40);
            let node = |index| StrategyNode {
                id: format!("{index}-{:x}", draws.below(1 << 20)),
                weight: 1 + draws.below(u64::from(WEIGHT_MAX)) as u32,
                zone: format!("zone-{}", draws.below(4)),
            };
            let nodes: Vec<_> = (0..count).map(node).collect();
            let partitions = 1 << draws.below(13);
            Self::of(nodes, partitions, 1)
        })
    }
}

fn node(number: usize, weight: u32, zone: &str) -> StrategyNode {
    StrategyNode { id: format!("node-{number}"), weight, zone: zone.to_owned() }
}

/// Numbers that look random and are the same every time (SplitMix64: Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014).
struct Draws(u64);

impl Draws {
    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

impl fmt::Display for ExamCase {
    /// In words, with as much of the nodes as a person reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 12;
        let Self { nodes, partitions, replicas } = self;
        write!(f, "{} node{}", nodes.len(), if nodes.len() == 1 { "" } else { "s" })?;
        let list = |f: &mut fmt::Formatter<'_>, what, of: &dyn Fn(&StrategyNode) -> String| {
            let shown: Vec<_> = nodes.iter().take(SHOWN_MAX).map(of).collect();
            let more = if nodes.len() > SHOWN_MAX { ", ..." } else { "" };
            write!(f, " {what} {}{more}", shown.join(", "))
        };
        if nodes.iter().any(|node| node.weight != nodes[0].weight) {
            list(f, "of weights", &|node| node.weight.to_string())?;
        }
        if nodes.iter().any(|node| !node.zone.is_empty() && node.zone != nodes[0].zone) {
            list(f, "in zones", &|node| node.zone.clone())?;
        }
        write!(f, ", {partitions} partitions")?;
        if *replicas > 1 { write!(f, ", {replicas} replicas") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_told_in_words() {
        let told = |question: ExamCase| question.to_string();
        assert_eq!(told(ExamCase::equal(1)), "1 node, 4096 partitions");
        let weighted: Vec<_> = ExamCase::weighted().map(told).collect();
        assert_eq!(weighted[1], "3 nodes of weights 1, 2, 4, 8192 partitions");
        let zoned: Vec<_> = ExamCase::zoned().map(told).collect();
        assert_eq!(zoned[2], "3 nodes in zones x, x, y, 4096 partitions, 2 replicas");
        let [large, _] = ExamCase::largest().map(told);
        assert!(large.starts_with("100 nodes of weights 1, 2, 3, 4, 1,"), "{large}");
        assert!(large.ends_with(", ..., 65536 partitions"), "{large}");
    }

    #[test]
    fn what_is_drawn_is_the_same_every_time_and_differs() {
        let drawn: Vec<_> = ExamCase::random().collect();
        assert_eq!(drawn, ExamCase::random().collect::<Vec<_>>());
        assert_ne!(drawn[0], drawn[1]);
    }
}
