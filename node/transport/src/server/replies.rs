//! Sending replies, each to the connection that asked and to no other.

use tracing::{debug, warn};
use zmq::{DONTWAIT, SNDMORE};

use super::connection::{ConnectionId, Outgoing};
use super::service::{Frames, Service};
use super::{Peer, Server};

impl Server {
    /// Sends the replies to requests that are finished, also to those that only now are.
    pub(super) fn send_finished<S: Service>(
        &mut self,
        service: &mut S,
        finished: &flume::Receiver<S::Finished>,
    ) {
        service.flush();
        for finished in finished.try_iter() {
            if let Some((peer, frames)) = service.finish(finished) {
                self.connections.finished(peer.connection);
                self.send(peer, frames);
            }
        }
    }

    /// Sends a reply to the connection that asked, or has it wait until there is room. Where the connection
    /// is gone, it is dropped: no other peer may read it.
    pub(super) fn send(&mut self, peer: Peer, frames: Frames) {
        let Peer { connection, envelope } = peer;
        let reply = Outgoing { envelope, frames };
        let Some(id) = connection else { return };
        let Some(reader) = self.connections.reader(id, reply.wire_bytes()) else {
            debug!("a reply was dropped: the connection that asked is gone");
            return;
        };
        if !reader.outbox.is_empty() {
            reader.outbox.push_back(reply);
            return;
        }
        if let Some(reply) = transmit(&self.router, &reader.routing_id, reply) {
            reader.outbox.push_back(reply);
            self.connections.await_reader(id);
        }
    }

    /// Sends the replies of one connection that found no room before, as long as there is room. Returns
    /// whether there was any.
    pub(super) fn send_outbox(&mut self, id: ConnectionId) -> bool {
        let Some((routing_id, outbox)) = self.connections.outbox(id) else { return false };
        let before = outbox.len();
        while let Some(reply) = outbox.pop_front() {
            if let Some(reply) = transmit(&self.router, routing_id, reply) {
                outbox.push_front(reply);
                break;
            }
        }
        outbox.len() < before
    }
}

/// Gives a reply to ZeroMQ, or back where there is no room for it.
fn transmit(router: &zmq::Socket, routing_id: &[u8], reply: Outgoing) -> Option<Outgoing> {
    loop {
        match router.send(routing_id, DONTWAIT | SNDMORE) {
            Ok(()) => break,
            Err(zmq::Error::EINTR) => {}
            Err(zmq::Error::EAGAIN) => return Some(reply),
            Err(error) => {
                debug!("a reply was dropped: {error}");
                return None;
            }
        }
    }
    // Room is for whole messages, so from here on there is.
    let Outgoing { envelope, frames: (header, body) } = reply;
    let last = if body.is_some() { DONTWAIT | SNDMORE } else { DONTWAIT };
    let mut sent = envelope.into_iter().try_for_each(|it| router.send(it, DONTWAIT | SNDMORE));
    sent = sent.and_then(|()| router.send(header, last));
    if let Some(body) = body {
        sent = sent.and_then(|()| router.send(body, DONTWAIT));
    }
    if let Err(error) = sent {
        warn!("a reply was cut short: {error}");
        // The socket would take what comes next for the rest of it.
        let _ = router.send(zmq::Message::new(), DONTWAIT);
    }
    None
}
