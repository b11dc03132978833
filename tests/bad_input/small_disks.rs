//! Disks that are small, or have no inodes left, and files that may not grow.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use kv_testkit::disk::{FailingDisk, SmallDisk};
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Backend, Cluster, eventually};
use kv_testkit::needs;
use serde_json::json;

use super::disks::{scrambled, wait_until_stored};

/// How long to wait for what a node does by itself, on a machine that is busy.
const WITHIN: Duration = Duration::from_secs(60);

/// A small disk in the directory of `cluster`.
fn small_disk(cluster: &Cluster, options: &str) -> SmallDisk {
    SmallDisk::mount(cluster.directory().join("small"), options)
}

#[needs(small_disk)]
#[test]
fn a_small_disk_stores_what_it_can_and_the_smallest_says_that_it_is_too_small() {
    for mebibytes in [8, 16, 20, 64] {
        let mut cluster = Cluster::empty(Backend::Embedded);
        let options = format!("size={mebibytes}m");
        let disk = small_disk(&cluster, &options);
        let root = disk.root();
        cluster.add_node(&["--id", "node-0", "--port", "0", "--data-dir", root]);
        let bytes = (mebibytes << 20).to_string();
        assert!(cluster.node(0).log().contains(&bytes), "{}", cluster.node(0).log());
        cluster.create_layout(&[]);
        let peer = Peer::req(&cluster.node(0).endpoint());
        wait_until_stored(&peer, "key");
        // It is worth its while: a sixteenth of it at least can be stored.
        let value = "v".repeat(16 << 10);
        for n in 0..mebibytes * 4 {
            let put = json!({"op": "PUT", "key": format!("key-{n}"), "value": value});
            let reply = peer.ask_json(&put.to_string());
            assert_eq!(reply["ok"], true, "{mebibytes} MiB, after {n}: {reply}");
        }
        cluster.node_mut(0).kill();
        cluster.node_mut(0).restart();
        let peer = Peer::req(&cluster.node(0).endpoint());
        assert_eq!(peer.ask_json(r#"{"op":"GET_ONE","key":"key-7"}"#)["value"], *value);
        cluster.node_mut(0).terminate();
        drop(disk);
    }
    let cluster = Cluster::empty(Backend::Embedded);
    let disk = small_disk(&cluster, "size=7m");
    let root = disk.root();
    let args = ["--id", "node-0", "--port", "0", "--data-dir", root];
    cluster.kvnode(&args).output().code(1).no_stdout().says(&[root, "7340032", "8388608"]);
}

#[test]
fn a_reserve_of_more_than_there_is_is_refused() {
    let cluster = Cluster::empty(Backend::Embedded);
    let asked = (1_u64 << 62).to_string();
    let args = ["--id", "node-0", "--port", "0", "--disk-reserve-bytes", &asked];
    let words = ["--disk-reserve-bytes", &asked, "have to be left for data"];
    cluster.kvnode(&args).output().code(2).no_stdout().says(&words);
}

#[needs(small_disk)]
#[test]
fn a_disk_without_inodes_refuses_writes_and_all_else_goes_on() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    let options = "size=64m,nr_inodes=300";
    let disk = small_disk(&cluster, options);
    let root = disk.root();
    // Its log has a new segment with every few writes, for which it needs an inode.
    let args = ["--id", "node-0", "--port", "0", "--data-dir", root, "--segment-bytes", "2000"];
    cluster.add_node(&args);
    cluster.create_layout(&[]);
    let peer = Peer::req(&cluster.node(0).endpoint());
    let value = "v".repeat(100);
    const KEYS: usize = 200;
    for n in 0..KEYS {
        let put = json!({"op": "PUT", "key": format!("key-{n}"), "value": value});
        assert_eq!(peer.ask_json(&put.to_string())["ok"], true);
    }
    let spares = |directory: &Path| {
        let entries = fs::read_dir(directory).expect("it can be read").flatten();
        entries.filter(|it| it.file_name().to_string_lossy().starts_with("spare-")).count()
    };
    let directory = cluster.node(0).directory().to_owned();
    eventually("inodes are held in reserve", WITHIN, || match spares(&directory) {
        32 => Ok(()),
        other => Err(format!("{other} are")),
    });
    let filler = disk.path().join("filler");
    fs::create_dir(&filler).expect("a directory can be made");
    take_inodes(&filler);
    let is_refused = |peer: &Peer| {
        let refusal = peer.ask_json(r#"{"op":"PUT","key":"new","value":"v"}"#)["error"].clone();
        assert_eq!(refusal["code"], "disk_full", "{refusal}");
        let text = refusal["message"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("inodes") && text.contains("reads and deletes go on"), "{text}");
        assert_eq!(peer.ask_json(r#"{"op":"STATUS"}"#)["status"]["disk_room_bytes"], 0);
    };
    let mut removed = 0;
    let mut remove = |peer: &Peer, count: usize| {
        for n in removed..removed + count {
            let delete = format!(r#"{{"op":"DELETE","key":"key-{n}"}}"#);
            assert_eq!(peer.ask_json(&delete)["existed"], true, "key-{n}");
        }
        removed += count;
    };
    is_refused(&peer);
    remove(&peer, KEYS / 2);
    is_refused(&peer);
    // Stopped in order or killed, it starts, and others take what it gave back.
    for kill in [false, true, true] {
        if kill {
            cluster.node_mut(0).kill();
        } else {
            assert_eq!(cluster.node_mut(0).terminate().code(), Some(0));
        }
        take_inodes(&filler);
        cluster.node_mut(0).restart();
        let peer = Peer::req(&cluster.node(0).endpoint());
        is_refused(&peer);
        remove(&peer, 5);
        assert_eq!(peer.ask_json(r#"{"op":"GET_ONE","key":"key-199"}"#)["value"], *value);
    }
    let log = cluster.node(0).log();
    for word in ["panicked", "damage", "another's", "ERROR"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
    fs::remove_dir_all(&filler).expect("it can be removed");
    let peer = Peer::req(&cluster.node(0).endpoint());
    wait_until_stored(&peer, "new");
    eventually("inodes are held in reserve again", WITHIN, || match spares(&directory) {
        32 => Ok(()),
        other => Err(format!("{other} are")),
    });
    cluster.node_mut(0).terminate();
    drop(disk);
}

/// As on a full disk, what would need a longer file is refused, and all else goes on.
#[test]
fn files_that_may_not_grow_refuse_writes_and_all_else_goes_on() {
    // Some 12 or 24 MiB, for shells differ in what they count in. The desired state ends what does not mind it.
    const LIMIT: &str = "-f 24000; trap '' XFSZ";
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    cluster.node_mut(0).restart_under(LIMIT);
    assert!(cluster.node(0).log().contains("ulimit -f"), "{}", cluster.node(0).log());
    let value = |n: usize| scrambled(n, 100_000);
    let peer = Peer::req(&cluster.node(0).endpoint());
    let mut stored = 0;
    let mut refusal = String::new();
    while stored < 10_000 && refusal.is_empty() {
        let put = json!({"op": "PUT", "key": format!("key-{stored}"), "value_bytes": 100_000});
        let reply = parse(&peer.ask_frames(&[put.to_string().as_bytes(), &value(stored)])[0]);
        match reply["error"]["code"].as_str() {
            None => stored += 1,
            Some("disk_full") => refusal = reply.to_string(),
            // Before the engine sees that it cannot have more, the log is as long as it may be.
            Some("overloaded") => {}
            Some(_) => panic!("{reply}"),
        }
    }
    assert!(stored > 20, "only {stored} values fit");
    assert!(refusal.contains("ulimit -f") && refusal.contains("reads"), "{refusal}");
    let intact = |peer: &Peer, first: usize| {
        for n in first..stored {
            let get = json!({"op": "GET_ONE", "key": format!("key-{n}"), "values": "body"});
            let reply = peer.ask_frames(&[get.to_string().as_bytes()]);
            assert!(reply.get(1) == Some(&value(n)), "key-{n}: {}", parse(&reply[0]));
        }
    };
    intact(&peer, 0);
    let delete = peer.ask_json(r#"{"op":"DELETE","key":"key-0"}"#);
    assert_eq!(delete["existed"], true, "{delete}");
    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart_under(LIMIT);
    let peer = Peer::req(&cluster.node(0).endpoint());
    intact(&peer, 1);
    let log = cluster.node(0).log();
    for word in ["panicked", "damage", "ERROR"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
    cluster.node_mut(0).terminate();
    cluster.node_mut(0).restart();
    let peer = Peer::req(&cluster.node(0).endpoint());
    wait_until_stored(&peer, "new");
    intact(&peer, 1);
}

/// A new store needs many inodes at once.
#[needs(small_disk)]
#[test]
fn a_new_node_waits_for_inodes() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    let options = "size=64m,nr_inodes=150";
    let disk = small_disk(&cluster, options);
    let filler = disk.path().join("filler");
    fs::create_dir(&filler).expect("a directory can be made");
    take_inodes(&filler);
    for n in 0..40 {
        fs::remove_file(filler.join(n.to_string())).expect("it can be removed");
    }
    let root = disk.root();
    cluster.spawn_node(&["--id", "node-0", "--port", "0", "--data-dir", root]);
    eventually("the node says what it waits for", WITHIN, || {
        let log = cluster.node(0).last_words();
        if log.contains("inodes") && log.contains("trying on") { Ok(()) } else { Err(log) }
    });
    fs::remove_dir_all(&filler).expect("it can be removed");
    cluster.node_mut(0).ready_or_end().expect("it starts once there are inodes");
    cluster.node_mut(0).terminate();
    drop(disk);
}

/// Takes all inodes that are left.
fn take_inodes(directory: &Path) {
    let mut created = (0..).map(|n: usize| File::create(directory.join(n.to_string())));
    let error = created.find_map(Result::err);
    assert_eq!(error.map(|it| it.kind()), Some(io::ErrorKind::StorageFull));
}

/// A file system that has met an error can become read-only under a node that uses it.
#[needs(failing_disk)]
#[test]
fn a_disk_that_becomes_read_only_refuses_writes_and_is_read_on() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    let disk = FailingDisk::mount(cluster.directory());
    let root = disk.root();
    cluster.add_node(&["--id", "node-0", "--port", "0", "--data-dir", root]);
    cluster.create_layout(&[]);
    let peer = Peer::req(&cluster.node(0).endpoint());
    wait_until_stored(&peer, "kept");
    disk.fail();
    for _ in 0..2 {
        for request in [
            r#"{"op":"PUT","key":"new","value":"v"}"#,
            r#"{"op":"PUT","key":"kept","value":"new"}"#,
            r#"{"op":"DELETE","key":"kept"}"#,
        ] {
            let refusal = peer.ask_json(request)["error"].clone();
            assert_eq!(refusal["code"], "disk_full", "{refusal}");
            let text = refusal["message"].as_str().unwrap_or_default();
            assert!(text.contains("read-only") && text.contains("reads go on"), "{text}");
        }
        // An idle node would have the engine take over what is in the log.
        eventually("the node says that this waits", WITHIN, || {
            let log = cluster.node(0).last_words();
            if log.contains("what is in the write-ahead log waits there") {
                Ok(())
            } else {
                Err(log)
            }
        });
        assert_eq!(peer.ask_json(r#"{"op":"GET_ONE","key":"kept"}"#)["value"], "v");
    }
    assert_eq!(cluster.node_mut(0).terminate().code(), Some(0));
    let log = cluster.node(0).log();
    for word in ["panicked", "damage", "ERROR"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}
