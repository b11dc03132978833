//! A rebalance is begun only when what it needs is there, and leaves nothing behind that is not needed.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use kv_testkit::harness::catalog::{layout, stored};
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use serde_json::Value;

use super::{assert_holds, cluster_with_data, epoch, members, partitions_of, status};

on_both_backends!(
    a_node_that_does_not_answer_joins_nothing,
    a_plan_for_a_node_that_was_made_anew_is_refused,
    a_node_that_was_given_up_and_comes_back_joins_once_it_keeps_nothing,
    a_member_gets_another_weight_and_zone,
    what_nothing_refers_to_is_removed,
);

fn a_node_that_does_not_answer_joins_nothing(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 2);
    let before = epoch(&cluster);
    let spare = cluster.add_node(&["--id", "spare", "--port", "0"]);
    // Consul takes it for well for some time still.
    cluster.node(spare).freeze();
    let named = cluster.kvclient(&["add-node", "--id", "spare"]).output().code(3);
    named.says(&["node spare is needed and does not answer", "nothing has changed"]);
    assert_eq!(epoch(&cluster), before);
    // Where no particular node is meant, another one is started.
    let any = cluster.kvclient(&["add-node"]).output().success();
    any.says(&["passing over a node that runs already", "node node-2 is running"]);
    assert_eq!(members(&cluster), ["node-0", "node-1", "node-2"]);
    cluster.node(spare).thaw();
    assert_holds(&cluster, &lines);
}

fn a_plan_for_a_node_that_was_made_anew_is_refused(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 2);
    let spare = cluster.add_node(&["--id", "spare", "--port", "0"]);
    let plan = cluster.kvclient(&["plan", "add-node", "--output", "json"]).output().success();
    fs::write(cluster.directory().join("plan.json"), &plan.stdout).expect("it can be written");
    cluster.node_mut(spare).terminate();
    fs::remove_dir_all(cluster.node(spare).directory()).expect("it can be removed");
    let before = epoch(&cluster);
    let apply = ["add-node", "--apply", "plan.json"];
    cluster.kvclient(&apply).output().code(4).says(&["is not registered with the data directory"]);
    cluster.node_mut(spare).restart();
    cluster.kvclient(&apply).output().code(4).says(&["made anew", "make a new plan"]);
    assert_eq!(epoch(&cluster), before);
    assert_holds(&cluster, &lines);
}

fn a_node_that_was_given_up_and_comes_back_joins_once_it_keeps_nothing(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 3);
    cluster.node_mut(2).kill();
    cluster.kvclient(&["remove-node", "--dead", "node-2", "--accept-data-loss"]).output().success();
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    cluster.node_mut(2).restart();
    let keeps = |node: &Value| node["kept"]["not_handed_over"].as_u64() > Some(0);
    eventually("node-2 to keep what it had", Duration::from_secs(60), || {
        let seen = node(&cluster, "node-2");
        if keeps(&seen) { Ok(()) } else { Err(seen.to_string()) }
    });
    let before = epoch(&cluster);
    let refused = cluster.kvclient(&["add-node", "--id", "node-2"]).output().code(4);
    refused.says(&["nothing was changed", "node-2 keeps", "--discard-kept"]);
    assert_eq!(epoch(&cluster), before);
    let another = cluster.kvclient(&["add-node"]).output().success();
    another.says(&["passing over", "node node-3 is running"]);
    let epoch = epoch(&cluster).to_string();
    cluster.node_mut(2).terminate();
    let arguments = ["--id", "node-2", "--port", "0", "--discard-kept", &epoch];
    cluster.add_node(&arguments);
    cluster.kvclient(&["add-node", "--id", "node-2"]).output().success();
    assert_eq!(members(&cluster), ["node-0", "node-1", "node-2", "node-3"]);
    assert_holds(&cluster, &lines);
}

/// What `status` says of one node.
#[track_caller]
fn node(cluster: &Cluster, id: &str) -> Value {
    let status = status(cluster);
    let nodes = status["nodes"].as_array().expect("there are nodes");
    nodes.iter().find(|node| node["id"] == id).expect("it is one of them").clone()
}

fn a_member_gets_another_weight_and_zone(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 2);
    let half = partitions_of(&cluster, "node-1");
    let plan = ["set-node", "node-1", "--weight", "4", "--dry-run"];
    let plan = cluster.kvclient(&plan).output().success();
    assert!(plan.stdout_text().contains("give node-1 weight 4"), "{plan}");
    assert_eq!(partitions_of(&cluster, "node-1"), half);
    let set = ["set-node", "node-1", "--weight", "4", "--zone", "west"];
    let done = cluster.kvclient(&set).output().success();
    done.says(&["give node-1 weight 4 and zone \"west\"", "at rest"]);
    let owned = partitions_of(&cluster, "node-1");
    assert!(owned > half + half / 3, "weight 4 has {owned} partitions, and had {half}");
    assert_holds(&cluster, &lines);
    for nothing in [&set[..], &["set-node", "node-1", "--zone", "west"]] {
        cluster.kvclient(nothing).output().code(4).says(&["already: there is nothing to do"]);
    }
    cluster.kvclient(&["set-node", "node-9", "--weight", "2"]).output().code(2).says(&["node-9"]);
    cluster.kvclient(&["set-node", "node-1"]).output().code(2).says(&["--weight"]);
    cluster.kvclient(&["set-node", "node-1", "--weight", "257"]).output().code(2);

    // Until it is started again, it is registered as it was started.
    let seen = node(&cluster, "node-1");
    assert_eq!((&seen["weight"], &seen["registered"]["weight"]), (&4.into(), &1.into()), "{seen}");
    cluster.node_mut(1).terminate();
    cluster.node_mut(1).restart();
    let seen = node(&cluster, "node-1");
    assert_eq!((&seen["zone"], &seen["registered"]["zone"]), (&"west".into(), &"west".into()));
    assert!(!cluster.node(1).log().contains("which count"), "it was told nothing else");

    // One that is started with something else says so.
    cluster.node_mut(1).terminate();
    cluster.add_node(&["--id", "node-1", "--port", "0", "--weight", "8", "--zone", "east"]);
    let log = cluster.node(2).log();
    assert!(
        log.contains("weight 8 and zone \"east\"") && log.contains("kvclient set-node"),
        "{log}"
    );
    let seen = cluster.kvclient(&["status"]).output().success();
    let text = seen.stdout_text();
    assert!(text.contains("4 (started with 8)"), "{text}");
    assert!(text.contains("west (started with east)"), "{text}");
}

/// The tables and strategies that Consul keeps.
fn parts(cluster: &Cluster) -> BTreeSet<String> {
    let is_part = |key: &String| key.starts_with("tables/") || key.starts_with("strategies/");
    stored(cluster).into_keys().filter(is_part).collect()
}

/// Those that the layout and the past layouts name.
fn named(cluster: &Cluster) -> BTreeSet<String> {
    let kept = stored(cluster).into_iter().filter(|(key, _)| key.starts_with("history/"));
    let past = kept.map(|(_, value)| serde_json::from_slice(&value).expect("it is JSON"));
    let layouts: Vec<Value> = past.chain(layout(cluster)).collect();
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    let parts = layouts.iter().flat_map(|layout| {
        let placement = &layout["placement"];
        let strategy = text(&placement["strategy"]["sha256"]);
        [format!("tables/{}", text(&placement["table"])), format!("strategies/{strategy}")]
    });
    parts.collect()
}

fn what_nothing_refers_to_is_removed(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 2);
    // A rebalance that is begun and undone leaves a table and a strategy that nothing names.
    for to in ["maglev", "bounded-hrw"] {
        let mover = cluster.kvclient(&["migrate", "--to", to]);
        mover.env("FAILPOINTS", "mover::after-begin=return").output();
        cluster.kvclient(&["rebalance", "abort"]).output().success();
    }
    let unused = parts(&cluster).difference(&named(&cluster)).count();
    // Those of the last change are left, since a client may be about to fetch them.
    assert_eq!(unused, 2, "{:?}", parts(&cluster));
    cluster.kvclient(&["migrate", "--to", "consistent-hash"]).output().success();
    assert_eq!(parts(&cluster), named(&cluster));
    // Tables and strategies that past layouts name are kept, and so the past can be explained.
    cluster.kvclient(&["explain", "word", "--epoch", "1"]).output().success();
    // A change can go back to the strategy whose parts were removed.
    cluster.kvclient(&["migrate", "--to", "maglev"]).output().success();
    assert_eq!(parts(&cluster), named(&cluster));
    assert_holds(&cluster, &lines);
}
