//! `kvclient explain`: why a key is where it is, also in epochs that are past.

use kv_testkit::harness::{Backend, Cluster, on_both_backends};
use serde_json::{Value, json};

on_both_backends!(every_move_of_a_key_is_explained);

fn explain(cluster: &Cluster, arguments: &[&str]) -> Value {
    let output = cluster.kvclient(&["explain", "--output", "json"]).args(arguments).output();
    output.success().no_stderr().json()
}

fn locate(cluster: &Cluster, key: &str) -> Value {
    cluster.kvclient(&["locate", key, "--output", "json"]).output().success().json()
}

/// A key that is on `node` now, and was on `before` in `epoch`, where that is given.
fn key_on(cluster: &Cluster, node: &str, before: Option<(&str, u64)>) -> String {
    let is_it = |key: &String| {
        locate(cluster, key)["node"] == node
            && before.is_none_or(|(before, epoch)| {
                let then = explain(cluster, &[key, "--epoch", &epoch.to_string()]);
                then["before"]["node"] == before
            })
    };
    (0..500).map(|n| format!("key-{n}")).find(is_it).expect("there is such a key")
}

fn every_move_of_a_key_is_explained(backend: Backend) {
    let mut cluster = Cluster::start(backend, 2);
    let fresh = explain(&cluster, &["key"]);
    assert_eq!((&fresh["before"], &fresh["known_since"]), (&Value::Null, &json!(1)));
    assert_eq!(fresh["now"]["node"], locate(&cluster, "key")["node"]);
    assert_eq!(fresh["now"]["candidates"].as_array().map(Vec::len), Some(2));

    cluster.add_node(&["--id", "node-2"]);
    cluster.kvclient(&["add-node", "--id", "node-2"]).output().success();
    let joined = key_on(&cluster, "node-2", None);
    let moved = explain(&cluster, &[&joined]);
    assert_eq!(
        (&moved["before"]["cause"], &moved["before"]["epoch"]),
        (&json!("joined"), &json!(1))
    );
    // The node that it came from is the next best one.
    assert_eq!(moved["before"]["node"], moved["now"]["candidates"][1], "{moved}");
    let text = cluster.kvclient(&["explain", &joined]).output().success().no_stderr();
    assert!(text.stdout_text().contains("because node-2 joined"), "{text}");
    let stayed = explain(&cluster, &[&key_on(&cluster, "node-0", None), "--epoch", "1"]);
    assert_eq!(stayed["before"]["cause"], json!("same"));

    let with_three = locate(&cluster, "key")["epoch"].as_u64().expect("epochs are numbers");
    cluster.kvclient(&["remove-node", "node-1"]).output().success();
    let left = key_on(&cluster, "node-0", Some(("node-1", with_three)));
    assert_eq!(explain(&cluster, &[&left])["before"]["cause"], json!("left"));

    cluster.kvclient(&["migrate", "--to", "consistent-hash"]).output().success();
    let two = locate(&cluster, "key")["epoch"].as_u64().expect("epochs are numbers");
    let at_two = (two - 1).to_string();
    let other = (0..500).map(|n| format!("key-{n}")).find_map(|key| {
        let explained = explain(&cluster, &[&key, "--epoch", &at_two]);
        (explained["before"]["cause"] == "strategy").then_some(explained)
    });
    let other = other.expect("another strategy places some keys elsewhere");
    assert_eq!(other["before"]["strategy"], json!("hrw"));
    assert_eq!(other["now"]["strategy"], json!("consistent-hash"));

    for (epoch, code) in [("0", 2), ("999999", 2)] {
        cluster.kvclient(&["explain", "key", "--epoch", epoch]).output().code(code).no_stdout();
    }
    cluster.kvclient(&["explain", ""]).output().code(2).no_stdout();
}

#[test]
fn nothing_is_created_to_be_explained() {
    let cluster = Cluster::without_layout(Backend::Embedded, 1);
    let output = cluster.kvclient(&["explain", "key"]).output().code(3).no_stdout();
    output.says(&["no layout yet"]);
}
