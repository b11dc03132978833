//! What a table costs: computed by a component, and by the same function compiled natively.
//!
//! `cargo bench -p kv-placement --bench tables`. Where `strategy` beside this checks the whole start of a
//! program against a goal, this shows the computation alone, by the number of nodes.

use std::fmt;

use divan::Bencher;
use kv_core::limits::PARTITIONS_DEFAULT;
use kv_placement::{Cache, StrategyHost, StrategyNode, StrategySource};
use kv_strategy::{Assign, Node};

const REPLICAS: u32 = 1;

/// A built-in strategy, by its name and natively, and a number of nodes.
struct Case(&'static str, Assign, usize);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} nodes", self.0, self.2)
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let strategies: [(&str, Assign); 5] = [
        ("hrw", hrw::assign),
        ("consistent-hash", consistent_hash::assign),
        ("zone-hrw", zone_hrw::assign),
        ("bounded-hrw", bounded_hrw::assign),
        ("maglev", maglev::assign),
    ];
    strategies
        .into_iter()
        .flat_map(|(name, assign)| [10, 100].map(|nodes| Case(name, assign, nodes)))
}

fn main() {
    divan::main();
}

#[divan::bench(args = cases())]
fn component(bencher: Bencher<'_, '_>, &Case(name, _, nodes): &Case) {
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let source: StrategySource = name.parse().expect("it is built in");
    let host = StrategyHost::new(Cache::at(home.path().join("strategies"))).expect("it starts");
    let strategy = host.load(&source).expect("the built-in strategies load");
    let nodes: Vec<StrategyNode> = (0..nodes)
        .map(|number| StrategyNode { id: id(number), weight: 1, zone: String::new() })
        .collect();
    bencher.bench_local(|| {
        strategy.assign(&nodes, PARTITIONS_DEFAULT, REPLICAS, "").expect("it answers")
    });
}

#[divan::bench(args = cases())]
fn native(bencher: Bencher<'_, '_>, &Case(_, assign, nodes): &Case) {
    let nodes: Vec<Node> =
        (0..nodes).map(|number| Node { id: id(number), weight: 1, zone: String::new() }).collect();
    bencher.bench_local(|| assign(&nodes, PARTITIONS_DEFAULT, REPLICAS, "").expect("it answers"));
}

fn id(number: usize) -> String {
    format!("node-{number}")
}
