//! A record comes back as it went, from the node that the strategy chose.

use std::collections::BTreeMap;
use std::fs;

use kv_testkit::harness::corpus::{self, Line, assert_same_lines, ndjson};
use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::{Backend, Cluster, on_both_backends};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

on_both_backends!(
    real_data_comes_back_with_hrw,
    real_data_comes_back_with_consistent_hash,
    values_are_overwritten_removed_and_guarded_by_conditions,
    every_key_is_at_the_node_that_locate_names,
);

const NODES: usize = 3;
/// How much more than its share of the keys a node may have.
const IMBALANCE_MAX: f64 = 1.3;

fn real_data_comes_back_with_hrw(backend: Backend) {
    real_data_comes_back(backend, "hrw");
}

fn real_data_comes_back_with_consistent_hash(backend: Backend) {
    real_data_comes_back(backend, "consistent-hash");
}

fn real_data_comes_back(backend: Backend, strategy: &str) {
    let mut cluster = Cluster::without_layout(backend, NODES);
    let words = ndjson(&corpus::words());
    fs::write(cluster.directory().join("words.ndjson"), &words).expect("a file can be written");
    let import = ["--strategy", strategy, "import", "words.ndjson"];
    let output = cluster.kvclient(&import).output().success().no_stdout();
    let output = output.says(&["created cluster", &format!("placed by {strategy}"), "stored"]);
    assert!(output.stderr_text().contains(&format!("{} records", words.lines().count())));

    cluster.kvclient(&["export", "all.ndjson"]).output().success().no_stdout();
    let exported = fs::read_to_string(cluster.directory().join("all.ndjson"));
    let exported = exported.expect("the export is text");
    assert_same_lines(&exported, &words, "the words come back byte for byte");
    the_keys_are_spread(&cluster, words.lines().count(), strategy);

    let unicode: Vec<Line> = corpus::unicode();
    let unicode: Vec<Line> =
        unicode.into_iter().map(|(key, value)| (format!("unicode/{key}"), value)).collect();
    let lines = ndjson(&unicode);
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success().no_stdout();
    let output = cluster.kvclient(&["export", "--prefix", "unicode/"]).output().success();
    assert_same_lines(output.stdout_text(), &lines, "the text comes back byte for byte");

    let mut binary = vec![0_u8; 5 << 20];
    StdRng::seed_from_u64(5).fill(&mut binary[..]);
    cluster
        .kvclient(&["put", "five/megabytes"])
        .stdin(binary.clone())
        .output()
        .success()
        .no_stdout();

    // Everything once more, after all nodes were down.
    for number in 0..NODES {
        assert_eq!(cluster.node_mut(number).terminate().code(), Some(0));
    }
    for number in 0..NODES {
        cluster.node_mut(number).restart();
    }
    let output = cluster.kvclient(&["get", "five/megabytes"]).output().success().no_stderr();
    assert!(output.stdout == binary, "five megabytes come back byte for byte");
    cluster.kvclient(&["delete", "five/megabytes"]).output().success();
    let output = cluster.kvclient(&["get-all"]).output().success().no_stderr();
    let everything = format!("{words}{lines}");
    assert_same_lines(output.stdout_text(), &everything, "nothing was lost by a restart");
}

#[track_caller]
fn the_keys_are_spread(cluster: &Cluster, keys: usize, strategy: &str) {
    let status = cluster.kvclient(&["--output", "json", "status"]).output().success().json();
    assert_eq!(status["layout"]["strategy"], strategy);
    let nodes = status["nodes"].as_array().expect("nodes are a list");
    let number = |node: &Value, what: &str| node[what].as_u64().expect("it is a number");
    let sum = |what: &str| nodes.iter().map(|node| number(node, what)).sum::<u64>();
    assert_eq!((nodes.len(), sum("keys"), sum("partitions")), (NODES, keys as u64, 4096));
    for node in nodes {
        let share = number(node, "keys") as f64 / keys as f64 * NODES as f64;
        assert!(share > 2.0 - IMBALANCE_MAX && share < IMBALANCE_MAX, "{status}");
    }
}

fn values_are_overwritten_removed_and_guarded_by_conditions(backend: Backend) {
    let cluster = Cluster::start(backend, 2);
    let get = |key: &str| cluster.kvclient(&["--output", "json", "get", key]).output();
    for value in ["first", "", "-1", "\u{1f600}"] {
        cluster.kvclient(&["put", "key", value]).output().success().no_stdout().no_stderr();
        assert_eq!(cluster.kvclient(&["get", "key"]).output().success().stdout_text(), value);
    }
    let version = get("key").success().json()["version"].clone();
    let version = version.as_str().expect("a value has a version");

    let put = |args: &[&str]| cluster.kvclient(&[&["put", "key", "new"], args].concat()).output();
    put(&["--if-absent"]).code(4).no_stdout().says(&["the condition does not hold", version]);
    put(&["--if-version", "1-99999999"]).code(4).says(&["the condition does not hold", version]);
    put(&["--if-version", version]).success();
    put(&["--if-version", version]).code(4).says(&["the condition does not hold"]);
    put(&["--if-version", "latest"]).code(2).says(&["--if-version"]);
    put(&["--if-absent", "--if-version", version]).code(2);
    let output = cluster.kvclient(&["delete", "key", "--if-version", version]).output();
    output.code(4).says(&["the condition does not hold"]);
    assert_eq!(get("key").success().json()["value"], "new");

    cluster.kvclient(&["delete", "key"]).output().success().no_stdout().no_stderr();
    cluster.kvclient(&["delete", "key"]).output().code(1).no_stdout().says(&["key"]);
    get("key").code(1).no_stdout();
    put(&["--if-absent"]).success();
    assert_eq!(get("key").success().json()["value"], "new");
}

fn every_key_is_at_the_node_that_locate_names(backend: Backend) {
    let mut cluster = Cluster::without_layout(backend, NODES);
    cluster.create_layout(&["--partitions", "64"]);
    let lines: Vec<Line> = (0..500).map(|n| (format!("key-{n}"), format!("value {n}"))).collect();
    cluster.kvclient(&["import", "-"]).stdin(ndjson(&lines)).output().success();
    let peers: BTreeMap<String, Peer> = cluster
        .nodes()
        .iter()
        .map(|node| (node.id().to_owned(), Peer::req(&node.endpoint())))
        .collect();

    // What each node has is its own, and together it is everything.
    let mut owner_of = BTreeMap::new();
    for (id, peer) in &peers {
        let all = peer.ask_json(r#"{"op":"GET_ALL"}"#);
        for item in all["collection"].as_array().expect("it is a list") {
            let line = (item["key"].to_string(), item["value"].to_string());
            assert_eq!(owner_of.insert(line, id.clone()), None, "{item} is at two nodes");
        }
    }
    let stored: Vec<Line> = owner_of.keys().cloned().collect();
    let mut expected: Vec<Line> = lines
        .iter()
        .map(|(key, value)| (json!(key).to_string(), json!(value).to_string()))
        .collect();
    expected.sort();
    assert_eq!(stored, expected);

    for (key, value) in lines.iter().take(20) {
        let locate = cluster.kvclient(&["--output", "json", "locate", key]).output().success();
        let place = locate.json();
        assert!(place["partition"].as_u64().is_some_and(|partition| partition < 64), "{place}");
        assert_eq!((&place["epoch"], &place["strategy"]), (&json!(1), &json!("hrw")));
        let owner = place["node"].as_str().expect("a key has an owner");
        assert_eq!(owner, owner_of[&(json!(key).to_string(), json!(value).to_string())]);
        let node = cluster.nodes().iter().find(|node| node.id() == owner).expect("it is a member");
        assert_eq!(place["address"], node.address());
        let get = json!({"op": "GET_ONE", "key": key}).to_string();
        for (id, peer) in &peers {
            if id == owner {
                assert_eq!(peer.ask_json(&get), json!({"key": key, "value": value}));
            } else {
                assert_eq!(peer.refusal(&[get.as_bytes()]), "not_owner");
            }
        }
    }
}
