//! What every strategy promises for all nodes, checked on random ones.
//!
//! `config` is the strategy's configuration text; a test may choose one that makes it fast.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::{equal_nodes, owners};
use crate::contract::REPLICAS_MAX;
use crate::{Assign, Error, Node};

/// Few enough for a development build to check them all in a second or two.
const CASES: u32 = 48;
pub(super) const PARTITIONS: u32 = 256;
pub(super) const NODES_MAX: usize = 12;
const NODE_WEIGHT_MAX: u32 = 8;
const REPLICAS: u32 = 3;

/// Checks that permuted nodes give every partition the same owners, in the same order.
pub fn the_order_of_nodes_does_not_matter(assign: Assign, config: &str) {
    proptest!(cases(), |((nodes, permuted) in nodes(1).prop_flat_map(|nodes| {
        (Just(nodes.clone()), Just(nodes).prop_shuffle())
    }))| {
        let replicas = REPLICAS.min(nodes.len() as u32);
        let expected = owners(assign, &nodes, PARTITIONS, replicas, config);
        prop_assert_eq!(owners(assign, &permuted, PARTITIONS, replicas, config), expected);
    });
}

/// Checks that a partition's owners are distinct, as many as wanted, up to all the nodes.
pub fn owners_are_distinct(assign: Assign, config: &str) {
    proptest!(cases(), |(nodes in nodes(1))| {
        let all = nodes.len() as u32;
        for mut owners in owners(assign, &nodes, PARTITIONS, all, config) {
            owners.sort_unstable();
            owners.dedup();
            prop_assert_eq!(owners.len(), nodes.len());
        }
    });
}

/// Checks that asking for more owners only adds owners behind those that there were.
pub fn more_replicas_keep_the_first(assign: Assign, config: &str) {
    proptest!(cases(), |(nodes in nodes(REPLICAS as usize))| {
        let many = owners(assign, &nodes, PARTITIONS, REPLICAS, config);
        for replicas in 1..REPLICAS {
            let few = owners(assign, &nodes, PARTITIONS, replicas, config);
            for (few, many) in few.iter().zip(&many) {
                prop_assert!(many.starts_with(few), "{few:?} became {many:?}");
            }
        }
    });
}

/// Checks that a node which leaves takes nothing but itself along: the other owners of a partition
/// stay, in their order, and one moves up at the end. Backwards, the same holds for one that joins.
pub fn only_the_changed_node_moves(assign: Assign, config: &str) {
    proptest!(cases(), |((nodes, gone) in nodes(REPLICAS as usize + 1).prop_flat_map(|nodes| {
        let count = nodes.len();
        (Just(nodes), 0..count)
    }))| {
        let mut rest = nodes.clone();
        let gone = rest.remove(gone).id;
        let before = owners(assign, &nodes, PARTITIONS, REPLICAS, config);
        let after = owners(assign, &rest, PARTITIONS, REPLICAS, config);
        for (mut before, after) in before.into_iter().zip(after) {
            before.retain(|id| *id != gone);
            prop_assert!(after.starts_with(&before), "without {gone}, {before:?} became {after:?}");
        }
    });
}

/// Checks that only a node which joins becomes an owner of anything, and that nothing is lost but by
/// way of it: each partition loses as many owners as it gains. Backwards, the same holds for one that
/// leaves.
///
/// That is [`only_the_changed_node_moves`] but for the order of a partition's owners, of whom the first
/// stays first unless it is the node that leaves.
pub fn only_a_newcomer_gains(assign: Assign, config: &str) {
    proptest!(cases(), |(nodes in nodes(REPLICAS as usize + 1))| {
        let newcomer = nodes[0].id.as_str();
        let before = owners(assign, &nodes[1..], PARTITIONS, REPLICAS, config);
        let after = owners(assign, &nodes, PARTITIONS, REPLICAS, config);
        for (before, after) in before.iter().zip(&after) {
            let others = gained(before, after).filter(|id| **id != newcomer).count();
            prop_assert_eq!(others, 0, "with {}, {:?} became {:?}", newcomer, before, after);
            prop_assert!(after[0] == before[0] || after[0] == newcomer, "{before:?} to {after:?}");
        }
    });
}

/// The owners of a partition that it did not have before.
pub(super) fn gained<'a>(
    before: &'a [&'a str],
    after: &'a [&'a str],
) -> impl Iterator<Item = &'a &'a str> {
    after.iter().filter(|id| !before.contains(id))
}

/// Checks that a node whose weight grows only gains partitions, and that only it does.
pub fn a_heavier_node_only_gains(assign: Assign, config: &str) {
    proptest!(cases(), |(nodes in nodes(1), more in 1..=NODE_WEIGHT_MAX)| {
        let mut heavier = nodes.clone();
        heavier[0].weight += more;
        let before = owners(assign, &nodes, PARTITIONS, 1, config);
        let after = owners(assign, &heavier, PARTITIONS, 1, config);
        for (before, after) in before.iter().zip(&after) {
            prop_assert!(before == after || after[0] == nodes[0].id, "{before:?} to {after:?}");
        }
    });
}

/// Checks that questions outside the contract get an error: too few nodes, no or too many replicas,
/// a number of partitions that is no power of two.
pub fn impossible_questions_are_refused(assign: Assign, config: &str) {
    let two = equal_nodes(2);
    assert_eq!(assign(&two, PARTITIONS, 3, config), Err(Error::TooFewNodes(3)));
    assert_eq!(assign(&[], PARTITIONS, 1, config), Err(Error::TooFewNodes(1)));
    for (partitions, replicas) in [(PARTITIONS, 0), (PARTITIONS, REPLICAS_MAX + 1), (0, 1), (3, 1)]
    {
        let answer = assign(&two, partitions, replicas, config);
        assert!(
            matches!(answer, Err(Error::Unsupported(_))),
            "{partitions} partitions, {replicas} replicas: {answer:?}"
        );
    }
}

pub(super) fn cases() -> Config {
    // Nothing is recorded: the case that fails is printed, and belongs into a test of its own.
    Config { cases: CASES, failure_persistence: None, ..Config::default() }
}

/// At least `count_min` nodes with distinct ids, in no particular order.
pub(super) fn nodes(count_min: usize) -> impl Strategy<Value = Vec<Node>> {
    let node = ("[a-z0-9][a-z0-9-]{0,20}", 1..=NODE_WEIGHT_MAX, "(|rack-[0-3])")
        .prop_map(|(id, weight, zone)| Node { id, weight, zone });
    vec(node, count_min..=NODES_MAX).prop_filter("ids are distinct", |nodes| {
        let distinct =
            |(n, node): (usize, &Node)| nodes[..n].iter().all(|other| other.id != node.id);
        nodes.iter().enumerate().all(distinct)
    })
}
