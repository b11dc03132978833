//! The built-in components give the recorded tables, which the strategies' own tests check natively.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::fs;
use std::path::{Path, PathBuf};

use kv_core::digest::Digest;
use kv_placement::{Cache, Strategy, StrategyHost, StrategyNode, StrategySource};
use serde::Deserialize;
use wit_component::WitPrinter;
use wit_parser::Resolve;

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

/// A cluster that has pinned a strategy can go on with it, whatever becomes of the contract.
#[test]
fn components_of_every_released_contract_give_the_recorded_tables() {
    let host = StrategyHost::new(Cache::disabled()).unwrap();
    for version in released() {
        let strategy = host.load(&StrategySource::File(component(&version))).unwrap();
        assert_eq!(strategy.contract(), version);
        gives_the_recorded_tables(&strategy, "hrw");
    }
}

/// A component holds the types of the contract that it was built against.
#[test]
fn a_released_contract_never_changes() {
    assert_eq!(released(), ["0.1.0", "0.2.0"]);
    for version in released() {
        let built = wit_component::decode(&fs::read(component(&version)).unwrap()).unwrap();
        let mut text = Resolve::default();
        text.push_path(contract(&version)).unwrap();
        assert_eq!(
            interface(&text, &version),
            interface(built.resolve(), &version),
            "give the changed contract another version"
        );
    }
}

/// The versions of the contract that were released.
fn released() -> Vec<String> {
    let entries = fs::read_dir(tests().join("contracts")).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut versions: Vec<_> =
        folders.map(|folder| folder.file_name().into_string().unwrap()).collect();
    versions.sort();
    versions
}

fn component(version: &str) -> PathBuf {
    tests().join("contracts").join(version).join("hrw.wasm")
}

/// The folder of that version of the contract. The newest one lies on top.
fn contract(version: &str) -> PathBuf {
    let wit = tests().join("../wit");
    let earlier = wit.join(version);
    if earlier.is_dir() { earlier } else { wit }
}

/// The contract's interface, without its comments.
fn interface(resolve: &Resolve, version: &str) -> String {
    let name = format!("kv:placement@{version}");
    let package = resolve.package_names.iter().find(|(package, _)| package.to_string() == name);
    let (_, package) = package.unwrap_or_else(|| panic!("there is no {name}"));
    let mut printer = WitPrinter::default();
    printer.emit_docs(false).print(resolve, *package, &[]).unwrap();
    let printed = printer.output.to_string();
    let start = printed.find("interface strategy {").unwrap();
    let end = start + printed[start..].find("\n}").unwrap();
    printed[start..end].to_owned()
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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}

fn read(strategy: &str) -> Document {
    let path = tests().join("vectors").join(format!("{strategy}.json"));
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
