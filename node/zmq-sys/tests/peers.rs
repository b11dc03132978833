//! What any peer can do to a ROUTER, and must not. What fails here mostly fails by an assertion of
//! libzmq that ends this process: `build/mends.rs` says which.

#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::collections::HashSet;

use kv_testkit::zmtp::{COMMAND, MORE, RawPeer, command, frame, part};
use zmq::{CurveKeyPair, DONTWAIT, SNDMORE};
use zmq_sys::MESSAGE_FRAMES_MAX;

/// How long the socket waits for a message before the test fails, in milliseconds.
const RECEIVE_MS: i32 = 20_000;
const HEARTBEAT_MS: i32 = 20;
/// Where a peer takes no message for this long, it has no room for one, in milliseconds.
const FULL_MS: i32 = 500;

/// A ROUTER that listens, and where. `set` sets what has to be set before.
fn router(set: impl FnOnce(&zmq::Socket)) -> (zmq::Socket, String) {
    let router = zmq::Context::new().socket(zmq::ROUTER).unwrap();
    router.set_rcvtimeo(RECEIVE_MS).unwrap();
    router.set_linger(0).unwrap();
    set(&router);
    router.bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = router.get_last_endpoint().unwrap().unwrap();
    (router, endpoint.strip_prefix("tcp://").unwrap().to_owned())
}

/// The routing id that the router knows `peer` by.
fn id_of(router: &zmq::Socket, peer: &mut RawPeer) -> Vec<u8> {
    peer.write_last(b"who am I?").unwrap();
    loop {
        let mut frames = router.recv_multipart(0).unwrap();
        // What others have sent before is passed over.
        if frames.last().unwrap() == b"who am I?" {
            return frames.remove(0);
        }
    }
}

/// Sees that `peer` is served.
fn asks(router: &zmq::Socket, peer: &mut RawPeer) {
    let id = id_of(router, peer);
    router.send_multipart([&id[..], b"one of mine"], 0).unwrap();
    assert_eq!(next_message(peer), b"one of mine");
}

/// The next frame that is not a command; a PING among those before is answered.
fn next_message(peer: &mut RawPeer) -> Vec<u8> {
    loop {
        match peer.read_frame().unwrap() {
            (COMMAND, ping) if ping.starts_with(b"\x04PING") => {
                peer.write(&command("PONG", b"")).unwrap();
            }
            (flags, frame) => {
                assert_eq!(flags, 0, "{frame:?}");
                return frame;
            }
        }
    }
}

#[test]
fn curve_is_there() {
    assert_eq!(zmq::version(), (4, 3, 5));
    assert_eq!(zmq::has("curve"), Some(true));
    zmq::CurveKeyPair::new().unwrap();
}

#[test]
fn ids_that_begin_with_0_are_given_and_never_taken() {
    let (router, address) = router(|_| {});
    let mut first = RawPeer::dealer(&address);
    let given = id_of(&router, &mut first);
    let number = u32::from_be_bytes(*given[1..].first_chunk().unwrap());
    assert_eq!((given.len(), given[0]), (5, 0));
    // The ids that are given next, and the one that has been given.
    let mut peers: Vec<RawPeer> = (0..64)
        .map(|ahead| {
            let coming = number.wrapping_add(ahead).to_be_bytes();
            RawPeer::dealer_of(&address, 0, &[&[0], &coming[..]].concat())
        })
        .collect();
    peers.extend((0..64).map(|_| RawPeer::dealer(&address)));
    peers.push(first);
    let ids: HashSet<Vec<u8>> = peers.iter_mut().map(|peer| id_of(&router, peer)).collect();
    assert_eq!(ids.len(), peers.len(), "no two peers have the same id");
    assert_eq!(id_of(&router, peers.last_mut().unwrap()), given);
}

#[test]
fn ids_are_not_taken_where_messages_must_reach_whom_they_are_meant_for() {
    let (router, address) = router(|router| router.set_router_mandatory(true).unwrap());
    let mut first = RawPeer::dealer_of(&address, 0, b"me");
    let mut second = RawPeer::dealer_of(&address, 0, b"me");
    let gone = id_of(&router, &mut first);
    assert_ne!(gone, id_of(&router, &mut second));
    for peer in [&mut first, &mut second] {
        asks(&router, peer);
    }
    drop(first);
    asks(&router, &mut RawPeer::dealer_of(&address, 0, b"me"));
    assert_ne!(gone, id_of(&router, &mut second));
}

#[test]
fn ids_are_at_most_as_long_as_the_protocol_says() {
    let (router, address) = router(|_| {});
    let longest = [b'x'; 255];
    assert_eq!(id_of(&router, &mut RawPeer::dealer_of(&address, 0, &longest)), longest);
    assert_eq!(id_of(&router, &mut RawPeer::dealer_of(&address, 0, &[b'x'; 256])).len(), 5);
}

#[test]
fn a_connection_that_breaks_with_messages_waiting_ends_nothing() {
    let (router, address) = router(|router| {
        router.set_rcvhwm(1).unwrap();
        router.set_heartbeat_ivl(HEARTBEAT_MS).unwrap();
        router.set_heartbeat_timeout(RECEIVE_MS).unwrap();
    });
    let mut witness = RawPeer::dealer_of(&address, 1, b"");
    for _ in 0..20 {
        let mut bad = RawPeer::dealer_of(&address, 1, b"");
        let messages = part(b"{}").repeat(300);
        let ping = command("PING", b"\0\0");
        let bytes = [&messages[..], &[0, 0], &messages, &[0, 0], &ping, &[0, 0], &ping].concat();
        // The node takes no more of it than it has room for.
        bad.write(&bytes).unwrap();
        bad.reset();
        // While these come, heartbeats fall due on the broken connection too.
        for _ in 0..3 {
            while !witness.read_frame().unwrap().1.starts_with(b"\x04PING") {}
            witness.write(&command("PONG", b"")).unwrap();
        }
        while router.recv_bytes(DONTWAIT).is_ok() {}
    }
    asks(&router, &mut witness);
}

#[test]
fn a_peer_that_reads_again_while_another_takes_its_id_ends_nothing() {
    let (router, address) = router(|router| {
        router.set_router_handover(true).unwrap();
        router.set_router_mandatory(true).unwrap();
        router.set_sndhwm(1).unwrap();
        router.set_sndtimeo(FULL_MS).unwrap();
    });
    let mut old = RawPeer::dealer_of(&address, 0, b"me");
    assert_eq!(id_of(&router, &mut old), b"me");
    // Until there is no room for more, since the peer reads nothing.
    let reply = vec![7; 1 << 20];
    let mut sent = 0;
    while router.send_multipart([&b"me"[..], &reply], 0).is_ok() {
        sent += 1;
    }
    // The router is in the middle of a message of it when another one comes by that id.
    old.write_part(b"one").unwrap();
    old.write_last(b"two").unwrap();
    assert_eq!(router.recv_bytes(0).unwrap(), b"me");
    assert_eq!(router.recv_bytes(0).unwrap(), b"one");
    let mut new = RawPeer::dealer_of(&address, 1, b"me");
    new.write(&command("PING", b"\0\0here")).unwrap();
    assert_eq!(new.read_frame().unwrap(), (COMMAND, b"\x04PONGhere".to_vec()));
    // Looking at the events has the router take note of what its I/O thread tells: first of the new
    // peer, and then that the old one has taken what there was.
    router.get_events().unwrap();
    for _ in 0..sent {
        assert_eq!(old.read_frame().unwrap().1.len(), reply.len());
    }
    router.get_events().unwrap();
    assert_eq!(router.recv_bytes(0).unwrap(), b"two");
    asks(&router, &mut new);
}

#[test]
fn peers_of_zmtp_3_0_are_sent_no_ping_and_kept() {
    let (router, address) = router(|router| {
        router.set_heartbeat_ivl(HEARTBEAT_MS).unwrap();
        router.set_heartbeat_timeout(3 * HEARTBEAT_MS).unwrap();
    });
    let mut old = RawPeer::dealer_of(&address, 0, b"");
    // A peer that could answer a PING and does not is given up, some intervals later.
    let mut silent = RawPeer::dealer_of(&address, 1, b"");
    assert!(silent.read_frame().unwrap().1.starts_with(b"\x04PING"));
    assert!(silent.is_closed_by_node());
    let id = id_of(&router, &mut old);
    router.send(&id[..], SNDMORE).unwrap();
    router.send(&b"still here"[..], 0).unwrap();
    assert_eq!(old.read_frame().unwrap(), (0, b"still here".to_vec()), "no PING before");
}

#[test]
fn a_ping_that_is_cut_short_is_not_answered_with_what_is_in_memory() {
    let (_router, address) = router(|_| {});
    let mut peer = RawPeer::dealer_of(&address, 1, b"");
    for rest in [&b""[..], b"\0"] {
        peer.write(&command("PING", rest)).unwrap();
    }
    peer.write(&command("PING", b"\0\0context")).unwrap();
    assert_eq!(peer.read_frame().unwrap(), (COMMAND, b"\x04PONGcontext".to_vec()));
}

/// What a peer writes as one message of so many frames, where a command comes before each.
fn message_of(frames: usize) -> Vec<u8> {
    let ping = command("PING", b"\0\0");
    let parts = [&ping[..], &part(b"")].concat().repeat(frames - 1);
    [&parts, &ping[..], &frame(0, b"")].concat()
}

#[test]
fn a_message_has_so_many_frames_and_no_more() {
    let (router, address) = router(|_| {});
    let mut witness = RawPeer::dealer(&address);
    let mut peer = RawPeer::dealer_of(&address, 1, b"");
    // Frames count for their own message only, and commands for none.
    for _ in 0..3 {
        peer.write(&message_of(MESSAGE_FRAMES_MAX)).unwrap();
        assert_eq!(router.recv_multipart(0).unwrap().len(), 1 + MESSAGE_FRAMES_MAX);
        peer.write(&command("PING", b"\0\0").repeat(2 * MESSAGE_FRAMES_MAX)).unwrap();
    }
    let endless = part(b"").repeat(MESSAGE_FRAMES_MAX + 1);
    let long = part(&[7; 1000]).repeat(MESSAGE_FRAMES_MAX + 1);
    // Commands that claim to go on go on without an end too.
    let commands = frame(MORE | COMMAND, b"\x09SUBSCRIBE").repeat(MESSAGE_FRAMES_MAX + 1);
    // One that ends a message in libzmq's own eyes does not have the count begin anew.
    let subscribed = [&part(b"").repeat(MESSAGE_FRAMES_MAX), &command("SUBSCRIBE", b"")[..]];
    let subscribed = [&subscribed.concat()[..], &part(b"")].concat();
    for bytes in [message_of(MESSAGE_FRAMES_MAX + 1), endless, long, commands, subscribed] {
        let mut peer = RawPeer::dealer_of(&address, 1, b"");
        peer.write(&bytes).unwrap();
        assert!(peer.is_closed_by_node());
        while router.recv_multipart(DONTWAIT).is_ok() {}
        asks(&router, &mut witness);
    }
}

#[test]
fn frames_are_counted_also_where_they_are_encrypted() {
    let (server, client) = (CurveKeyPair::new().unwrap(), CurveKeyPair::new().unwrap());
    let (router, address) = router(|router| {
        router.set_curve_server(true).unwrap();
        router.set_curve_secretkey(&server.secret_key).unwrap();
        router.set_rcvtimeo(FULL_MS).unwrap();
    });
    let dealer = zmq::Context::new().socket(zmq::DEALER).unwrap();
    dealer.set_linger(0).unwrap();
    dealer.set_curve_serverkey(&server.public_key).unwrap();
    dealer.set_curve_publickey(&client.public_key).unwrap();
    dealer.set_curve_secretkey(&client.secret_key).unwrap();
    dealer.connect(&format!("tcp://{address}")).unwrap();
    dealer.send_multipart(vec!["too many"; MESSAGE_FRAMES_MAX + 1], 0).unwrap();
    // The connection that breaks may take one with it that was sent behind.
    let received = (0..RECEIVE_MS / FULL_MS).find_map(|_| {
        dealer.send_multipart(vec!["as many as may be"; MESSAGE_FRAMES_MAX], 0).unwrap();
        router.recv_multipart(0).ok()
    });
    let frames = received.unwrap();
    assert_eq!(frames.len(), 1 + MESSAGE_FRAMES_MAX);
    assert!(frames[1..].iter().all(|frame| frame == b"as many as may be"));
}
