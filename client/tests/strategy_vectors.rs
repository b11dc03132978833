//! The built-in components give the recorded tables, which the strategies' own tests check natively.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::path::Path;

use kv_protocol::digest::Digest;
use kvclient::strategy::{Cache, StrategyHost, StrategyNode, StrategySource};
use serde::Deserialize;

#[derive(Deserialize)]
struct Document {
    strategy: String,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    config: String,
    partitions: u32,
    replicas: u32,
    nodes: Vec<Node>,
    /// Of the table's entries, each as four bytes, the lowest first.
    sha256: Digest,
    first: Vec<u32>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    weight: u32,
    zone: String,
}

#[test]
fn components_give_the_recorded_tables() {
    let host = StrategyHost::new(Cache::disabled()).unwrap();
    for name in StrategySource::built_in_names() {
        let strategy = host.load(&name.parse().unwrap()).unwrap();
        assert_eq!(strategy.info().name, name);
        let document = read(name);
        assert_eq!(document.strategy, name);
        assert!(!document.vectors.is_empty());
        for vector in document.vectors {
            let nodes: Vec<StrategyNode> = vector
                .nodes
                .into_iter()
                .map(|Node { id, weight, zone }| StrategyNode { id, weight, zone })
                .collect();
            let table = strategy
                .assign_verified(&nodes, vector.partitions, vector.replicas, &vector.config)
                .unwrap();
            assert_eq!(table[..vector.first.len()], vector.first, "{name}, {}", vector.name);
            let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
            assert_eq!(Digest::of(&bytes), vector.sha256, "{name}, {}", vector.name);
        }
    }
}

fn read(strategy: &str) -> Document {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    let path = folder.join(format!("{strategy}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
