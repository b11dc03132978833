//! Connections of real sockets.

use super::*;
use crate::server::traffic::wire_bytes;

/// More than what sockets say to each other beside messages.
const OTHER_BYTES_MAX: u64 = 4096;

/// A ROUTER, its connections as the loop knows them, and where it listens.
fn listening(context: &zmq::Context) -> (zmq::Socket, Connections, String) {
    let router = context.socket(zmq::ROUTER).unwrap();
    router.set_router_mandatory(true).unwrap();
    router.set_rcvtimeo(20_000).unwrap();
    let connections = Connections::watch(context, &router, 10, Bounds::within(u64::MAX)).unwrap();
    router.bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = router.get_last_endpoint().unwrap().unwrap();
    (router, connections, endpoint)
}

/// A peer's first message of `bytes`, the connection that it came on, and the peer.
fn first_message(
    context: &zmq::Context,
    (router, connections, endpoint): &mut (zmq::Socket, Connections, String),
    bytes: usize,
) -> (zmq::Message, Option<ConnectionId>, zmq::Socket) {
    let dealer = context.socket(zmq::DEALER).unwrap();
    dealer.set_linger(0).unwrap();
    dealer.connect(endpoint).unwrap();
    dealer.send(vec![7; bytes], 0).unwrap();
    let routing_id = router.recv_msg(0).unwrap();
    let mut frame = router.recv_msg(0).unwrap();
    let id = connections.of_message(&routing_id, &mut frame);
    (frame, id, dealer)
}

#[test]
fn a_connection_is_counted_from_its_first_message_on() {
    let context = zmq::Context::new();
    let mut listening = listening(&context);
    let (frame, id, _dealer) = first_message(&context, &mut listening, 1 << 20);
    let connections = &mut listening.1;
    // The loop has not looked at the connections in between.
    let id = id.expect("the connection is known");
    let inward = |connections: &mut Connections| {
        let now = Instant::now();
        connections.ask_kernel(now);
        connections.by_id[&id].traffic.inward(now)
    };
    assert!(inward(connections) >= 1 << 20, "the message is there and not carried out");
    connections.took(id, wire_bytes(&frame));
    let left = inward(connections);
    assert!(left < OTHER_BYTES_MAX, "{left} bytes seem to be unfinished");
}

#[test]
fn nobody_reads_the_replies_of_a_connection_that_is_gone_or_cut() {
    let context = zmq::Context::new();
    let mut listening = listening(&context);
    let (_, gone, dealer) = first_message(&context, &mut listening, 1);
    let (_, cut, _dealer) = first_message(&context, &mut listening, 1);
    let (gone, cut) = (gone.expect("it is known"), cut.expect("it is known"));
    let connections = &mut listening.1;
    assert!(connections.reader(gone, 1000).is_some() && connections.reader(cut, 500).is_some());
    assert_eq!(connections.unread(), 1500);
    drop(dealer);
    while connections.by_id[&gone].state != State::Gone {
        connections.take_events();
        std::thread::yield_now();
    }
    assert!(connections.reader(gone, 1000).is_none());
    assert_eq!(connections.unread(), 500);
    connections.cut(cut, "this is a test");
    assert_eq!(connections.standing(cut, false), Standing::Cut);
    assert!(connections.reader(cut, 500).is_none());
    assert_eq!(connections.unread(), 0);
}

#[test]
fn connections_are_told_apart_by_their_numbers() {
    let id = |number: u32| [&[0][..], &number.to_be_bytes()].concat();
    assert!(is_later(&id(8), &id(7)));
    assert!(!is_later(&id(7), &id(8)) && !is_later(&id(7), &id(7)));
    assert!(is_later(&id(3), &id(u32::MAX - 3)), "the numbers begin anew");
    assert!(!is_later(&id(u32::MAX - 3), &id(3)));
}
