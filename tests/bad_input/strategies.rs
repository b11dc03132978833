//! Placement strategies that are none, or hostile, or not the cluster's.

use std::fs;
use std::path::PathBuf;

use kv_testkit::guests;
use kv_testkit::harness::catalog::stored;
use kv_testkit::harness::{Backend, Cluster};

/// Writes `bytes` to a file of the test's.
fn file(cluster: &Cluster, name: &str, bytes: &[u8]) -> String {
    let path = cluster.directory().join(format!("{name}.wasm"));
    fs::write(&path, bytes).expect("a file can be written");
    path.to_str().expect("the path is text").to_owned()
}

fn committed(name: &str) -> Vec<u8> {
    let strategies = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../strategies");
    fs::read(strategies.join(format!("{name}.wasm"))).expect("built strategies are committed")
}

/// Checks that a client which is given the strategy `strategy` does nothing with exit code `code`.
#[track_caller]
fn refused(cluster: &Cluster, strategy: &str, code: i32, words: &[&str]) {
    let before = stored(cluster);
    let output = cluster.kvclient(&["--strategy", strategy, "put", "key", "value"]).output();
    output.code(code).no_stdout().says(words);
    assert_eq!(stored(cluster), before, "Consul holds what it held");
}

#[test]
fn what_is_no_strategy_is_refused_before_anything_happens() {
    let cluster = Cluster::without_layout(Backend::Embedded, 2);
    // A section of 15,003 bytes: an instance type that declares a type, and so on.
    let types = [&b"\0asm\x0d\0\x01\0\x07\x9b\x75\x01"[..], &[0x42, 1, 1].repeat(5000), &[0x42, 0]];
    refused(&cluster, "/no/such/file.wasm", 2, &["/no/such/file.wasm"]);
    refused(&cluster, "no-such-strategy", 2, &["no-such-strategy", "hrw", "consistent-hash"]);
    refused(&cluster, cluster.directory().to_str().expect("it is text"), 2, &["a directory"]);
    for (name, bytes, word) in [
        ("empty", &b""[..], "empty"),
        ("text", b"fn assign() {}", "text.wasm"),
        ("cut-short", &committed("hrw")[..1000], "cut-short.wasm"),
        (
            "core-module",
            &guests::core_module("first-node", guests::NEWEST),
            "core WebAssembly module",
        ),
        ("large", &vec![0; 600 << 10], "large.wasm"),
        ("types-in-types", &types.concat(), "more than 4096 bytes of component types"),
    ] {
        refused(&cluster, &file(&cluster, name, bytes), 4, &[word]);
    }
    // The nodes never heard of any of it.
    for node in cluster.nodes() {
        assert!(!node.log().contains("installed the layout"), "{}", node.log());
    }
}

#[test]
fn hostile_strategies_are_refused_by_name() {
    let cluster = Cluster::without_layout(Backend::Embedded, 2);
    let guests = guests::names();
    assert!(guests.len() > 25, "{guests:?}");
    for name in &guests {
        let path = file(&cluster, name, &guests::component(name));
        refused(&cluster, &path, 4, &[name.as_str()]);
    }
    // After all of these a good one does its work.
    cluster.kvclient(&["put", "key", "value"]).output().success();
}

#[test]
fn another_strategy_than_the_clusters_is_refused() {
    let mut cluster = Cluster::without_layout(Backend::Embedded, 2);
    cluster.create_layout(&["--strategy", "consistent-hash"]);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    refused(&cluster, "hrw", 4, &["consistent-hash", "hrw", "Leave --strategy out"]);
    for command in [&["get", "key"][..], &["export"], &["delete", "key"], &["locate", "key"]] {
        let output = cluster.kvclient(&[&["--strategy", "hrw"], command].concat()).output();
        output.code(4).no_stdout().says(&["Nothing was read or written"]);
    }
    // The right one by its file, by its name, and left out.
    let path = file(&cluster, "mine", &committed("consistent-hash"));
    for args in [&["--strategy", &*path][..], &["--strategy", "consistent-hash"], &[]] {
        let output = cluster.kvclient(&[args, &["get", "key"]].concat()).output().success();
        assert_eq!(output.stdout_text(), "value");
    }
}
