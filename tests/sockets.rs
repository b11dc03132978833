//! Every kind of ZeroMQ socket gets its own replies, all of them, in their order.

use std::thread::JoinHandle;

use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Backend, Cluster};
use kv_testkit::zmtp::{RawPeer, frame, part};
use serde_json::{Value, json};

const STATUS: &str = r#"{"op":"STATUS"}"#;
/// More than all queues between a client and a node together have room for.
const REQUESTS_AHEAD: usize = 20_000;

fn one_node() -> Cluster {
    Cluster::start(Backend::Embedded, 1)
}

#[track_caller]
fn answers(peer: &Peer) {
    assert_eq!(peer.ask_json(STATUS)["status"]["node"], "node-0");
}

/// A queue device: a ROUTER for clients, and a DEALER that is connected to `endpoint`.
struct Device {
    endpoint: String,
    context: zmq::Context,
    forwarding: Option<JoinHandle<()>>,
}

impl Device {
    fn before(endpoint: &str) -> Self {
        let context = zmq::Context::new();
        let front = context.socket(zmq::ROUTER).expect("a socket can be made");
        let back = context.socket(zmq::DEALER).expect("a socket can be made");
        for socket in [&front, &back] {
            socket.set_linger(0).expect("the socket takes a linger time");
        }
        front.bind("tcp://127.0.0.1:*").expect("there is a port");
        back.connect(endpoint).expect("the endpoint is one");
        let endpoint = front.get_last_endpoint().expect("it is bound").expect("it is text");
        // It ends with the context.
        let forwarding = Some(std::thread::spawn(move || {
            let _ = zmq::proxy(&front, &back);
        }));
        Self { endpoint, context, forwarding }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.context.destroy();
        let _ = self.forwarding.take().map(JoinHandle::join);
    }
}

#[test]
fn a_req_socket_that_numbers_its_requests_is_answered() {
    let cluster = one_node();
    // Among so many successive numbers are some that begin or end with any byte.
    let peer = Peer::connect_with(zmq::REQ, &cluster.node(0).endpoint(), |socket| {
        socket.set_req_correlate(true)?;
        socket.set_req_relaxed(true)
    });
    for _ in 0..600 {
        answers(&peer);
    }
    // Also where the request is wrong.
    assert_eq!(peer.ask_json("{}")["error"]["code"], "bad_request");
    assert_eq!(peer.ask_json("")["error"]["code"], "bad_request");
    answers(&peer);
}

#[test]
fn sockets_behind_queue_devices_are_answered() {
    let cluster = one_node();
    let first = Device::before(&cluster.node(0).endpoint());
    let second = Device::before(&first.endpoint);
    for endpoint in [&first.endpoint, &second.endpoint] {
        let peers: Vec<Peer> = (0..3).map(|_| Peer::req(endpoint)).collect();
        let correlating = Peer::connect_with(zmq::REQ, endpoint, |it| it.set_req_correlate(true));
        for peer in peers.iter().chain([&correlating]) {
            answers(peer);
            let put = json!({"op": "PUT", "key": "k", "value_bytes": 0}).to_string();
            let reply = peer.ask_frames(&[put.as_bytes(), b""]);
            assert_eq!(parse(&reply[0])["ok"], true, "an empty body is one");
            let read = peer.ask_frames(&[br#"{"op":"GET_ONE","key":"k","values":"body"}"#]);
            assert_eq!(read[1..], [Vec::<u8>::new()]);
        }
        // A DEALER has to send the delimiter itself there.
        let dealer = Peer::dealer(endpoint);
        let reply = dealer.ask_frames(&[b"", STATUS.as_bytes()]);
        assert_eq!(parse(&reply[1])["status"]["node"], "node-0");
    }
}

#[test]
fn envelopes_come_back_as_they_went() {
    let cluster = one_node();
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    let get = &br#"{"op":"GET_ONE","key":"k"}"#[..];
    let reply = br#"{"key":"k","value":null}"#.to_vec();
    for envelope in [
        &[][..],
        &[&b""[..]],
        &[b"{\"op\":\"STATUS\"}", b""],
        &[b"\0\x01\x02\x03\x04", b"{}", b"\xff", b""],
        &[b"a", b"b", b"c", b"d", b"e", b"f", b"g", &[7; 255], b""],
    ] {
        let mut expected: Vec<Vec<u8>> = envelope.iter().map(|frame| frame.to_vec()).collect();
        expected.push(reply.clone());
        assert_eq!(peer.ask_frames(&[envelope, &[get]].concat()), expected);
    }
    // One id too many, and too many bytes of ids.
    let deep = [&[&b"id"[..]; 9][..], &[b"", get]].concat();
    let long: &[&[u8]] = &[&[7; 3000], b"", get];
    for frames in [&deep[..], long] {
        let reply = peer.ask_frames(frames);
        assert_eq!(parse(&reply[0])["error"]["code"], "bad_request");
    }
}

#[test]
fn a_probe_has_no_answer() {
    let cluster = one_node();
    let peer = Peer::connect_with(zmq::DEALER, &cluster.node(0).endpoint(), |socket| {
        socket.set_probe_router(true)
    });
    answers(&peer);
    peer.send(&[b""]);
    answers(&peer);
}

#[test]
fn clients_of_one_name_are_all_served() {
    let cluster = one_node();
    let endpoint = cluster.node(0).endpoint();
    let named =
        || Peer::connect_with(zmq::DEALER, &endpoint, |socket| socket.set_identity(b"worker-1"));
    let (first, second) = (named(), named());
    let ask = |peer: &Peer, id: u32| {
        let reply = peer.ask_json(&json!({"op": "STATUS", "id": id}).to_string());
        assert_eq!(reply["id"], id);
    };
    for round in 0..20 {
        ask(&first, 2 * round);
        ask(&second, 2 * round + 1);
    }
    drop(first);
    ask(&second, 100);
    ask(&named(), 101);
    ask(&second, 102);
}

#[test]
fn a_reply_reaches_nobody_but_the_connection_that_asked() {
    const ROUNDS: usize = 50;
    let cluster = one_node();
    let address = cluster.node(0).address();
    let secret = vec![b's'; 100 << 10];
    for round in 0..ROUNDS {
        let key = format!("secret-{round}");
        let put = json!({"op": "PUT", "key": key, "value_bytes": secret.len()}).to_string();
        let get = json!({"op": "GET_ONE", "key": key}).to_string();
        let mut asker = RawPeer::dealer_of(address, 0, b"name");
        let request = [part(put.as_bytes()), frame(0, &secret), frame(0, get.as_bytes())].concat();
        asker.write(&request).expect("the node takes requests");
        drop(asker);
        let mut claimer = RawPeer::dealer_of(address, 0, b"name");
        claimer.write_last(STATUS.as_bytes()).expect("the node takes requests");
        let (_, reply) = claimer.read_frame().expect("the node answers");
        assert_eq!(parse(&reply)["status"]["node"], "node-0", "it is the reply to its own request");
    }
    // Requests that were sent before the end of a connection are carried out all the same.
    let peer = Peer::req(&cluster.node(0).endpoint());
    for round in 0..ROUNDS {
        let key = format!("secret-{round}");
        let reply = peer.ask_json(&json!({"op": "GET_ONE", "key": key}).to_string());
        assert_eq!(reply["value"].as_str().map(str::len), Some(secret.len()), "{key}");
    }
}

#[test]
fn requests_that_are_sent_ahead_are_all_answered_in_their_order() {
    let cluster = one_node();
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    for id in 0..REQUESTS_AHEAD {
        let put = json!({"op": "PUT", "key": format!("k{id}"), "value": "v", "id": id});
        peer.send(&[put.to_string().as_bytes()]);
    }
    for id in 0..REQUESTS_AHEAD {
        let reply = parse(&peer.receive()[0]);
        assert_eq!((&reply["id"], &reply["ok"]), (&json!(id), &Value::Bool(true)), "{reply}");
    }
    // Reads are answered at once, and so come faster.
    for id in 0..REQUESTS_AHEAD {
        peer.send(&[json!({"op": "GET_ONE", "key": "k0", "id": id}).to_string().as_bytes()]);
    }
    for id in 0..REQUESTS_AHEAD {
        assert_eq!(parse(&peer.receive()[0])["id"], id);
    }
}

#[test]
fn long_replies_wait_at_the_node_until_their_peer_reads_on() {
    const VALUE_BYTES: usize = 4 << 20;
    const READS: usize = 100;
    /// Far less than all replies have, and more than a node that holds requests back needs.
    const GROWTH_BYTES_MAX: u64 = 160 << 20;
    let cluster = one_node();
    let endpoint = cluster.node(0).endpoint();
    let peer = Peer::connect_with(zmq::DEALER, &endpoint, |socket| socket.set_rcvhwm(1));
    let put = json!({"op": "PUT", "key": "k", "value_bytes": VALUE_BYTES}).to_string();
    peer.ask_frames(&[put.as_bytes(), &vec![7; VALUE_BYTES]]);
    let before = cluster.node(0).peak_memory_bytes();
    for id in 0..READS {
        let get = json!({"op": "GET_ONE", "key": "k", "values": "body", "id": id});
        peer.send(&[get.to_string().as_bytes()]);
    }
    // Others are served before, between and after.
    let other = Peer::req(&endpoint);
    for id in 0..READS {
        answers(&other);
        let reply = peer.receive();
        assert_eq!((&parse(&reply[0])["id"], reply[1].len()), (&json!(id), VALUE_BYTES));
    }
    let grown = cluster.node(0).peak_memory_bytes() - before;
    assert!(grown < GROWTH_BYTES_MAX, "the node grew by {grown} bytes");
}

#[test]
fn long_writes_that_are_sent_ahead_are_all_answered_in_their_order() {
    const VALUE_BYTES: usize = 2 << 20;
    const WRITES: usize = 200;
    const GROWTH_BYTES_MAX: u64 = 640 << 20;
    let cluster = one_node();
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    let before = cluster.node(0).peak_memory_bytes();
    let value = vec![7; VALUE_BYTES];
    for id in 0..WRITES {
        let put = json!({"op": "PUT", "key": "k", "value_bytes": VALUE_BYTES, "id": id});
        peer.send(&[put.to_string().as_bytes(), &value]);
    }
    // Where the disk is slow, the node asks for some of them again, and keeps no more of them.
    for id in 0..WRITES {
        let reply = parse(&peer.receive()[0]);
        let is_answer = reply["ok"] == true || reply["error"]["code"] == "overloaded";
        assert!(is_answer && reply["id"] == id, "{reply}");
    }
    let grown = cluster.node(0).peak_memory_bytes() - before;
    assert!(grown < GROWTH_BYTES_MAX, "the node grew by {grown} bytes");
}
