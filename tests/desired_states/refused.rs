//! Launches that fail, or that no node may make.

use std::fs;

use kv_registry::desired_state::DesiredState;
use kv_testkit::harness::desired_states::{DesiredStates, HEEDED_WITHIN, running};
use kv_testkit::harness::peer::REPLY_WITHIN;
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use rustix::process::Signal as OsSignal;

use super::{HOST, WITHIN, launchers};

on_both_backends!(
    a_launch_that_fails_says_why_and_is_tried_again,
    what_no_node_could_obey_is_passed_over,
    signals_start_so_many_nodes_and_no_more,
);

fn a_launch_that_fails_says_why_and_is_tried_again(backend: Backend) {
    let cluster = launchers(backend, 2);
    let desired_states = DesiredStates::of(&cluster);
    // What is in the way of its data directory.
    let obstacle = cluster.data_directory().join("node-7");
    fs::write(&obstacle, "").expect("a file can be made");
    desired_states.write("node-7", &running(Some(HOST)));
    let failure = desired_states.wait_for_failure("node-7");
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
    desired_states.write("node-8", &running(None));
    let failure = desired_states.wait_for_failure("node-8");
    assert!(failure.contains("node-8.log cannot be written"), "{failure}");
}

fn what_no_node_could_obey_is_passed_over(backend: Backend) {
    let cluster = launchers(backend, 1);
    let desired_states = DesiredStates::of(&cluster);
    let desired_state = |weight: u32, zone: &str, host: &str| DesiredState::Running {
        host: Some(host.to_owned()),
        weight,
        zone: zone.to_owned(),
        launcher: None,
    };
    desired_states.write("node-1", &desired_state(0, "", HOST));
    desired_states.write("node-2", &desired_state(257, "", HOST));
    desired_states.write("node-3", &desired_state(1, "\u{7}", HOST));
    desired_states.write("node-4", &desired_state(1, &"z".repeat(65), HOST));
    desired_states.write("node-5", &desired_state(1, "", "127.0.0.1\n"));
    let forged = br#"{"wanted":"x\n2026-01-01T00:00:00Z  WARN forged \u001b[2J"}"#;
    desired_states.write_raw("node-6", forged);
    // An odd zone is a zone, and no option of the node that is started with it.
    desired_states.write("node-7", &desired_state(256, "--id x -a", HOST));
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
    desired_states.write_raw("node-6", forged);
    desired_states.write_raw("node-6", &[forged, &b" "[..]].concat());
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
    let desired_states = DesiredStates::of(&cluster);
    let ids: Vec<String> = (1..=8).map(|number| format!("bomb-{number}")).collect();
    for id in &ids {
        desired_states.write(id, &running(None));
    }
    let run =
        |cluster: &Cluster| ids.iter().filter_map(|id| cluster.launched(id)).collect::<Vec<_>>();
    // Those who wanted more than there may be are told so.
    eventually("as many nodes as may be, and a word on the others", HEEDED_WITHIN, || {
        let refused = ids.iter().find(|id| match desired_states.read(id) {
            Some(DesiredState::Running { launcher: Some(launcher), .. }) => {
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
    desired_states.wait_until_gone(&gone);
    eventually("another in its place", HEEDED_WITHIN, || {
        let now = run(&cluster);
        let replaced = now.len() == 2 && now.iter().all(|it| it.pid != ended.pid);
        if replaced { Ok(()) } else { Err(format!("{now:?}")) }
    });
}
