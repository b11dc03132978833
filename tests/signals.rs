//! Nodes are started and stopped by signals in Consul, each by exactly one.
//!
//! `kvnode dev` starts nodes by signals too; that is in `dev`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use kv_registry::signal::{Launcher, Signal};
use kv_testkit::harness::binaries::kvnode;
use kv_testkit::harness::catalog::{entry, stored, wait_for_nodes};
use kv_testkit::harness::environment::isolate;
use kv_testkit::harness::launched::Launched;
use kv_testkit::harness::peer::{Peer, REPLY_WITHIN};
use kv_testkit::harness::process::Process;
use kv_testkit::harness::signals::{HEEDED_WITHIN, Signals, running};
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use rustix::process::Signal as OsSignal;
use serde_json::Value;
use uuid::Uuid;

on_both_backends!(
    a_signal_starts_a_node_by_exactly_one_launcher,
    a_node_is_started_on_its_host_or_nowhere,
    a_launch_that_its_author_never_made_is_made_by_another,
    a_launch_that_fails_says_why_and_is_tried_again,
    what_no_node_could_obey_is_passed_over,
    signals_start_so_many_nodes_and_no_more,
    a_launched_node_holds_nothing_of_its_starter_and_its_log_is_its_operators,
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

/// Waits until the node `node-7` says that it is ready.
fn wait_until_ready(launched: &Launched) {
    eventually("the launched node's readiness line", REPLY_WITHIN, || {
        let log = launched.log();
        if log.contains("ready: node-7 at") { Ok(()) } else { Err(log) }
    });
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
    wait_until_ready(&launched);
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
    // A place that cannot be written at all.
    fs::create_dir(cluster.data_directory().join("node-8.log")).expect("a directory can be made");
    signals.write("node-8", &running(None));
    let failure = signals.wait_for_failure("node-8");
    assert!(failure.contains("node-8.log cannot be written"), "{failure}");
}

fn what_no_node_could_obey_is_passed_over(backend: Backend) {
    let cluster = launchers(backend, 1);
    let signals = Signals::of(&cluster);
    let signal = |weight: u32, zone: &str, host: &str| Signal::Running {
        host: Some(host.to_owned()),
        weight,
        zone: zone.to_owned(),
        launcher: None,
    };
    signals.write("node-1", &signal(0, "", HOST));
    signals.write("node-2", &signal(257, "", HOST));
    signals.write("node-3", &signal(1, "\u{7}", HOST));
    signals.write("node-4", &signal(1, &"z".repeat(65), HOST));
    signals.write("node-5", &signal(1, "", "127.0.0.1\n"));
    let forged = br#"{"wanted":"x\n2026-01-01T00:00:00Z  WARN forged \u001b[2J"}"#;
    signals.write_raw("node-6", forged);
    // An odd zone is a zone, and no option of the node that is started with it.
    signals.write("node-7", &signal(256, "--id x -a", HOST));
    assert_eq!(cluster.wait_until_registered("node-7").described, [HOST, "256", "--id x -a"]);
    for number in 1..=6 {
        let id = format!("node-{number}");
        let line = format!("desired/{id} in Consul is passed over");
        let others = "more that are no signals are not named";
        eventually("a word on what is no signal", REPLY_WITHIN, || {
            let log = cluster.node(0).log();
            if log.contains(&line) || log.contains(others) { Ok(()) } else { Err(log) }
        });
        assert!(!cluster.data_directory().join(&id).exists(), "{id} was started");
    }
    // Written alone, the last one has a line, and one line only.
    signals.write_raw("node-6", forged);
    signals.write_raw("node-6", &[forged, &b" "[..]].concat());
    eventually("a word on the forged line", REPLY_WITHIN, || {
        let log = cluster.node(0).log();
        if log.contains("desired/node-6 in Consul") { Ok(()) } else { Err(log) }
    });
    let log = cluster.node(0).log();
    assert!(log.contains("\\n2026-01-01T00:00:00Z  WARN forged \\u{1b}[2J"), "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains("\n2026-01-01"), "{log}");
}

fn signals_start_so_many_nodes_and_no_more(backend: Backend) {
    let mut cluster = Cluster::empty(backend);
    cluster.add_node(&["--id", "node-0", "--port", "0", WITHIN[0], WITHIN[1], "--launch-max", "3"]);
    let signals = Signals::of(&cluster);
    let ids: Vec<String> = (1..=8).map(|number| format!("bomb-{number}")).collect();
    for id in &ids {
        signals.write(id, &running(None));
    }
    let run =
        |cluster: &Cluster| ids.iter().filter_map(|id| cluster.launched(id)).collect::<Vec<_>>();
    // Those who wanted more than there may be are told so.
    eventually("as many nodes as may be, and a word on the others", HEEDED_WITHIN, || {
        let refused = ids.iter().find(|id| match signals.read(id) {
            Some(Signal::Running { launcher: Some(launcher), .. }) => {
                launcher.failure.is_some_and(|failure| failure.contains("--launch-max"))
            }
            _ => false,
        });
        let run = run(&cluster);
        if run.len() == 2 && refused.is_some() { Ok(()) } else { Err(format!("{run:?}")) }
    });
    assert_eq!(run(&cluster).len(), 2);
    // One that ends makes room for another.
    let ended = &run(&cluster)[0];
    let gone =
        ended.directory.file_name().and_then(|id| id.to_str()).expect("it is an id").to_owned();
    ended.signal(OsSignal::TERM);
    signals.wait_until_gone(&gone);
    eventually("another in its place", HEEDED_WITHIN, || {
        let now = run(&cluster);
        let replaced = now.len() == 2 && now.iter().all(|it| it.pid != ended.pid);
        if replaced { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

fn a_launched_node_holds_nothing_of_its_starter_and_its_log_is_its_operators(backend: Backend) {
    let cluster = Cluster::empty(backend);
    let marker = cluster.directory().join("marker");
    let lock = fs::File::create(&marker).expect("a file can be made");
    drop(lock);
    // A shell that leaves a file open to the node that it becomes.
    let script = "umask 0; exec 7<marker; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    isolate(&mut command, cluster.directory());
    command.args(["-c", script]).arg(kvnode()).args(["--consul", &cluster.consul()]);
    command.args(["--cluster", cluster.name(), "--id", "node-0", "--port", "0"]);
    command.arg("--stop-with-stdin").arg("--data-dir").arg(cluster.data_directory());
    let log = cluster.directory().join("logs/shell.log");
    let mut starter = Process::start("kvnode", &mut command, &log);
    starter.wait_for_line("ready: ");
    let open = |pid: u32| -> Vec<PathBuf> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
    };
    assert!(open(starter.pid()).contains(&marker), "the test is none");

    Signals::of(&cluster).write("node-7", &running(None));
    cluster.wait_until_registered("node-7");
    let launched = cluster.launched("node-7").expect("it runs");
    let pid = u32::try_from(launched.pid).expect("a process has an id");
    assert!(!open(pid).contains(&marker), "{:?}", open(pid));
    // Pipes and sockets have names of their own, such as `pipe:[7]`.
    let starters = open(starter.pid());
    let is_channel = |it: &PathBuf| {
        it.to_str().is_some_and(|it| it.starts_with("pipe:") || it.starts_with("socket:"))
    };
    let own = open(pid).into_iter();
    let shared: Vec<_> = own.filter(|it| is_channel(it) && starters.contains(it)).collect();
    assert_eq!(shared, Vec::<PathBuf>::new());
    let mode = fs::metadata(&launched.log).expect("it has a log").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn a_node_that_hangs_is_left_and_one_that_dies_is_started_again(backend: Backend) {
    let cluster = launchers(backend, 1);
    let signals = Signals::of(&cluster);
    signals.write("node-7", &running(Some(HOST)));
    let before = cluster.wait_until_registered("node-7");
    let launched = cluster.launched("node-7").expect("it runs");
    let attempt = launcher(&signals, "node-7").attempt;
    // One that stands still before it is ready could give up what it asked when it goes on.
    wait_until_ready(&launched);

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
