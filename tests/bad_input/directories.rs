//! Data directories that others could read, that vanish under a node, and descriptors that run out.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::{Backend, Cluster, eventually};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// How long to wait for what a node does by itself, on a machine that is busy.
const WITHIN: Duration = Duration::from_secs(60);
const PUT: &str = r#"{"op":"PUT","key":"kept","value":"v"}"#;
const GET: &str = r#"{"op":"GET_ONE","key":"kept"}"#;

#[test]
fn what_a_node_stores_is_its_users_alone() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "kept", "value"]).output().success();
    let directory = cluster.node(0).directory().to_owned();
    let paths = all_in(&directory);
    for name in ["identity.json", "lock", "reserve", "store/redo", "store/slabs/64"] {
        assert!(paths.contains(&directory.join(name)), "{name} is not there: {paths:?}");
    }
    assert_private(&paths);
    // What an earlier version has left.
    cluster.node_mut(0).terminate();
    for path in &paths {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        // Some may have gone with the stop.
        let _ = fs::set_permissions(path, Permissions::from_mode(mode));
    }
    cluster.node_mut(0).restart();
    assert_private(&all_in(&directory));
    assert!(cluster.node(0).last_words().contains("others could reach what is stored"));
    let output = cluster.kvclient(&["get", "kept"]).output().success();
    assert_eq!(output.stdout_text(), "value");
}

#[test]
fn a_directory_that_vanishes_is_noticed() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    let peer = Peer::req(&cluster.node(0).endpoint());
    assert_eq!(peer.ask_json(PUT)["ok"], true);
    let directory = cluster.node(0).directory().to_owned();
    let aside = directory.with_extension("aside");
    let refused = |what: &str| {
        eventually(what, WITHIN, || {
            let reply = peer.ask_json(PUT);
            let is_refused = reply["error"]["code"] == "disk_full";
            if is_refused { Ok(()) } else { Err(reply.to_string()) }
        });
        let delete = peer.ask_json(r#"{"op":"DELETE","key":"kept"}"#);
        assert_eq!(delete["error"]["code"], "disk_full", "{delete}");
        assert_eq!(peer.ask_json(GET)["value"], "v");
    };
    // Another in its place is not this node's. At no time is there none.
    fs::create_dir(&aside).expect("it can be made");
    fs::write(aside.join("lock"), "").expect("it can be written");
    let exchange = || renameat_with(CWD, &directory, CWD, &aside, RenameFlags::EXCHANGE);
    exchange().expect("they can be exchanged");
    refused("another directory is seen to be another");
    assert_eq!(all_in(&directory).len(), 2, "the node has written there");
    exchange().expect("they can be exchanged");
    eventually("the node writes again", WITHIN, || {
        let reply = peer.ask_json(PUT);
        if reply["ok"] == true { Ok(()) } else { Err(reply.to_string()) }
    });
    fs::remove_dir_all(&directory).expect("it can be removed");
    refused("the removed directory is missed");
    // What the node has can still be saved.
    let output = cluster.kvclient(&["export"]).output().success();
    assert_eq!(output.stdout_text(), "{\"key\":\"kept\",\"value\":\"v\"}\n");
    assert!(cluster.node(0).log().contains("was removed or moved, or another is in its place"));
    cluster.node_mut(0).terminate();
    assert!(!directory.exists(), "a node that stops makes nothing anew there");
    assert!(!cluster.node(0).log().contains("panicked"));
}

/// Whatever the node would need a descriptor for waits until there are some again.
#[test]
fn descriptors_that_run_out_end_no_node() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    // Its log has a new segment with every few writes, for which it needs a descriptor.
    cluster.add_node(&["--id", "node-0", "--port", "0", "--segment-bytes", "20000"]);
    cluster.create_layout(&[]);
    let peer = Peer::req(&cluster.node(0).endpoint());
    assert_eq!(peer.ask_json(PUT)["ok"], true);
    let pid = cluster.node(0).pid();
    let maximum = getrlimit(Resource::Nofile).maximum;
    // It has more than these open; its polls need that many.
    let nothing_left = Rlimit { current: Some(32), maximum };
    let before = limit(pid, nothing_left);
    let value = "v".repeat(1000);
    let put = |n: usize| format!(r#"{{"op":"PUT","key":"key-{n}","value":"{value}"}}"#);
    // The log may grow to some length meanwhile, and then writes are refused, for others to try again.
    let refused = (0..10_000).find_map(|n| {
        let reply = peer.ask_json(&put(n));
        (reply["ok"] != true).then_some((n, reply))
    });
    let (stored, reply) = refused.expect("the log does not grow for ever");
    assert_eq!(reply["error"]["code"], "overloaded", "{reply}");
    assert!(stored > 20, "only {stored} were stored");
    assert_eq!(peer.ask_json(GET)["value"], "v");
    eventually("the node says that it waits", WITHIN, || {
        let log = cluster.node(0).last_words();
        if log.contains("nothing of it is lost") { Ok(()) } else { Err(log) }
    });
    limit(pid, before);
    eventually("the node stores again", WITHIN, || {
        let reply = peer.ask_json(&put(stored));
        if reply["ok"] == true { Ok(()) } else { Err(reply.to_string()) }
    });
    assert!(cluster.node_mut(0).process().is_running());
    let log = cluster.node(0).log();
    assert!(!log.contains("damage") && !log.contains("panicked"), "{log}");
    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart();
    let peer = Peer::req(&cluster.node(0).endpoint());
    for n in 0..=stored {
        let get = format!(r#"{{"op":"GET_ONE","key":"key-{n}"}}"#);
        assert_eq!(peer.ask_json(&get)["value"], *value, "key-{n}");
    }
}

/// Limits the open files of a process. Returns how they were limited before.
fn limit(pid: u32, files: Rlimit) -> Rlimit {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    prlimit(pid, Resource::Nofile, files).expect("a child's limits can be changed")
}

/// A directory and all that is in it.
fn all_in(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(all_in(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn assert_private(paths: &[PathBuf]) {
    for path in paths {
        // The write-ahead log's segments and the engine's logs come and go.
        let Ok(metadata) = fs::symlink_metadata(path) else { continue };
        assert_eq!(metadata.mode() & 0o077, 0, "{} has {:o}", path.display(), metadata.mode());
    }
}
