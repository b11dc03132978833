//! Layouts that no step led to, from a process that can write to Consul: no record is removed for what a
//! document says alone, and a documented way leads back.

use std::time::Duration;

use kv_core::digest::Digest;
use kv_testkit::harness::catalog::{layout, publish_layout, stored};
use kv_testkit::harness::corpus::{assert_same_lines, ndjson, words};
use kv_testkit::harness::http::put;
use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use serde_json::{Value, json};

on_both_backends!(
    a_layout_that_names_others_removes_nothing_and_is_put_right,
    a_layout_that_has_an_owner_clear_its_place_removes_nothing,
    a_layout_that_gives_members_each_others_places_is_refused_and_put_right,
    a_layout_that_freezes_everything_gives_way_to_the_one_before,
    an_owner_that_is_down_keeps_others_from_removing_what_it_got,
    a_layout_that_leaps_or_changes_what_never_changes_is_refused,
    what_a_node_keeps_is_discarded_only_when_its_operator_says_so,
);

/// How long nodes may take for what takes them moments.
const WITHIN: Duration = Duration::from_secs(60);
const KEYS: usize = 2000;

/// Publishes `layout` with `tables`, one for each of its placements, by plain writes to Consul.
fn publish(cluster: &Cluster, mut layout: Value, tables: &[Vec<u8>]) {
    let at = |key: &str| format!("/v1/kv/kv/{}/{key}", cluster.name());
    let pointers = ["/placement/table", "/rebalance/to/table"];
    for (pointer, table) in pointers.iter().zip(tables) {
        let digest = Digest::of(table).to_string();
        put(&cluster.consul(), &at(&format!("tables/{digest}")), table);
        *layout.pointer_mut(pointer).expect("the placement names a table") = digest.into();
    }
    publish_layout(cluster, layout);
}

/// A table that gives everything to one member.
fn all_to(member: u16, layout: &Value) -> Vec<u8> {
    let partitions = layout["partitions"].as_u64().expect("it has partitions");
    (0..partitions).flat_map(|_| member.to_le_bytes()).collect()
}

fn member(id: &str, uuid: &str) -> Value {
    json!({ "id": id, "uuid": uuid, "weight": 1, "zone": "" })
}

/// A member whose node does not exist.
fn nobody() -> Value {
    member("nobody", &uuid::Uuid::new_v4().to_string())
}

fn cluster_with_data(backend: Backend, nodes: usize) -> (Cluster, String) {
    let cluster = Cluster::start(backend, nodes);
    let lines = ndjson(&words()[..KEYS]);
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    (cluster, lines)
}

fn status_of(cluster: &Cluster, number: usize) -> Value {
    Peer::req(&cluster.node(number).endpoint()).ask_json(r#"{"op":"STATUS"}"#)["status"].take()
}

fn keys(cluster: &Cluster) -> u64 {
    let nodes = 0..cluster.nodes().len();
    nodes.map(|it| status_of(cluster, it)["keys"].as_u64().expect("it has keys")).sum()
}

/// Waits until every node shows that it keeps partitions.
#[track_caller]
fn wait_until_all_keep(cluster: &Cluster) {
    eventually("all nodes to keep what they have", WITHIN, || {
        let statuses: Vec<Value> =
            (0..cluster.nodes().len()).map(|it| status_of(cluster, it)).collect();
        let keeps = |it: &Value| it["kept"]["not_handed_over"].as_u64() > Some(0);
        if statuses.iter().all(keeps) { Ok(()) } else { Err(format!("{statuses:?}")) }
    });
}

#[track_caller]
fn wait_until_it_holds(cluster: &Cluster, lines: &str) {
    let export = cluster.kvclient(&["--timeout", "60", "export"]).output().success();
    assert_same_lines(export.stdout_text(), lines, "everything is served again");
    eventually("nothing to be kept any more", WITHIN, || {
        let status = cluster.kvclient(&["status", "--output", "json"]).output().success().json();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let is_clean = |it: &Value| it["kept"].is_null() && it["partitions_to_clear"] == 0;
        if nodes.iter().all(is_clean) { Ok(()) } else { Err(status.to_string()) }
    });
    cluster.kvclient(&["fsck"]).output().success();
}

fn a_layout_that_names_others_removes_nothing_and_is_put_right(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 2);
    let truth = layout(&cluster).expect("there is a layout");
    let mut forged = truth.clone();
    forged["epoch"] = (truth["epoch"].as_u64().expect("a number") + 1000).into();
    forged["placement"]["members"] = json!([nobody()]);
    publish(&cluster, forged, &[all_to(0, &truth)]);
    wait_until_all_keep(&cluster);
    assert_eq!(keys(&cluster), KEYS as u64);
    // Nothing of it is served, and the nodes and the client say so.
    let get = json!({ "op": "GET_ONE", "key": words()[0].0 }).to_string();
    assert_eq!(Peer::req(&cluster.node(0).endpoint()).refusal(&[get.as_bytes()]), "not_owner");
    let shown = cluster.kvclient(&["status"]).output().success();
    shown.says(&["kept and not served", "never handed over", "restore-layout", "node-0", "node-1"]);
    for number in 0..2 {
        let log = cluster.node(number).log();
        assert!(log.contains("takes partitions from this node"), "{log}");
    }
    // What a node keeps, it keeps over a restart too.
    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart();
    wait_until_all_keep(&cluster);
    // The layout that was right is among the past ones, and is put back.
    let epoch = truth["epoch"].to_string();
    cluster.kvclient(&["restore-layout", "999"]).output().code(4).says(&[
        "999",
        "the epochs",
        &epoch,
    ]);
    let restored = cluster.kvclient(&["restore-layout", &epoch]).output().success();
    restored.says(&["is published again"]);
    wait_until_it_holds(&cluster, &lines);
    cluster.kvclient(&["restore-layout", &epoch]).output().code(4).says(&["nothing to do"]);
}

/// The steps of a move, without a mover: the owner is to be a destination first.
fn a_layout_that_has_an_owner_clear_its_place_removes_nothing(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 1);
    let truth = layout(&cluster).expect("there is a layout");
    let owner = truth["placement"].clone();
    let epoch = truth["epoch"].as_u64().expect("a number");
    let nobody = nobody();
    for lost in [false, true] {
        for phase in ["preparing", "migrating"] {
            let mut forged = truth.clone();
            let current = layout(&cluster).expect("there is one")["epoch"].as_u64();
            forged["epoch"] = (current.expect("a number") + 1).into();
            forged["placement"]["members"] = json!([nobody]);
            forged["rebalance"] = json!({
                "to": owner,
                "goal": "finish",
                "settled": 0,
                "window": { "until": truth["partitions"], "phase": phase },
                "paused": false,
                "lost": if lost { vec![nobody["uuid"].clone()] } else { Vec::new() },
            });
            let table = all_to(0, &truth);
            publish(&cluster, forged, &[table.clone(), table]);
            wait_until_all_keep(&cluster);
        }
    }
    eventually("the second step to be refused", WITHIN, || {
        let log = cluster.node(0).log();
        if log.contains("the layout is not installed") { Ok(()) } else { Err(log) }
    });
    assert_eq!(keys(&cluster), KEYS as u64);
    cluster.kvclient(&["restore-layout", &epoch.to_string()]).output().success();
    wait_until_it_holds(&cluster, &lines);
}

/// Two members change places, so that they refuse it and a third one has no reason to.
fn a_layout_that_gives_members_each_others_places_is_refused_and_put_right(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 3);
    let truth = layout(&cluster).expect("there is a layout");
    let epoch = truth["epoch"].as_u64().expect("a number");
    let table = truth["placement"]["table"].as_str().expect("it has a table");
    let table = stored(&cluster).remove(&format!("tables/{table}")).expect("Consul has it");
    let (owners, _) = table.as_chunks::<2>();
    let changed = owners.iter().flat_map(|owner| match u16::from_le_bytes(*owner) {
        owner @ (0 | 1) => (1 - owner).to_le_bytes(),
        _ => *owner,
    });
    let mut forged = truth.clone();
    forged["epoch"] = (epoch + 1000).into();
    publish(&cluster, forged.clone(), &[changed.collect()]);
    let way_back = format!("`kvclient restore-layout {epoch}`");
    eventually("two nodes to refuse it and one to follow it", WITHIN, || {
        let statuses: Vec<Value> = (0..3).map(|it| status_of(&cluster, it)).collect();
        let refuses = |it: &Value| it["not_followed"].to_string().contains(&way_back);
        let is_right = refuses(&statuses[0])
            && refuses(&statuses[1])
            && statuses[2]["layout"]["epoch"] == epoch + 1000;
        if is_right { Ok(()) } else { Err(format!("{statuses:?}")) }
    });
    let shown = cluster.kvclient(&["status"]).output().success();
    let shown = shown.says(&["node-0: has not installed", "node-1: has not installed", &way_back]);
    assert!(!shown.stderr_text().contains("node-2:"), "it has: {}", shown.stderr_text());
    for number in 0..2 {
        let log = cluster.node(number).log();
        assert_eq!(log.matches(&way_back).count(), 1, "it is said once: {log}");
    }
    // A node that starts cannot tell it from a directory that was put back, and says both.
    cluster.node_mut(0).kill();
    let start = cluster.kvnode(&["--id", "node-0", "--port", "0"]).output().code(4).no_stdout();
    start.says(&[&way_back, "data directory has been put back", "remove-node --dead"]);

    cluster.kvclient(&["restore-layout", &epoch.to_string()]).output().success();
    cluster.node_mut(0).restart();
    wait_until_it_holds(&cluster, &lines);
    let status = cluster.kvclient(&["status"]).output().success();
    assert_eq!(status.stderr_text(), "", "nothing is left to say");

    // The same by their data directories, which a node finds when it starts.
    forged["epoch"] = (epoch + 2000).into();
    forged["placement"]["table"] = truth["placement"]["table"].clone();
    for (place, from) in [(0, 1), (1, 0)] {
        let uuid = truth["placement"]["members"][from]["uuid"].clone();
        forged["placement"]["members"][place]["uuid"] = uuid;
    }
    publish(&cluster, forged, &[]);
    cluster.node_mut(0).terminate();
    let start = cluster.kvnode(&["--id", "node-0", "--port", "0"]).output().code(4).no_stdout();
    start.says(&["has its data elsewhere", "`kvclient restore-layout`"]);
    cluster.kvclient(&["restore-layout", &epoch.to_string()]).output().success();
    cluster.node_mut(0).restart();
    wait_until_it_holds(&cluster, &lines);
}

/// Everything is to be handed over to a member that no node is, which no mover can end.
fn a_layout_that_freezes_everything_gives_way_to_the_one_before(backend: Backend) {
    let (cluster, lines) = cluster_with_data(backend, 2);
    let truth = layout(&cluster).expect("there is a layout");
    let epoch = truth["epoch"].as_u64().expect("a number");
    let mut to = truth["placement"].clone();
    let members = to["members"].as_array_mut().expect("it has members");
    // Its id comes after those of the others.
    members.push(member("nowhere", &uuid::Uuid::new_v4().to_string()));
    let nowhere = u16::try_from(members.len() - 1).expect("there are few");
    let mut forged = truth.clone();
    forged["epoch"] = (epoch + 1).into();
    forged["rebalance"] = json!({
        "to": to,
        "goal": "finish",
        "settled": 0,
        "window": { "until": truth["partitions"], "phase": "preparing" },
        "paused": false,
        "lost": [],
    });
    let table = truth["placement"]["table"].as_str().expect("it has a table");
    let table = stored(&cluster).remove(&format!("tables/{table}")).expect("Consul has it");
    publish(&cluster, forged, &[table, all_to(nowhere, &truth)]);
    eventually("both nodes to install it", WITHIN, || {
        let statuses = [status_of(&cluster, 0), status_of(&cluster, 1)];
        let is_there = |it: &Value| it["layout"]["epoch"] == epoch + 1;
        if statuses.iter().all(is_there) { Ok(()) } else { Err(format!("{statuses:?}")) }
    });
    let output = cluster.kvclient(&["rebalance", "abort"]).output().code(4);
    output.says(&["`kvclient restore-layout EPOCH`"]);
    cluster.kvclient(&["restore-layout", &epoch.to_string()]).output().success();
    wait_until_it_holds(&cluster, &lines);
}

/// Data has moved to a node, which dies when the others ask it whether it has that.
fn an_owner_that_is_down_keeps_others_from_removing_what_it_got(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 2);
    cluster.add_nodes(1);
    cluster.node_mut(2).kill();
    cluster.node_mut(2).restart_with_env("FAILPOINTS", "node::holds=return");
    let mover = cluster.kvclient(&["add-node"]).spawn();
    let died = cluster.node_mut(2).process().wait_at_most(WITHIN);
    assert!(died.is_some(), "nobody asks it");
    mover.output();
    eventually("the old owners to wait", WITHIN, || {
        let status = cluster.kvclient(&["status", "--output", "json"]).output().success().json();
        let waits = |id: &str| {
            let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
            let node = nodes.into_iter().find(|it| it["id"] == id).unwrap_or_default();
            node["kept"]["unconfirmed"].as_u64() > Some(0)
                && node["kept"]["reason"].to_string().contains("node-2")
        };
        if waits("node-0") && waits("node-1") { Ok(()) } else { Err(status.to_string()) }
    });
    let kept: u64 = (0..2).map(|it| status_of(&cluster, it)["keys"].as_u64().unwrap_or(0)).sum();
    assert_eq!(kept, KEYS as u64, "what has moved lies at the old owners too");
    cluster.node_mut(2).restart();
    cluster.kvclient(&["rebalance", "resume"]).output().success();
    wait_until_it_holds(&cluster, &lines);
    assert_eq!(keys(&cluster), KEYS as u64);
}

fn a_layout_that_leaps_or_changes_what_never_changes_is_refused(backend: Backend) {
    let (mut cluster, lines) = cluster_with_data(backend, 1);
    let truth = layout(&cluster).expect("there is a layout");
    let epoch = truth["epoch"].as_u64().expect("a number");
    let forge = |cluster: &Cluster, epoch: u64, partitions: u64, words: &str| {
        let mut forged = truth.clone();
        forged["epoch"] = epoch.into();
        forged["partitions"] = partitions.into();
        publish(cluster, forged.clone(), &[all_to(0, &forged)]);
        eventually("the layout to be refused", WITHIN, || {
            let log = cluster.node(0).log();
            if log.contains(words) { Ok(()) } else { Err(log) }
        });
    };
    let partitions = truth["partitions"].as_u64().expect("a number");
    forge(&cluster, u64::MAX, partitions, "somebody has made that layout up");
    // It keeps no node from starting under its own.
    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart();
    forge(&cluster, epoch + 1, partitions / 2, "which never changes");
    publish(&cluster, truth.clone(), &[all_to(0, &truth)]);
    wait_until_it_holds(&cluster, &lines);
}

fn what_a_node_keeps_is_discarded_only_when_its_operator_says_so(backend: Backend) {
    let (mut cluster, _) = cluster_with_data(backend, 2);
    cluster.node_mut(1).kill();
    let accepted = ["remove-node", "--dead", "node-1", "--accept-data-loss"];
    cluster.kvclient(&accepted).output().success();
    let had = KEYS as u64 - status_of(&cluster, 0)["keys"].as_u64().expect("a number");
    // It comes back with the records that no node took over from it.
    cluster.node_mut(1).restart();
    eventually("what it has to be kept", WITHIN, || {
        let status = status_of(&cluster, 1);
        let keeps = status["kept"]["not_handed_over"].as_u64() > Some(0);
        if keeps { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(status_of(&cluster, 1)["keys"], had);
    let fsck = cluster.kvclient(&["fsck"]).output().code(4);
    fsck.says(&["node-1 keeps records", "kept and not served by node-1", "kvclient status"]);
    let epoch = layout(&cluster).expect("there is one")["epoch"].as_u64().expect("a number");
    cluster.node_mut(1).terminate();
    let args = |epoch: u64| {
        let id = ["--id", "node-1", "--port", "0", "--discard-kept"].map(str::to_owned);
        id.into_iter().chain([epoch.to_string()]).collect::<Vec<_>>()
    };
    let wrong = args(epoch + 1);
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    cluster.kvnode(&wrong).output().code(2).says(&["--discard-kept", &epoch.to_string()]);
    let right = args(epoch);
    let right: Vec<&str> = right.iter().map(String::as_str).collect();
    let number = cluster.add_node(&right);
    eventually("what it had to be gone", WITHIN, || {
        let status = status_of(&cluster, number);
        let is_empty = status["keys"] == 0 && status["kept"].is_null();
        if is_empty { Ok(()) } else { Err(status.to_string()) }
    });
    cluster.kvclient(&["fsck"]).output().success();
    cluster.kvclient(&["add-node"]).output().success().says(&["add node-1"]);
}
