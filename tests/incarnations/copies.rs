//! Copies beside a node's own directory.

use std::fs;

use kv_testkit::harness::catalog::{registered, stored, wait_for_nodes};
use kv_testkit::harness::http::put;
use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use serde_json::{Value, json};

use super::{NOTICED_WITHIN, assert_stored, claimed, copied, number, on_copy, store, text};

on_both_backends!(
    every_start_is_a_new_incarnation_wherever_the_directory_is,
    a_copy_is_refused_while_the_node_runs,
    of_two_copies_the_one_that_ran_last_is_served,
    a_node_whose_copy_was_started_stops_and_answers_nothing_more,
    a_node_that_stood_still_looks_before_it_answers,
    a_consul_that_is_empty_or_old_is_given_the_claim_back,
);

fn every_start_is_a_new_incarnation_wherever_the_directory_is(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    store(&cluster, "key", "value");
    assert_eq!(number(&claimed(&cluster)["incarnation"]), 1);

    cluster.node_mut(0).terminate();
    let last_write = claimed(&cluster)["sequence"].as_u64();
    assert!(last_write > Some(0), "a clean stop has the last write counted: {last_write:?}");
    cluster.node_mut(0).restart();
    assert_eq!(number(&claimed(&cluster)["incarnation"]), 2);

    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart();
    let claim = claimed(&cluster);
    assert_eq!(number(&claim["incarnation"]), 3);
    let status = Peer::req(&cluster.node(0).endpoint()).ask_json(r#"{"op":"STATUS"}"#);
    assert_eq!(status["status"]["incarnation"], claim["incarnation"]);
    let args = ["--output", "json", "status"];
    let shown: Value = serde_json::from_slice(&cluster.kvclient(&args).output().success().stdout)
        .expect("it is JSON");
    assert_eq!(shown["nodes"][0]["incarnation"], claim["incarnation"]);
    assert_eq!((&shown["nodes"][0]["is_twin"], &shown["left_behind"]), (&json!(false), &json!([])));

    // Killed, copied elsewhere, and the first directory removed: it is registered at an address where no
    // process listens any more.
    cluster.node_mut(0).kill();
    let root = copied(&cluster, "elsewhere");
    fs::remove_dir_all(cluster.node(0).directory()).expect("it can be removed");
    let moved = cluster.add_node(&on_copy(&root));
    assert_eq!(number(&claimed(&cluster)["incarnation"]), 4);
    assert_stored(&cluster, "key", Some("value"));
    cluster.node_mut(moved).terminate();
    cluster.node_mut(moved).restart();
    assert_stored(&cluster, "key", Some("value"));
}

fn a_copy_is_refused_while_the_node_runs(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    store(&cluster, "key", "value");
    let live = copied(&cluster, "of-the-running-node");
    let running = format!("running at {}", cluster.node(0).address());
    let before = claimed(&cluster);
    for option in [&[][..], &["--serve-older-copy"]] {
        let args = [&on_copy(&live)[..], option].concat();
        let output = cluster.kvnode(&args).output().code(4).no_stdout();
        output.says(&["another copy of the data directory of node node-0", &running, text(&live)]);
    }
    assert_eq!(claimed(&cluster), before, "nothing has changed");

    cluster.node_mut(0).terminate();
    let stopped = copied(&cluster, "of-the-stopped-node");
    cluster.node_mut(0).restart();
    let output = cluster.kvnode(&on_copy(&stopped)).output().code(4).no_stdout();
    output.says(&["is an older copy", text(&stopped), "--serve-older-copy"]);
    let running = format!("running at {}", cluster.node(0).address());
    let args = [&on_copy(&stopped)[..], &["--serve-older-copy"]].concat();
    cluster.kvnode(&args).output().code(4).no_stdout().says(&[&running]);

    store(&cluster, "key", "later");
    assert_stored(&cluster, "key", Some("later"));
    cluster.node_mut(0).terminate();
    cluster.node_mut(0).restart();
}

fn of_two_copies_the_one_that_ran_last_is_served(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    store(&cluster, "key", "both");
    cluster.node_mut(0).terminate();
    let root = copied(&cluster, "copy");
    let copy = cluster.add_node(&on_copy(&root));
    store(&cluster, "key", "the copy's");
    let first = cluster.data_directory();
    cluster.kvnode(&on_copy(&first)).output().code(4).says(&["is an older copy", text(&first)]);

    cluster.node_mut(copy).terminate();
    let older = ["is an older copy", "as 1-", "as 2-"];
    cluster.kvnode(&on_copy(&first)).output().code(4).no_stdout().says(&older);
    cluster.node_mut(copy).restart();
    assert_stored(&cluster, "key", Some("the copy's"));
    cluster.node_mut(copy).kill();
    cluster.kvnode(&on_copy(&first)).output().code(4).no_stdout().says(&["is an older copy"]);

    // Told to, the first one is served, and from then on it is the newest.
    cluster.node_mut(0).restart_with(&["--serve-older-copy"]);
    assert!(cluster.node(0).last_words().contains("serving an older copy"));
    assert_stored(&cluster, "key", Some("both"));
    cluster.kvnode(&on_copy(&root)).output().code(4).no_stdout().says(&["is an older copy"]);
    cluster.node_mut(0).terminate();
    cluster.node_mut(0).restart();
    assert!(!cluster.node(0).last_words().contains("older"), "it is so no more");
}

fn a_node_whose_copy_was_started_stops_and_answers_nothing_more(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    store(&cluster, "key", "value");
    let claim = claimed(&cluster);
    let newer = format!("{}-00000000000000ff", number(&claim["incarnation"]) + 1);
    let newer = json!({"uuid": claim["uuid"], "incarnation": newer, "sequence": 1});
    let key = format!("/v1/kv/kv/{}/nodes/node-0", cluster.name());
    put(&cluster.consul(), &key, newer.to_string().as_bytes());
    assert_eq!(cluster.node_mut(0).process().wait().code(), Some(4));
    let log = cluster.node(0).log();
    assert!(log.contains("another copy of this data directory was started"), "{log}");
    // Its registration was its own, and is gone; the claim is the other one's.
    assert!(registered(&cluster).is_empty());
    assert_eq!(claimed(&cluster), newer);
}

fn a_node_that_stood_still_looks_before_it_answers(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    store(&cluster, "key", "both");
    // Asked before it stands still, so that nothing but the request is new to it.
    let peer = Peer::req(&cluster.node(0).endpoint());
    assert_eq!(peer.ask_json(r#"{"op":"GET_ONE","key":"key"}"#)["value"], "both");
    cluster.node(0).freeze();
    let root = copied(&cluster, "copy");
    // It waits until Consul misses the first one's sign of life.
    let copy = cluster.add_node(&on_copy(&root));
    store(&cluster, "key", "the copy's");

    peer.send(&[br#"{"op":"GET_ONE","key":"key"}"#]);
    cluster.node(0).thaw();
    if let Some(reply) = peer.receive_within(NOTICED_WITHIN) {
        let reply = kv_testkit::harness::peer::parse(reply.last().expect("a reply has frames"));
        let code = reply["error"]["code"].as_str().unwrap_or_default();
        assert!(["wrong_node", "shutting_down"].contains(&code), "it does not know: {reply}");
    }
    assert_eq!(cluster.node_mut(0).process().wait().code(), Some(4));
    assert_stored(&cluster, "key", Some("the copy's"));
    let address = cluster.node(copy).address().to_owned();
    let there: Vec<String> = registered(&cluster).into_values().map(|it| it.address).collect();
    assert_eq!(there, [address], "the one that stopped has not removed the other's registration");

    // One that no other copy has replaced goes on.
    cluster.node(copy).freeze();
    wait_for_nodes(&cluster, &[("node-0", "critical")]);
    cluster.node(copy).thaw();
    assert_stored(&cluster, "key", Some("the copy's"));
}

fn a_consul_that_is_empty_or_old_is_given_the_claim_back(backend: Backend) {
    let mut cluster = Cluster::start_with_own_consul(backend, 1);
    store(&cluster, "key", "value");
    cluster.node_mut(0).terminate();
    let old = claimed(&cluster);
    let copy = copied(&cluster, "copy");
    cluster.node_mut(0).restart();
    let own = claimed(&cluster)["incarnation"].clone();
    let comes_back = |cluster: &Cluster| {
        eventually("the claim", NOTICED_WITHIN, || match stored(cluster).remove("nodes/node-0") {
            Some(claim) => {
                let claim: Value = serde_json::from_slice(&claim).expect("a claim is JSON");
                if claim["incarnation"] == own { Ok(()) } else { Err(claim.to_string()) }
            }
            None => Err("there is none".to_owned()),
        });
    };
    let key = format!("/v1/kv/kv/{}/nodes/node-0", cluster.name());
    put(&cluster.consul(), &key, old.to_string().as_bytes());
    comes_back(&cluster);
    cluster.own_consul().restart_empty();
    comes_back(&cluster);
    cluster.kvnode(&on_copy(&copy)).output().code(4).no_stdout().says(&["is an older copy"]);
    assert_stored(&cluster, "key", Some("value"));

    // A Consul that was put back while the node was away has one that the directory knows.
    cluster.node_mut(0).terminate();
    put(&cluster.consul(), &key, old.to_string().as_bytes());
    cluster.node_mut(0).restart();
    assert_eq!(number(&claimed(&cluster)["incarnation"]), number(&own) + 1);
    assert_stored(&cluster, "key", Some("value"));
}
