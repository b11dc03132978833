//! Directories that are older than the node's last run.

use std::collections::BTreeSet;
use std::fs;

use kv_testkit::files::copy_directory;
use kv_testkit::harness::binaries::kvclient;
use kv_testkit::harness::dev::Dev;
use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::run::Run;
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use serde_json::json;

use super::{NOTICED_WITHIN, assert_stored, claimed, copied, put_back, store, text};

on_both_backends!(
    what_is_put_back_from_a_backup_is_refused_unless_it_is_wanted,
    older_data_of_the_same_incarnation_is_found_by_its_last_write,
    a_store_of_an_earlier_run_is_found_however_little_it_misses,
);

fn what_is_put_back_from_a_backup_is_refused_unless_it_is_wanted(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    store(&cluster, "changed", "old");
    store(&cluster, "deleted", "old");
    cluster.node_mut(0).terminate();
    let backup = copied(&cluster, "backup").join("node-0");
    cluster.node_mut(0).restart();
    store(&cluster, "changed", "new");
    cluster.kvclient(&["delete", "deleted"]).output().success();
    cluster.node_mut(0).kill();

    let directory = cluster.node(0).directory().to_owned();
    put_back(&backup, &directory);
    let args = ["--id", "node-0", "--port", "0"];
    for _ in 0..2 {
        let output = cluster.kvnode(&args).output().code(4).no_stdout();
        output.says(&["put back from a backup", text(&directory), "--serve-older-copy"]);
    }
    cluster.node_mut(0).restart_with(&["--serve-older-copy"]);
    assert!(cluster.node(0).last_words().contains("what was deleted there comes back"));
    assert_stored(&cluster, "changed", Some("old"));
    assert_stored(&cluster, "deleted", Some("old"));
    // Nothing that is written now gets a version that was given before.
    let peer = Peer::req(&cluster.node(0).endpoint());
    let written = peer.ask_json(r#"{"op":"PUT","key":"changed","value":"newest"}"#);
    let sequence = written["version"].as_str().and_then(|it| it.split_once('-'));
    let sequence: u64 = sequence.expect("it has a version").1.parse().expect("a number");
    assert!(sequence > 1 << 32, "{written}");
    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart();
    assert_stored(&cluster, "changed", Some("newest"));
}

fn older_data_of_the_same_incarnation_is_found_by_its_last_write(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    store(&cluster, "key", "old");
    cluster.node_mut(0).terminate();
    let backup = copied(&cluster, "backup").join("node-0");
    cluster.node_mut(0).restart();
    // What a copy of the running node has: the store of before, and who it is now.
    let directory = cluster.node(0).directory().to_owned();
    let identity = fs::read(directory.join("identity.json")).expect("it can be read");
    fs::write(backup.join("identity.json"), &identity).expect("it can be written");
    store(&cluster, "key", "new");
    cluster.node_mut(0).terminate();
    put_back(&backup, &directory);
    let args = ["--id", "node-0", "--port", "0"];
    let output = cluster.kvnode(&args).output().code(4).no_stdout();
    output.says(&["older than what node node-0 had", text(&directory), "--serve-older-copy"]);
    cluster.node_mut(0).restart_with(&["--serve-older-copy"]);
    assert_stored(&cluster, "key", Some("old"));

    // While it runs, too, Consul is told now and then how many writes it has; a crash leaves the last ones
    // untold.
    store(&cluster, "key", "newest");
    let written = |cluster: &Cluster| claimed(cluster)["sequence"].as_u64();
    let before = written(&cluster);
    fs::remove_dir_all(&backup).expect("it can be removed");
    cluster.node_mut(0).terminate();
    copy_directory(&directory, &backup);
    cluster.node_mut(0).restart();
    let identity = fs::read(directory.join("identity.json")).expect("it can be read");
    fs::write(backup.join("identity.json"), &identity).expect("it can be written");
    let stopped = written(&cluster);
    assert!(stopped > before);
    store(&cluster, "key", "not in the backup");
    eventually("a count of the write in the claim", NOTICED_WITHIN, || match written(&cluster) {
        counted if counted > stopped => Ok(()),
        counted => Err(format!("{counted:?}")),
    });
    cluster.node_mut(0).kill();
    put_back(&backup, &directory);
    cluster.kvnode(&args).output().code(4).no_stdout().says(&["older than what node node-0 had"]);
}

/// The node crashes each time, before Consul has the count of its last writes.
fn a_store_of_an_earlier_run_is_found_however_little_it_misses(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    store(&cluster, "key", "old");
    cluster.node_mut(0).kill();
    let directory = cluster.node(0).directory().to_owned();
    let (backup, lives) = (cluster.directory().join("backup"), directory.join("store"));
    copy_directory(&lives, &backup);
    // It is the last one for as long as no other run has begun.
    put_back(&backup, &lives);
    cluster.node_mut(0).restart();
    assert_stored(&cluster, "key", Some("old"));
    store(&cluster, "key", "new");
    cluster.node_mut(0).kill();
    put_back(&backup, &lives);
    // On a machine that is very slow, the write was counted after all, and is missed first.
    let output = cluster.kvnode(&["--id", "node-0", "--port", "0"]).output().no_stdout();
    let words = match output.status.code() {
        Some(1) => ["is not the one that this node had", "run 1-", "as 2-", "--serve-older-copy"],
        _ => ["older than what node node-0 had", "write", "had made", "--serve-older-copy"],
    };
    output.says(&words);
    cluster.node_mut(0).restart_with(&["--serve-older-copy"]);
    assert_stored(&cluster, "key", Some("old"));
    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart();
    assert!(!cluster.node(0).last_words().contains("older"), "it is so no more");
}

#[test]
fn a_whole_cluster_serves_a_nodes_older_copy_where_it_is_told_to() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut dev = Dev::start(directory.path(), 2);
    let client = |dev: &Dev, args: &[&str]| {
        Run::new(kvclient(), &dev.directory).args(["--consul", dev.address()]).args(args)
    };
    let keys: Vec<String> = (0..40).map(|n| format!("key-{n}")).collect();
    let lines = |value: &str| -> String {
        keys.iter().map(|key| format!("{}\n", json!({"key": key, "value": value}))).collect()
    };
    client(&dev, &["import"]).stdin(lines("old")).output().success();
    dev.process.terminate();
    let (node, backup) = (directory.path().join("nodes/node-1"), directory.path().join("backup"));
    copy_directory(&node, &backup);
    dev = Dev::start(directory.path(), 2);
    client(&dev, &["import"]).stdin(lines("new")).output().success();
    dev.process.terminate();
    put_back(&backup, &node);

    let told = ["--serve-older-copy", "node-1"];
    let (mut dev, ready) = Dev::start_told(directory.path(), 2, 0, &told);
    assert_eq!(ready, 2);
    // The nodes are read at the same time, so that their records come in any order.
    let export = |dev: &Dev| {
        let exported = client(dev, &["export"]).output().success();
        exported.stdout_text().lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let served = export(&dev);
    let count = |value: &str| served.iter().filter(|line| line.contains(value)).count();
    let (old, new) = (count(r#""old""#), count(r#""new""#));
    assert!(old > 0 && new > 0 && old + new == keys.len(), "one node is older: {served:?}");
    dev.process.terminate();
    let dev = Dev::start(directory.path(), 2);
    assert_eq!(export(&dev), served, "once it was served, it is the newest");
}
