//! A plan can be looked at first, and is what then happens.

use std::fs;

use kv_testkit::harness::{Backend, on_both_backends};

use super::{assert_holds, cluster_with_data, epoch, members, read_json, status};

on_both_backends!(a_dry_run_changes_nothing, a_plan_is_applied_once);

fn a_dry_run_changes_nothing(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 3);
    let before = status(&cluster)["layout"].clone();
    for command in [
        &["add-node", "--count", "2", "--dry-run"][..],
        &["remove-node", "node-1", "--dry-run"],
        &["migrate", "--to", "consistent-hash", "--dry-run"],
        &["plan", "add-node", "--weight", "3", "--zone", "z"],
        &["plan", "remove-node", "node-1", "node-2"],
        &["plan", "migrate", "--to", "consistent-hash"],
    ] {
        let text = cluster.kvclient(command).output().success();
        let text = text.stdout_text().to_owned();
        assert!(text.contains("partitions move") && text.contains("node-1"), "{text}");
        let json = cluster.kvclient(command).args(["--output", "json"]).output().success().json();
        assert!(json["keys_moved"].as_u64().is_some_and(|keys| keys > 0), "{json}");
        assert!(json["partitions_moved"].as_u64() >= json["partitions_minimum"].as_u64(), "{json}");
    }
    assert_eq!(status(&cluster)["layout"], before);
    assert_eq!(members(&cluster), ["node-0", "node-1", "node-2"]);
    assert_holds(&cluster, &lines);
}

fn a_plan_is_applied_once(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 3);
    let file = cluster.directory().join("plan.json");
    let plan = ["plan", "add-node", "--output", "json"];
    let output = cluster.kvclient(&plan).output().success();
    fs::write(&file, &output.stdout).expect("a file can be written");
    let other = cluster.kvclient(&["migrate", "--apply", "plan.json"]).output().code(2);
    other.says(&["the plan is to add node-3"]);
    cluster.kvclient(&["add-node", "--apply", "plan.json"]).output().success();
    assert_eq!(members(&cluster).len(), 4);
    assert_holds(&cluster, &lines);
    let after = epoch(&cluster);
    let yesterday = cluster.kvclient(&["add-node", "--apply", "plan.json"]).output().code(4);
    yesterday.says(&["the plan was made for epoch 1", "make a new plan"]);
    assert_eq!(epoch(&cluster), after);
    let mut damaged = read_json(&file);
    damaged["surprise"] = 1.into();
    fs::write(&file, damaged.to_string()).expect("a file can be written");
    let refused = cluster.kvclient(&["add-node", "--apply", "plan.json"]).output().code(2);
    refused.says(&["is not a plan"]);
}
