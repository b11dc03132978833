//! Launched nodes that hang, die, or are told to stop.

use std::fs;

use kv_registry::desired_state::DesiredState;
use kv_testkit::harness::catalog::{entry, stored, wait_for_nodes};
use kv_testkit::harness::desired_states::{DesiredStates, HEEDED_WITHIN, running};
use kv_testkit::harness::peer::{Peer, REPLY_WITHIN};
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use rustix::process::Signal as OsSignal;
use serde_json::Value;
use uuid::Uuid;

use super::{HOST, launcher, launchers, launches, wait_until_ready};

on_both_backends!(
    a_node_that_hangs_is_left_and_one_that_dies_is_started_again,
    a_node_that_its_operator_stops_stays_stopped,
    a_node_that_is_not_needed_any_more_leaves,
    a_member_that_is_told_to_stop_stays,
    a_node_that_was_away_when_it_was_told_to_stop_leaves_when_it_is_back,
);

fn a_node_that_hangs_is_left_and_one_that_dies_is_started_again(backend: Backend) {
    let cluster = launchers(backend, 1);
    let desired_states = DesiredStates::of(&cluster);
    desired_states.write("node-7", &running(Some(HOST)));
    let before = cluster.wait_until_registered("node-7");
    let launched = cluster.launched("node-7").expect("it runs");
    let attempt = launcher(&desired_states, "node-7").attempt;
    // One that stands still before it is ready could give up what it asked when it goes on.
    wait_until_ready(&launched);

    launched.signal(OsSignal::STOP);
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-7", "critical")]);
    launched.signal(OsSignal::CONT);
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-7", "passing")]);
    assert_eq!(cluster.launched("node-7").expect("it runs").pid, launched.pid);
    assert_eq!(launcher(&desired_states, "node-7").attempt, attempt);

    launched.signal(OsSignal::KILL);
    eventually("another process in its place", HEEDED_WITHIN, || {
        match cluster.launched("node-7") {
            Some(now) if now.pid != launched.pid => Ok(()),
            now => Err(format!("{now:?}")),
        }
    });
    let after = cluster.wait_until_registered("node-7");
    assert_eq!(after.uuid, before.uuid);
    assert_ne!(launcher(&desired_states, "node-7").attempt, attempt);
    assert_eq!(launches(&cluster, "node-7"), 2);
}

fn a_node_that_its_operator_stops_stays_stopped(backend: Backend) {
    let cluster = launchers(backend, 2);
    let desired_states = DesiredStates::of(&cluster);
    desired_states.write("node-7", &running(None));
    cluster.wait_until_registered("node-7");
    cluster.launched("node-7").expect("it runs").signal(OsSignal::TERM);
    desired_states.wait_until_gone("node-7");
    cluster.wait_until_gone("node-7");
    // It has not been told to leave its cluster: its claim stays, and by hand it is back.
    assert!(stored(&cluster).contains_key("nodes/node-7"));
    let mut cluster = cluster;
    let number = cluster.add_node(&["--id", "node-7", "--port", "0"]);
    assert_eq!(cluster.wait_until_registered("node-7").port, cluster.node(number).port());
    assert_eq!(launches(&cluster, "node-7"), 1);
}

/// A cluster with a layout of node-0, and node-1 that came later and is no member.
fn member_and_guest(backend: Backend) -> (Cluster, Uuid) {
    let mut cluster = Cluster::start(backend, 1);
    cluster.add_nodes(1);
    cluster.wait_for_layout();
    let uuid = uuid(&cluster, 1);
    (cluster, uuid)
}

fn uuid(cluster: &Cluster, number: usize) -> Uuid {
    cluster.node(number).uuid().parse().expect("it is a uuid")
}

#[track_caller]
fn assert_it_left(cluster: &Cluster, id: &str, uuid: Uuid) {
    assert_eq!(entry(cluster, id), None);
    let stored = stored(cluster);
    assert!(!stored.contains_key(&format!("desired/{id}")), "the signal is left");
    assert!(!stored.contains_key(&format!("nodes/{id}")), "the claim is left");
    let identity = fs::read(cluster.data_directory().join(id).join("identity.json"));
    let identity: Value =
        serde_json::from_slice(&identity.expect("the directory stays")).expect("it is JSON");
    assert_eq!(identity["uuid"], uuid.to_string());
    assert_eq!(identity["removed"], true);
}

fn a_node_that_is_not_needed_any_more_leaves(backend: Backend) {
    let (mut cluster, uuid) = member_and_guest(backend);
    let desired_states = DesiredStates::of(&cluster);
    // Another data directory of this id is not this node.
    desired_states.write("node-1", &DesiredState::Stopped { uuid: Uuid::new_v4() });
    eventually("a word on the signal", REPLY_WITHIN, || {
        let log = cluster.node(1).log();
        if log.contains("means the data directory") { Ok(()) } else { Err(log) }
    });
    desired_states.write("node-1", &DesiredState::Stopped { uuid });
    assert_eq!(cluster.node_mut(1).process().wait().code(), Some(0));
    wait_for_nodes(&cluster, &[("node-0", "passing")]);
    assert_it_left(&cluster, "node-1", uuid);

    // Whoever wants it again gets it, as itself and for good.
    desired_states.write("node-1", &running(None));
    let back = cluster.wait_until_registered("node-1");
    assert_eq!(back.uuid, uuid.to_string());
    desired_states.write("node-1", &DesiredState::Stopped { uuid });
    cluster.wait_until_gone("node-1");
    assert_it_left(&cluster, "node-1", uuid);
}

fn a_member_that_is_told_to_stop_stays(backend: Backend) {
    let cluster = Cluster::start(backend, 2);
    let desired_states = DesiredStates::of(&cluster);
    let desired_state = DesiredState::Stopped { uuid: uuid(&cluster, 1) };
    desired_states.write("node-1", &desired_state);
    eventually("a word on the signal", REPLY_WITHIN, || {
        let log = cluster.node(1).log();
        let word = log.contains("serving on: this node is a member of the layout");
        if word { Ok(()) } else { Err(log) }
    });
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let status = Peer::req(&cluster.node(1).endpoint()).ask_json(r#"{"op":"STATUS"}"#);
    assert_ne!(status["status"]["layout"]["partitions_owned"], 0);
    assert_eq!(desired_states.read("node-1"), Some(desired_state));
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-1", "passing")]);
    // A desired state that is taken back is as if it had never been.
    desired_states.delete("node-1");
    desired_states.wait_until_gone("node-1");
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-1", "passing")]);
}

fn a_node_that_was_away_when_it_was_told_to_stop_leaves_when_it_is_back(backend: Backend) {
    let (mut cluster, uuid) = member_and_guest(backend);
    cluster.node_mut(1).kill();
    DesiredStates::of(&cluster).write("node-1", &DesiredState::Stopped { uuid });
    cluster.node_mut(1).restart();
    assert_eq!(cluster.node_mut(1).process().wait().code(), Some(0));
    wait_for_nodes(&cluster, &[("node-0", "passing")]);
    assert_it_left(&cluster, "node-1", uuid);
}
