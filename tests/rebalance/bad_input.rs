//! What makes no sense is refused, and everything stays as it was.

use std::fs;

use kv_testkit::guests;
use kv_testkit::harness::corpus::assert_same_lines;
use kv_testkit::harness::{Backend, Cluster, on_both_backends};
use serde_json::json;

use super::{assert_holds, cluster_with_data, epoch, members, status};

on_both_backends!(
    nonsense_is_refused_and_changes_nothing,
    a_node_that_is_down_is_named,
    a_dead_node_is_given_up_only_with_consent,
    a_node_that_dies_right_after_it_was_added_is_given_up,
    a_bad_strategy_is_not_adopted,
    a_destination_without_room_stops_the_move,
);

fn nonsense_is_refused_and_changes_nothing(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 2);
    let before = epoch(&cluster);
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        cluster.kvclient(args).output().code(code).no_stdout().says(words);
    };
    refused(&["remove-node", "node-7"], 2, &["there is no node node-7", "node-0, node-1"]);
    refused(&["remove-node", "node-0", "node-0"], 4, &["node-0 is named twice"]);
    refused(&["remove-node", "node-0", "node-1"], 4, &["at least 1 members"]);
    refused(&["add-node", "--id", "node-1"], 4, &["node-1 is a member"]);
    refused(&["add-node", "--host", "nowhere"], 4, &["no node runs on host", "by hand"]);
    refused(&["migrate", "--to", "hrw"], 4, &["there is nothing to do"]);
    refused(&["migrate", "--to", "missing.wasm"], 2, &["missing.wasm"]);
    refused(&["rebalance", "abort"], 4, &["no rebalance is under way"]);
    refused(&["rebalance", "pause"], 4, &["no rebalance is under way"]);
    refused(&["remove-node", "--dead", "node-0"], 4, &["node-0 is alive"]);
    refused(&["add-node", "--apply", "nothing.json"], 2, &["nothing.json"]);
    refused(&["add-node", "--count", "0"], 2, &["--count"]);
    refused(&["add-node", "--weight", "0"], 2, &["--weight"]);
    cluster.kvclient(&["rebalance", "resume"]).output().success().says(&["nothing to resume"]);
    assert_eq!(epoch(&cluster), before);
    assert_holds(&cluster, &lines);
    let empty = Cluster::without_layout(backend, 1);
    empty.kvclient(&["add-node"]).output().code(4).says(&["has no layout yet"]);
}

fn a_node_that_is_down_is_named(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 3);
    let before = epoch(&cluster);
    cluster.node_mut(1).kill();
    for command in [
        &["remove-node", "node-0"][..],
        &["remove-node", "node-1"],
        &["migrate", "--to", "consistent-hash"],
        &["plan", "add-node"],
    ] {
        let output = cluster.kvclient(command).output().code(3);
        output.says(&["node node-1 is needed and does not answer", "start it"]);
    }
    assert_eq!(epoch(&cluster), before);
    cluster.node_mut(1).restart();
    cluster.kvclient(&["migrate", "--to", "consistent-hash"]).output().success();
    assert_holds(&cluster, &lines);
}

fn a_dead_node_is_given_up_only_with_consent(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 3);
    cluster.node_mut(2).kill();
    let asked = cluster.kvclient(&["remove-node", "--dead", "node-2"]).output().code(2);
    assert!(asked.stdout_text().contains("LOST: everything in"), "{asked}");
    asked.says(&["nothing was done", "--accept-data-loss"]);
    assert_eq!(members(&cluster).len(), 3);
    let accepted = ["remove-node", "--dead", "node-2", "--accept-data-loss"];
    cluster.kvclient(&accepted).output().success().says(&["LOST", "node node-2 was given up"]);
    assert_eq!(members(&cluster), ["node-0", "node-1"]);
    let export = cluster.kvclient(&["export"]).output().success();
    let kept: Vec<&str> = export.stdout_text().lines().collect();
    let share = kept.len() as f64 / lines.lines().count() as f64;
    assert!((0.5..0.8).contains(&share), "two of three nodes' keys are kept, not {share}");
    // All partitions are served again, by nodes that say truly which records are gone.
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    assert_holds(&cluster, &lines);
    // A node that comes back is no member, and keeps its records without serving them, which is said.
    cluster.node_mut(2).restart();
    let export = cluster.kvclient(&["export"]).output().success();
    assert_same_lines(export.stdout_text(), &lines, "the export is what was stored");
    let report = cluster.kvclient(&["fsck", "--output", "json"]).output().code(4).json();
    assert_eq!((&report["strays"], &report["duplicates"]), (&0.into(), &0.into()), "{report}");
    assert_eq!(report["keeping"], json!(["node-2"]));
    assert_eq!(members(&cluster), ["node-0", "node-1"]);
}

/// The nodes that it took partitions over from have not removed theirs yet, and the dead node confirms no
/// more that they may.
fn a_node_that_dies_right_after_it_was_added_is_given_up(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 2);
    cluster.add_node(&["--id", "late", "--port", "0"]);
    cluster.kvclient(&["add-node"]).output().success();
    cluster.node_mut(2).kill();
    let accepted = ["remove-node", "--dead", "late", "--accept-data-loss"];
    cluster.kvclient(&accepted).output().success().says(&["node late was given up"]);
    assert_eq!(members(&cluster), ["node-0", "node-1"]);
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    assert_holds(&cluster, &lines);
    for number in 0..2 {
        cluster.node_mut(number).kill();
        cluster.node_mut(number).restart();
    }
    assert_holds(&cluster, &lines);
}

fn a_bad_strategy_is_not_adopted(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 2);
    let before = status(&cluster)["layout"].clone();
    for guest in ["first-node", "counter", "loop", "duplicate"] {
        let file = cluster.directory().join(format!("{guest}.wasm"));
        fs::write(&file, guests::component(guest)).expect("a file can be written");
        let migrate = ["migrate", "--to", &format!("./{guest}.wasm")].map(str::to_owned);
        let output = cluster.kvclient(&migrate.each_ref().map(String::as_str)).output();
        output.code(4).says(&[guest]);
    }
    let after = status(&cluster)["layout"].clone();
    assert_eq!(after["strategy_sha256"], before["strategy_sha256"]);
    assert_holds(&cluster, &lines);
}

fn a_destination_without_room_stops_the_move(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 2);
    let full = cluster.add_node(&["--id", "full", "--port", "0"]);
    // It has nothing left but the reserve.
    cluster.node_mut(full).restart_with_env("FAILPOINTS", "node::disk::full=return");
    let output = cluster.kvclient(&["add-node"]).output().code(4);
    output.says(&["node full has room for 0 bytes", "free some space", "rebalance abort"]);
    assert_holds(&cluster, &lines);
    cluster.kvclient(&["put", "still", "served"]).output().success();
    cluster.kvclient(&["delete", "still"]).output().success();
    cluster.kvclient(&["rebalance", "resume"]).output().code(4).says(&["node full has room for 0"]);
    cluster.kvclient(&["rebalance", "abort"]).output().success().says(&["at rest"]);
    assert_eq!(members(&cluster), ["node-0", "node-1"]);
    assert_holds(&cluster, &lines);
    cluster.kvclient(&["remove-node", "full"]).output().success().says(&["node full has stopped"]);
}
