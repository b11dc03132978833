//! A node that may have little address space, or little memory.

use kv_core::limits::VALUE_BYTES_MAX_DEFAULT;
use kv_testkit::harness::binaries::kvnode;
use kv_testkit::harness::limits::under_limit;
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Backend, Cluster};
use kv_testkit::zmtp::{RawPeer, frame, part};
use serde_json::json;

/// Too little for its threads, for its engine, or for any work.
#[test]
fn a_node_that_gets_too_little_address_space_says_so_and_speaks_of_no_damage() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    cluster.node_mut(0).terminate();
    let consul = cluster.consul();
    let root = cluster.data_directory();
    let root = root.to_str().expect("the path is text");
    let node = ["--consul", &consul, "--cluster", cluster.name(), "--data-dir", root];
    let node = [&node[..], &["--id", "node-0", "--port", "0"]].concat();
    let dev = ["dev", "--nodes", "1", "--consul-port", "0"];
    for kibibytes in [50_000, 100_000, 250_000, 400_000, 700_000] {
        for args in [&node[..], &dev] {
            let limit = format!("-v {kibibytes}");
            let run = under_limit(&limit, kvnode(), cluster.directory()).args(args);
            let output = run.output().code(1).no_stdout();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!text.contains("damage"), "{text}");
            output.says(&["cannot start", "address space", "1073741824", "ulimit -v"]);
        }
    }
    cluster.node_mut(0).restart_under("-v 1048576");
    assert_eq!(cluster.kvclient(&["get", "key"]).output().success().stdout_text(), "value");
}

const SMALL: [&str; 2] = ["--memory", "64MiB"];
/// What a node with that budget may take, whatever comes: 1.3 times of it.
const SMALL_BYTES_MAX: u64 = (64 << 20) / 10 * 13;

fn small_node() -> Cluster {
    let mut cluster = Cluster::without_layout(Backend::Embedded, 0);
    cluster.add_node(&SMALL);
    cluster.create_layout(&[]);
    cluster
}

#[test]
fn imports_of_short_and_long_values_stay_within_the_memory_of_a_small_node() {
    const RECORDS: usize = 30_000;
    let cluster = small_node();
    // Of long values, the leaves that are being rewritten come on top: each has some thirty of them.
    for (name, value_bytes, records, bytes_max) in [
        ("short", 100, RECORDS, SMALL_BYTES_MAX),
        ("long", 16 << 10, RECORDS / 60, SMALL_BYTES_MAX + (16 << 20)),
    ] {
        let value = "v".repeat(value_bytes);
        let line = |n| format!("{{\"key\":\"{name}-{n}\",\"value\":\"{value}{n}\"}}\n");
        let lines: String = (0..records).map(line).collect();
        let import = cluster.kvclient(&["import"]).stdin(lines.into_bytes());
        import.output().success().says(&[&format!("stored {records} records")]);
        let peak = cluster.node(0).peak_memory_bytes();
        println!("{name}: the node took up to {peak} bytes");
        assert!(peak <= bytes_max, "{name}: the node took up to {peak} bytes");
        for n in [0, records / 2, records - 1] {
            let got = cluster.kvclient(&["get", &format!("{name}-{n}")]).output().success();
            assert_eq!(got.stdout_text(), format!("{value}{n}"));
        }
    }
}

#[test]
fn writes_that_a_small_node_has_no_room_for_are_refused_and_the_others_are_there() {
    const VALUE_BYTES: usize = 256 << 10;
    const WRITES: usize = 160;
    let cluster = small_node();
    let mut peer = RawPeer::dealer(cluster.node(0).address());
    let value = |n: usize| vec![n as u8; VALUE_BYTES];
    // All are sent before any answer is read, several times as much as may wait.
    for n in 0..WRITES {
        let put = json!({"op": "PUT", "key": format!("k{n}"), "value_bytes": VALUE_BYTES});
        let message = [part(put.to_string().as_bytes()), frame(0, &value(n))].concat();
        peer.write(&message).expect("the node reads on");
    }
    let mut refused = 0;
    let reader = Peer::req(&cluster.node(0).endpoint());
    let answers: Vec<_> =
        (0..WRITES).map(|_| parse(&peer.read_frame().expect("every one is answered").1)).collect();
    for (n, answer) in answers.iter().enumerate() {
        let get = json!({"op": "GET_ONE", "key": format!("k{n}"), "values": "body"}).to_string();
        let found = reader.ask_frames(&[get.as_bytes()]);
        match answer["error"]["code"].as_str() {
            None => assert_eq!(found[1], value(n), "{answer}"),
            Some("overloaded") => {
                refused += 1;
                assert!(parse(&found[0])["value"].is_null(), "{answer}");
            }
            Some(_) => panic!("{answer}"),
        }
    }
    println!("{refused} of {WRITES} were refused");
    let peak = cluster.node(0).peak_memory_bytes();
    println!("the node took up to {peak} bytes");
    assert!(peak <= SMALL_BYTES_MAX, "the node took up to {peak} bytes");
    // One that is longer than all that may wait is taken all the same.
    let long = vec![7; VALUE_BYTES_MAX_DEFAULT];
    let put = json!({"op": "PUT", "key": "long", "value_bytes": long.len()}).to_string();
    let reply = reader.ask_frames(&[put.as_bytes(), &long]);
    assert_eq!(parse(&reply[0])["ok"], true);
}
