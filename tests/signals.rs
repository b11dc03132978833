//! Nodes are started and stopped by signals in Consul, each by exactly one.
//!
//! `kvnode dev` starts nodes by signals too; that is in `dev`.

use std::fs;

use kv_protocol::signal::{Launcher, Signal};
use rustix::process::Signal as OsSignal;
use serde_json::Value;
use uuid::Uuid;

use crate::harness::catalog::{entry, stored, wait_for_nodes};
use crate::harness::peer::{Peer, REPLY_WITHIN};
use crate::harness::signals::{HEEDED_WITHIN, Signals, running};
use crate::harness::{Backend, Cluster, eventually, on_both_backends};

on_both_backends!(
    a_signal_starts_a_node_by_exactly_one_launcher,
    a_node_is_started_on_its_host_or_nowhere,
    a_launch_that_its_author_never_made_is_made_by_another,
    a_launch_that_fails_says_why_and_is_tried_again,
    a_node_that_hangs_is_left_and_one_that_dies_is_started_again,
    a_node_that_its_operator_stops_stays_stopped,
    a_node_that_is_not_needed_any_more_leaves,
    a_member_that_is_told_to_stop_stays,
    a_node_that_was_away_when_it_was_told_to_stop_leaves_when_it_is_back,
);

/// How long nodes wait here for each other's launches.
const WITHIN: [&str; 2] = ["--launch-within-ms", "1500"];
/// Where the nodes of a test listen.
const HOST: &str = "127.0.0.1";

/// A cluster of `nodes` nodes without a layout.
fn launchers(backend: Backend, nodes: usize) -> Cluster {
    let mut cluster = Cluster::empty(backend);
    for number in 0..nodes {
        let id = format!("node-{number}");
        cluster.add_node(&["--id", &id, "--port", "0", WITHIN[0], WITHIN[1]]);
    }
    cluster
}

/// How often the nodes that the test has started have started the node `id`.
fn launches(cluster: &Cluster, id: &str) -> usize {
    let line = format!("{id} is wanted: starting it");
    cluster.nodes().iter().map(|node| node.log().matches(&line).count()).sum()
}

/// The launcher that the signal to the node `id` names.
#[track_caller]
fn launcher(signals: &Signals, id: &str) -> Launcher {
    match signals.read(id) {
        Some(Signal::Running { launcher: Some(launcher), .. }) => launcher,
        signal => panic!("nobody has taken it up: {signal:?}"),
    }
}

fn a_signal_starts_a_node_by_exactly_one_launcher(backend: Backend) {
    let cluster = launchers(backend, 3);
    let signals = Signals::of(&cluster);
    let signal = Signal::Running {
        host: Some(HOST.to_owned()),
        weight: 3,
        zone: "-rack 7".to_owned(),
        launcher: None,
    };
    signals.write("node-7", &signal);
    let entry = cluster.wait_until_registered("node-7");
    assert_eq!(entry.described, [HOST, "3", "-rack 7"]);
    let peer = Peer::req(&format!("tcp://{}", entry.address));
    let status = peer.ask_json(r#"{"op":"STATUS"}"#)["status"].clone();
    assert_eq!(status["node"], "node-7");

    let launched = cluster.launched("node-7").expect("its process holds its directory");
    assert!(launched.directory.join("identity.json").is_file());
    // It answers before it says so.
    eventually("the launched node's readiness line", REPLY_WITHIN, || {
        let log = launched.log();
        if log.contains("ready: node-7 at") { Ok(()) } else { Err(log) }
    });
    let launcher = launcher(&signals, "node-7");
    assert!(launcher.name.starts_with("node-") && launcher.failure.is_none(), "{launcher:?}");
    assert_eq!(launches(&cluster, "node-7"), 1);
    // It outlives those that may have started it, in a group of its own.
    let group = fs::read_to_string(format!("/proc/{}/stat", launched.pid)).expect("it runs");
    let group = group.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(2));
    assert_eq!(group, Some(launched.pid.to_string().as_str()));
    let mut cluster = cluster;
    for number in 0..3 {
        cluster.node_mut(number).kill();
    }
    assert_eq!(peer.ask_json(r#"{"op":"STATUS"}"#)["status"]["node"], "node-7");
}

fn a_node_is_started_on_its_host_or_nowhere(backend: Backend) {
    let cluster = launchers(backend, 2);
    let signals = Signals::of(&cluster);
    let elsewhere = running(Some("203.0.113.1"));
    signals.write("node-7", &elsewhere);
    signals.write("node-8", &running(None));
    // The nodes are pushed both, in this order.
    cluster.wait_until_registered("node-8");
    assert_eq!(signals.read("node-7"), Some(elsewhere));
    assert!(cluster.launched("node-7").is_none());
    assert!(!cluster.data_directory().join("node-7").exists());
}

fn a_launch_that_its_author_never_made_is_made_by_another(backend: Backend) {
    let cluster = launchers(backend, 2);
    let signals = Signals::of(&cluster);
    let lost = Launcher { name: "node-99".to_owned(), attempt: Uuid::new_v4(), failure: None };
    let signal = Signal::Running {
        host: None,
        weight: 1,
        zone: String::new(),
        launcher: Some(lost.clone()),
    };
    signals.write("node-7", &signal);
    cluster.wait_until_registered("node-7");
    let launcher = launcher(&signals, "node-7");
    assert_ne!((&launcher.name, launcher.attempt), (&lost.name, lost.attempt));
    assert_eq!(launches(&cluster, "node-7"), 1);
}

fn a_launch_that_fails_says_why_and_is_tried_again(backend: Backend) {
    let cluster = launchers(backend, 2);
    let signals = Signals::of(&cluster);
    // What is in the way of its data directory.
    let obstacle = cluster.data_directory().join("node-7");
    fs::write(&obstacle, "").expect("a file can be made");
    signals.write("node-7", &running(Some(HOST)));
    let failure = signals.wait_for_failure("node-7");
    assert!(failure.contains("exit status: 4") && failure.contains("cannot be used"), "{failure}");
    assert!(failure.len() < 700, "{failure}");
    // Nothing is left of it in the system.
    let children = fs::read_dir("/proc").expect("this is Linux").flatten();
    let parents = cluster.nodes().iter().map(|node| format!("PPid:\t{}", node.pid()));
    let parents: Vec<String> = parents.collect();
    let zombies = children.filter(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        status.contains("State:\tZ")
            && status.lines().any(|line| parents.iter().any(|it| it == line))
    });
    assert_eq!(zombies.count(), 0);

    fs::remove_file(&obstacle).expect("the file can be removed");
    cluster.wait_until_registered("node-7");
    // A place that cannot be written at all, and a node that cannot understand what it is told.
    let signal = |zone: &str| Signal::Running {
        host: None,
        weight: 1,
        zone: zone.to_owned(),
        launcher: None,
    };
    fs::create_dir(cluster.data_directory().join("node-8.log")).expect("a directory can be made");
    signals.write("node-8", &signal(""));
    let failure = signals.wait_for_failure("node-8");
    assert!(failure.contains("node-8.log cannot be written"), "{failure}");
    signals.write("node-9", &signal("\u{7}"));
    let failure = signals.wait_for_failure("node-9");
    assert!(failure.contains("exit status: 2") && failure.contains("--zone"), "{failure}");
}

fn a_node_that_hangs_is_left_and_one_that_dies_is_started_again(backend: Backend) {
    let cluster = launchers(backend, 1);
    let signals = Signals::of(&cluster);
    signals.write("node-7", &running(Some(HOST)));
    let before = cluster.wait_until_registered("node-7");
    let launched = cluster.launched("node-7").expect("it runs");
    let attempt = launcher(&signals, "node-7").attempt;

    launched.signal(OsSignal::STOP);
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-7", "critical")]);
    launched.signal(OsSignal::CONT);
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-7", "passing")]);
    assert_eq!(cluster.launched("node-7").expect("it runs").pid, launched.pid);
    assert_eq!(launcher(&signals, "node-7").attempt, attempt);

    launched.signal(OsSignal::KILL);
    eventually("another process in its place", HEEDED_WITHIN, || {
        match cluster.launched("node-7") {
            Some(now) if now.pid != launched.pid => Ok(()),
            now => Err(format!("{now:?}")),
        }
    });
    let after = cluster.wait_until_registered("node-7");
    assert_eq!(after.uuid, before.uuid);
    assert_ne!(launcher(&signals, "node-7").attempt, attempt);
    assert_eq!(launches(&cluster, "node-7"), 2);
}

fn a_node_that_its_operator_stops_stays_stopped(backend: Backend) {
    let cluster = launchers(backend, 2);
    let signals = Signals::of(&cluster);
    signals.write("node-7", &running(None));
    cluster.wait_until_registered("node-7");
    cluster.launched("node-7").expect("it runs").signal(OsSignal::TERM);
    signals.wait_until_gone("node-7");
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
    let signals = Signals::of(&cluster);
    // Another data directory of this id is not this node.
    signals.write("node-1", &Signal::Stopped { uuid: Uuid::new_v4() });
    eventually("a word on the signal", REPLY_WITHIN, || {
        let log = cluster.node(1).log();
        if log.contains("means the data directory") { Ok(()) } else { Err(log) }
    });
    signals.write("node-1", &Signal::Stopped { uuid });
    assert_eq!(cluster.node_mut(1).process().wait().code(), Some(0));
    wait_for_nodes(&cluster, &[("node-0", "passing")]);
    assert_it_left(&cluster, "node-1", uuid);

    // Whoever wants it again gets it, as itself and for good.
    signals.write("node-1", &running(None));
    let back = cluster.wait_until_registered("node-1");
    assert_eq!(back.uuid, uuid.to_string());
    signals.write("node-1", &Signal::Stopped { uuid });
    cluster.wait_until_gone("node-1");
    assert_it_left(&cluster, "node-1", uuid);
}

fn a_member_that_is_told_to_stop_stays(backend: Backend) {
    let cluster = Cluster::start(backend, 2);
    let signals = Signals::of(&cluster);
    let signal = Signal::Stopped { uuid: uuid(&cluster, 1) };
    signals.write("node-1", &signal);
    eventually("a word on the signal", REPLY_WITHIN, || {
        let log = cluster.node(1).log();
        let word = log.contains("serving on: this node is a member of the layout");
        if word { Ok(()) } else { Err(log) }
    });
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let status = Peer::req(&cluster.node(1).endpoint()).ask_json(r#"{"op":"STATUS"}"#);
    assert_ne!(status["status"]["layout"]["partitions_owned"], 0);
    assert_eq!(signals.read("node-1"), Some(signal));
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-1", "passing")]);
    // A signal that is taken back is as if it had never been.
    signals.delete("node-1");
    signals.wait_until_gone("node-1");
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-1", "passing")]);
}

fn a_node_that_was_away_when_it_was_told_to_stop_leaves_when_it_is_back(backend: Backend) {
    let (mut cluster, uuid) = member_and_guest(backend);
    cluster.node_mut(1).kill();
    Signals::of(&cluster).write("node-1", &Signal::Stopped { uuid });
    cluster.node_mut(1).restart();
    assert_eq!(cluster.node_mut(1).process().wait().code(), Some(0));
    wait_for_nodes(&cluster, &[("node-0", "passing")]);
    assert_it_left(&cluster, "node-1", uuid);
}
