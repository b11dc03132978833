//! `kvnode dev`: a whole cluster with one command.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kv_registry::desired_state;
use kv_testkit::harness::address::port_of;
use kv_testkit::harness::binaries::{kvclient, kvnode};
use kv_testkit::harness::corpus::{self, assert_same_lines, ndjson};
use kv_testkit::harness::desired_states::{DesiredStates, running};
use kv_testkit::harness::dev::Dev;
use kv_testkit::harness::http::Impostor;
use kv_testkit::harness::run::Run;
use kv_testkit::harness::{Backend, eventually};
use kv_testkit::needs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// How long the supervisor may take to bring a node back.
const BACK_WITHIN: Duration = Duration::from_secs(30);

fn client(dev: &Dev, args: &[&str]) -> Run {
    Run::new(kvclient(), &dev.directory).args(["--consul", dev.address()]).args(args)
}

#[test]
fn it_starts_stops_and_starts_again_with_its_data() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut dev = Dev::start(directory.path(), 4);
    let lines = ndjson(&corpus::words()[..2000]);
    client(&dev, &["import"]).stdin(lines.clone()).output().success().says(&["4 nodes"]);
    for signal in [Signal::TERM, Signal::INT] {
        let nodes = children(&dev);
        assert_eq!(nodes.len(), 4);
        dev.process.signal(signal);
        assert_eq!(dev.process.wait().code(), Some(0));
        for node in nodes {
            assert!(!Path::new(&format!("/proc/{node}/stat")).exists(), "a node is left");
        }
        // At another port, which changes nothing.
        dev = Dev::start(directory.path(), 4);
        let output = client(&dev, &["export"]).output().success();
        assert_same_lines(output.stdout_text(), &lines, "the data is there");
        assert!(!output.stderr_text().contains("created cluster"), "{output}");
    }
}

#[test]
fn a_node_that_dies_is_started_again() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let dev = Dev::start(directory.path(), 2);
    client(&dev, &["put", "key", "value"]).output().success();
    let before = children(&dev);
    let victim = Pid::from_raw(before[0]).expect("a process has an id");
    kill_process(victim, Signal::KILL).expect("the node runs");
    eventually("another node in its place", BACK_WITHIN, || {
        let now = children(&dev);
        let back = now.len() == 2 && !now.contains(&before[0]);
        if back { Ok(()) } else { Err(format!("{before:?} before, {now:?} now")) }
    });
    let output = client(&dev, &["get", "key"]).output().success();
    assert_eq!(output.stdout_text(), "value");
    let status = client(&dev, &["--output", "json", "status"]).output().success().json();
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(2));
}

#[test]
fn no_node_outlives_its_supervisor() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut dev = Dev::start(directory.path(), 2);
    let nodes = children(&dev);
    assert_eq!(nodes.len(), 2);
    dev.process.kill();
    eventually("the end of the nodes", BACK_WITHIN, || {
        let left: Vec<_> = nodes
            .iter()
            .filter(|node| fs::read(format!("/proc/{node}/cmdline")).is_ok_and(|it| !it.is_empty()))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are left")) }
    });
}

#[test]
fn nodes_that_are_wanted_are_its_own_until_they_are_removed() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut dev = Dev::start(directory.path(), 2);
    DesiredStates::at(dev.address()).write("extra", &running(Some("of-whatever-name")));
    wait_for_children(&dev, 3);
    let identity = dev.directory.join("nodes/extra/identity.json");
    eventually("its data", BACK_WITHIN, || fs::metadata(&identity).map_err(|it| it.to_string()));

    // Ctrl-C in a terminal reaches the nodes as well.
    let nodes = children(&dev);
    for node in &nodes {
        kill_process(Pid::from_raw(*node).expect("it has an id"), Signal::INT).expect("it runs");
    }
    dev.process.signal(Signal::INT);
    assert_eq!(dev.process.wait().code(), Some(0));
    assert!(!nodes.iter().any(|node| Path::new(&format!("/proc/{node}/stat")).exists()));

    let (mut dev, ready) = Dev::start_any(directory.path(), 2, 0);
    assert_eq!((ready, children(&dev).len()), (3, 3));
    for id in ["extra", "node-1"] {
        let identity = fs::read(dev.directory.join("nodes").join(id).join("identity.json"));
        let identity: Value =
            serde_json::from_slice(&identity.expect("it has data")).expect("it is JSON");
        let uuid = identity["uuid"].as_str().and_then(|uuid| uuid.parse().ok());
        let uuid = uuid.expect("it has a uuid");
        let desired_states = DesiredStates::at(dev.address());
        desired_states.write(id, &desired_state::DesiredState::Stopped { uuid });
        desired_states.wait_until_gone(id);
    }
    wait_for_children(&dev, 1);
    assert_eq!(dev.process.terminate().code(), Some(0));

    let (dev, ready) = Dev::start_any(directory.path(), 2, 0);
    assert_eq!((ready, children(&dev).len()), (1, 1));
    // Wanted again, it is back.
    DesiredStates::at(dev.address()).write("extra", &running(None));
    wait_for_children(&dev, 2);
}

fn wait_for_children(dev: &Dev, count: usize) {
    eventually("the nodes that are wanted", BACK_WITHIN, || {
        let now = children(dev);
        if now.len() == count { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

#[needs(consul)]
#[test]
fn a_real_consul_at_its_port_is_used() {
    let consul = Backend::RealConsul.start();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let dev = Dev::start_at(directory.path(), 2, port_of(&consul.address()));
    assert!(dev.process.log().contains("a Consul answers at"), "{}", dev.process.log());
    assert!(!directory.path().join("consul").exists(), "there is no agent of its own");
    client(&dev, &["put", "key", "value"]).output().success();
    assert_eq!(client(&dev, &["get", "key"]).output().success().stdout_text(), "value");
}

#[test]
fn what_is_at_its_port_and_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let first = Dev::start(&directory.path().join("first"), 1);
    let second = directory.path().join("second");
    let dev = |port: u16| {
        fs::create_dir_all(&second).expect("a directory can be made");
        let run = Run::new(kvnode(), &second);
        let run = run.args(["dev", "--nodes", "1", "--consul-port", &port.to_string()]);
        run.arg_path("--data-dir", &second).output()
    };
    // Another such cluster, whose node has the id already.
    let words = ["a Consul answers at", "node-0", "is running at"];
    dev(first.port()).code(4).no_stdout().says(&words);
    // Something that is no Consul.
    let impostor = Impostor::strange();
    let port = impostor.port();
    dev(port).code(4).no_stdout().says(&[&port.to_string()]);
    // The directory is in use.
    let run = Run::new(kvnode(), &first.directory).args(["dev", "--consul-port", "0"]);
    let output = run.arg_path("--data-dir", &first.directory).output();
    output.code(4).no_stdout().says(&["in use by another process"]);
}

#[test]
fn a_node_that_cannot_start_is_named_and_the_others_run() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut dev = Dev::start(directory.path(), 3);
    client(&dev, &["import"]).stdin(ndjson(&corpus::words()[..200])).output().success();
    assert_eq!(dev.process.terminate().code(), Some(0));
    let lost = directory.path().join("nodes/node-1");
    fs::remove_dir_all(&lost).expect("its data can be removed");

    let process = Dev::spawn(directory.path(), 3, 0, &[], &[]);
    let (dev, counted) = Dev::when_ready(process, directory.path());
    assert_eq!(counted, "2 of 3");
    let words = ["node-1 of cluster default has its data elsewhere", "remove-node --dead node-1"];
    eventually("words on node-1", BACK_WITHIN, || {
        let log = dev.process.log();
        if words.iter().all(|words| log.contains(words)) { Ok(()) } else { Err(log) }
    });
    let status = client(&dev, &["status"]).output().success();
    assert_eq!(status.stdout_text().matches("passing").count(), 2);
    // Once it is given up, there is no reason left for it not to run, as a new one.
    let give_up = ["remove-node", "--dead", "node-1", "--accept-data-loss"];
    client(&dev, &give_up).output().success();
    let within = 4 * BACK_WITHIN;
    eventually("the node that could not start", within, || {
        fs::metadata(lost.join("identity.json")).map_err(|it| it.to_string())
    });
    wait_for_children(&dev, 3);
}

#[test]
fn a_member_keeps_the_weight_and_zone_that_it_was_given() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut dev = Dev::start(directory.path(), 2);
    client(&dev, &["put", "key", "value"]).output().success();
    client(&dev, &["set-node", "node-1", "--weight", "4", "--zone", "z"]).output().success();
    assert_eq!(dev.process.terminate().code(), Some(0));
    let dev = Dev::start(directory.path(), 2);
    let status = client(&dev, &["--output", "json", "status"]).output().success().json();
    let nodes = status["nodes"].as_array().expect("it lists them");
    let node = nodes.iter().find(|it| it["id"] == "node-1").expect("it is listed");
    assert_eq!(node["registered"], json!({"weight": 4, "zone": "z"}), "{status:#}");
    assert!(!dev.process.log().contains("started with weight"), "{}", dev.process.log());
}

#[test]
fn where_no_node_can_start_it_ends_and_says_why() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let nodes = directory.path().join("nodes");
    fs::create_dir(&nodes).expect("a directory can be made");
    for id in ["node-0", "node-1"] {
        fs::write(nodes.join(id), "").expect("a file can be made");
    }
    let run = Run::new(kvnode(), directory.path());
    let run = run.args(["dev", "--nodes", "2", "--consul-port", "0"]);
    let output = run.arg_path("--data-dir", directory.path()).output();
    output.code(4).no_stdout().says(&["node-0", "node-1", "cannot be used"]);
}

#[test]
fn nodes_of_a_run_that_was_killed_are_waited_for() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut dev = Dev::start(directory.path(), 2);
    client(&dev, &["put", "key", "value"]).output().success();
    // One that is slow to stop.
    let held = fs::read_to_string(directory.path().join("nodes/node-1/lock")).expect("it is held");
    let held = held.trim().parse().ok().and_then(Pid::from_raw).expect("it names its process");
    kill_process(held, Signal::STOP).expect("it runs");
    dev.process.kill();

    let process = Dev::spawn(directory.path(), 2, 0, &[], &[]);
    eventually("a word on the earlier node", BACK_WITHIN, || {
        let log = process.log();
        let said = log.contains("node-1 of an earlier run has not ended");
        if said { Ok(()) } else { Err(log) }
    });
    kill_process(held, Signal::CONT).expect("it is there");
    let (dev, counted) = Dev::when_ready(process, directory.path());
    assert_eq!(counted, "2");
    assert_eq!(client(&dev, &["get", "key"]).output().success().stdout_text(), "value");
}

const SECRET: &str = "a-token-of-another-consul";

#[test]
fn a_token_is_for_the_consul_that_the_environment_names() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let token = ("CONSUL_HTTP_TOKEN", SECRET);
    // Its own agent needs none, so the nodes do not get to know it.
    let own = directory.path().join("own");
    fs::create_dir(&own).expect("a directory can be made");
    let (dev, _) = Dev::when_ready(Dev::spawn(&own, 1, 0, &[], &[token]), &own);
    for child in children(&dev) {
        let environment = fs::read(format!("/proc/{child}/environ")).expect("it runs");
        assert!(!String::from_utf8_lossy(&environment).contains(SECRET));
    }
    // A stranger at the port does not get it, unless the user's own word is that it is for the stranger.
    for (named, expected) in [(false, false), (true, true)] {
        let stranger = Impostor::leading();
        let data = directory.path().join(format!("named-{named}"));
        fs::create_dir(&data).expect("a directory can be made");
        let port = stranger.port().to_string();
        let run = Run::new(kvnode(), &data).env(token.0, token.1);
        let run = if named { run.env("CONSUL_HTTP_ADDR", stranger.address()) } else { run };
        let run = run.args(["dev", "--nodes", "1", "--consul-port", &port]);
        let output = run.arg_path("--data-dir", &data).output().no_stdout();
        let hint = output.stderr_text().contains("it does not get CONSUL_HTTP_TOKEN");
        assert_eq!(hint, !expected, "{output}");
        let heard = stranger.heard();
        // Both the question who leads and a node's first one have come.
        assert!(heard.len() > 1, "{heard:?}");
        assert_eq!(heard.iter().any(|it| it.contains(SECRET)), expected, "{heard:?}");
    }
}

/// The processes that `dev` has started.
fn children(dev: &Dev) -> Vec<i32> {
    let parent = format!("PPid:\t{}", dev.process.pid());
    let is_child = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == parent)
    };
    let all = fs::read_dir("/proc").expect("this is Linux").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut children: Vec<i32> = pids.filter(is_child).collect();
    children.sort_unstable();
    children
}
