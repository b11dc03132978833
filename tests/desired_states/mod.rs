//! Nodes are started and stopped by desired states in Consul, each by exactly one.
//!
//! | module | what happens |
//! |---|---|
//! | `started` | which node starts the one that is wanted, and what it hands on |
//! | `refused` | what cannot be started, or only so many times |
//! | `ended` | a launched node hangs, dies, or is told to stop |
//!
//! `kvnode dev` starts nodes by desired states too; that is in `dev`.

mod ended;
mod refused;
mod started;

use kv_registry::desired_state::{DesiredState, Launcher};
use kv_testkit::harness::desired_states::DesiredStates;
use kv_testkit::harness::launched::Launched;
use kv_testkit::harness::peer::REPLY_WITHIN;
use kv_testkit::harness::{Backend, Cluster, eventually};

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

/// The launcher that the desired state to the node `id` names.
#[track_caller]
fn launcher(desired_states: &DesiredStates, id: &str) -> Launcher {
    match desired_states.read(id) {
        Some(DesiredState::Running { launcher: Some(launcher), .. }) => launcher,
        desired_state => panic!("nobody has taken it up: {desired_state:?}"),
    }
}

/// Waits until the node `node-7` says that it is ready.
fn wait_until_ready(launched: &Launched) {
    eventually("the launched node's readiness line", REPLY_WITHIN, || {
        let log = launched.log();
        if log.contains("ready: node-7 at") { Ok(()) } else { Err(log) }
    });
}
