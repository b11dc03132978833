//! Nodes come and go and strategies change, and every key stays where it can be found.

mod bad_input;
mod changes;
mod contested;
mod cut_off;
mod interrupted;
mod load;
mod others;
mod plans;
mod prepared;

use std::path::Path;

use kv_testkit::harness::corpus::{self, assert_same_lines, ndjson};
use kv_testkit::harness::{Backend, Cluster};
use serde_json::Value;

/// Enough keys that every partition that moves has some.
const KEYS: usize = 20_000;

/// A cluster with data, which is given as it was imported.
fn cluster_with_data(backend: Backend, nodes: usize) -> (Cluster, String) {
    let cluster = Cluster::start(backend, nodes);
    let lines = import(&cluster, KEYS);
    (cluster, lines)
}

/// Imports `count` records: words, and where this machine has not as many, others.
#[track_caller]
fn import(cluster: &Cluster, count: usize) -> String {
    let mut words = corpus::words();
    words.truncate(count);
    // As long as they are, a throttled mover has something to do for a while.
    words.extend((words.len()..count).map(|n| (format!("record {n}"), "value ".repeat(16))));
    let lines = ndjson(&words);
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    lines
}

/// Checks that the cluster holds exactly `lines`, each key where it belongs and nowhere else.
#[track_caller]
fn assert_holds(cluster: &Cluster, lines: &str) {
    let export = cluster.kvclient(&["export"]).output().success();
    assert_same_lines(export.stdout_text(), lines, "the export is what was stored");
    let report = fsck(cluster);
    assert_eq!(report["keys"], lines.lines().count(), "{report}");
}

/// Runs `fsck` once no node has anything left to remove.
#[track_caller]
fn fsck(cluster: &Cluster) -> Value {
    kv_testkit::harness::eventually(
        "old copies to be gone",
        kv_testkit::harness::peer::REPLY_WITHIN * 3,
        || {
            let report = cluster.kvclient(&["fsck", "--output", "json"]).output().success().json();
            assert_eq!(
                (&report["strays"], &report["duplicates"]),
                (&0.into(), &0.into()),
                "{report}"
            );
            match report["clearing"].as_array().map(Vec::len) {
                Some(0) => Ok(report),
                _ => Err(report.to_string()),
            }
        },
    )
}

/// What `status` says.
#[track_caller]
fn status(cluster: &Cluster) -> Value {
    cluster.kvclient(&["status", "--output", "json"]).output().success().json()
}

#[track_caller]
fn epoch(cluster: &Cluster) -> u64 {
    status(cluster)["layout"]["epoch"].as_u64().expect("there is a layout")
}

/// Waits until a mover has copied something, and so holds its lock.
#[track_caller]
fn wait_until_moving(cluster: &Cluster) {
    kv_testkit::harness::eventually(
        "the move to begin",
        std::time::Duration::from_secs(60),
        || {
            let status = status(cluster);
            let copied = status["mover"]["keys_copied"].as_u64();
            if copied > Some(0) { Ok(()) } else { Err(status.to_string()) }
        },
    );
}

/// The ids of the members, by their order.
#[track_caller]
fn members(cluster: &Cluster) -> Vec<String> {
    let status = status(cluster);
    let nodes = status["nodes"].as_array().expect("there are nodes");
    let members = nodes.iter().filter(|node| node["member"] == true);
    members.map(|node| node["id"].as_str().expect("it has an id").to_owned()).collect()
}

/// The partitions that a node owns.
#[track_caller]
fn partitions_of(cluster: &Cluster, id: &str) -> u64 {
    let status = status(cluster);
    let nodes = status["nodes"].as_array().expect("there are nodes");
    let node = nodes.iter().find(|node| node["id"] == id);
    node.and_then(|node| node["partitions"].as_u64()).unwrap_or(0)
}

#[track_caller]
fn read_json(path: &Path) -> Value {
    let bytes = std::fs::read(path).expect("the file is there");
    serde_json::from_slice(&bytes).expect("the file is JSON")
}
