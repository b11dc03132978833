//! Disks that are full.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use kv_testkit::disk::SmallDisk;
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Backend, Cluster, eventually};
use kv_testkit::needs;
use serde_json::json;

/// What a node holds in reserve: enough for the engine to write a few leaves of the values here anew.
const RESERVE_BYTES: u64 = 14 << 20;
/// How long to wait for what a node does by itself, on a machine that is busy.
const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_full_disk_refuses_writes_and_serves_on() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    for key in ["kept", "removed"] {
        cluster.kvclient(&["put", key, "value"]).output().success();
    }
    cluster.node_mut(0).terminate();
    // It has nothing left but the reserve.
    cluster.node_mut(0).restart_with_env("FAILPOINTS", "node::disk::full=return");
    let peer = Peer::req(&cluster.node(0).endpoint());
    assert_eq!(peer.refusal(&[br#"{"op":"PUT","key":"new","value":"v"}"#]), "disk_full");
    assert_eq!(peer.refusal(&[br#"{"op":"PUT","key":"kept","value":"v"}"#]), "disk_full");
    let batch = r#"{"op":"BATCH","ops":[{"op":"PUT","key":"new","value":"v"},
        {"op":"GET_ONE","key":"kept"},{"op":"DELETE","key":"removed"}]}"#;
    let results = peer.ask_json(batch)["results"].clone();
    assert_eq!(results[0]["error"]["code"], "disk_full");
    assert_eq!(results[1]["value"], "value");
    assert_eq!(results[2]["existed"], true);
    let output = cluster.kvclient(&["put", "new", "v"]).output();
    output.code(4).no_stdout().says(&["node-0", "reads and deletes go on"]);
    let output = cluster.kvclient(&["export"]).output().success();
    assert_eq!(output.stdout_text(), "{\"key\":\"kept\",\"value\":\"value\"}\n");

    cluster.node_mut(0).terminate();
    cluster.node_mut(0).restart();
    cluster.kvclient(&["put", "new", "v"]).output().success();
}

#[needs(small_disk)]
#[test]
fn a_disk_that_others_fill_costs_nothing_that_was_acknowledged() {
    others_fill_the_disk(true);
}

/// The engine has no room then for what it has not got yet, however much of the reserve it is given.
#[needs(small_disk)]
#[test]
fn a_disk_that_others_fill_costs_nothing_that_is_in_the_log_alone() {
    others_fill_the_disk(false);
}

/// The value of the key number `n`.
fn value_of(n: usize) -> Vec<u8> {
    scrambled(n, 20_000)
}

/// Stores values until there is no room for more. Returns how many were acknowledged.
fn store_until_full(peer: &Peer) -> usize {
    for n in 0.. {
        let value = value_of(n);
        let put = json!({"op": "PUT", "key": format!("key-{n}"), "value_bytes": value.len()});
        let reply = parse(&peer.ask_frames(&[put.to_string().as_bytes(), &value])[0]);
        if reply["ok"] != true {
            assert_eq!(reply["error"]["code"], "disk_full", "{reply}");
            return n;
        }
    }
    unreachable!("a disk has an end")
}

fn others_fill_the_disk(once_the_engine_has_all: bool) {
    let mut cluster = Cluster::empty(Backend::Embedded);
    let disk = SmallDisk::mount(cluster.directory().join("small"), "size=48m");
    let root = disk.root();
    let reserve = RESERVE_BYTES.to_string();
    let args = ["--id", "node-0", "--port", "0", "--data-dir", root];
    cluster.add_node(&[&args[..], &["--disk-reserve-bytes", &reserve]].concat());
    cluster.create_layout(&[]);
    let peer = Peer::req(&cluster.node(0).endpoint());
    let acknowledged = store_until_full(&peer);
    assert!(acknowledged > 20, "only {acknowledged} values fit");

    if once_the_engine_has_all {
        wait_for_taking_over(cluster.node(0).directory());
        disk.fill();
    } else {
        // An engine that is at work meanwhile would have to be started anew.
        cluster.node_mut(0).kill();
        disk.fill();
        cluster.node_mut(0).restart();
    }
    let peer = Peer::req(&cluster.node(0).endpoint());
    // Now another program takes all that is left, beside what the node holds in reserve.
    disk.top_up();
    let intact = |peer: &Peer, first: usize| {
        for n in first..acknowledged {
            let get = json!({"op": "GET_ONE", "key": format!("key-{n}"), "values": "body"});
            let reply = peer.ask_frames(&[get.to_string().as_bytes()]);
            assert!(reply.get(1) == Some(&value_of(n)), "key-{n}: {}", parse(&reply[0]));
        }
    };
    let remove = |peer: &Peer, n: usize| {
        let delete = json!({"op": "DELETE", "key": format!("key-{n}")});
        let reply = parse(&peer.ask_frames(&[delete.to_string().as_bytes()])[0]);
        assert_eq!(reply["ok"], true, "{reply}");
        assert_eq!(reply["existed"], true, "{reply}");
    };
    let is_refused = |peer: &Peer| {
        let refusal = peer.ask_json(r#"{"op":"PUT","key":"new","value":"v"}"#)["error"].clone();
        assert_eq!(refusal["code"], "disk_full", "{refusal}");
        let text = refusal["message"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("reads and deletes go on"), "{text}");
        assert_eq!(peer.ask_json(r#"{"op":"STATUS"}"#)["status"]["disk_room_bytes"], 0);
    };
    intact(&peer, 0);
    is_refused(&peer);
    for n in 0..5 {
        remove(&peer, n);
    }
    intact(&peer, 5);
    // Removals come to the engine, which writes whole leaves for them.
    if once_the_engine_has_all {
        wait_for_taking_over(cluster.node(0).directory());
    }
    intact(&peer, 5);
    assert!(cluster.node_mut(0).process().is_running());

    // Stopped in order or killed, it starts on the full disk.
    for kill in [false, true, true] {
        if kill {
            cluster.node_mut(0).kill();
        } else {
            assert_eq!(cluster.node_mut(0).terminate().code(), Some(0));
        }
        disk.top_up();
        cluster.node_mut(0).restart();
        let peer = Peer::req(&cluster.node(0).endpoint());
        intact(&peer, 5);
        is_refused(&peer);
    }
    let peer = Peer::req(&cluster.node(0).endpoint());
    remove(&peer, 5);
    let log = cluster.node(0).log();
    for word in ["panicked", "damage", "another's", "ERROR"] {
        assert!(!log.contains(word), "{word}: {log}");
    }

    // With room again, it is as before, without being started anew.
    disk.free();
    wait_until_stored(&peer, "new");
    intact(&peer, 6);
    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart();
    let peer = Peer::req(&cluster.node(0).endpoint());
    intact(&peer, 6);
    let gone = peer.ask(r#"{"op":"GET_ONE","key":"key-0"}"#);
    assert_eq!(gone, r#"{"key":"key-0","value":null}"#);
    let reserve_file = cluster.node(0).directory().join("reserve");
    eventually("the reserve is held again", WITHIN, || {
        let length = fs::metadata(&reserve_file).map_or(0, |it| it.len());
        if length == RESERVE_BYTES { Ok(()) } else { Err(format!("{length} bytes")) }
    });
    // The disk goes before the cluster's directory, and after its nodes.
    cluster.node_mut(0).terminate();
    drop(disk);
}

/// Where nothing is held in reserve, every write may meet the full disk. It is refused, and nothing comes
/// to harm.
#[needs(small_disk)]
#[test]
fn a_full_disk_without_a_reserve_ends_no_node() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    let disk = SmallDisk::mount(cluster.directory().join("small"), "size=24m");
    let root = disk.root();
    let args = ["--id", "node-0", "--port", "0", "--data-dir", root];
    cluster.add_node(&[&args[..], &["--disk-reserve-bytes", "0"]].concat());
    cluster.create_layout(&[]);
    let peer = Peer::req(&cluster.node(0).endpoint());
    wait_until_stored(&peer, "kept");
    disk.fill();
    let value = "v".repeat(10_000);
    let put = json!({"op": "PUT", "key": "new", "value": value}).to_string();
    for _ in 0..3 {
        assert_eq!(peer.refusal(&[put.as_bytes()]), "disk_full");
        assert_eq!(peer.refusal(&[br#"{"op":"DELETE","key":"kept"}"#]), "disk_full");
        assert_eq!(peer.ask_json(r#"{"op":"GET_ONE","key":"kept"}"#)["value"], "v");
    }
    // A start waits for room where it needs some.
    cluster.node_mut(0).kill();
    disk.top_up();
    cluster.node_mut(0).respawn(&[]);
    eventually("the node says what it waits for", WITHIN, || {
        let log = cluster.node(0).last_words();
        if log.contains("trying on until that has passed") { Ok(()) } else { Err(log) }
    });
    disk.free();
    cluster.node_mut(0).ready_or_end().expect("it starts once there is room");
    let peer = Peer::req(&cluster.node(0).endpoint());
    assert_eq!(peer.ask_json(r#"{"op":"GET_ONE","key":"kept"}"#)["value"], "v");
    assert_eq!(peer.ask_json(r#"{"op":"GET_ONE","key":"new"}"#)["value"], serde_json::Value::Null);
    wait_until_stored(&peer, "new");
    assert!(!cluster.node(0).log().contains("panicked"));
    cluster.node_mut(0).terminate();
    drop(disk);
}

/// A new node on a full disk says so, and does not take the directory for another node's.
#[needs(small_disk)]
#[test]
fn a_full_disk_is_not_called_anothers() {
    let cluster = Cluster::empty(Backend::Embedded);
    let disk = SmallDisk::mount(cluster.directory().join("small"), "size=1m,nr_inodes=4");
    disk.fill();
    for name in ["one", "two"] {
        // Until there is no room for a directory either.
        let _ = fs::create_dir(disk.path().join(name));
    }
    let root = disk.root();
    let args = ["--id", "node-0", "--port", "0", "--data-dir", root];
    cluster.kvnode(&args).output().code(1).no_stdout().says(&[root, "free some space"]);
}

/// An engine that fails to write, although room was made for it, is of no use any more: the node starts
/// anew by itself, as the same process.
#[test]
fn an_engine_that_met_a_full_disk_is_started_anew() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "kept", "value"]).output().success();
    // The records in its log when it starts are given to the engine at once.
    cluster.node_mut(0).kill();
    cluster.node_mut(0).respawn(&[("FAILPOINTS", "node::checkpoint::no-room=return")]);
    let pid = cluster.node(0).pid();
    // That may be before it is ready for the first time, or after.
    eventually("the node starts anew", WITHIN, || {
        let words = cluster.node(0).last_words();
        if words.contains("the node starts anew") { Ok(()) } else { Err(words) }
    });
    cluster.node_mut(0).ready_or_end().expect("it is ready");
    assert_eq!(cluster.node(0).pid(), pid);
    let output = cluster.kvclient(&["get", "kept"]).output().success();
    assert_eq!(output.stdout_text(), "value");
    assert_eq!(cluster.node_mut(0).terminate().code(), Some(0));
}

/// Waits until the engine has all writes: then the write-ahead log has a new segment, without anything in
/// it, and no other one.
fn wait_for_taking_over(node: &Path) {
    eventually("the engine takes over what is in the log", WITHIN, || {
        let entries = fs::read_dir(node.join("store/redo")).map_err(|error| error.to_string())?;
        let lengths = entries.map(|it| it.and_then(|it| it.metadata()).map(|it| it.len()));
        match lengths.collect::<io::Result<Vec<_>>>() {
            Ok(lengths) if lengths == [0] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

pub(super) fn wait_until_stored(peer: &Peer, key: &str) {
    let put = json!({"op": "PUT", "key": key, "value": "v"}).to_string();
    eventually("the node stores again", WITHIN, || {
        let reply = peer.ask_json(&put);
        if reply["ok"] == true { Ok(()) } else { Err(reply.to_string()) }
    });
}

/// Bytes that no compression makes shorter, different for each `n`.
pub(super) fn scrambled(n: usize, length: usize) -> Vec<u8> {
    let mut state = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}
