//! Peers that make a node hold much, each or all together.

use std::time::Duration;

use kv_core::limits::{ENVELOPE_BYTES_MAX, FRAME_BYTES_MAX, VALUE_BYTES_MAX_DEFAULT};
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Cluster, eventually};
use kv_testkit::zmtp::{RawPeer, frame, head_of_long_frame, part};
use kv_transport::server::bounds::Bounds;
use kv_transport::server::limits::{HELD_REQUESTS_MAX, MESSAGE_FRAMES_MAX};
use kvnode::memory::MemoryBudget;
use serde_json::json;

use super::witness::{all_is_well, one_node};

/// What a node may need beyond a budget: its store, a reply while it is made, what the system's allocator
/// keeps.
const SLACK_BYTES: u64 = 256 << 20;
/// How long it may take on a slow machine until a node has cut the connections that are too many.
const PATIENCE: Duration = Duration::from_secs(60);
const GET_ALL: &[u8] = br#"{"op":"GET_ALL","values":"body"}"#;
const STORED_MIB: usize = 28;

/// How much peers can make a node hold that was told nothing of memory.
fn bounds() -> Bounds {
    MemoryBudget::new(None, 1).bounds()
}

/// Stores values that make a reply to GET_ALL nearly as long as there is any.
fn store_much(peer: &Peer) {
    let value = vec![7; 1 << 20];
    for number in 0..STORED_MIB {
        let put = json!({"op": "PUT", "key": format!("much-{number}"), "value_bytes": value.len()});
        let reply = peer.ask_frames(&[put.to_string().as_bytes(), &value]);
        assert_eq!(parse(&reply[0])["ok"], true);
    }
}

/// Peers that ask for everything, and read nothing.
fn slow_readers(address: &str, count: usize) -> Vec<RawPeer> {
    let ask = |_| {
        let mut peer = RawPeer::dealer(address);
        peer.write(&frame(0, GET_ALL).repeat(4)).expect("the node takes requests");
        peer
    };
    (0..count).map(ask).collect()
}

fn log_says(cluster: &Cluster, words: &str) -> bool {
    cluster.node(0).log().contains(words)
}

#[test]
fn replies_that_nobody_reads_are_bounded_for_all_peers_together() {
    const SLOW: usize = 30;
    let (cluster, good) = one_node();
    store_much(&good);
    let before = cluster.node(0).peak_memory_bytes();
    let address = cluster.node(0).address();
    let slow = slow_readers(address, SLOW);
    // Peers that ask for little are served throughout, and those that ask for much once there is room again.
    eventually("a long reply beside those that nobody reads", PATIENCE, || {
        all_is_well(&good);
        let reply = good.ask_frames(&[GET_ALL]);
        let header = parse(&reply[0]);
        match header["error"]["code"].as_str() {
            None => Ok(()),
            Some("overloaded") => Err(header.to_string()),
            Some(_) => panic!("{header}"),
        }
    });
    assert!(log_says(&cluster, "does not read on"), "{}", cluster.node(0).log());
    let grown = cluster.node(0).peak_memory_bytes() - before;
    println!("the node grew by {grown} bytes");
    assert!(grown < bounds().unread_bytes_max + SLACK_BYTES, "the node grew by {grown} bytes");
    drop(slow);
    all_is_well(&good);
}

#[test]
fn peers_that_read_what_they_ask_for_are_not_cut() {
    const READERS: usize = 20;
    let (cluster, good) = one_node();
    store_much(&good);
    let endpoint = cluster.node(0).endpoint();
    let (sender, answers) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            let sender = sender.clone();
            let endpoint = &endpoint;
            scope.spawn(move || {
                let peer = Peer::req(endpoint);
                let answered = eventually("a long reply beside others", PATIENCE, || {
                    let reply = peer.ask_frames(&[GET_ALL]);
                    let header = parse(&reply[0]);
                    match header["error"]["code"].as_str() {
                        None => Ok(reply[1].len()),
                        Some("overloaded") => Err(header.to_string()),
                        Some(_) => panic!("{header}"),
                    }
                });
                sender.send(answered).expect("the test waits");
            });
        }
    });
    drop(sender);
    let lengths: Vec<usize> = answers.iter().collect();
    assert_eq!(lengths, [(STORED_MIB << 20) + "well".len(); READERS]);
    assert!(!log_says(&cluster, "cutting"), "{}", cluster.node(0).log());
}

#[test]
fn a_peer_that_only_asks_is_cut() {
    let (cluster, good) = one_node();
    let mut greedy = RawPeer::dealer(cluster.node(0).address());
    let value = "v".repeat(2000);
    good.ask(&json!({"op": "PUT", "key": "k", "value": value}).to_string());
    let block = frame(0, br#"{"op":"GET_ONE","key":"k"}"#).repeat(1000);
    // Requests that are held back for it come on top of the answers that fill the way to it.
    let enough = 4
        * (HELD_REQUESTS_MAX + usize::try_from(bounds().unread_bytes_hold).unwrap() / value.len());
    let mut sent = 0;
    while sent < enough && greedy.write(&block).is_ok() {
        sent += 1000;
    }
    eventually("it is cut", PATIENCE, || {
        all_is_well(&good);
        let said = log_says(&cluster, "of its requests wait until it has read");
        if said { Ok(()) } else { Err(format!("{sent} requests were sent")) }
    });
    assert!(greedy.is_closed_by_node());
    all_is_well(&good);
}

#[test]
fn unfinished_messages_are_bounded_for_all_peers_together() {
    const LONG_BYTES: usize = 60 << 20;
    const PEERS: u64 = 12;
    let (cluster, good) = one_node();
    let address = cluster.node(0).address();
    // A slow upload, as of a client that is far away.
    let mut slow = RawPeer::dealer(address);
    let put = json!({"op": "PUT", "key": "slow", "value_bytes": 2 << 20}).to_string();
    slow.write_part(put.as_bytes()).expect("the node reads");
    slow.write(&head_of_long_frame(2 << 20)).expect("the node reads");
    slow.write(&vec![b's'; 1 << 20]).expect("the node reads");

    let before = cluster.node(0).peak_memory_bytes();
    let piece = vec![7; 1 << 20];
    let mut greedy = Vec::new();
    for _ in 0..PEERS {
        let mut peer = RawPeer::dealer(address);
        peer.write(&head_of_long_frame(LONG_BYTES as u64 + 1)).expect("the node reads");
        // Those that are cut meanwhile cannot write on.
        for _ in 0..LONG_BYTES >> 20 {
            if peer.write(&piece).is_err() {
                break;
            }
        }
        greedy.push(peer);
        all_is_well(&good);
    }
    assert!(PEERS * LONG_BYTES as u64 > bounds().inward_bytes_total_max);
    eventually("the greediest are cut", PATIENCE, || {
        all_is_well(&good);
        if log_says(&cluster, "the most of any connection") {
            Ok(())
        } else {
            Err(cluster.node(0).log())
        }
    });
    let grown = cluster.node(0).peak_memory_bytes() - before;
    assert!(
        grown < bounds().inward_bytes_total_max + SLACK_BYTES,
        "the node grew by {grown} bytes"
    );
    // It holds least, and so it is not touched.
    slow.write(&vec![b's'; 1 << 20]).expect("the node reads");
    let (_, reply) = slow.read_frame().expect("the node answers");
    assert_eq!(parse(&reply)["ok"], true);
}

#[test]
fn envelopes_of_what_is_refused_count_too() {
    const VALUE_BYTES: usize = 1 << 20;
    let (cluster, good) = one_node();
    store_much(&good);
    let mut greedy = slow_readers(cluster.node(0).address(), 1).remove(0);
    // It reads nothing, so what it asks is held back, and refused once that is too many bytes.
    let put = json!({"op": "PUT", "key": "k", "value_bytes": VALUE_BYTES}).to_string();
    let put = [part(put.as_bytes()), frame(0, &vec![7; VALUE_BYTES])].concat();
    for _ in 0..=bounds().held_bytes_max / VALUE_BYTES as u64 {
        greedy.write(&put).expect("the node takes requests");
    }
    // Of these it has to keep nothing but the envelope.
    let envelope = part(&[b'e'; ENVELOPE_BYTES_MAX]);
    let small = [&envelope[..], &part(b""), &frame(0, br#"{"op":"STATUS"}"#)].concat();
    let block = small.repeat(100);
    let room = usize::try_from(bounds().inward_bytes_max - bounds().held_bytes_max).unwrap();
    let enough = 2 * room.div_ceil(ENVELOPE_BYTES_MAX);
    assert!(room / ENVELOPE_BYTES_MAX < HELD_REQUESTS_MAX, "it is cut for bytes, not their number");
    for _ in 0..enough.div_ceil(100) {
        if greedy.write(&block).is_err() {
            break;
        }
    }
    eventually("it is cut", PATIENCE, || {
        all_is_well(&good);
        let words = format!("carried out, the limit is {}", bounds().inward_bytes_max);
        if log_says(&cluster, &words) { Ok(()) } else { Err(cluster.node(0).log()) }
    });
    assert!(greedy.is_closed_by_node());
}

#[test]
fn tiny_frames_of_many_peers_are_bounded() {
    const PEERS: usize = 600;
    /// Below this, the node does not look at a connection more closely. In memory it is 32 times as much.
    const TINY_BYTES: usize = 62 << 10;
    let (cluster, good) = one_node();
    let address = cluster.node(0).address();
    let before = cluster.node(0).peak_memory_bytes();
    // As many as a message may have; that there is no end to it costs the node next to nothing.
    let whole = part(b"").repeat(MESSAGE_FRAMES_MAX);
    let patient: Vec<RawPeer> = (0..PEERS / 2)
        .map(|_| {
            let mut peer = RawPeer::dealer(address);
            peer.write(&whole).expect("the node reads");
            peer
        })
        .collect();
    all_is_well(&good);
    let block = part(b"").repeat(TINY_BYTES / 2);
    for _ in 0..PEERS {
        let mut peer = RawPeer::dealer(address);
        // The node may hang up before it has read all.
        let _ = peer.write(&block);
        assert!(peer.is_closed_by_node());
    }
    all_is_well(&good);
    let grown = cluster.node(0).peak_memory_bytes() - before;
    assert!(grown < SLACK_BYTES, "the node grew by {grown} bytes");
    for mut peer in patient {
        // One more, and it is the last one too.
        peer.write_last(b"").expect("it is not cut");
        assert!(peer.is_closed_by_node());
    }
    all_is_well(&good);
}

#[test]
fn a_frame_that_is_announced_takes_no_room_before_it_comes() {
    const PEERS: usize = 600;
    let (cluster, good) = one_node();
    let address = cluster.node(0).address();
    let before = cluster.node(0).peak_memory_bytes();
    let begin = |_| {
        let mut peer = RawPeer::dealer(address);
        let head = head_of_long_frame(FRAME_BYTES_MAX as u64);
        peer.write(&[&head[..], b"{"].concat()).expect("the node reads");
        peer
    };
    let waiting: Vec<RawPeer> = (0..PEERS).map(begin).collect();
    all_is_well(&good);
    let grown = cluster.node(0).peak_memory_bytes() - before;
    assert!(grown < SLACK_BYTES, "the node grew by {grown} bytes");
    // Where the system hands out huge pages to all, each would have had one.
    if let Some(huge) = cluster.node(0).status("THP_enabled") {
        assert_eq!(huge, "0");
    }
    drop(waiting);
    all_is_well(&good);
}

#[test]
fn a_slow_upload_is_not_cut_for_what_others_write() {
    const SLOW_BYTES: usize = VALUE_BYTES_MAX_DEFAULT;
    const PIECES: usize = 64;
    const OTHERS_PER_PIECE: usize = 3;
    let (cluster, good) = one_node();
    let mut slow = RawPeer::dealer(cluster.node(0).address());
    let put = json!({"op": "PUT", "key": "slow", "value_bytes": SLOW_BYTES}).to_string();
    slow.write_part(put.as_bytes()).expect("the node reads");
    slow.write(&head_of_long_frame(SLOW_BYTES as u64)).expect("the node reads");
    let (piece, value) = (vec![b's'; SLOW_BYTES / PIECES], vec![7; 1 << 20]);
    for number in 0..PIECES {
        slow.write(&piece).expect("it is not cut");
        for other in 0..OTHERS_PER_PIECE {
            let key = format!("{number}-{other}");
            let put = json!({"op": "PUT", "key": key, "value_bytes": value.len()}).to_string();
            let reply = good.ask_frames(&[put.as_bytes(), &value]);
            assert_eq!(parse(&reply[0])["ok"], true);
        }
    }
    let (_, reply) = slow.read_frame().expect("the node answers");
    assert_eq!(parse(&reply)["ok"], true);
    assert!(!log_says(&cluster, "cutting"), "{}", cluster.node(0).log());
}

#[test]
fn a_connection_that_owes_nothing_is_not_cut_for_what_others_do() {
    let (cluster, good) = one_node();
    store_much(&good);
    let address = cluster.node(0).address();
    // It speaks as soon as it is connected, before the node has looked at it.
    let mut innocent = RawPeer::dealer(address);
    let put = json!({"op": "PUT", "key": "k", "value_bytes": 1 << 20}).to_string();
    let value = frame(0, &vec![7; 1 << 20]);
    innocent.write(&[part(put.as_bytes()), value].concat()).expect("the node takes requests");
    let (_, reply) = innocent.read_frame().expect("the node answers");
    assert_eq!(parse(&reply)["ok"], true);

    let slow = slow_readers(address, 12);
    eventually("those that do not read are cut", PATIENCE, || {
        good.ask_frames(&[GET_ALL]);
        if log_says(&cluster, "does not read on") { Ok(()) } else { Err(cluster.node(0).log()) }
    });
    innocent.write_last(br#"{"op":"GET_ONE","key":"witness"}"#).expect("it is not cut");
    let (_, reply) = innocent.read_frame().expect("it is not cut");
    assert_eq!(parse(&reply)["value"], "well");
    drop(slow);
}

#[test]
fn connections_are_bounded_and_those_that_say_nothing_go_first() {
    const DESCRIPTORS: usize = 400;
    const FLOOD: usize = 600;
    let (mut cluster, _) = one_node();
    cluster.node_mut(0).restart_with_descriptors(DESCRIPTORS);
    let (address, endpoint) = (cluster.node(0).address().to_owned(), cluster.node(0).endpoint());
    let mut old = RawPeer::dealer(&address);
    let ask = |peer: &mut RawPeer| {
        peer.write_last(br#"{"op":"GET_ONE","key":"witness"}"#).expect("it is not cut");
        let (_, reply) = peer.read_frame().expect("it is not cut");
        assert_eq!(parse(&reply)["value"], "well");
    };
    ask(&mut old);
    let connect = |_| {
        let peer = RawPeer::connect(&address);
        // It does nothing more, and that is all it takes.
        peer
    };
    let flood: Vec<RawPeer> = (0..FLOOD).map(connect).collect();
    eventually("a new client is served", PATIENCE, || {
        let output = cluster.kvclient(&["get", "witness"]).output();
        if output.stdout_text() == "well" { Ok(()) } else { Err(cluster.node(0).log()) }
    });
    // The one that had spoken is still there, and what needs a file has one.
    ask(&mut old);
    let peer = Peer::req(&endpoint);
    all_is_well(&peer);
    for number in 0..20 {
        let put = json!({"op": "PUT", "key": format!("k{number}"), "value": "v"}).to_string();
        assert_eq!(peer.ask_json(&put)["ok"], true);
    }
    assert!(
        log_says(&cluster, "connections are open, the limit is 200"),
        "{}",
        cluster.node(0).log()
    );
    drop(flood);
    ask(&mut old);
    all_is_well(&Peer::req(&endpoint));
}
