//! The committed components are what their sources say.
//!
//! They give the same tables as the same sources compiled natively, and as the components that were built
//! from the sources just now, of which `KV_STRATEGIES_REBUILT` names the folder.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use kv_placement::{Cache, Strategy, StrategyHost, StrategyNode, StrategySource};
use kv_strategy::{Assign, Node};
use kv_testkit::needs;

/// The variable that names the folder of rebuilt components.
const REBUILT: &str = "KV_STRATEGIES_REBUILT";

const NATIVE: [(&str, Assign); 5] = [
    ("hrw", hrw::assign),
    ("consistent-hash", consistent_hash::assign),
    ("zone-hrw", zone_hrw::assign),
    ("bounded-hrw", bounded_hrw::assign),
    ("maglev", maglev::assign),
];

struct ExamCase {
    nodes: Vec<StrategyNode>,
    partitions: u32,
    replicas: u32,
}

/// One question for each number of nodes from 1 to 100, which differ in everything else too.
fn corpus() -> Vec<ExamCase> {
    let mut random = Random(1);
    (1..=100)
        .map(|count| ExamCase {
            nodes: (0..count).map(|n| random.node(n)).collect(),
            partitions: 1 << random.below(14),
            replicas: 1 + random.below(count.min(4)),
        })
        .collect()
}

/// A small generator (Knuth's multiplier, the upper bits), so that the corpus is the same for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as u32 % limit
    }

    fn node(&mut self, n: u32) -> StrategyNode {
        let id = match self.below(3) {
            0 => format!("node-{n}"),
            1 => format!("{n}-{:x}", self.below(u32::MAX)),
            _ => format!("{}{n}", "long-".repeat(self.below(12) as usize)),
        };
        let weight = if self.below(2) == 0 { 1 } else { 1 + self.below(16) };
        let zone = if self.below(2) == 0 { String::new() } else { format!("z{}", self.below(5)) };
        StrategyNode { id, weight, zone }
    }
}

#[test]
fn every_built_in_strategy_is_committed() {
    let committed = committed();
    let names: Vec<&str> = committed.iter().map(|(name, _)| name.as_str()).collect();
    for name in StrategySource::built_in_names() {
        assert!(names.contains(&name), "{name} is built in, and {names:?} are committed");
    }
}

#[test]
fn committed_strategies_are_their_sources() {
    let host = StrategyHost::new(Cache::disabled()).unwrap();
    for (name, path) in &committed() {
        let native = NATIVE.iter().find(|(native, _)| native == name);
        let (_, native) = native.unwrap_or_else(|| panic!("{name} is not in this test's list"));
        compare(name, &load(&host, path), |question| {
            let node = |StrategyNode { id, weight, zone }| Node { id, weight, zone };
            let nodes: Vec<Node> = question.nodes.iter().cloned().map(node).collect();
            native(&nodes, question.partitions, question.replicas, "")
                .unwrap_or_else(|error| panic!("native {name}: {error}"))
        });
    }
}

#[needs(rebuilt_strategies)]
#[test]
fn committed_strategies_are_what_is_built_of_their_sources() {
    let folder = PathBuf::from(env::var_os(REBUILT).expect("it names the folder"));
    let host = StrategyHost::new(Cache::disabled()).unwrap();
    for (name, path) in &committed() {
        let component = load(&host, path);
        let rebuilt = load(&host, &folder.join(format!("{name}.wasm")));
        assert_eq!(component.info(), rebuilt.info(), "{name}");
        compare(name, &component, |question| {
            rebuilt
                .assign(&question.nodes, question.partitions, question.replicas, "")
                .unwrap_or_else(|error| panic!("rebuilt: {error}"))
        });
    }
}

fn compare(name: &str, component: &Strategy, other: impl Fn(&ExamCase) -> Vec<u32>) {
    for question in corpus() {
        let ExamCase { nodes, partitions, replicas } = &question;
        let table = component
            .assign(nodes, *partitions, *replicas, "")
            .unwrap_or_else(|error| panic!("committed: {error}"));
        assert!(
            table == other(&question),
            "{name}: the committed component differs from its source for {} nodes, {partitions} \
             partitions, {replicas} replicas; build it again with `cargo strategies`",
            nodes.len()
        );
    }
}

/// The names and paths of all components that are committed.
fn committed() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../strategies");
    fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect()
}

fn load(host: &StrategyHost, path: &Path) -> Strategy {
    let source: StrategySource = path.to_str().unwrap().parse().unwrap();
    host.load(&source).unwrap_or_else(|error| panic!("{error}"))
}
