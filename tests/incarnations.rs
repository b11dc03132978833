//! Of all copies of a node's data directory one is served: the one that was started last.
//!
//! A copy is refused while another one runs, and once another one has run. So is what was put back from
//! a backup. An operator may have an older one served all the same, and then that one counts. What is no
//! copy, starts as it always did.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kv_testkit::consul::RealConsul;
use kv_testkit::files::copy_directory;
use kv_testkit::harness::binaries::{kvclient, kvnode};
use kv_testkit::harness::catalog::{registered, stored, wait_for_nodes};
use kv_testkit::harness::dev::Dev;
use kv_testkit::harness::http::put;
use kv_testkit::harness::node::Node;
use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::run::Run;
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use kv_testkit::needs;
use serde_json::{Value, json};

on_both_backends!(
    every_start_is_a_new_incarnation_wherever_the_directory_is,
    a_copy_is_refused_while_the_node_runs,
    of_two_copies_the_one_that_ran_last_is_served,
    what_is_put_back_from_a_backup_is_refused_unless_it_is_wanted,
    older_data_of_the_same_incarnation_is_found_by_its_last_write,
    a_store_of_an_earlier_run_is_found_however_little_it_misses,
    a_node_whose_copy_was_started_stops_and_answers_nothing_more,
    a_node_that_stood_still_looks_before_it_answers,
    a_consul_that_is_empty_or_old_is_given_the_claim_back,
);

/// How long Consul and the nodes may take to notice something.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// Which run of node 0 the claim in Consul has, as a number.
fn claimed(cluster: &Cluster) -> Value {
    let claim = stored(cluster).remove("nodes/node-0").expect("node-0 is claimed");
    serde_json::from_slice(&claim).expect("a claim is JSON")
}

/// The number in the text of an incarnation.
#[track_caller]
fn number(incarnation: &Value) -> u64 {
    let number = incarnation.as_str().and_then(|text| text.split_once('-'));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or_else(|| panic!("{incarnation}"))
}

/// Puts `from` in the place of what is in `to`.
fn put_back(from: &Path, to: &Path) {
    fs::remove_dir_all(to).expect("it can be removed");
    copy_directory(from, to);
}

/// A root of data directories of its own, with a copy of node 0's in it.
fn copied(cluster: &Cluster, name: &str) -> PathBuf {
    let root = cluster.directory().join(name);
    copy_directory(cluster.node(0).directory(), &root.join("node-0"));
    root
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

/// The arguments of a node on the copy in `root`.
fn on_copy(root: &Path) -> [&str; 6] {
    ["--id", "node-0", "--port", "0", "--data-dir", text(root)]
}

#[track_caller]
fn store(cluster: &Cluster, key: &str, value: &str) {
    cluster.kvclient(&["put", key, value]).output().success();
}

#[track_caller]
fn assert_stored(cluster: &Cluster, key: &str, value: Option<&str>) {
    let output = cluster.kvclient(&["get", key]).output();
    match value {
        Some(value) => assert_eq!(output.success().stdout_text(), value),
        None => drop(output.code(1)),
    }
}

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

    // Killed, copied elsewhere, and the first directory removed: it is registered at an address where
    // nobody listens any more.
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

    // While it runs, too, its writes are counted now and then; a crash tells nobody of the last ones.
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

/// The node crashes each time, and nobody counted its last writes.
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
    // Its registration was its own, and nobody else's; the claim is the other one's.
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

    // One that nobody has replaced goes on.
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
