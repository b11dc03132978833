//! What becomes of a change while others pause it, undo it, or finish it: nobody takes the end of the
//! moving for success, and what is left to do is done by anybody.

use std::time::Duration;

use kv_registry::desired_state::DesiredState;
use kv_testkit::harness::catalog::stored;
use kv_testkit::harness::desired_states::DesiredStates;
use kv_testkit::harness::peer::parse;
use kv_testkit::harness::run::Running;
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};

use super::{assert_holds, cluster_with_data, members, status, wait_until_moving};

on_both_backends!(
    a_change_that_is_undone_by_others_says_so,
    a_mover_at_work_undoes_what_another_command_aborts,
    a_removal_that_is_paused_by_others_is_finished_by_anybody,
    what_a_removal_leaves_to_do_is_done_by_anybody,
    nodes_that_were_started_for_nothing_are_stopped,
);

/// Starts a command that rests for a while right after it has begun its rebalance, and waits until it
/// has.
#[track_caller]
fn begun(cluster: &Cluster, command: &[&str]) -> Running {
    let run = cluster.kvclient(&[&["--output", "json"], command].concat());
    let running = run.env("FAILPOINTS", "mover::after-begin=sleep(10000)").spawn();
    eventually("a rebalance", Duration::from_secs(60), || {
        let status = status(cluster);
        if status["layout"]["rebalance"].is_null() { Err(status.to_string()) } else { Ok(()) }
    });
    running
}

#[track_caller]
fn assert_ends(running: Running, exit_code: i32, code: &str) {
    let output = running.output().code(exit_code);
    let said = output.stderr_text();
    let error = said.lines().last().map(|line| parse(line.as_bytes()));
    assert_eq!(error.expect("it says why")["error"]["code"], code, "{output}");
    assert_eq!(output.json()["state"], code, "{output}");
}

fn a_change_that_is_undone_by_others_says_so(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 2);
    cluster.add_node(&["--id", "spare", "--port", "0"]);
    let desired_states = DesiredStates::of(&cluster);
    for command in [
        &["remove-node", "node-1"][..],
        &["migrate", "--to", "consistent-hash"],
        &["add-node"],
        &["set-node", "node-1", "--weight", "4"],
    ] {
        let before = status(&cluster)["layout"].clone();
        let running = begun(&cluster, command);
        cluster.kvclient(&["rebalance", "abort"]).output().success().says(&["at rest"]);
        assert_ends(running, 6, "undone");
        let after = status(&cluster)["layout"].clone();
        assert_eq!(after["strategy_sha256"], before["strategy_sha256"], "{command:?}");
        assert_eq!(members(&cluster), ["node-0", "node-1"], "{command:?}");
    }
    // Nobody was told to stop: neither the node that stays, nor the one that was started by hand.
    assert_eq!((desired_states.read("node-1"), desired_states.read("spare")), (None, None));
    assert!(cluster.node_mut(1).process().is_running());
    assert!(cluster.node_mut(2).process().is_running());
    assert_holds(&cluster, &lines);
}

fn a_mover_at_work_undoes_what_another_command_aborts(backend: Backend) {
    let cluster = Cluster::start(backend, 2);
    // Enough that the mover is at work for long.
    let value = "v".repeat(300);
    let line = |number: u32| format!("{{\"key\":\"key-{number}\",\"value\":\"{value}\"}}\n");
    let lines: String = (0..60_000).map(line).collect();
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    let slowly = ["migrate", "--to", "consistent-hash", "--throttle", "1"];
    let mover = cluster.kvclient(&slowly).spawn();
    wait_until_moving(&cluster);
    // It waits until all is as it was, and so does one that comes when it is on its way back.
    let aborts = [(), ()].map(|()| cluster.kvclient(&["rebalance", "abort"]).spawn());
    for abort in aborts {
        abort.output().success();
    }
    mover.output().code(6).says(&["undone: migrate to consistent-hash"]);
    assert_eq!(status(&cluster)["layout"]["strategy"], "hrw");
    assert_holds(&cluster, &lines);
    cluster.kvclient(&["rebalance", "abort"]).output().code(4).says(&["no rebalance is under way"]);
}

fn a_removal_that_is_paused_by_others_is_finished_by_anybody(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 2);
    let desired_states = DesiredStates::of(&cluster);
    let running = begun(&cluster, &["remove-node", "node-1"]);
    cluster.kvclient(&["rebalance", "pause"]).output().success();
    assert_ends(running, 5, "paused");
    assert_eq!(members(&cluster), ["node-0", "node-1"]);
    assert_eq!(desired_states.read("node-1"), None, "it owns its data still");

    cluster.kvclient(&["rebalance", "resume"]).output().success();
    assert_eq!(members(&cluster), ["node-0"]);
    assert_eq!(cluster.node_mut(1).process().wait().code(), Some(0), "it was told to stop");
    assert!(!stored(&cluster).contains_key("leaving"), "nothing is left to do");
    // It is not taken back in: the next one is started anew.
    let added = cluster.kvclient(&["add-node"]).output().success();
    added.says(&["signalled: node node-1 is to run", "node node-1 is running"]);
    assert_eq!(members(&cluster), ["node-0", "node-1"]);
    assert_holds(&cluster, &lines);
}

fn what_a_removal_leaves_to_do_is_done_by_anybody(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 4);
    let steps = ["mover::after-note", "mover::after-settle", "mover::after-telling"];
    for (step, number) in steps.into_iter().zip((1..4).rev()) {
        let id = format!("node-{number}");
        let mover = cluster.kvclient(&["remove-node", &id]);
        let killed = mover.env("FAILPOINTS", &format!("{step}=return")).output();
        assert_eq!(killed.status.code(), None, "{step} was not reached\n{killed}");
        if step == "mover::after-settle" {
            // The next change does it first, and does not take the node for a spare one.
            let added = cluster.kvclient(&["add-node", "--id", &id]).output();
            added.code(4).says(&["was told to stop"]);
        }
        cluster.kvclient(&["rebalance", "resume"]).output().success();
        assert_eq!(cluster.node_mut(number).process().wait().code(), Some(0), "{step}");
        assert!(!stored(&cluster).contains_key("leaving"), "{step}");
        assert!(!members(&cluster).contains(&id), "{step}");
    }
    assert_holds(&cluster, &lines);
}

fn nodes_that_were_started_for_nothing_are_stopped(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 2);
    let desired_states = DesiredStates::of(&cluster);
    // The second of two cannot be started.
    let obstacle = cluster.data_directory().join("node-3");
    std::fs::write(&obstacle, "").expect("a file can be made");
    let failed = cluster.kvclient(&["add-node", "--count", "2"]).output().code(3);
    failed
        .says(&["node node-3 is needed and does not answer", "node node-2 was told to stop again"]);
    cluster.wait_until_gone("node-2");
    desired_states.wait_until_gone("node-2");
    desired_states.wait_until_gone("node-3");
    std::fs::remove_file(&obstacle).expect("the file can be removed");

    // Somebody presses Ctrl-C while a node starts.
    let running = cluster.kvclient(&["add-node", "--id", "node-7"]).spawn();
    eventually("the signal", Duration::from_secs(60), || match desired_states.read("node-7") {
        Some(DesiredState::Running { .. }) => Ok(()),
        desired_state => Err(format!("{desired_state:?}")),
    });
    running.interrupt();
    running.output().code(130);
    cluster.wait_until_gone("node-7");
    desired_states.wait_until_gone("node-7");

    // An addition is undone after its node was started.
    let running = begun(&cluster, &["add-node", "--id", "node-8"]);
    cluster.kvclient(&["rebalance", "abort"]).output().success();
    assert_ends(running, 6, "undone");
    cluster.wait_until_gone("node-8");
    desired_states.wait_until_gone("node-8");
    assert_eq!(members(&cluster), ["node-0", "node-1"]);
    assert_holds(&cluster, &lines);
}
