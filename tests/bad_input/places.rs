//! Ports, addresses and directories that cannot be used.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use kv_testkit::disk::ReadOnly;
use kv_testkit::harness::{Backend, Cluster};
use kv_testkit::needs;

#[test]
fn a_port_or_address_that_cannot_be_had_is_named() {
    let cluster = Cluster::empty(Backend::Embedded);
    let other = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = other.local_addr().expect("it has an address").port().to_string();
    let args = ["--id", "node-0", "--port", &port];
    cluster.kvnode(&args).output().code(4).no_stdout().says(&[&port, "is in use", "--port"]);
    // An address for documentation, which no machine has; and none at all.
    for host in ["192.0.2.1", "224.0.0.1", "::ffff:240.0.0.1", "0.1.2.3", "not an address"] {
        let args = ["--id", "node-0", "--port", "0", "--host", host];
        cluster.kvnode(&args).output().code(4).no_stdout().says(&[host, "cannot listen on"]);
    }
    let args = ["--id", "node-0", "--port", "0", "--host", "0.0.0.0"];
    cluster.kvnode(&args).output().code(2).no_stdout().says(&["0.0.0.0", "--advertise"]);
    for advertised in [
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "0.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "::ffff:224.0.0.1",
        "a b",
        "127.0.0.1:2000",
        "http://127.0.0.1",
        "*",
        "",
    ] {
        let args = ["--id", "node-0", "--port", "0", "--advertise", advertised];
        let bare = advertised.trim_start_matches("::ffff:");
        let words = [bare, "others cannot connect to --advertise", "without a port"];
        cluster.kvnode(&args).output().code(2).no_stdout().says(&words);
    }
    assert!(!cluster.data_directory().join("node-0/store").exists(), "no node came to be");
}

#[test]
fn a_name_of_this_machine_is_listened_on() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    let number = cluster.add_node(&["--id", "node-0", "--port", "0", "--host", "localhost"]);
    let address = cluster.node(number).address();
    assert!(address.starts_with("127.0.0.1:") || address.starts_with("[::1]:"), "{address}");
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let number = cluster.add_node(&["--id", "node-1", "--port", "0", "--advertise", "localhost"]);
    assert!(cluster.node(number).address().starts_with("localhost:"));
}

/// The place of the nodes' data, where none can be started.
#[test]
fn a_place_where_no_node_can_be_started_is_told_to_who_wants_one() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    // It is in the way of a file.
    let obstacle = cluster.data_directory().join(".launch");
    fs::remove_file(&obstacle).ok();
    fs::create_dir(&obstacle).expect("a directory can be made");
    for _ in 0..2 {
        let output = cluster.kvclient(&["add-node"]).output().code(3);
        output.says(&["cannot be used to start nodes"]);
    }
    let log = cluster.node(0).log();
    assert_eq!(log.matches("cannot be used to start nodes").count(), 1, "{log}");
    fs::remove_dir(&obstacle).expect("it can be removed");
    cluster.kvclient(&["add-node"]).output().success();
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let cluster = Cluster::empty(Backend::Embedded);
    for (args, word) in [
        (&["--id", "Node 0"][..], "--id"),
        (&["--id", ""], "--id"),
        (&["--id", "../up"], "--id"),
        (&["--port", "65536"], "--port"),
        (&["--port=-1"], "--port"),
        (&["--weight", "0"], "--weight"),
        (&["--weight", "257"], "--weight"),
        (&["--zone", "a\nb"], "--zone"),
        (&["--launch-max", "1001"], "--launch-max"),
        (&["--no-such-option"], "--no-such-option"),
        (&["serve"], "serve"),
        (&["dev", "--nodes", "0"], "--nodes"),
    ] {
        cluster.kvnode_anywhere(args).output().code(2).no_stdout().says(&[word]);
    }
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let cluster = Cluster::empty(Backend::Embedded);
    let files = cluster.directory().join("files");
    fs::create_dir_all(files.join("root")).expect("a directory can be made");
    // A file where the root, the node's directory, or its store should be.
    fs::write(files.join("file"), "").expect("a file can be made");
    fs::write(files.join("root/node-0"), "").expect("a file can be made");
    for root in [files.join("file"), files.join("root"), PathBuf::from("/proc/kvnode")] {
        let root = root.to_str().expect("the path is text");
        let args = ["--id", "node-0", "--port", "0", "--data-dir", root];
        cluster.kvnode(&args).output().code(4).no_stdout().says(&[root, "cannot be used"]);
        let args = ["--port", "0", "--data-dir", root];
        cluster.kvnode(&args).output().code(4).no_stdout().says(&[root, "cannot be used"]);
    }
}

#[needs(read_only_directory)]
#[test]
fn a_data_directory_that_is_read_only_is_named() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    cluster.node_mut(0).terminate();
    let protected = ReadOnly::protect(cluster.node(0).directory());
    let args = ["--id", "node-0", "--port", "0"];
    let words = [protected.root(), "cannot be used", "must be readable and writable"];
    cluster.kvnode(&args).output().code(4).no_stdout().says(&words);
    drop(protected);
    cluster.node_mut(0).restart();
}
