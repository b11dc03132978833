//! Which node starts the one that is wanted, and what that one gets of its starter.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use kv_registry::desired_state::{DesiredState, Launcher};
use kv_testkit::harness::binaries::kvnode;
use kv_testkit::harness::desired_states::{DesiredStates, running};
use kv_testkit::harness::environment::isolate;
use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::process::Process;
use kv_testkit::harness::{Backend, Cluster, on_both_backends};
use uuid::Uuid;

use super::{HOST, launcher, launchers, launches, wait_until_ready};

on_both_backends!(
    a_signal_starts_a_node_by_exactly_one_launcher,
    a_node_is_started_on_its_host_or_nowhere,
    a_launch_that_its_author_never_made_is_made_by_another,
    a_launched_node_holds_nothing_of_its_starter_and_its_log_is_its_operators,
);

fn a_signal_starts_a_node_by_exactly_one_launcher(backend: Backend) {
    let cluster = launchers(backend, 3);
    let desired_states = DesiredStates::of(&cluster);
    let desired_state = DesiredState::Running {
        host: Some(HOST.to_owned()),
        weight: 3,
        zone: "-rack 7".to_owned(),
        launcher: None,
    };
    desired_states.write("node-7", &desired_state);
    let entry = cluster.wait_until_registered("node-7");
    assert_eq!(entry.described, [HOST, "3", "-rack 7"]);
    let peer = Peer::req(&format!("tcp://{}", entry.address));
    let status = peer.ask_json(r#"{"op":"STATUS"}"#)["status"].clone();
    assert_eq!(status["node"], "node-7");

    let launched = cluster.launched("node-7").expect("its process holds its directory");
    assert!(launched.directory.join("identity.json").is_file());
    // It answers before it says so.
    wait_until_ready(&launched);
    let launcher = launcher(&desired_states, "node-7");
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
    let desired_states = DesiredStates::of(&cluster);
    let elsewhere = running(Some("203.0.113.1"));
    desired_states.write("node-7", &elsewhere);
    desired_states.write("node-8", &running(None));
    // The nodes are pushed both, in this order.
    cluster.wait_until_registered("node-8");
    assert_eq!(desired_states.read("node-7"), Some(elsewhere));
    assert!(cluster.launched("node-7").is_none());
    assert!(!cluster.data_directory().join("node-7").exists());
}

fn a_launch_that_its_author_never_made_is_made_by_another(backend: Backend) {
    let cluster = launchers(backend, 2);
    let desired_states = DesiredStates::of(&cluster);
    let lost = Launcher { name: "node-99".to_owned(), attempt: Uuid::new_v4(), failure: None };
    let desired_state = DesiredState::Running {
        host: None,
        weight: 1,
        zone: String::new(),
        launcher: Some(lost.clone()),
    };
    desired_states.write("node-7", &desired_state);
    cluster.wait_until_registered("node-7");
    let launcher = launcher(&desired_states, "node-7");
    assert_ne!((&launcher.name, launcher.attempt), (&lost.name, lost.attempt));
    assert_eq!(launches(&cluster, "node-7"), 1);
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

    DesiredStates::of(&cluster).write("node-7", &running(None));
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
