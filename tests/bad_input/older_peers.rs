//! Peers that speak an older protocol than ZMTP 3, and what looks like one: the request of a browser.

use std::fs;
use std::time::Duration;

use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::{Backend, Cluster, eventually};
use kv_testkit::zmtp::RawPeer;

const WRITE: &str = r#"{"op":"PUT","key":"forged","value":"by a stranger"}"#;

#[track_caller]
fn nothing_was_written(good: &Peer) {
    let reply = good.ask(r#"{"op":"GET_ALL"}"#);
    assert_eq!(reply, r#"{"collection":[]}"#);
}

/// Sends `bytes` to the node as a peer's first ones, and sees that they are hung up on and change
/// nothing.
#[track_caller]
fn is_refused(cluster: &Cluster, good: &Peer, bytes: &[u8]) {
    let mut bad = RawPeer::connect(cluster.node(0).address());
    // The node may hang up before it has read all.
    let _ = bad.write(bytes);
    let shown = String::from_utf8_lossy(&bytes[..30.min(bytes.len())]);
    assert!(bad.is_closed_by_node(), "{shown:?}");
    nothing_was_written(good);
}

/// A frame of ZMTP 1.0.
fn frame(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len() + 1).expect("it is short");
    [&[length, 0], content].concat()
}

/// The request with which a page has a browser send a message of ZMTP 1.0: it knows all that the
/// browser writes before the body, and fills what the last frame in there still lacks.
fn browsers_request(head: impl Fn(usize) -> String) -> Vec<u8> {
    const BODY_BYTES: usize = 400;
    let head = head(BODY_BYTES).into_bytes();
    let mut at = 0;
    while at < head.len() {
        at += 1 + usize::from(head[at]);
    }
    let mut body = vec![b'x'; at - head.len()];
    // The frame before may have said that it is not the last of its message.
    body.extend(frame(b""));
    body.extend(frame(WRITE.as_bytes()));
    assert!(body.len() <= BODY_BYTES, "the frames of the head end within the body");
    while body.len() + 2 <= BODY_BYTES {
        body.extend(frame(b""));
    }
    body.resize(BODY_BYTES, 1);
    [head, body].concat()
}

#[test]
fn what_a_browser_sends_is_no_message() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let good = Peer::req(&cluster.node(0).endpoint());
    let host = cluster.node(0).address();
    let path = "a".repeat(100);
    let firefox = |length: usize| {
        format!(
            "POST /{path} HTTP/1.1\r\nHost: {host}\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
             Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
             Referer: http://evil.example/\r\nContent-Type: text/plain\r\nContent-Length: {length:04}\r\n\
             Origin: http://evil.example\r\nConnection: keep-alive\r\nSec-Fetch-Dest: empty\r\n\
             Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: cross-site\r\nPriority: u=4\r\n\r\n"
        )
    };
    // Of a page in a sandboxed frame, which has no origin.
    let chrome = |length: usize| {
        format!(
            "POST /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive\r\nContent-Length: {length}\r\n\
             sec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 \
             (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\nContent-Type: text/plain;charset=UTF-8\r\n\
             Accept: */*\r\nOrigin: null\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n\
             Sec-Fetch-Dest: empty\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
             Accept-Language: en-US,en;q=0.9\r\n\r\n"
        )
    };
    is_refused(&cluster, &good, &browsers_request(firefox));
    is_refused(&cluster, &good, &browsers_request(chrome));
}

#[test]
fn peers_of_zmtp_1_and_2_are_hung_up_on() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let good = Peer::req(&cluster.node(0).endpoint());
    let write = frame(WRITE.as_bytes());
    // ZMTP 2.0 has flags before the length.
    let write_2 =
        [&[0, u8::try_from(WRITE.len()).expect("it is short")], WRITE.as_bytes()].concat();
    let signature = b"\xff\0\0\0\0\0\0\0\x01\x7f";
    const DEALER: u8 = 5;
    for bytes in [
        // ZMTP 1.0: a routing id, none or some, and a message; of a DEALER, and of a REQ.
        [frame(b""), write.clone()].concat(),
        [frame(b"me"), write.clone()].concat(),
        [&frame(b"")[..], &[1, 1], &write].concat(),
        // The same with the long form of a length, which differs from a signature in its flags only.
        [b"\xff\0\0\0\0\0\0\0\x01\0", &write[..]].concat(),
        [b"\xff\0\0\0\0\0\0\0\x03\0me", &write[..]].concat(),
        // With a signature: ZMTP 1.0 by number, and ZMTP 2.0.
        [signature, &[0, DEALER][..], &frame(b""), &write].concat(),
        [signature, &[1, DEALER][..], &[0, 0], &write_2].concat(),
        [signature, &[1, DEALER][..], &[0, 2], b"me", &write_2].concat(),
    ] {
        is_refused(&cluster, &good, &bytes);
    }
}

#[test]
fn the_system_asks_after_a_silent_peer_that_knows_no_heartbeats() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let peer = RawPeer::dealer(cluster.node(0).address());
    let port = |address: &str| -> u16 {
        address.rsplit(':').next().and_then(|it| it.parse().ok()).expect("it ends with its port")
    };
    let ends = [port(cluster.node(0).address()), peer.local_port()].map(|it| format!(":{it:04X}"));
    // The node says nothing to it for as long as it says nothing.
    eventually("the timer of the node's end", Duration::from_secs(20), || {
        let table = fs::read_to_string("/proc/net/tcp").expect("the node runs on Linux");
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let end = fields
            .into_iter()
            .find(|it| it.len() > 5 && it[1].ends_with(&ends[0]) && it[2].ends_with(&ends[1]))
            .expect("the connection is in the system's table");
        // 2 is the timer that keepalive sets.
        if end[5].starts_with("02:") { Ok(()) } else { Err(end[5].to_owned()) }
    });
}
