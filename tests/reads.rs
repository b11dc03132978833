//! A read that waits for the disk holds up no other one, and what a node holds in memory keeps to its budget.

use std::time::Duration;

use kv_testkit::harness::corpus::{assert_same_lines, ndjson};
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Backend, Cluster};

/// Long enough that a test which waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a reader rests in these tests: longer than anything else takes.
const REST_MS: u64 = 8_000;
/// Engine, log and cache have parts of this.
const MEMORY_BYTES: u64 = 64 << 20;
/// More than the budget.
const RECORDS: usize = 120_000;
const VALUE_BYTES: usize = 700;

fn get(key: &str) -> String {
    format!(r#"{{"op":"GET_ONE","key":"{key}","id":"{key}"}}"#)
}

fn put(key: &str, value: &str) -> String {
    format!(r#"{{"op":"PUT","key":"{key}","value":"{value}","id":"{key}"}}"#)
}

/// A cluster whose one node has these keys on its disk and nothing in memory, and rests before its first reads.
fn with_resting_readers(keys: &[&str]) -> Cluster {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    let lines: Vec<_> = keys.iter().map(|it| ((*it).to_owned(), format!("old {it}"))).collect();
    cluster.kvclient(&["import"]).stdin(ndjson(&lines)).output().success();
    // Closed, the store has all of it in the engine.
    cluster.node_mut(0).terminate();
    let rest = format!("node::reader::before=1*sleep({REST_MS})->off");
    cluster.node_mut(0).restart_with_env("FAILPOINTS", &rest);
    cluster
}

fn id_of(reply: &[Vec<u8>]) -> String {
    parse(&reply[0])["id"].as_str().expect("it has its request's").to_owned()
}

#[test]
fn a_read_that_waits_for_the_disk_holds_up_no_other() {
    let cluster = with_resting_readers(&["cold", "other"]);
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    peer.send(&[get("cold").as_bytes()]);
    // What is written, what memory has, and what another reader finds, is answered meanwhile.
    for request in [put("hot", "new"), get("hot"), get("other")] {
        peer.send(&[request.as_bytes()]);
        let reply = peer.receive();
        assert_ne!(id_of(&reply), "cold", "it was to wait");
        assert!(parse(&reply[0])["error"].is_null(), "{}", parse(&reply[0]));
    }
    let late = peer.receive_within(PATIENCE).expect("it is answered in the end");
    assert_eq!(id_of(&late), "cold");
    assert!(String::from_utf8_lossy(&late.concat()).contains("old cold"));
}

/// What a reader has found of a key that was written meanwhile is older, and is not remembered.
#[test]
fn a_read_that_a_write_overtakes_is_not_remembered() {
    let cluster = with_resting_readers(&["key"]);
    let slow = Peer::dealer(&cluster.node(0).endpoint());
    slow.send(&[get("key").as_bytes()]);
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    // It was taken before the write comes: another request after it was answered.
    slow.send(&[put("mark", "set").as_bytes()]);
    assert_eq!(id_of(&slow.receive()), "mark");
    peer.send(&[put("key", "new").as_bytes()]);
    assert!(parse(&peer.receive()[0])["error"].is_null());
    slow.receive_within(PATIENCE).expect("it is answered in the end");
    for _ in 0..3 {
        peer.send(&[get("key").as_bytes()]);
        let reply = peer.receive();
        assert!(String::from_utf8_lossy(&reply.concat()).contains("new"), "{}", parse(&reply[0]));
    }
}

#[test]
fn a_node_keeps_to_its_memory_whatever_it_stores_and_reads() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    cluster.add_node(&["--memory", "64MiB"]);
    cluster.create_layout(&[]);
    let value = "v".repeat(VALUE_BYTES);
    let records: Vec<_> =
        (0..RECORDS).map(|it| (format!("key-{it}"), format!("{it} {value}"))).collect();
    let lines = ndjson(&records);
    assert!(lines.len() as u64 > MEMORY_BYTES * 5 / 4);
    for _ in 0..2 {
        cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
        let export = cluster.kvclient(&["export"]).output().success();
        assert_same_lines(export.stdout_text(), &lines, "what is exported is what was imported");
    }
    let peak = cluster.node(0).peak_memory_bytes();
    assert!(peak <= MEMORY_BYTES / 10 * 13, "the node took {peak} bytes of {MEMORY_BYTES}");
}

#[test]
fn a_budget_that_is_none_is_refused() {
    let cluster = Cluster::empty(Backend::Embedded);
    for (memory, says) in
        [("1MiB", "at least 64.0 MiB"), ("much", "such as 512MiB"), ("0", "at least")]
    {
        for args in [&["--memory", memory][..], &["dev", "--memory", memory]] {
            cluster.kvnode_anywhere(args).output().code(2).no_stdout().says(&["--memory", says]);
        }
    }
}
