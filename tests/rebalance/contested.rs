//! Nodes that several commands want to run, or that an operator starts by hand meanwhile: no command takes
//! another's node for its own, or for the one that it planned.

use std::fs;
use std::time::Duration;

use kv_registry::desired_state::DesiredState;
use kv_testkit::harness::desired_states::{DesiredStates, running};
use kv_testkit::harness::run::Running;
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};

use super::{assert_holds, cluster_with_data, epoch, members};

on_both_backends!(
    additions_at_the_same_time_take_ids_of_their_own,
    a_desired_state_of_another_command_is_left_alone_and_can_be_taken_back,
    a_node_that_is_started_by_hand_joins_as_planned_or_not_at_all,
    a_command_that_is_interrupted_at_the_end_says_so,
);

fn additions_at_the_same_time_take_ids_of_their_own(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 2);
    // One has chosen an id and rests, if it gets so far, while another one writes its desired state, and
    // others race. However they meet, each joins a node of its own or says why not.
    let slow = cluster.kvclient(&["add-node"]);
    let slow = slow.env("FAILPOINTS", "launch::before-desired-state=1*sleep(10000)->off").spawn();
    let mut racing: Vec<_> = (0..3).map(|_| cluster.kvclient(&["add-node"]).spawn()).collect();
    racing.push(slow);
    let ends: Vec<_> = racing.into_iter().map(Running::output).collect();
    let joined = ends.iter().filter(|it| it.status.code() == Some(0)).count();
    assert!(joined >= 1, "one of them is the first: {}", ends[0]);
    for end in ends.into_iter().filter(|it| it.status.code() != Some(0)) {
        end.code(4);
    }
    let members = members(&cluster);
    assert_eq!(members.len(), 2 + joined, "{members:?}");
    for id in &members[2..] {
        assert!(
            matches!(DesiredStates::of(&cluster).read(id), Some(DesiredState::Running { .. })),
            "{id}"
        );
    }
    assert_holds(&cluster, &lines);
}

fn a_desired_state_of_another_command_is_left_alone_and_can_be_taken_back(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 2);
    let desired_states = DesiredStates::of(&cluster);
    // No node of that host could obey it.
    let theirs = running(Some("nowhere"));
    desired_states.write("node-2", &theirs);
    let refused = cluster.kvclient(&["add-node", "--id", "node-2"]).output().code(4);
    refused.says(&["another command has signalled", "kvclient remove-node node-2"]);
    assert_eq!(desired_states.read("node-2"), Some(theirs.clone()));
    cluster.kvclient(&["add-node"]).output().success().says(&["node node-3 is running"]);
    assert_eq!(desired_states.read("node-2"), Some(theirs));

    let back = cluster.kvclient(&["remove-node", "node-2"]).output().success();
    back.says(&["the signal to start node node-2 was taken back"]);
    assert_eq!(desired_states.read("node-2"), None);
    cluster.kvclient(&["remove-node", "node-2"]).output().code(2).says(&["no node node-2"]);
    cluster.kvclient(&["add-node", "--id", "node-2"]).output().success();
    assert_eq!(members(&cluster), ["node-0", "node-1", "node-2", "node-3"]);
    assert_holds(&cluster, &lines);
}

fn a_node_that_is_started_by_hand_joins_as_planned_or_not_at_all(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 2);
    let plan = cluster.kvclient(&["plan", "add-node", "--output", "json"]).output().success();
    fs::write(cluster.directory().join("plan.json"), &plan.stdout).expect("it can be written");
    let before = epoch(&cluster);
    let heavy = cluster.add_node(&["--id", "node-2", "--port", "0", "--weight", "5"]);
    let refused = cluster.kvclient(&["add-node", "--apply", "plan.json"]).output().code(4);
    refused.says(&["runs with weight 5", "was to join with weight 1", "nothing has moved"]);
    assert_eq!((epoch(&cluster), DesiredStates::of(&cluster).read("node-2")), (before, None));
    assert!(cluster.node_mut(heavy).process().is_running(), "it is somebody's");

    cluster.node_mut(heavy).terminate();
    fs::remove_dir_all(cluster.node(heavy).directory()).expect("it can be removed");
    cluster.add_node(&["--id", "node-2", "--port", "0"]);
    cluster.kvclient(&["add-node", "--apply", "plan.json"]).output().success();
    assert_eq!(members(&cluster), ["node-0", "node-1", "node-2"]);
    assert_holds(&cluster, &lines);
}

fn a_command_that_is_interrupted_at_the_end_says_so(backend: Backend) {
    let cluster = Cluster::start(backend, 2);
    let removing = cluster.kvclient(&["remove-node", "node-1"]);
    let removing = removing.env("FAILPOINTS", "mover::after-telling=sleep(800)").spawn();
    let desired_states = DesiredStates::of(&cluster);
    eventually("the node to be told", Duration::from_secs(60), || {
        match desired_states.read("node-1") {
            Some(DesiredState::Stopped { .. }) => Ok(()),
            desired_state => Err(format!("{desired_state:?}")),
        }
    });
    removing.interrupt();
    // Where it was faster than the desired state, it is done.
    let ended = removing.output();
    assert!(matches!(ended.status.code(), Some(0 | 130)), "{ended}");
    assert!(!ended.stderr_text().contains("is under way"), "{ended}");
    if ended.status.code() == Some(130) {
        ended.says(&["any more"]);
    }
}
