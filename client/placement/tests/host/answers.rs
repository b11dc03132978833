//! Strategies that answer, and wrongly, and questions that are too large or none.

use kv_core::limits::{PARTITIONS_MAX, REPLICAS_MAX, WEIGHT_MAX};
use kv_placement::{Strategy, StrategyFault, StrategyNode, StrategySource, limits};
use kv_testkit::guests;

use crate::{PARTITIONS, ask, good, host, most_nodes, nodes, refusal, refused};

#[test]
fn values_that_are_none_are_refused() {
    for guest in [
        "huge-list",
        "large-list",
        "misplaced-arguments",
        "bad-text",
        "long-summary",
        "long-settings",
    ] {
        let error = refused(guest);
        assert_fault!(&error, StrategyFault::Malformed { reason } if !reason.is_empty());
    }
}

#[test]
fn wrong_owners_are_refused() {
    assert_fault!(refused("too-few"), StrategyFault::WrongLength { wanted: 64, got: 63 });
    assert_fault!(refused("too-many"), StrategyFault::WrongLength { wanted: 64, got: 65 });
    assert_fault!(
        refused("out-of-range"),
        StrategyFault::OutOfRange { partition: 0, index: 3, nodes: 3 }
    );
    let duplicate = guests::component("duplicate");
    let error = refusal("duplicate", &duplicate, |strategy| ask(strategy, 2));
    assert_fault!(
        error,
        StrategyFault::DuplicateReplica { partition: 0, node } if node == "node-0"
    );
}

#[test]
fn a_strategys_own_errors_are_passed_on_safely() {
    assert_fault!(
        refused("says-too-few-nodes"),
        StrategyFault::TooFewNodes { needed: 7, nodes: 3 }
    );
    assert_fault!(
        refused("says-invalid-config"),
        StrategyFault::InvalidConfig(why) if why == "?[31mred?[0m"
    );
    assert_fault!(
        refused("says-unsupported"),
        StrategyFault::Unsupported(why) if why.len() == limits::GUEST_TEXT_CHARS_MAX + 3
    );
}

#[test]
fn what_is_not_a_pure_function_is_not_published() {
    let verified = |strategy: &Strategy| strategy.assign_verified(&nodes(), PARTITIONS, 1, "");
    let error = refusal("counter", &guests::component("counter"), verified);
    assert_fault!(
        error,
        StrategyFault::Unstable { partition: 0, first, second, .. }
            if first == "node-0" && second == "node-1"
    );
    let error = refusal("first-node", &guests::component("first-node"), verified);
    assert_fault!(
        error,
        StrategyFault::OrderDependent { partition: 0, sorted, permuted, order: "reversed" }
            if sorted == "node-0" && permuted == "node-2"
    );
}

#[test]
fn every_question_meets_a_fresh_instance() {
    let strategy = host().load_bytes("counter", &guests::component("counter")).unwrap();
    assert_eq!(ask(&strategy, 1).unwrap(), ask(&strategy, 1).unwrap());
}

#[test]
fn a_bad_question_is_not_asked() {
    let error = good().assign(&nodes(), 63, 1, "").unwrap_err();
    assert_fault!(error, StrategyFault::InvalidQuestion(_));
}

#[test]
fn the_largest_question_takes_half_of_the_fuel_at_most() {
    // A ring has points for every unit of weight, so it takes as many nodes only if they are light.
    for (name, weight) in [
        ("hrw", WEIGHT_MAX),
        ("consistent-hash", 1),
        ("zone-hrw", WEIGHT_MAX),
        ("bounded-hrw", WEIGHT_MAX),
        ("maglev", WEIGHT_MAX),
    ] {
        let strategy = host().load(&name.parse().unwrap()).unwrap();
        let nodes = most_nodes(weight);
        let used =
            strategy.assign_counted(&nodes, PARTITIONS_MAX, REPLICAS_MAX, "").unwrap().1.fuel;
        let budget = limits::fuel_for(nodes.len(), PARTITIONS_MAX, REPLICAS_MAX);
        assert!(used <= budget / 2, "{name}: {used} of {budget}");
    }
}

#[test]
fn many_replicas_on_few_nodes_are_within_the_fuel() {
    for count in [8, 16, 32, 64_usize] {
        let node = |n: usize| StrategyNode {
            id: format!("node-{n}"),
            weight: 1 << (n % 9),
            zone: format!("zone-{}", n % 8),
        };
        let nodes: Vec<_> = (0..count).map(node).collect();
        let budget = limits::fuel_for(count, PARTITIONS_MAX, REPLICAS_MAX);
        for name in StrategySource::built_in_names() {
            let strategy = host().load(&name.parse().unwrap()).unwrap();
            let asked = strategy.assign_counted(&nodes, PARTITIONS_MAX, REPLICAS_MAX, "");
            let used = match asked {
                // A ring of so many points is refused by its author.
                Err(error) if matches!(error.fault(), StrategyFault::Unsupported(_)) => continue,
                answer => answer.unwrap().1.fuel,
            };
            assert!(used <= budget * 3 / 4, "{name}, {count} nodes: {used} of {budget}");
            // Where they take the most of it, five answers are in time, too.
            if count == 16 {
                strategy.assign_verified(&nodes, PARTITIONS_MAX, REPLICAS_MAX, "").unwrap();
            }
        }
    }
}
