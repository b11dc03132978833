//! The built-in components give the recorded tables, which the strategies' own tests check natively.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::path::{Path, PathBuf};

use kv_protocol::digest::Digest;
use kvclient::strategy::{Cache, Strategy, StrategyHost, StrategyNode, StrategySource};
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
        gives_the_recorded_tables(&strategy, name);
    }
}

/// Whoever pins a strategy can go on with it, whatever becomes of the contract.
#[test]
fn components_of_every_released_contract_give_the_recorded_tables() {
    let host = StrategyHost::new(Cache::disabled()).unwrap();
    let mut versions = Vec::new();
    for folder in std::fs::read_dir(tests().join("contracts")).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let source = StrategySource::File(folder.join("hrw.wasm"));
        let version = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let exported = format!("kv:placement/strategy@{version}");
        assert_eq!(host.interfaces(&source).unwrap().exports, [exported]);
        gives_the_recorded_tables(&host.load(&source).unwrap(), "hrw");
        versions.push(version);
    }
    assert!(versions.contains(&"0.1.0".to_owned()), "{versions:?}");
}

#[test]
fn a_released_contract_never_changes() {
    let now = std::fs::read_to_string(tests().join("../wit/placement.wit")).unwrap();
    let version = now.lines().find_map(|line| line.strip_prefix("package kv:placement@")).unwrap();
    let released = tests().join("contracts").join(version.trim_end_matches(';'));
    let released = std::fs::read_to_string(released.join("placement.wit"));
    // Until a version is released, it may change.
    if let Ok(released) = released {
        assert_eq!(released, now, "give the changed contract another version");
    }
}

fn gives_the_recorded_tables(strategy: &Strategy, name: &str) {
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

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

fn read(strategy: &str) -> Document {
    let path = tests().join("vectors").join(format!("{strategy}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
