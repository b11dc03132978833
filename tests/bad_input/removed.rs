//! Parts of a node's data directory that are removed, or moved away, under the node.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::{Backend, Cluster, eventually};
use serde_json::Value;

/// How long to wait for what a node does by itself, on a machine that is busy.
const WITHIN: Duration = Duration::from_secs(60);
const KEPT: &str = r#"{"op":"PUT","key":"kept","value":"v"}"#;

/// A node with records in its engine, and some more in its log.
fn node_with_data() -> (Cluster, Peer, PathBuf) {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    let peer = Peer::req(&cluster.node(0).endpoint());
    assert_eq!(peer.ask_json(KEPT)["ok"], true);
    assert_eq!(cluster.node_mut(0).terminate().code(), Some(0));
    cluster.node_mut(0).restart();
    let peer = Peer::req(&cluster.node(0).endpoint());
    assert!(is_stored(&put(&peer, "in-the-log")));
    let store = cluster.node(0).directory().join("store");
    (cluster, peer, store)
}

fn put(peer: &Peer, key: &str) -> Value {
    peer.ask_json(&format!(r#"{{"op":"PUT","key":"{key}","value":"v"}}"#))
}

/// Whether a write was acknowledged. Otherwise it was refused, definitely.
fn is_stored(reply: &Value) -> bool {
    let is_stored = reply["ok"] == true;
    assert!(is_stored || reply["error"]["code"] == "disk_full", "{reply}");
    is_stored
}

/// Writes until the node refuses. Returns the keys that it acknowledged.
fn write_until_refused(peer: &Peer) -> Vec<String> {
    let mut acknowledged = Vec::new();
    eventually("writes are refused", WITHIN, || {
        let key = format!("later-{}", acknowledged.len());
        if !is_stored(&put(peer, &key)) {
            return Ok(());
        }
        acknowledged.push(key);
        Err("a write was acknowledged".to_owned())
    });
    acknowledged
}

/// The node reads on, all that it has can be exported, and it says which directory is missing.
fn assert_all_can_be_saved(cluster: &mut Cluster, peer: &Peer, later: &[String]) {
    let delete = peer.ask_json(r#"{"op":"DELETE","key":"kept"}"#);
    assert_eq!(delete["error"]["code"], "disk_full", "{delete}");
    assert_eq!(peer.ask_json(r#"{"op":"GET_ONE","key":"kept"}"#)["value"], "v");
    let refused = cluster.kvclient(&["put", "refused", "v"]).output();
    refused.code(4).no_stdout().says(&["was removed or moved", "was not written", "export"]);
    let mut expected = vec!["kept", "in-the-log"];
    expected.extend(later.iter().map(String::as_str));
    let mut expected: Vec<String> =
        expected.iter().map(|key| format!("{{\"key\":\"{key}\",\"value\":\"v\"}}")).collect();
    expected.sort_unstable();
    let output = cluster.kvclient(&["export"]).output().success();
    let mut exported: Vec<String> = output.stdout_text().lines().map(str::to_owned).collect();
    exported.sort_unstable();
    assert_eq!(exported, expected);
    eventually("the node says what is missing", WITHIN, || {
        let log = cluster.node(0).last_words();
        let is_said = log.contains("was removed or moved, or another is in its place");
        if is_said { Ok(()) } else { Err(log) }
    });
    assert_eq!(cluster.node_mut(0).terminate().code(), Some(0));
    let log = cluster.node(0).log();
    for word in ["panicked", "nothing is lost", "nothing of it is lost", "the next start finds"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

fn remove_all_in(directory: &Path, prefix: &str) {
    for entry in fs::read_dir(directory).expect("it can be read") {
        let entry = entry.expect("it can be read");
        if entry.file_name().to_str().is_some_and(|it| it.starts_with(prefix)) {
            fs::remove_file(entry.path()).expect("it can be removed");
        }
    }
}

/// From the moment that the log is gone, nothing is acknowledged: not even before the node looks around.
#[test]
fn a_log_that_is_removed_takes_no_acknowledged_write_along() {
    let removals: [fn(&Path); 3] = [
        |store| fs::remove_dir_all(store).expect("it can be removed"),
        |store| fs::remove_dir_all(store.join("redo")).expect("it can be removed"),
        |store| remove_all_in(&store.join("redo"), ""),
    ];
    for remove in removals {
        let (mut cluster, peer, store) = node_with_data();
        remove(&store);
        assert!(!is_stored(&put(&peer, "lost")), "it was acknowledged after the removal");
        let none = peer.ask_json(r#"{"op":"GET_ONE","key":"lost"}"#);
        assert_eq!(none["value"], Value::Null, "what is refused is not there");
        assert_all_can_be_saved(&mut cluster, &peer, &[]);
        assert!(!store.join("slabs").exists() || store.join("slabs/64").exists());
    }
}

#[test]
fn files_of_the_engine_that_are_removed_are_missed() {
    let removals: [fn(&Path); 5] = [
        |store| fs::remove_dir_all(store.join("slabs")).expect("it can be removed"),
        |store| fs::remove_file(store.join("slabs/64")).expect("it can be removed"),
        |store| fs::remove_dir_all(store.join("metadata")).expect("it can be removed"),
        |store| remove_all_in(&store.join("metadata"), "log_"),
        |store| remove_all_in(&store.join("metadata"), "snapshot_"),
    ];
    for remove in removals {
        let (mut cluster, peer, store) = node_with_data();
        remove(&store);
        let later = write_until_refused(&peer);
        assert_all_can_be_saved(&mut cluster, &peer, &later);
        // Acknowledged writes were not given to an engine that is gone.
        let log = fs::read_dir(store.join("redo")).expect("it can be read");
        let longest = log.map(|it| it.expect("it can be read").metadata().map_or(0, |it| it.len()));
        assert!(longest.max() > Some(0), "nothing is in the log");
    }
}

/// A store that is moved away takes along the writes that are acknowledged until the node notices, and brings
/// them back.
#[test]
fn a_store_that_is_moved_away_and_back_has_all_that_was_acknowledged() {
    for part in ["store", "store/redo", "store/slabs"] {
        let (mut cluster, peer, store) = node_with_data();
        let place = store.parent().expect("it has one").join(part);
        let aside = cluster.directory().join("aside");
        fs::rename(&place, &aside).expect("it can be moved");
        // Another one in its place is not this node's to touch.
        fs::create_dir(&place).expect("it can be made");
        let later = write_until_refused(&peer);
        assert_eq!(peer.ask_json(r#"{"op":"GET_ONE","key":"kept"}"#)["value"], "v");
        assert_eq!(fs::read_dir(&place).expect("it can be read").count(), 0, "{part}");
        fs::remove_dir(&place).expect("it can be removed");
        fs::rename(&aside, &place).expect("it can be moved");
        eventually("the node writes again", WITHIN, || {
            let reply = put(&peer, "back");
            if is_stored(&reply) { Ok(()) } else { Err(reply.to_string()) }
        });
        cluster.node_mut(0).kill();
        cluster.node_mut(0).restart();
        let peer = Peer::req(&cluster.node(0).endpoint());
        for key in ["kept", "in-the-log", "back"].into_iter().chain(later.iter().map(|it| &**it)) {
            let get = format!(r#"{{"op":"GET_ONE","key":"{key}"}}"#);
            assert_eq!(peer.ask_json(&get)["value"], "v", "{part}: {key}");
        }
    }
}
