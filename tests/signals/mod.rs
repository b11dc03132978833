//! Nodes are started and stopped by signals in Consul, each by exactly one.
//!
//! | module | what happens |
//! |---|---|
//! | `started` | which node starts the one that is wanted, and what it hands on |
//! | `refused` | what cannot be started, or only so many times |
//! | `ended` | a launched node hangs, dies, or is told to stop |
//!
//! `kvnode dev` starts nodes by signals too; that is in `dev`.

mod ended;
mod refused;
mod started;

use kv_registry::signal::{Launcher, Signal};
use kv_testkit::harness::launched::Launched;
use kv_testkit::harness::peer::REPLY_WITHIN;
use kv_testkit::harness::signals::Signals;
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

/// The launcher that the signal to the node `id` names.
#[track_caller]
fn launcher(signals: &Signals, id: &str) -> Launcher {
    match signals.read(id) {
        Some(Signal::Running { launcher: Some(launcher), .. }) => launcher,
        signal => panic!("nobody has taken it up: {signal:?}"),
    }
}

/// Waits until the node `node-7` says that it is ready.
fn wait_until_ready(launched: &Launched) {
    eventually("the launched node's readiness line", REPLY_WITHIN, || {
        let log = launched.log();
        if log.contains("ready: node-7 at") { Ok(()) } else { Err(log) }
    });
}
