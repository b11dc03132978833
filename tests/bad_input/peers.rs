//! Peers that speak no ZeroMQ, or say nothing, or never stop.

use std::time::Duration;

use kv_core::limits::FRAME_BYTES_MAX;
use kv_testkit::harness::eventually;
use kv_testkit::harness::peer::Peer;
use kv_testkit::zmtp::{RawPeer, greeting, head_of_long_frame, part};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::witness::{all_is_well, one_node};

/// By how much one peer's endless message may make the node grow at its worst, in bytes. What the
/// peer sends is far more.
const GROWTH_BYTES_MAX: u64 = 256 << 20;
/// How much a peer that never ends its message sends, in bytes, unless it is stopped before.
const ENDLESS_BYTES: usize = 768 << 20;
/// The same for tiny frames, of which each costs the node much more than its bytes.
const ENDLESS_TINY_BYTES: usize = 48 << 20;

#[test]
fn bytes_that_are_no_zeromq_disconnect_their_sender_only() {
    let (cluster, good) = one_node();
    let address = cluster.node(0).address();
    let mut noise = vec![0_u8; 256 << 10];
    StdRng::seed_from_u64(1).fill(&mut noise[..]);
    let mut wrong_mechanism = greeting();
    wrong_mechanism[12..16].copy_from_slice(b"NOPE");
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"{\"op\":\"GET_ALL\"}\n",
        &noise,
        &wrong_mechanism,
        // A command that does not exist, where READY is due.
        &[&greeting()[..], b"\x04\x04\x03FOO"].concat(),
        // A message where READY is due.
        &[&greeting()[..], &part(b"early")].concat(),
        // A READY whose property claims more than there is.
        &[&greeting()[..], b"\x04\x0b\x05READY\x01a\xff\xff\xff"].concat(),
    ] {
        let mut bad = RawPeer::connect(address);
        // The node may hang up before it has read all.
        let _ = bad.write(bytes);
        all_is_well(&good);
        assert!(
            bad.is_closed_by_node(),
            "{:?}",
            String::from_utf8_lossy(&bytes[..20.min(bytes.len())])
        );
    }
    all_is_well(&good);
}

#[test]
fn a_frame_that_claims_to_be_huge_is_not_waited_for() {
    let (cluster, good) = one_node();
    for length in [65 << 20, 1 << 32, 1 << 62, u64::MAX] {
        let mut bad = RawPeer::dealer(cluster.node(0).address());
        bad.write(&head_of_long_frame(length)).expect("the node reads");
        assert!(bad.is_closed_by_node(), "a frame of {length} bytes");
        all_is_well(&good);
    }
}

#[test]
fn peers_that_say_nothing_are_in_nobodys_way() {
    const SILENT: usize = 250;
    let (cluster, good) = one_node();
    let address = cluster.node(0).address();
    let mut silent: Vec<RawPeer> = (0..SILENT).map(|_| RawPeer::connect(address)).collect();
    for peer in &mut silent[..SILENT / 2] {
        peer.write(&greeting()[..20]).expect("the node reads");
    }
    let shaken: Vec<RawPeer> = (0..SILENT / 2).map(|_| RawPeer::dealer(address)).collect();
    for _ in 0..100 {
        all_is_well(&good);
    }
    // Also one that comes later is served, while the others are still there.
    let late = Peer::req(&cluster.node(0).endpoint());
    all_is_well(&late);
    let output = cluster.kvclient(&["get", "witness"]).output().success();
    assert_eq!(output.stdout_text(), "well");
    // Those that never shook hands are given up.
    let first = silent.first_mut().expect("there are some");
    assert!(first.is_closed_by_node());
    assert!(silent.last_mut().expect("there are some").is_closed_by_node());
    drop(shaken);
    all_is_well(&good);
}

#[test]
fn peers_that_claim_what_libzmq_gives_out_and_break_off_end_nothing() {
    // libzmq numbers peers without a routing id from what rand() gives first in a process that does not seed
    // it.
    const FIRST: u32 = 0x6b8b_4567;
    let (cluster, good) = one_node();
    let address = cluster.node(0).address();
    let claiming: Vec<RawPeer> = (0..100)
        .map(|number| {
            let claimed = (FIRST + 4 * number).to_be_bytes();
            RawPeer::dealer_of(address, 1, &[&[0], &claimed[..]].concat())
        })
        .collect();
    for _ in 0..400 {
        let mut bad = RawPeer::dealer(address);
        bad.write_last(br#"{"op":"STATUS"}"#).expect("the node reads");
        bad.reset();
    }
    all_is_well(&good);
    drop(claiming);
    all_is_well(&good);
}

#[test]
fn half_a_message_is_forgotten_with_its_peer() {
    let (cluster, good) = one_node();
    for _ in 0..50 {
        let mut bad = RawPeer::dealer(cluster.node(0).address());
        bad.write_part(br#"{"op":"PUT","key":"half","value_bytes":3}"#).expect("the node reads");
        bad.write(&head_of_long_frame(3)).expect("the node reads");
    }
    all_is_well(&good);
    let all = good.ask(r#"{"op":"GET_ALL"}"#);
    assert_eq!(all, r#"{"collection":[{"key":"witness","value":"well"}]}"#);
}

#[test]
fn a_message_without_end_is_bounded() {
    // As few frames as come to more than a connection may have under way.
    endless(&vec![7; FRAME_BYTES_MAX - (1 << 20)], ENDLESS_BYTES);
    endless(&[7; 64 << 10], ENDLESS_BYTES);
}

#[test]
fn a_message_of_tiny_frames_without_end_is_bounded() {
    endless(b"", ENDLESS_TINY_BYTES);
}

/// Sends frames of `content` that all announce another one, and sees that others are served
/// meanwhile and that the node does not keep it all.
fn endless(content: &[u8], bytes_max: usize) {
    let (cluster, good) = one_node();
    let before = cluster.node(0).peak_memory_bytes();
    let address = cluster.node(0).address().to_owned();
    let one = part(content);
    let block = one.repeat(((64 << 10) / one.len()).max(1));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut bad = RawPeer::dealer(&address);
            let mut sent = 0;
            // It ends when all is sent, or when the node hangs up or reads no more.
            while sent < bytes_max && bad.write(&block).is_ok() {
                sent += block.len();
            }
            sent
        });
        let patience = Duration::from_secs(90);
        eventually("the end of an endless message", patience, || {
            all_is_well(&good);
            if sender.is_finished() { Ok(()) } else { Err("it is being sent".to_owned()) }
        });
        println!("{} bytes were sent", sender.join().expect("the sender does not panic"));
    });
    all_is_well(&good);
    let grown = cluster.node(0).peak_memory_bytes() - before;
    assert!(
        grown <= GROWTH_BYTES_MAX,
        "the node grew by {grown} bytes, at most {GROWTH_BYTES_MAX}"
    );
}
