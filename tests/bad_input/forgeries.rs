//! What a process that can write to Consul puts there beside the layout: claims, desired states,
//! registrations, and tables, strategies and layouts that are damaged. No node ends by it, and all that can
//! be put right is put right.

use std::time::Duration;

use kv_core::layout::Standing;
use kv_testkit::harness::catalog::{layout, publish_layout, registered, stored};
use kv_testkit::harness::http::{bytes, delete, put};
use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use serde_json::{Value, json};

on_both_backends!(
    claims_that_are_made_up_end_no_member_and_are_put_right,
    claims_that_cannot_be_keep_no_node_from_starting,
    parts_of_a_layout_that_are_damaged_alone_are_given_back,
    what_is_no_layout_is_named_and_a_past_one_is_restored_over_it,
    a_layout_of_an_epoch_that_no_step_leads_to_gives_way_to_a_past_one,
    layouts_of_another_cluster_or_of_the_same_epoch_give_way,
    a_signal_that_means_another_is_told_once,
    a_registration_begins_no_line_of_what_is_shown,
    a_registration_in_the_place_of_a_node_is_put_right,
);

const WITHIN: Duration = Duration::from_secs(60);

fn write(cluster: &Cluster, key: &str, value: &[u8]) {
    put(&cluster.consul(), &format!("/v1/kv/kv/{}/{key}", cluster.name()), value);
}

fn claimed(cluster: &Cluster) -> Value {
    let claim = stored(cluster).remove("nodes/node-0").expect("node-0 is claimed");
    serde_json::from_slice(&claim).expect("a claim is JSON")
}

#[track_caller]
fn says(cluster: &Cluster, number: usize, words: &str) {
    eventually("words in the node's log", WITHIN, || {
        let log = cluster.node(number).log();
        if log.contains(words) { Ok(()) } else { Err(log) }
    });
}

fn claims_that_are_made_up_end_no_member_and_are_put_right(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let claim = claimed(&cluster);
    let (uuid, own) = (claim["uuid"].clone(), claim["incarnation"].clone());
    let (leap, writes) = (format!("{}-00000000000000ff", u64::MAX), u64::MAX);
    let made_up = [
        json!({ "uuid": uuid, "incarnation": leap }),
        json!({ "uuid": uuid, "incarnation": own, "sequence": writes }),
        json!({ "uuid": uuid::Uuid::new_v4(), "incarnation": leap, "sequence": writes }),
        json!({ "uuid": uuid::Uuid::new_v4() }),
    ];
    for made_up in &made_up {
        write(&cluster, "nodes/node-0", made_up.to_string().as_bytes());
        eventually("the claim to be put right", WITHIN, || {
            let claim = claimed(&cluster);
            let is_right = claim["uuid"] == uuid
                && claim["incarnation"] == own
                && claim["sequence"].as_u64().is_some_and(|it| it < 1000);
            if is_right { Ok(()) } else { Err(format!("{made_up}: {claim}")) }
        });
    }
    let log = cluster.node(0).log();
    assert_eq!(log.matches("somebody has made that up").count(), 1, "it is said once: {log}");
    let output = cluster.kvclient(&["get", "key"]).output().success();
    assert_eq!(output.stdout_text(), "value");
    // It says nothing of a node that is no member: the one that claimed its id last has it.
    let spare = cluster.add_node(&["--id", "node-1", "--port", "0"]);
    write(&cluster, "nodes/node-1", made_up[3].to_string().as_bytes());
    assert_eq!(cluster.node_mut(spare).process().wait().code(), Some(4));
    says(&cluster, spare, "was claimed by another data directory");
}

fn claims_that_cannot_be_keep_no_node_from_starting(backend: Backend) {
    let mut cluster = Cluster::start(backend, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let uuid = claimed(&cluster)["uuid"].clone();
    for option in [&[][..], &["--serve-older-copy"]] {
        cluster.node_mut(0).kill();
        let incarnation = format!("{}-00000000000000ff", u64::MAX - 1);
        let made_up = json!({ "uuid": uuid, "incarnation": incarnation, "sequence": u64::MAX });
        write(&cluster, "nodes/node-0", made_up.to_string().as_bytes());
        cluster.node_mut(0).restart_with(option);
        let words = cluster.node(0).last_words();
        assert!(words.contains("no node is started so often"), "{words}");
        assert!(words.contains("nobody writes so much"), "{words}");
        let peer = Peer::req(&cluster.node(0).endpoint());
        let written = peer.ask_json(r#"{"op":"PUT","key":"key","value":"value"}"#);
        let version = written["version"].as_str().and_then(|it| it.split_once('-'));
        let sequence: u64 = version.expect("it has a version").1.parse().expect("a number");
        assert!(sequence < 1000, "{written}");
    }
    let number = claimed(&cluster)["incarnation"].as_str().map(|it| it.starts_with("3-"));
    assert_eq!(number, Some(true));
}

fn parts_of_a_layout_that_are_damaged_alone_are_given_back(backend: Backend) {
    let mut cluster = Cluster::start(backend, 2);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    publish_a_standing(&cluster);
    let parts = |cluster: &Cluster| {
        let mut stored = stored(cluster);
        let folders = ["tables/", "strategies/", "members/", "standing/"];
        stored.retain(|key, _| folders.iter().any(|it| key.starts_with(it)));
        stored
    };
    let right = parts(&cluster);
    assert_eq!(right.len(), 4);
    for (is_deleted, is_down) in [(true, false), (false, false), (true, true)] {
        if is_down {
            (0..2).for_each(|number| cluster.node_mut(number).kill());
        }
        for key in right.keys() {
            match is_deleted {
                true => delete(&cluster.consul(), &format!("/v1/kv/kv/{}/{key}", cluster.name())),
                false => write(&cluster, key, b"damaged"),
            }
        }
        if is_down {
            // They have the members and the standing on their disks alone, and cannot read the layout before they
            // gave them back.
            (0..2).for_each(|number| cluster.node_mut(number).restart());
        }
        eventually("Consul to have them again", WITHIN, || {
            let found = parts(&cluster);
            let problem = || format!("{:?}", found.iter().map(|it| (it.0, it.1.len())));
            if found == right { Ok(()) } else { Err(problem()) }
        });
    }
    let output = cluster.kvclient(&["get", "key"]).output().success();
    assert_eq!(output.stdout_text(), "value");
}

/// Publishes the next layout by plain writes to Consul: the present one, with a standing in which all is in sync.
fn publish_a_standing(cluster: &Cluster) {
    let document = stored(cluster).remove("layout").expect("there is a layout");
    let mut document: Value = serde_json::from_slice(&document).expect("it is JSON");
    let epoch = document["epoch"].as_u64().expect("it has an epoch") + 1;
    let standing = Standing::whole(epoch);
    write(cluster, &format!("standing/{}", standing.digest()), &standing.to_bytes());
    document["standing"] = standing.digest().to_string().into();
    document["epoch"] = epoch.into();
    write(cluster, "layout", document.to_string().as_bytes());
    assert_served(cluster);
}

/// A cluster with a past layout, whose epoch is 1.
fn cluster_with_a_past(backend: Backend) -> Cluster {
    let cluster = Cluster::start(backend, 2);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    cluster.kvclient(&["set-node", "node-0", "--zone", "a"]).output().success();
    // What the nodes give back is what they have.
    assert_served(&cluster);
    cluster
}

#[track_caller]
fn assert_served(cluster: &Cluster) {
    let output = cluster.kvclient(&["--timeout", "60", "get", "key"]).output().success();
    assert_eq!(output.stdout_text(), "value");
    eventually("all nodes to follow", WITHIN, || {
        let status = cluster.kvclient(&["status", "--output", "json"]).output().success().json();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let follows =
            |it: &Value| it["not_followed"].is_null() && it["epoch"] == status["layout"]["epoch"];
        if nodes.iter().all(follows) { Ok(()) } else { Err(status.to_string()) }
    });
}

fn what_is_no_layout_is_named_and_a_past_one_is_restored_over_it(backend: Backend) {
    let cluster = cluster_with_a_past(backend);
    let own = layout(&cluster).expect("there is a layout");
    let key = format!("kv/{}/layout", cluster.name());
    let garbage = |words: &[u8]| {
        write(&cluster, "layout", words);
        let status = || {
            let peer = Peer::req(&cluster.node(0).endpoint());
            peer.ask_json(r#"{"op":"STATUS"}"#)["status"].take()
        };
        eventually("a node to say so", WITHIN, || {
            let said = status()["not_followed"].to_string();
            if said.contains(&key) && said.contains("delete it") { Ok(()) } else { Err(said) }
        });
    };
    garbage(b"garbage");
    for command in [&["get", "key"][..], &["status"], &["add-node"], &["fsck"]] {
        let output = cluster.kvclient(command).output();
        output.code(4).says(&[&key, "`kvclient restore-layout EPOCH`", "delete the key"]);
    }
    // What the texts advise is so.
    delete(&cluster.consul(), &format!("/v1/kv/{key}"));
    assert_served(&cluster);
    assert_eq!(layout(&cluster), Some(own));
    garbage(b"{}");
    cluster.kvclient(&["restore-layout", "1"]).output().success();
    assert_served(&cluster);
}

fn a_layout_of_an_epoch_that_no_step_leads_to_gives_way_to_a_past_one(backend: Backend) {
    let cluster = cluster_with_a_past(backend);
    let own = layout(&cluster).expect("there is a layout");
    let mut forged = own.clone();
    forged["epoch"] = u64::MAX.into();
    publish_layout(&cluster, forged);
    says(&cluster, 0, "somebody has made that layout up");
    let get = cluster.kvclient(&["--timeout", "2", "get", "key"]).output().code(3);
    get.says(&["somebody has made that layout up", "kvclient status"]);
    cluster.kvclient(&["add-node", "--id", "node-0"]).output().code(4);
    cluster.kvclient(&["set-node", "node-0", "--zone", "b"]).output().code(4);
    // A node that has no layout yet takes none of that kind, so that it gives none back.
    let args = ["--id", "node-2", "--port", "0"];
    cluster.kvnode(&args).output().code(4).says(&["somebody has made that layout up"]);
    cluster.kvclient(&["restore-layout", "1"]).output().success();
    assert_served(&cluster);
    let epoch = layout(&cluster).expect("there is one")["epoch"].as_u64();
    assert_eq!(epoch, own["epoch"].as_u64().map(|it| it + 1));
}

fn layouts_of_another_cluster_or_of_the_same_epoch_give_way(backend: Backend) {
    let cluster = Cluster::start(backend, 2);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    assert_served(&cluster);
    let own = layout(&cluster).expect("there is a layout");
    let mut foreign = own.clone();
    foreign["cluster"] = uuid::Uuid::new_v4().to_string().into();
    publish_layout(&cluster, foreign);
    for number in 0..2 {
        says(&cluster, number, "delete kv/");
    }
    delete(&cluster.consul(), &format!("/v1/kv/kv/{}/layout", cluster.name()));
    assert_served(&cluster);
    assert_eq!(layout(&cluster), Some(own.clone()));
    // No mover has kept the layout, but nodes that refuse another one do.
    let mut other = own.clone();
    other["placement"]["members"][0]["weight"] = 7.into();
    publish_layout(&cluster, other);
    says(&cluster, 0, "holds another layout of epoch");
    eventually("the right one to be restored", WITHIN, || {
        let output = cluster.kvclient(&["restore-layout", &own["epoch"].to_string()]).output();
        if output.status.success() { Ok(()) } else { Err(output.stderr_text()) }
    });
    assert_served(&cluster);
}

fn a_signal_that_means_another_is_told_once(backend: Backend) {
    let cluster = Cluster::start(backend, 1);
    let desired_state = json!({ "wanted": "stopped", "uuid": uuid::Uuid::new_v4() }).to_string();
    write(&cluster, "desired/node-0", desired_state.as_bytes());
    says(&cluster, 0, "serving on");
    // The node's words about these follow their arrival.
    for number in 0..5 {
        write(&cluster, &format!("desired/strange-{number}"), b"no signal");
        says(&cluster, 0, &format!("desired/strange-{number} in Consul is passed over"));
    }
    let log = cluster.node(0).log();
    assert_eq!(log.matches("but means the data directory").count(), 1, "{log}");
}

fn register(cluster: &Cluster, service: &Value) {
    let path = "/v1/agent/service/register";
    bytes(&cluster.consul(), "PUT", path, service.to_string().as_bytes());
}

/// Under the node's own id, so that the node's sign of life would count for it.
fn a_registration_in_the_place_of_a_node_is_put_right(backend: Backend) {
    let cluster = Cluster::start(backend, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let (id, own) = registered(&cluster).pop_first().expect("it is registered");
    let incarnation = claimed(&cluster)["incarnation"].clone();
    for _ in 0..2 {
        let meta = json!({ "cluster": cluster.name(), "uuid": own.uuid, "incarnation": incarnation,
            "host": "127.0.0.1", "weight": "1", "zone": "" });
        register(
            &cluster,
            &json!({ "ID": id, "Name": "kv", "Address": "127.0.0.1", "Port": 1, "Meta": meta,
                "Check": { "TTL": "60s", "Status": "passing" } }),
        );
        // Consul's servers may hear of neither before that.
        says(&cluster, 0, "in this node's place");
        eventually("the node to be registered again", WITHIN, || {
            match registered(&cluster).get(&id) {
                Some(entry) if *entry == own => Ok(()),
                entry => Err(format!("{entry:?}")),
            }
        });
    }
    cluster.kvclient(&["get", "key"]).output().success();
    let log = cluster.node(0).log();
    assert_eq!(log.matches("in this node's place").count(), 1, "{log}");
}

fn a_registration_begins_no_line_of_what_is_shown(backend: Backend) {
    let cluster = Cluster::start(backend, 1);
    let service = json!({
        "ID": "evil\nnode-0: everything is lost",
        "Name": "kv",
        "Address": "127.0.0.1\nnode-0: run me",
        "Port": 1,
        "Meta": { "cluster": cluster.name(), "uuid": uuid::Uuid::new_v4(), "zone": "a\nb" },
    });
    register(&cluster, &service);
    let shown = cluster.kvclient(&["status"]).output().success();
    let shown = shown.says(&["evil\\nnode-0: everything is lost"]);
    let all = [shown.stdout_text(), &shown.stderr_text()].concat();
    let begun = all.lines().filter(|line| line.trim_start().starts_with("node-0:")).count();
    assert_eq!(begun, 0, "{all}");
}
