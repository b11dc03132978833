//! Nodes that move between the Consul agents of two machines.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use kv_testkit::consul::RealConsul;
use kv_testkit::files::copy_directory;
use kv_testkit::harness::binaries::kvnode;
use kv_testkit::harness::node::Node;
use kv_testkit::harness::run::Run;
use kv_testkit::harness::{Backend, Cluster, eventually};
use kv_testkit::needs;
use serde_json::Value;

use super::{NOTICED_WITHIN, assert_stored, store};

/// Two machines, each with a Consul agent; nodes choose theirs.
struct Machines {
    cluster: Cluster,
    second: RealConsul,
}

impl Machines {
    fn start() -> Self {
        let mut cluster = Cluster::empty_with_own_consul(Backend::RealConsul);
        let second = RealConsul::join(cluster.own_consul().real());
        Self { cluster, second }
    }

    /// The arguments of the node `id` with its data under `root`, at the agent of either machine.
    fn args(&self, id: &str, is_second: bool, root: &Path) -> Vec<OsString> {
        let address = self.second.address().to_string();
        let consul = if is_second { address } else { self.cluster.consul() };
        let args = ["--consul", &consul, "--cluster", self.cluster.name(), "--id", id];
        let args = args.iter().chain(&["--port", "0", "--data-dir"]).map(OsString::from);
        args.chain([root.into()]).collect()
    }

    #[track_caller]
    fn node(&self, id: &str, is_second: bool, root: &Path) -> Node {
        let log = format!("{id}-{is_second}");
        let mut node = Node::spawn(&log, self.args(id, is_second, root), self.cluster.directory());
        node.wait_until_ready();
        node
    }

    #[track_caller]
    fn status(&self) -> Value {
        let output = self.cluster.kvclient(&["--output", "json", "status"]).output().success();
        serde_json::from_slice(&output.stdout).expect("it is JSON")
    }

    /// Waits until those agents have a registration of an earlier run.
    #[track_caller]
    fn wait_for_left_behind(&self, expected: &[&str]) {
        // The agents tell the server of their own accord, a little later.
        eventually("what was left behind", NOTICED_WITHIN, || {
            let status = self.status();
            let left = status["left_behind"].as_array().expect("it is a list");
            let agents: Vec<_> = left.iter().filter_map(|it| it["agent"].as_str()).collect();
            if agents == expected { Ok(()) } else { Err(status.to_string()) }
        });
    }
}

#[needs(consul)]
#[test]
fn a_node_moves_between_agents_and_its_copy_is_refused_at_the_other_one() {
    let machines = Machines::start();
    let (cluster, root) = (&machines.cluster, machines.cluster.data_directory());
    let mut node = machines.node("node-0", false, &root);
    cluster.kvclient(&["init"]).output().success();
    store(cluster, "key", "value");

    let live = cluster.directory().join("copy");
    copy_directory(node.directory(), &live.join("node-0"));
    let refused = Run::new(kvnode(), cluster.directory());
    let refused = refused.args(machines.args("node-0", true, &live)).output();
    let running = format!("running at {}", node.address());
    refused.code(4).no_stdout().says(&[&running]);

    // Killed at one agent, it starts at the other one; the first one's registration stays.
    node.kill();
    let mut node = machines.node("node-0", true, &root);
    machines.wait_for_left_behind(&["real"]);
    let shown = machines.status();
    assert_eq!(shown["nodes"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(shown["nodes"][0]["address"], node.address());
    let output = cluster.kvclient(&["status"]).output().success();
    output.says(&["node-0: an earlier run of it is still registered", "agent of real"]);
    assert_stored(cluster, "key", Some("value"));

    // Of a copy that is started at the first agent while the node stands still, the agent at the second
    // one knows nothing; the claim does.
    node.freeze();
    fs::remove_dir_all(&live).expect("it can be removed");
    copy_directory(node.directory(), &live.join("node-0"));
    let _other = machines.node("node-0", false, &live);
    store(cluster, "key", "the copy's");
    node.thaw();
    assert_eq!(node.process().wait().code(), Some(4));
    assert_stored(cluster, "key", Some("the copy's"));
    machines.wait_for_left_behind(&[]);
}

#[needs(consul)]
#[test]
fn a_node_that_left_a_registration_behind_is_removed_like_any_other() {
    let machines = Machines::start();
    let (cluster, root) = (&machines.cluster, machines.cluster.data_directory());
    let _first = machines.node("node-0", true, &root);
    let mut node = machines.node("node-1", false, &root);
    cluster.kvclient(&["init"]).output().success();
    store(cluster, "key", "value");
    node.kill();
    let mut node = machines.node("node-1", true, &root);
    let output = cluster.kvclient(&["remove-node", "node-1"]).output().success();
    output.says(&["node node-1 has stopped"]);
    assert_eq!(node.process().wait().code(), Some(0));
    machines.wait_for_left_behind(&["real"]);
    let shown = machines.status();
    assert_eq!(shown["nodes"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_stored(cluster, "key", Some("value"));
}
