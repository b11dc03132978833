//! The nodes of one test, with their data and their Consul.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::backend::{Backend, ConsulServer};
use super::binaries::{kvclient, kvnode};
use super::launched::{self, Launched};
use super::node::Node;
use super::run::{Output, Run};
use crate::wait::eventually;

/// Nodes of a cluster that no other test uses. Everything ends when this is dropped; after a failure
/// it prints the nodes' logs.
pub struct Cluster {
    name: String,
    nodes: Vec<Node>,
    consul: Consul,
    // Dropped last, after those who write to it.
    directory: TempDir,
}

enum Consul {
    Shared(Arc<ConsulServer>),
    Own(ConsulServer),
}

impl Cluster {
    /// A cluster without nodes, at a Consul that other tests use too.
    pub fn empty(backend: Backend) -> Self {
        Self::new(Consul::Shared(backend.shared()))
    }

    /// A cluster without nodes, at a Consul that the test may end and empty.
    pub fn empty_with_own_consul(backend: Backend) -> Self {
        Self::new(Consul::Own(backend.start()))
    }

    /// A cluster without nodes, at a Consul that the test may end and that keeps its state.
    pub fn empty_with_durable_consul(backend: Backend) -> Self {
        Self::new(Consul::Own(backend.start_durable()))
    }

    /// A cluster of nodes `node-0` and so on that belong to no layout yet.
    #[track_caller]
    pub fn without_layout(backend: Backend, nodes: usize) -> Self {
        let mut cluster = Self::empty(backend);
        cluster.add_nodes(nodes);
        cluster
    }

    /// A cluster of nodes `node-0` and so on that have the layout which the default strategy gives.
    #[track_caller]
    pub fn start(backend: Backend, nodes: usize) -> Self {
        let mut cluster = Self::without_layout(backend, nodes);
        cluster.create_layout(&[]);
        cluster
    }

    /// [`Cluster::start`] at a Consul that the test may end and empty.
    #[track_caller]
    pub fn start_with_own_consul(backend: Backend, nodes: usize) -> Self {
        let mut cluster = Self::empty_with_own_consul(backend);
        cluster.add_nodes(nodes);
        cluster.create_layout(&[]);
        cluster
    }

    fn new(consul: Consul) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        Self { name: format!("test-{number}"), nodes: Vec::new(), consul, directory }
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A place for the test's files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The root of the nodes' data directories.
    pub fn data_directory(&self) -> PathBuf {
        self.directory.path().join("nodes")
    }

    /// Consul's host and port.
    pub fn consul(&self) -> String {
        match &self.consul {
            Consul::Shared(consul) => consul.address(),
            Consul::Own(consul) => consul.address(),
        }
    }

    /// The Consul that only this cluster uses.
    ///
    /// # Panics
    /// Where it uses a shared one.
    pub fn own_consul(&mut self) -> &mut ConsulServer {
        match &mut self.consul {
            Consul::Own(consul) => consul,
            Consul::Shared(_) => panic!("other tests use this Consul"),
        }
    }

    /// Starts nodes with the next ids, all at the same time, and waits until all are ready.
    #[track_caller]
    pub fn add_nodes(&mut self, count: usize) {
        let first = self.nodes.len();
        for number in first..first + count {
            self.spawn_node(&["--id", &format!("node-{number}"), "--port", "0"]);
        }
        for node in &mut self.nodes[first..] {
            node.wait_until_ready();
        }
    }

    /// Starts nodes that choose their ids themselves, all at the same time.
    #[track_caller]
    pub fn add_nodes_without_ids(&mut self, count: usize) {
        let first = self.nodes.len();
        for _ in 0..count {
            self.spawn_node(&["--port", "0"]);
        }
        for node in &mut self.nodes[first..] {
            node.wait_until_ready();
        }
    }

    /// Starts a node with these arguments and those that every node of this cluster has, and waits
    /// until it is ready. Returns its number.
    #[track_caller]
    pub fn add_node(&mut self, args: &[&str]) -> usize {
        self.spawn_node(args);
        let number = self.nodes.len() - 1;
        self.nodes[number].wait_until_ready();
        number
    }

    /// [`Cluster::add_node`] without waiting.
    #[track_caller]
    pub fn spawn_node(&mut self, args: &[&str]) {
        let name = format!("node-process-{}", self.nodes.len());
        let args = self.node_args(args);
        self.nodes.push(Node::spawn(&name, args, self.directory.path()));
    }

    /// A node that is expected not to start, or a question such as `--help`.
    pub fn kvnode(&self, args: &[&str]) -> Run {
        Run::new(kvnode(), self.directory()).args(self.node_args(args))
    }

    /// A node that is told everything by `args`, except where its data is to be.
    pub fn kvnode_anywhere(&self, args: &[&str]) -> Run {
        Run::new(kvnode(), self.directory())
            .args(args)
            .arg_path("--data-dir", &self.data_directory())
    }

    /// What the node's program says of itself.
    ///
    /// # Panics
    /// Where it fails, or says it elsewhere than on standard output.
    #[track_caller]
    pub fn kvnode_help(&self, args: &[&str]) -> Output {
        Run::new(kvnode(), self.directory()).args(args).output().success().no_stderr()
    }

    /// A client's command that is told everything by `args`.
    pub fn kvclient_anywhere(&self, args: &[&str]) -> Run {
        Run::new(kvclient(), self.directory()).args(args)
    }

    /// A client's command in this cluster.
    pub fn kvclient(&self, args: &[&str]) -> Run {
        Run::new(kvclient(), self.directory())
            .args(["--consul", &self.consul(), "--cluster", &self.name])
            .args(args)
    }

    /// A client's command in this cluster that a shell starts: `"$0" "$@"` in its script.
    pub fn kvclient_in_shell(&self, script: &str, args: &[&str]) -> Run {
        Run::in_shell(script, kvclient(), self.directory())
            .args(["--consul", &self.consul(), "--cluster", &self.name])
            .args(args)
    }

    /// Creates the layout of the nodes that run, with further arguments for `kvclient init`.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    pub fn create_layout(&mut self, args: &[&str]) {
        let args: Vec<&str> = ["init"].iter().chain(args).copied().collect();
        self.kvclient(&args).output().success();
        self.wait_for_layout();
    }

    /// Waits until all nodes have installed a layout, for tests that talk to nodes directly.
    #[track_caller]
    pub fn wait_for_layout(&self) {
        for node in &self.nodes {
            let peer = super::peer::Peer::req(&node.endpoint());
            eventually("a layout at the node", super::peer::REPLY_WITHIN, || {
                let reply = peer.ask_json(r#"{"op":"STATUS"}"#);
                if reply["status"]["layout"].is_null() { Err(reply.to_string()) } else { Ok(()) }
            });
        }
    }

    /// The process that holds the data directory of the node `id`, whoever started it; none where no
    /// process does.
    pub fn launched(&self, id: &str) -> Option<Launched> {
        Launched::find(&self.data_directory(), id)
    }

    /// The node with this number.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// The node with this number.
    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn node_args(&self, args: &[&str]) -> Vec<OsString> {
        let mut all: Vec<OsString> = ["--cluster", &self.name].map(OsString::from).into();
        if !args.contains(&"--consul") {
            all.extend(["--consul", &self.consul()].map(OsString::from));
        }
        if !args.contains(&"--data-dir") {
            all.extend(["--data-dir".into(), self.data_directory().into_os_string()]);
        }
        all.extend(args.iter().map(OsString::from));
        all
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (number, node) in self.nodes.iter().enumerate() {
                eprintln!("-- log of node process {number}\n{}--", node.log());
            }
            for (path, log) in launched::logs(&self.data_directory()) {
                eprintln!("-- {path}\n{log}--");
            }
            if let Consul::Own(consul) = &self.consul {
                eprintln!("-- log of Consul\n{}--", consul.log());
            }
        }
        // Those that a test has started come first, so that they start no others meanwhile.
        self.nodes.clear();
        launched::end_all(self.directory.path());
    }
}
