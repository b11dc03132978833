//! What a table costs: computed by a component, and by the same function compiled natively.
//!
//! `cargo bench -p kvclient --bench tables`. Where `strategy` beside this checks the whole start of a
//! program against a goal, this shows the computation alone, by the number of nodes.

use divan::Bencher;
use kv_protocol::limits::PARTITIONS_DEFAULT;
use kv_strategy::{Assign, Node};
use kvclient::strategy::{Cache, StrategyHost, StrategyNode, StrategySource};

const NODES: [usize; 2] = [10, 100];
const REPLICAS: u32 = 1;

fn main() {
    divan::main();
}

#[divan::bench(args = NODES)]
fn hrw_component(bencher: Bencher<'_, '_>, nodes: usize) {
    component(bencher, "hrw", nodes);
}

#[divan::bench(args = NODES)]
fn hrw_native(bencher: Bencher<'_, '_>, nodes: usize) {
    native(bencher, hrw::assign, nodes);
}

#[divan::bench(args = NODES)]
fn consistent_hash_component(bencher: Bencher<'_, '_>, nodes: usize) {
    component(bencher, "consistent-hash", nodes);
}

#[divan::bench(args = NODES)]
fn consistent_hash_native(bencher: Bencher<'_, '_>, nodes: usize) {
    native(bencher, consistent_hash::assign, nodes);
}

#[divan::bench(args = NODES)]
fn zone_hrw_component(bencher: Bencher<'_, '_>, nodes: usize) {
    component(bencher, "zone-hrw", nodes);
}

#[divan::bench(args = NODES)]
fn zone_hrw_native(bencher: Bencher<'_, '_>, nodes: usize) {
    native(bencher, zone_hrw::assign, nodes);
}

#[divan::bench(args = NODES)]
fn bounded_hrw_component(bencher: Bencher<'_, '_>, nodes: usize) {
    component(bencher, "bounded-hrw", nodes);
}

#[divan::bench(args = NODES)]
fn bounded_hrw_native(bencher: Bencher<'_, '_>, nodes: usize) {
    native(bencher, bounded_hrw::assign, nodes);
}

#[divan::bench(args = NODES)]
fn maglev_component(bencher: Bencher<'_, '_>, nodes: usize) {
    component(bencher, "maglev", nodes);
}

#[divan::bench(args = NODES)]
fn maglev_native(bencher: Bencher<'_, '_>, nodes: usize) {
    native(bencher, maglev::assign, nodes);
}

fn component(bencher: Bencher<'_, '_>, name: &str, nodes: usize) {
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

fn native(bencher: Bencher<'_, '_>, assign: Assign, nodes: usize) {
    let nodes: Vec<Node> =
        (0..nodes).map(|number| Node { id: id(number), weight: 1, zone: String::new() }).collect();
    bencher.bench_local(|| assign(&nodes, PARTITIONS_DEFAULT, REPLICAS, "").expect("it answers"));
}

fn id(number: usize) -> String {
    format!("node-{number}")
}
