//! Adding, removing and migrating, one after the other.

use kv_testkit::harness::{Backend, on_both_backends};

use super::{assert_holds, cluster_with_data, members, partitions_of, status};

on_both_backends!(
    a_node_that_runs_already_is_added_and_removed_again,
    nodes_are_started_by_a_signal_and_stopped_by_one,
    a_migration_changes_the_strategy_and_back,
    what_moves_is_what_the_tables_say,
);

/// The partitions of a cluster.
const PARTITIONS: u64 = 4096;

fn a_node_that_runs_already_is_added_and_removed_again(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 3);
    cluster.add_nodes(1);
    cluster.kvclient(&["add-node"]).output().success().says(&["add node-3", "at rest"]);
    assert_eq!(members(&cluster), ["node-0", "node-1", "node-2", "node-3"]);
    let share = partitions_of(&cluster, "node-3");
    assert!((PARTITIONS / 5..PARTITIONS / 3).contains(&share), "node-3 has {share} partitions");
    assert_holds(&cluster, &lines);

    let output = cluster.kvclient(&["remove-node", "node-0"]).output().success();
    output.says(&["remove node-0", "node node-0 has stopped"]);
    assert_eq!(members(&cluster), ["node-1", "node-2", "node-3"]);
    assert_eq!(cluster.node_mut(0).process().wait().code(), Some(0), "it was told to stop");
    assert_holds(&cluster, &lines);
    cluster.kvclient(&["put", "after", "all"]).output().success();
    assert_eq!(cluster.kvclient(&["get", "after"]).output().success().stdout, b"all");
}

fn nodes_are_started_by_a_signal_and_stopped_by_one(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 2);
    let output = cluster.kvclient(&["add-node", "--count", "2"]).output().success();
    output.says(&["node node-2 is running", "node node-3 is running", "add node-2, node-3"]);
    assert_eq!(members(&cluster), ["node-0", "node-1", "node-2", "node-3"]);
    assert_holds(&cluster, &lines);
    cluster.kvclient(&["add-node", "--id", "big", "--weight", "4"]).output().success();
    let (big, small) = (partitions_of(&cluster, "big"), partitions_of(&cluster, "node-3"));
    assert!(big > 3 * small, "weight 4 has {big} partitions, weight 1 has {small}");
    cluster.kvclient(&["remove-node", "node-2", "big"]).output().success();
    cluster.wait_until_gone("node-2");
    cluster.wait_until_gone("big");
    assert_eq!(members(&cluster), ["node-0", "node-1", "node-3"]);
    assert_holds(&cluster, &lines);
}

fn a_migration_changes_the_strategy_and_back(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 3);
    let before = status(&cluster)["layout"].clone();
    cluster.kvclient(&["migrate", "--to", "consistent-hash"]).output().success();
    let between = status(&cluster)["layout"].clone();
    assert_eq!(between["strategy"], "consistent-hash");
    assert_ne!(between["strategy_sha256"], before["strategy_sha256"]);
    assert_holds(&cluster, &lines);
    let output = cluster.kvclient(&["--strategy", "hrw", "get", "word"]).output().code(4);
    output.says(&["has adopted the strategy consistent-hash"]);
    cluster.kvclient(&["migrate", "--to", "hrw"]).output().success();
    assert_eq!(status(&cluster)["layout"]["strategy_sha256"], before["strategy_sha256"]);
    assert_holds(&cluster, &lines);
    let again = cluster.kvclient(&["migrate", "--to", "hrw"]).output().code(4);
    again.says(&["there is nothing to do"]);
}

fn what_moves_is_what_the_tables_say(backend: Backend) {
    let (mut cluster, _) = cluster_with_data(backend, 4);
    cluster.add_nodes(1);
    let plan = ["plan", "add-node", "--output", "json"];
    let plan = cluster.kvclient(&plan).output().success().json();
    assert_eq!(plan["partitions_moved"], plan["partitions_minimum"], "{plan}");
    let add = ["add-node", "--output", "json"];
    let done = cluster.kvclient(&add).output().success().json();
    assert_eq!(done["keys"], plan["keys_moved"], "nothing moves twice, and nothing in vain");
    let nodes = plan["nodes"].as_array().expect("there are nodes");
    for node in nodes {
        let id = node["id"].as_str().expect("it has an id");
        assert_eq!(partitions_of(&cluster, id), node["after"]["partitions"], "{id}");
    }
}
