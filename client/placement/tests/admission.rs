//! The examination of strategies before they are adopted: each that lacks something is caught, by
//! name and with a counterexample, and those of this program lack nothing that clusters need.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use kv_placement::admission::{
    Judgement, NotAdmitted, Property, Report, Thoroughness, admit, examine,
};
use kv_placement::{Cache, Strategy, StrategyHost, StrategySource, TimeLimits};
use kv_testkit::guests;

fn host() -> &'static StrategyHost {
    static HOST: LazyLock<StrategyHost> =
        LazyLock::new(|| StrategyHost::new(Cache::disabled()).unwrap());
    &HOST
}

fn guest(name: &str) -> Strategy {
    host().load_bytes(name, &guests::component(name)).unwrap()
}

fn failed(report: &Report) -> Vec<Property> {
    let fails = |verdict: &Judgement| matches!(verdict, Judgement::Fail(_));
    report.findings.iter().filter(|it| fails(&it.verdict)).map(|it| it.property).collect()
}

fn counterexample(report: &Report, property: Property) -> &str {
    let finding = report.findings.iter().find(|it| it.property == property).unwrap();
    match &finding.verdict {
        Judgement::Fail(why) => why,
        other => panic!("{property}: {other:?}"),
    }
}

#[test]
fn the_strategies_of_this_program_pass() {
    for name in StrategySource::built_in_names() {
        let strategy = host().load(&name.parse().unwrap()).unwrap();
        let report = examine(&strategy, "", Thoroughness::Full);
        assert!(report.passes(), "{name}: {report:#?}");
        assert_eq!(report.findings.len(), Property::ALL.len());
    }
}

/// A built-in strategy is admitted as it is; with settings it is examined as any other.
#[test]
fn settings_can_make_a_strategy_fail() {
    let ring = host().load(&"consistent-hash".parse().unwrap()).unwrap();
    admit(&ring, "", &BTreeSet::new()).unwrap();
    admit(&ring, "points=256", &BTreeSet::new()).unwrap();
    let error = admit(&ring, "points=1", &BTreeSet::new()).unwrap_err().to_string();
    assert!(error.contains("lacks balanced"), "{error}");
}

#[test]
fn every_lack_is_found_with_its_smallest_counterexample() {
    use Property::{
        Balanced, Deterministic, HonoursWeights, InRange, MovesLittleOnJoin, MovesLittleOnLeave,
        OrderIndependent, ReplicasDistinct, Total, WithinFuel, ZonesDistinct,
    };
    for (name, lacked, words) in [
        (
            "one-owner",
            &[Balanced, HonoursWeights, ReplicasDistinct, MovesLittleOnJoin, MovesLittleOnLeave][..],
            "2 nodes, 4096 partitions: node-0 gets 4096, 2.00 times what is due to it",
        ),
        (
            "in-turn",
            &[HonoursWeights, MovesLittleOnJoin, MovesLittleOnLeave, ZonesDistinct],
            "2 nodes of weights 1, 2, 8192 partitions: node-0 gets 4096, 1.50 times",
        ),
        ("same-replicas", &[ReplicasDistinct], "2 nodes, 4096 partitions, 2 replicas: it named"),
        ("wrong-from-ten", &[InRange], "10 nodes, 4096 partitions: it gave partition 0 to node"),
        ("slow-from-ten", &[WithinFuel], "10 nodes, 4096 partitions: it did not finish"),
        ("first-node", &[OrderIndependent], "2 nodes, 4096 partitions: it depends on the order"),
        ("second-in-line", &[OrderIndependent], "2 nodes, 4096 partitions: it depends on the"),
        ("counter", &[Deterministic], "2 nodes, 4096 partitions: it is not a pure function"),
        ("trap-on-second-call", &[Total], "1 node, 4096 partitions: it crashed"),
    ] {
        let report = examine(&guest(name), "", Thoroughness::Gate);
        let failed = failed(&report);
        for property in lacked {
            assert!(failed.contains(property), "{name} lacks {property}: {report:#?}");
        }
        let why = counterexample(&report, lacked[0]);
        assert!(why.starts_with(words), "{name}: {why}");
        let error = admit(&guest(name), "", &BTreeSet::new()).unwrap_err();
        let NotAdmitted::Lacks { property, why, .. } = &error else { panic!("{name}: {error}") };
        assert!(failed.contains(property) && !why.is_empty(), "{name}: {error}");
    }
}

/// Each keeps every limit on one answer. What they take together is counted in fuel, so that every machine
/// comes to the same verdict.
#[test]
fn many_slow_answers_are_not_waited_for() {
    for (name, words) in [
        ("slow", "1 node, 4096 partitions: its answers to one question, asked five times"),
        (
            "slow-together",
            "6 questions took more than 2000000000 instructions together, the last: 8",
        ),
    ] {
        let report = examine(&guest(name), "", Thoroughness::Gate);
        let why = counterexample(&report, Property::WithinFuel);
        assert!(why.starts_with(words), "{name}: {why}");
        assert_eq!(report.stopped, None);
    }
}

/// A machine that is too slow for a strategy does not know what it is like, and says so.
#[test]
fn what_the_clock_stops_is_not_examined_and_lacks_nothing() {
    let times = TimeLimits { call: Duration::from_nanos(1), ..TimeLimits::default() };
    let host = StrategyHost::with_time_limits(Cache::disabled(), times).unwrap();
    // It runs for long enough that the clock is looked at.
    let slow = host.load_bytes("slow", &guests::component("slow")).unwrap();
    let report = examine(&slow, "", Thoroughness::Gate);
    assert_eq!(failed(&report), []);
    assert!(!report.passes());
    let every = Property::ALL.into_iter().collect();
    let error = admit(&slow, "", &every).unwrap_err();
    assert!(matches!(error, NotAdmitted::NotExamined { .. }), "{error}");
    assert!(error.to_string().contains("1 node, 4096 partitions: it was stopped after"), "{error}");
}

#[test]
fn what_is_optional_can_be_accepted_by_name_and_nothing_else_can() {
    let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    let in_turn = guest("in-turn");
    let error = admit(&in_turn, "", &names(&["honours-weights"])).unwrap_err().to_string();
    assert!(error.contains("lacks moves-little-on-join"), "{error}");
    assert!(error.contains("--accept moves-little-on-join,moves-little-on-leave"), "{error}");
    let accepted = names(&["honours-weights", "moves-little-on-join", "moves-little-on-leave"]);
    admit(&in_turn, "", &accepted).unwrap();
    // What it does with several replicas keeps no cluster of one from adopting it.
    let one_replica = guest("trap-with-replicas");
    admit(&one_replica, "", &accepted).unwrap();
    let report = examine(&one_replica, "", Thoroughness::Gate);
    let why = counterexample(&report, Property::ReplicasDistinct);
    assert!(why.starts_with("2 nodes, 4096 partitions, 2 replicas: it crashed"), "{why}");
    let lacking: Vec<_> = report.lacking(&accepted).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    let error = "deterministic".parse::<Property>().unwrap_err().to_string();
    assert!(error.contains("zones-distinct, balanced"), "{error}");
    let every = Property::ALL.into_iter().collect();
    let error = admit(&guest("counter"), "", &every).unwrap_err().to_string();
    assert!(error.contains("cannot be accepted"), "{error}");
}
