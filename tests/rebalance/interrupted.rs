//! Whichever process dies, wherever: the cluster serves on, and any command can finish or undo the rebalance.

use std::time::Duration;

use crate::library_client::Library;
use kv_testkit::harness::{Backend, Cluster, on_both_backends};

use super::{assert_holds, cluster_with_data, fsck, import, members, status, wait_until_moving};

on_both_backends!(
    a_mover_that_dies_at_any_step_leaves_a_serving_cluster,
    a_rebalance_is_paused_resumed_and_undone,
    two_movers_do_not_disturb_each_other,
    a_consul_that_is_away_only_pauses_the_move,
    a_rebalance_that_a_dead_node_holds_up_is_ended,
    a_rebalance_is_not_restored_over_where_a_node_is_away,
    a_dead_node_whose_address_another_one_has_taken_is_given_up,
    a_node_that_dies_in_a_handover_keeps_nobody_waiting,
    a_node_that_dies_at_any_step_comes_back_right,
);

/// Every step of a mover, in the order in which they come.
const MOVER_STEPS: [&str; 8] = [
    "mover::after-begin",
    "mover::after-prepare",
    "mover::before-open",
    "mover::after-open",
    "mover::copy::page",
    "mover::after-copy",
    "mover::after-verify",
    "mover::after-settle",
];

fn is_at_rest(cluster: &Cluster) -> bool {
    status(cluster)["layout"]["rebalance"].is_null()
}

/// Stores and reads keys all over the store.
#[track_caller]
fn assert_serves(cluster: &Cluster) {
    let lines: String =
        (0..200).map(|n| format!("{{\"key\":\"probe-{n}\",\"value\":\"{n}\"}}\n")).collect();
    cluster.kvclient(&["import"]).stdin(lines).output().success();
    for number in [0, 99, 199] {
        let get = cluster.kvclient(&["get", &format!("probe-{number}")]).output().success();
        assert_eq!(get.stdout, number.to_string().as_bytes());
    }
    let keys = cluster.kvclient(&["export", "--prefix", "probe-"]).output().success();
    assert_eq!(keys.stdout_text().lines().count(), 200);
}

fn with_probes(lines: &str) -> String {
    let probes = (0..200).map(|n| format!("{{\"key\":\"probe-{n}\",\"value\":\"{n}\"}}\n"));
    lines.to_owned() + &probes.collect::<String>()
}

fn a_mover_that_dies_at_any_step_leaves_a_serving_cluster(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 3);
    let lines = with_probes(&lines);
    let mut strategies = ["consistent-hash", "hrw"].iter().cycle();
    for (number, step) in MOVER_STEPS.iter().enumerate() {
        let to = strategies.next().expect("they come again and again");
        let mover = cluster.kvclient(&["migrate", "--to", to]);
        let killed = mover.env("FAILPOINTS", &format!("{step}=return")).output();
        assert_eq!(killed.status.code(), None, "{step} was not reached\n{killed}");
        assert_serves(&cluster);
        if number % 2 == 0 {
            cluster.kvclient(&["rebalance", "resume"]).output().success();
            assert_eq!(status(&cluster)["layout"]["strategy"], *to, "{step}");
        } else if !is_at_rest(&cluster) {
            cluster.kvclient(&["rebalance", "abort"]).output().success();
            // It is where it was, so the next one goes the same way.
            strategies.next();
        }
        assert!(is_at_rest(&cluster), "{step}");
    }
    assert_holds(&cluster, &lines);
}

fn a_rebalance_is_paused_resumed_and_undone(backend: Backend) {
    let cluster = Cluster::start(backend, 2);
    let lines = import(&cluster, 100_000);
    let slowly = ["migrate", "--to", "consistent-hash", "--throttle", "1"];
    let mover = cluster.kvclient(&slowly).spawn();
    wait_until_moving(&cluster);
    let seen = cluster.kvclient(&["status"]).output().success();
    assert!(seen.stdout_text().contains("rebalance   to consistent-hash"), "{seen}");
    assert!(seen.stdout_text().contains("keys/s"), "{seen}");
    cluster.kvclient(&["rebalance", "pause"]).output().success().says(&["paused"]);
    cluster.kvclient(&["rebalance", "pause"]).output().code(4).says(&["is paused already"]);
    mover.kill();
    cluster.kvclient(&["rebalance", "resume"]).output().success().says(&["at rest"]);
    assert_eq!(status(&cluster)["layout"]["strategy"], "consistent-hash");

    let mover = cluster.kvclient(&["migrate", "--to", "hrw", "--throttle", "1"]).spawn();
    wait_until_moving(&cluster);
    mover.kill();
    cluster.kvclient(&["rebalance", "abort"]).output().success().says(&["at rest"]);
    assert_eq!(status(&cluster)["layout"]["strategy"], "consistent-hash");
    assert_holds(&cluster, &lines);
}

fn two_movers_do_not_disturb_each_other(backend: Backend) {
    let cluster = Cluster::start(backend, 2);
    let lines = import(&cluster, 100_000);
    let mover =
        cluster.kvclient(&["migrate", "--to", "consistent-hash", "--throttle", "1"]).spawn();
    wait_until_moving(&cluster);
    cluster
        .kvclient(&["migrate", "--to", "hrw"])
        .output()
        .code(4)
        .says(&["a rebalance is under way"]);
    cluster.kvclient(&["add-node"]).output().code(4).says(&["a rebalance is under way"]);
    let second = cluster.kvclient(&["rebalance", "resume"]).output().code(4);
    second.says(&["is moving the data already"]);
    mover.output().success();
    assert_eq!(members(&cluster), ["node-0", "node-1"]);
    assert_holds(&cluster, &lines);
}

fn a_consul_that_is_away_only_pauses_the_move(backend: Backend) {
    let mut cluster = Cluster::start_with_own_consul(backend, 3);
    let lines = import(&cluster, 100_000);
    let mover =
        cluster.kvclient(&["migrate", "--to", "consistent-hash", "--throttle", "2"]).spawn();
    wait_until_moving(&cluster);
    cluster.own_consul().restart_empty();
    mover.output().success();
    assert_eq!(status(&cluster)["layout"]["strategy"], "consistent-hash");
    assert_holds(&cluster, &lines);
}

fn a_rebalance_that_a_dead_node_holds_up_is_ended(backend: Backend) {
    let mut cluster = Cluster::start(backend, 3);
    let lines = import(&cluster, 60_000);
    let mover =
        cluster.kvclient(&["migrate", "--to", "consistent-hash", "--throttle", "1"]).spawn();
    wait_until_moving(&cluster);
    let alive = ["remove-node", "--dead", "node-2", "--accept-data-loss"];
    cluster.kvclient(&alive).output().code(4).says(&["node node-2 is alive"]);
    cluster.node_mut(2).kill();
    mover.kill();
    let asked = cluster.kvclient(&["remove-node", "--dead", "node-2"]).output().code(2);
    asked.says(&["nothing was done", "--accept-data-loss"]);
    let done = cluster.kvclient(&alive).output().success();
    done.says(&["the rebalance was ended", "LOST", "node node-2 was given up"]);
    assert!(is_at_rest(&cluster));
    assert_eq!(members(&cluster), ["node-0", "node-1"]);
    let export = cluster.kvclient(&["export"]).output().success();
    let kept = export.stdout_text().lines().count() as f64 / lines.lines().count() as f64;
    assert!((0.5..0.9).contains(&kept), "what the other nodes have is kept, not {kept}");
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    assert_holds(&cluster, &lines);
    cluster.kvclient(&["migrate", "--to", "consistent-hash"]).output().success();
    assert_holds(&cluster, &lines);
}

fn a_rebalance_is_not_restored_over_where_a_node_is_away(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 3);
    let epoch = status(&cluster)["layout"]["epoch"].to_string();
    let mover = cluster.kvclient(&["migrate", "--to", "consistent-hash"]);
    let killed = mover.env("FAILPOINTS", "mover::after-open=return").output();
    assert_eq!(killed.status.code(), None, "{killed}");
    // A record that is written now is at the new owners alone.
    assert_serves(&cluster);
    cluster.node_mut(0).kill();
    let refused = cluster.kvclient(&["restore-layout", &epoch]).output().code(4);
    refused.says(&["a rebalance is under way", "node-0 does not answer", "rebalance abort"]);
    cluster.node_mut(0).restart();
    cluster.kvclient(&["restore-layout", &epoch]).output().code(4).says(&["nothing was changed"]);
    cluster.kvclient(&["rebalance", "abort"]).output().success();
    assert_holds(&cluster, &with_probes(&lines));
}

fn a_dead_node_whose_address_another_one_has_taken_is_given_up(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 3);
    let endpoint = cluster.node(2).endpoint();
    let port = endpoint.rsplit(':').next().expect("it ends in a port").to_owned();
    cluster.node_mut(2).kill();
    cluster.add_node(&["--id", "node-7", "--port", &port]);
    let down = cluster.kvclient(&["migrate", "--to", "consistent-hash"]).output().code(3);
    down.says(&["node node-2 is needed", "another node answers at its address, node-7"]);
    let dead = ["remove-node", "--dead", "node-2", "--accept-data-loss"];
    cluster.kvclient(&dead).output().success().says(&["node node-2 was given up"]);
    assert_eq!(members(&cluster), ["node-0", "node-1"]);
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    cluster.kvclient(&["add-node"]).output().success();
    assert_eq!(members(&cluster), ["node-0", "node-1", "node-7"]);
    assert_holds(&cluster, &lines);
}

fn a_node_that_dies_in_a_handover_keeps_nobody_waiting(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 3);
    cluster.node_mut(2).kill();
    // The first layout begins the rebalance, the second one freezes.
    let failpoint = "node::install::after-record=1*off->return";
    cluster.node_mut(2).restart_with_env("FAILPOINTS", failpoint);
    let owned_by_others: Vec<String> = (0..200)
        .map(|number| format!("probe-{number}"))
        .filter(|key| {
            let location =
                cluster.kvclient(&["locate", key, "--output", "json"]).output().success();
            location.json()["node"] != "node-2"
        })
        .take(20)
        .collect();
    let mover = cluster.kvclient(&["migrate", "--to", "consistent-hash"]).spawn();
    let died = cluster.node_mut(2).process().wait_at_most(Duration::from_secs(60));
    assert!(died.is_some(), "it does not die of the second layout");
    let probes: String = owned_by_others
        .iter()
        .map(|key| format!("{{\"key\":\"{key}\",\"value\":\"v\"}}\n"))
        .collect();
    let import = cluster.kvclient(&["import", "--timeout", "40"]).stdin(probes.clone());
    import.output().success();
    mover.kill();
    cluster.kvclient(&["rebalance", "abort"]).output().success().says(&["at rest"]);
    cluster.node_mut(2).restart();
    assert_eq!(status(&cluster)["layout"]["strategy"], "hrw");
    assert_holds(&cluster, &(lines + &probes));
}

/// Every step of a node's install, copying and clearing, with how often it is passed unharmed.
const NODE_STEPS: [(&str, u32); 8] = [
    ("node::install::before-record", 0),
    ("node::install::after-record", 0),
    ("node::install::after-swap", 0),
    // The first one comes before the node serves.
    ("node::install::after-wipe", 1),
    ("node::copy::before-commit", 0),
    // One commit may hold every copy, since what arrives while another is synced is one group.
    ("node::copy::after-commit", 0),
    ("node::clear::chunk", 1),
    ("node::purge::chunk", 0),
];

fn a_node_that_dies_at_any_step_comes_back_right(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 3);
    let mut to = ["consistent-hash", "hrw"].iter().cycle();
    for (step, passes) in NODE_STEPS {
        let number = cluster.nodes().len() - 1;
        // Records that the step before has left to clear would be cleared by the node that is to die later.
        fsck(&cluster);
        cluster.node_mut(number).kill();
        let failpoint = match passes {
            0 => format!("{step}=return"),
            passes => format!("{step}={passes}*off->return"),
        };
        cluster.node_mut(number).restart_with_env("FAILPOINTS", &failpoint);
        let to = to.next().expect("they come again and again");
        let mover = cluster.kvclient(&["migrate", "--to", to]).spawn();
        if step == "node::purge::chunk" {
            delete_until_it_dies(&mut cluster, number, &lines);
        }
        let died = cluster.node_mut(number).process().wait_at_most(Duration::from_secs(60));
        if died.is_none() {
            assert_eq!(step, "node::purge::chunk", "{step} was not reached");
            cluster.node_mut(number).kill();
        }
        cluster.node_mut(number).restart();
        mover.output().success();
        assert_eq!(status(&cluster)["layout"]["strategy"], *to, "{step}");
    }
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    assert_holds(&cluster, &lines);
}

/// Deletes keys while they move, which leaves tombstones, until the node meets them and dies.
fn delete_until_it_dies(cluster: &mut Cluster, number: usize, lines: &str) {
    let library = Library::connect(cluster);
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
        let key = line["key"].as_str().expect("it has a key");
        if !cluster.node_mut(number).process().is_running() {
            return;
        }
        // Whatever comes of it: deleted keys are stored again later.
        let _ = library.wait_for(library.client.delete(key));
    }
}
