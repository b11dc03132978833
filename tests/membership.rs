//! Nodes register, leave, and come back as themselves.
//!
//! What becomes of them when Consul fails is in `consul_outages`.

use std::collections::BTreeSet;
use std::fs;

use kv_testkit::harness::catalog::{registered, wait_for_nodes};
use kv_testkit::harness::http::put;
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Backend, Cluster, on_both_backends};
use rustix::process::Signal;
use serde_json::json;

on_both_backends!(
    nodes_are_registered_passing_and_gone_after_sigterm,
    sigterm_answers_what_was_taken,
    ids_and_ports_are_chosen_and_kept,
    an_id_is_refused_to_a_directory_without_its_data,
    an_id_is_refused_while_its_node_runs,
    a_node_whose_id_another_has_claimed_stops,
    a_node_that_hangs_becomes_critical,
    a_node_that_comes_later_owns_nothing_and_says_so,
);

fn nodes_are_registered_passing_and_gone_after_sigterm(backend: Backend) {
    let mut cluster = Cluster::without_layout(backend, 2);
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-1", "passing")]);
    let entries: Vec<_> = registered(&cluster).into_values().collect();
    for (entry, node) in entries.iter().zip(cluster.nodes()) {
        assert_eq!((entry.port, &entry.uuid), (node.port(), &node.uuid()));
    }

    assert_eq!(cluster.node_mut(0).terminate().code(), Some(0));
    wait_for_nodes(&cluster, &[("node-1", "passing")]);
    cluster.node_mut(1).process().signal(Signal::INT);
    assert_eq!(cluster.node_mut(1).process().wait().code(), Some(0));
    wait_for_nodes(&cluster, &[]);

    cluster.node_mut(0).restart();
    wait_for_nodes(&cluster, &[("node-0", "passing")]);
    // One that had no time to say goodbye stays, so that operators see that it is missing.
    cluster.node_mut(0).kill();
    assert_eq!(registered(&cluster).len(), 1);
}

fn sigterm_answers_what_was_taken(backend: Backend) {
    const REQUESTS: usize = 500;
    let mut cluster = Cluster::start(backend, 1);
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    for id in 0..REQUESTS {
        let put = json!({"op": "PUT", "key": format!("key-{id}"), "value": "value", "id": id});
        peer.send(&[put.to_string().as_bytes()]);
    }
    // After the first reply the node is in the middle of the others.
    let mut replies = vec![parse(&peer.receive()[0])];
    cluster.node_mut(0).process().signal(Signal::TERM);
    while replies.len() < REQUESTS {
        replies.push(parse(&peer.receive()[0]));
    }
    assert_eq!(cluster.node_mut(0).process().wait().code(), Some(0));

    cluster.node_mut(0).restart();
    let peer = Peer::req(&cluster.node(0).endpoint());
    for reply in replies {
        let key = format!("key-{}", reply["id"]);
        let expected = match reply["error"]["code"].as_str() {
            None => json!({"key": key, "value": "value"}),
            Some("shutting_down") => json!({"key": key, "value": null}),
            Some(_) => panic!("another refusal: {reply}"),
        };
        let read = peer.ask_json(&json!({"op": "GET_ONE", "key": key}).to_string());
        assert_eq!(read, expected, "after {reply}");
    }
}

fn ids_and_ports_are_chosen_and_kept(backend: Backend) {
    // An address of its own, so that no other test takes a port that a stopped node comes back to.
    let host = match backend {
        Backend::Embedded => "127.77.0.1",
        Backend::RealConsul => "127.77.0.2",
    };
    let mut cluster = Cluster::empty(backend);
    for number in 0..3 {
        cluster.add_node(&["--host", host]);
        let node = cluster.node(number);
        assert_eq!(node.id(), format!("node-{number}"));
        assert_eq!(node.address(), format!("{host}:{}", 2000 + number));
        assert_eq!(node.directory(), cluster.data_directory().join(node.id()));
    }
    let before: Vec<String> = cluster.nodes().iter().map(|node| node.uuid()).collect();
    for number in 0..3 {
        cluster.node_mut(number).terminate();
    }
    // Whichever process starts first is the first node again, whatever it was before.
    for (number, process) in [2, 0, 1].into_iter().enumerate() {
        cluster.node_mut(process).restart();
        let node = cluster.node(process);
        assert_eq!(node.id(), format!("node-{number}"));
        assert_eq!(node.uuid(), before[number]);
        assert_eq!(node.address(), format!("{host}:{}", 2000 + number));
    }
    // A node in the middle that is missing is the next to come back.
    cluster.node_mut(0).terminate();
    cluster.add_node(&["--host", host]);
    assert_eq!((cluster.node(3).id(), cluster.node(3).uuid()), ("node-1", before[1].clone()));
}

fn an_id_is_refused_to_a_directory_without_its_data(backend: Backend) {
    let mut cluster = Cluster::start(backend, 2);
    cluster.node_mut(1).terminate();
    let elsewhere = cluster.directory().join("elsewhere");
    let elsewhere_text = elsewhere.to_str().expect("the path is text");

    // An empty directory that claims a member's id.
    let args = ["--id", "node-1", "--port", "0", "--data-dir", elsewhere_text];
    cluster.kvnode(&args).output().code(4).no_stdout().says(&[
        "node-1",
        cluster.name(),
        "has its data elsewhere",
        &cluster.node(1).uuid(),
        "choose another --id",
    ]);
    let left = fs::read_dir(&elsewhere).expect("the root is there").count();
    assert_eq!(left, 0, "nothing is left of a node that never was");

    // The directory of another node, of another cluster, or one that is damaged.
    let data = cluster.data_directory();
    fs::create_dir_all(&elsewhere).expect("a directory can be made");
    fs::rename(data.join("node-1"), elsewhere.join("node-7")).expect("it can be moved");
    let args = ["--id", "node-7", "--port", "0", "--data-dir", elsewhere_text];
    let foreign = ["belongs to node node-1", "not to node node-7"];
    cluster.kvnode(&args).output().code(4).no_stdout().says(&foreign);
    fs::rename(elsewhere.join("node-7"), data.join("node-1")).expect("it can be moved back");
    let other_cluster = Cluster::empty(backend);
    let root = data.to_str().expect("the path is text");
    let args = ["--id", "node-1", "--port", "0", "--data-dir", root];
    let foreign = [cluster.name(), other_cluster.name(), "belongs to node node-1"];
    other_cluster.kvnode(&args).output().code(4).no_stdout().says(&foreign);

    let identity = data.join("node-1/identity.json");
    let kept = fs::read(&identity).expect("the identity can be read");
    for damaged in [&b"{"[..], b"", b"{\"format\":9}"] {
        fs::write(&identity, damaged).expect("the identity can be written");
        let args = ["--id", "node-1", "--port", "0"];
        cluster.kvnode(&args).output().code(4).no_stdout().says(&["identity.json"]);
    }
    fs::remove_file(&identity).expect("the identity can be removed");
    let args = ["--id", "node-1", "--port", "0"];
    cluster.kvnode(&args).output().code(4).no_stdout().says(&["it is missing, but there is data"]);
    fs::write(&identity, kept).expect("the identity can be written");
    cluster.node_mut(1).restart();
}

fn an_id_is_refused_while_its_node_runs(backend: Backend) {
    let cluster = Cluster::without_layout(backend, 1);
    let args = ["--id", "node-0", "--port", "0"];
    cluster.kvnode(&args).output().code(4).no_stdout().says(&[
        "held by another process",
        "node-0",
        "--data-dir",
    ]);
    let elsewhere = cluster.directory().join("elsewhere");
    let elsewhere = elsewhere.to_str().expect("the path is text");
    let args = ["--id", "node-0", "--port", "0", "--data-dir", elsewhere];
    let running = format!("is running at {}", cluster.node(0).address());
    cluster.kvnode(&args).output().code(4).no_stdout().says(&[&running, "choose another --id"]);
}

fn a_node_whose_id_another_has_claimed_stops(backend: Backend) {
    let mut cluster = Cluster::without_layout(backend, 1);
    let claim = json!({"uuid": "00000000-0000-4000-8000-000000000000"}).to_string();
    let key = format!("/v1/kv/kv/{}/nodes/node-0", cluster.name());
    put(&cluster.consul(), &key, claim.as_bytes());
    assert_eq!(cluster.node_mut(0).process().wait().code(), Some(4));
    let log = cluster.node(0).log();
    assert!(log.contains("node-0 was claimed by another data directory"), "{log}");
}

fn a_node_that_hangs_becomes_critical(backend: Backend) {
    let cluster = Cluster::start(backend, 2);
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-1", "passing")]);
    cluster.node(1).freeze();
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-1", "critical")]);
    // Who owns what does not depend on who is well.
    let peer = Peer::req(&cluster.node(0).endpoint());
    let status = peer.ask_json(r#"{"op":"STATUS"}"#);
    assert_eq!(status["status"]["layout"]["epoch"], 1);
    cluster.node(1).thaw();
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-1", "passing")]);
}

fn a_node_that_comes_later_owns_nothing_and_says_so(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    cluster.add_nodes(1);
    cluster.wait_for_layout();
    let peer = Peer::req(&cluster.node(1).endpoint());
    let status = peer.ask_json(r#"{"op":"STATUS"}"#)["status"].clone();
    assert_eq!(status["layout"]["partitions_owned"], 0);
    let put = br#"{"op":"PUT","key":"key","value":"value"}"#;
    assert_eq!(peer.refusal(&[put]), "not_owner");
    assert_eq!(peer.ask(r#"{"op":"GET_ALL"}"#), r#"{"collection":[]}"#);

    let ids: BTreeSet<String> = registered(&cluster).into_keys().collect();
    let expected = ["node-0", "node-1"].map(|id| format!("{}.{id}", cluster.name()));
    assert_eq!(ids, expected.into());
}

#[test]
fn several_nodes_that_start_together_share_the_ids() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    cluster.add_nodes_without_ids(4);
    let ids: BTreeSet<&str> =
        cluster.nodes().iter().map(kv_testkit::harness::node::Node::id).collect();
    assert_eq!(ids, BTreeSet::from(["node-0", "node-1", "node-2", "node-3"]));
}
