//! Disks that are full.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::peer::{Peer, parse};
use crate::harness::{Backend, Cluster};

#[test]
fn a_full_disk_refuses_writes_and_serves_on() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    for key in ["kept", "removed"] {
        cluster.kvclient(&["put", key, "value"]).output().success();
    }
    cluster.node_mut(0).terminate();
    // More than any disk has.
    cluster.node_mut(0).restart_with(&["--disk-reserve-bytes", &(1_u64 << 62).to_string()]);
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

#[test]
fn a_disk_that_others_fill_costs_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    let place = cluster.directory().join("small");
    fs::create_dir(&place).expect("a directory can be made");
    let Some(disk) = SmallDisk::mount(&place, 48 << 20) else {
        eprintln!("skipped: this user cannot mount a small disk");
        return;
    };
    let root = place.to_str().expect("the path is text").to_owned();
    let reserve = (8 << 20).to_string();
    let args = ["--id", "node-0", "--port", "0", "--data-dir", &root];
    cluster.add_node(&[&args[..], &["--disk-reserve-bytes", &reserve]].concat());
    cluster.create_layout(&[]);
    let peer = Peer::req(&cluster.node(0).endpoint());
    let value = vec![0x5a; 100_000];
    let put = |n: usize| {
        let header = json!({"op": "PUT", "key": format!("key-{n}"), "value_bytes": value.len()});
        let unique: Vec<u8> = scrambled(n, value.len());
        (header.to_string(), unique)
    };
    let mut acknowledged = 0;
    loop {
        let (header, value) = put(acknowledged);
        let reply = parse(&peer.ask_frames(&[header.as_bytes(), &value])[0]);
        if reply["ok"] != true {
            assert_eq!(reply["error"]["code"], "disk_full", "{reply}");
            break;
        }
        acknowledged += 1;
    }
    assert!(acknowledged > 20, "only {acknowledged} values fit");

    // Now somebody else takes what the node keeps in reserve.
    disk.fill();
    let intact = |peer: &Peer, first: usize| {
        for n in first..acknowledged {
            let get = json!({"op": "GET_ONE", "key": format!("key-{n}"), "values": "body"});
            let reply = peer.ask_frames(&[get.to_string().as_bytes()]);
            assert!(reply.get(1) == Some(&put(n).1), "key-{n}: {}", parse(&reply[0]));
        }
    };
    intact(&peer, 0);
    let removed = parse(&peer.ask_frames(&[br#"{"op":"DELETE","key":"key-0"}"#])[0]);
    if removed["ok"] != true {
        // The engine cannot go on after it failed to write, so the node says so and ends.
        assert_eq!(removed["error"]["code"], "storage", "{removed}");
        assert_eq!(cluster.node_mut(0).process().wait().code(), Some(1));
        disk.free();
        cluster.node_mut(0).restart();
    } else {
        disk.free();
    }
    let peer = Peer::req(&cluster.node(0).endpoint());
    intact(&peer, 1);
    let removed = parse(&peer.ask_frames(&[br#"{"op":"DELETE","key":"key-0"}"#])[0]);
    assert_eq!(removed["ok"], true, "{removed}");
    intact(&peer, 1);
    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart();
    let peer = Peer::req(&cluster.node(0).endpoint());
    intact(&peer, 1);
    let gone = peer.ask(r#"{"op":"GET_ONE","key":"key-0"}"#);
    assert_eq!(gone, r#"{"key":"key-0","value":null}"#);
    assert!(!cluster.node(0).log().contains("panicked"));
    // The disk goes before the cluster's directory, and after its nodes.
    cluster.node_mut(0).terminate();
    drop(disk);
}

/// Bytes that no compression makes shorter, different for each `n`.
fn scrambled(n: usize, length: usize) -> Vec<u8> {
    let mut state = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A file system in memory, of which everything is known.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: &Path, size_bytes: u64) -> Option<Self> {
        let size = format!("size={size_bytes}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(place.to_owned()))
    }

    /// Takes all space that is left.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).expect("a file can be made");
        let block = [0; 4096];
        let error = loop {
            if let Err(error) = file.write_all(&block) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    /// Gives the space back.
    fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("the file can be removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, for a test that failed while its node still uses it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
