//! A read that waits for the disk holds up no other one, and what a node holds in memory keeps to its budget.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kv_testkit::harness::corpus::ndjson;
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

/// What was read under a layout that is another one by now is read again, and the read is answered.
#[test]
fn a_read_that_a_layout_overtakes_is_answered() {
    let cluster = with_resting_readers(&["cold"]);
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    peer.send(&[get("cold").as_bytes()]);
    peer.send(&[put("mark", "set").as_bytes()]);
    assert_eq!(id_of(&peer.receive()), "mark");
    cluster.kvclient(&["set-node", "node-0", "--weight", "7"]).output().success();
    let late = peer.receive_within(PATIENCE).expect("it is answered in the end");
    assert!(String::from_utf8_lossy(&late.concat()).contains("old cold"), "{}", parse(&late[0]));
}

/// What it holds of requests and replies comes on top, and has bounds of its own: there is little of it here.
#[test]
fn a_node_keeps_to_its_memory_whatever_it_stores_and_reads() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    cluster.add_node(&["--memory", "64MiB"]);
    cluster.create_layout(&[]);
    let keys = RECORDS.to_string();
    let value_bytes = VALUE_BYTES.to_string();
    let bench = |args: &[&str]| {
        let shape = [
            "bench",
            "--keys",
            &keys,
            "--value-size",
            &value_bytes,
            "--threads",
            "4",
            "--depth",
            "4",
        ];
        cluster.kvclient(&[&shape[..], args].concat()).output().success();
    };
    assert!((RECORDS * VALUE_BYTES) as u64 > MEMORY_BYTES * 5 / 4);
    bench(&["--workload", "put", "--operations", "1"]);
    let (mut highest, is_over) = (0, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut highest = 0;
            while !is_over.load(Ordering::Relaxed) {
                highest = highest.max(cluster.node(0).memory_bytes());
                std::thread::sleep(Duration::from_millis(20));
            }
            highest
        });
        for workload in ["get", "put", "get"] {
            bench(&["--no-load", "--workload", workload, "--operations", "20000"]);
        }
        is_over.store(true, Ordering::Relaxed);
        highest = watch.join().expect("it only looks");
    });
    println!("the node took {highest} bytes of {MEMORY_BYTES} at most");
    assert!(highest > MEMORY_BYTES / 4, "it was looked at");
    assert!(highest <= MEMORY_BYTES / 10 * 13, "the node took {highest} bytes of {MEMORY_BYTES}");
}

/// Writes that need no sync are carried out in the serving thread, and others take longer ways.
#[test]
fn what_is_asked_for_without_waiting_is_done_in_order() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    cluster.add_node(&["--fsync", "everysec"]);
    cluster.create_layout(&[]);
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    let ask = |request: &str| peer.send(&[request.as_bytes()]);
    let answer = || String::from_utf8_lossy(&peer.receive().concat()).into_owned();
    let filler = "f".repeat(60_000);
    for round in 0..300 {
        // A write of a known value, which may be held; one of a value that is not known meanwhile; a read of it; a
        // new key; one that is too long to be held; and again one that may be.
        let [first, second, third] = ["a", "b", "c"].map(|it| format!("{it}{round}"));
        ask(&put("k", &first));
        ask(&put("other", &first));
        ask(&put("k", &second));
        ask(&get("k"));
        ask(&put(&format!("new{round}"), &first));
        ask(&put("long", &filler));
        ask(&put("long", &filler));
        ask(&put("k", &third));
        ask(&get("k"));
        let answers: Vec<_> = (0..9).map(|_| answer()).collect();
        assert!(answers.iter().all(|it| !it.contains("error")), "{answers:?}");
        assert!(answers[3].contains(&second), "round {round}: {}", answers[3]);
        assert!(answers[8].contains(&third), "round {round}: {}", answers[8]);
        // What is asked for once all is answered takes the shortest way.
        ask(&get("k"));
        let last = answer();
        assert!(last.contains(&third), "round {round}: {last}");
    }
}

#[test]
fn a_budget_that_is_none_is_refused() {
    let cluster = Cluster::empty(Backend::Embedded);
    for (memory, says) in [
        ("1MiB", "at least 64.0 MiB"),
        ("much", "such as 512MiB"),
        ("0", "at least"),
        ("1000PiB", "at most"),
    ] {
        for args in [&["--memory", memory][..], &["dev", "--memory", memory]] {
            cluster.kvnode_anywhere(args).output().code(2).no_stdout().says(&["--memory", says]);
        }
    }
}
