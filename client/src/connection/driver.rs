//! The thread that owns the sockets of one client.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use super::ExchangeError;
use super::peer::{Exchange, Peer};
use super::socket::{Sockets, Waker};
use crate::endpoint::Endpoint;
use crate::limits::CONNECTION_IDLE_MAX;

pub(super) struct Driver {
    sockets: Sockets,
    inbox: flume::Receiver<Exchange>,
    peers: HashMap<Endpoint, Peer>,
}

impl Driver {
    pub(super) fn new(inbox: flume::Receiver<Exchange>) -> io::Result<(Waker, Self)> {
        let (waker, sockets) = Sockets::new()?;
        Ok((waker, Self { sockets, inbox, peers: HashMap::new() }))
    }

    /// Works until the waker is closed.
    pub(super) fn run(mut self) {
        while !self.sockets.closed() {
            if let Err(error) = self.turn() {
                // Whoever waits for an answer learns from its dropped channel that there is none.
                tracing::error!(%error, "the connections to all nodes are given up");
                return;
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let deadline = self.peers.values().map(Peer::next_deadline).min();
        let now = Instant::now();
        let time = deadline.map_or(CONNECTION_IDLE_MAX, |at| at.saturating_duration_since(now));
        let ready = self.sockets.wait(self.peers.values().map(Peer::wanted), time)?;
        let now = Instant::now();
        // The map has not changed since the wait, so its order has not.
        for ((endpoint, peer), ready) in self.peers.iter_mut().zip(ready) {
            if let Err(trouble) = peer.service(ready, now) {
                peer.renew(self.sockets.connect(endpoint), &trouble);
            }
        }
        self.peers.retain(|_, peer| !peer.is_spent(now));
        self.take_exchanges();
        Ok(())
    }

    fn take_exchanges(&mut self) {
        for exchange in self.inbox.try_iter() {
            if let Some(peer) = self.peers.get_mut(&exchange.endpoint) {
                peer.submit(exchange);
                continue;
            }
            match self.sockets.connect(&exchange.endpoint) {
                Ok(line) => {
                    let peer = self.peers.entry(exchange.endpoint.clone());
                    peer.or_insert_with(|| Peer::new(line)).submit(exchange);
                }
                Err(error) => {
                    let problem = format!("no connection to it could be made: {error}");
                    let _ = exchange.answer.send(Err(ExchangeError::NotSent(problem)));
                }
            }
        }
    }
}
