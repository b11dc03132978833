//! The thread that owns the sockets of one client.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::inflow::is_too_much;
use super::outbox::{Outbox, Source};
use super::peer::{Exchange, Peer};
use super::socket::{Sockets, Waker};
use crate::connection::ExchangeError;
use crate::endpoint::Endpoint;
use crate::limits::{
    CONNECTION_IDLE_MAX, SPIN_OPERATIONS_MAX, UNFINISHED_BYTES_TOTAL_MAX, UNFINISHED_LOOK_INTERVAL,
};

/// What tasks hand over.
pub(super) enum Message<O: Outbox> {
    Exchange(Box<Exchange>),
    /// A source whose queue is not empty any more.
    Source(Arc<O::Source>),
}

pub(super) struct Driver<O: Outbox> {
    sockets: Sockets,
    inbox: flume::Receiver<Message<O>>,
    next_id: Arc<AtomicU64>,
    peers: HashMap<Endpoint, Peer<O>>,
    /// When connections are to be looked at for answers that are not whole.
    look_at: Instant,
}

impl<O: Outbox> Driver<O> {
    pub(super) fn new(
        inbox: flume::Receiver<Message<O>>,
        next_id: Arc<AtomicU64>,
    ) -> io::Result<(Waker, Self)> {
        let (waker, sockets) = Sockets::new()?;
        let peers = HashMap::new();
        let look_at = Instant::now();
        Ok((waker, Self { sockets, inbox, next_id, peers, look_at }))
    }

    /// Works until the waker is closed.
    pub(super) fn run(mut self) {
        while !self.sockets.closed() {
            if let Err(error) = self.turn() {
                // A task that waits for an answer learns from its dropped channel that none comes.
                tracing::error!(%error, "the connections to all nodes are given up");
                return;
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let deadline = self.peers.values().map(Peer::next_deadline).min();
        let now = Instant::now();
        // Where there are connections, something may come on them at any time.
        let look_at = deadline.map(|at| at.min(self.look_at));
        let time = look_at.map_or(CONNECTION_IDLE_MAX, |at| at.saturating_duration_since(now));
        let under_way: usize = self.peers.values().map(Peer::operations_in_flight).sum();
        let may_spin = (1..=SPIN_OPERATIONS_MAX).contains(&under_way);
        let lines = self.peers.values().map(Peer::wanted);
        let ready = self.sockets.wait(lines, time, may_spin, || !self.inbox.is_empty())?;
        let now = Instant::now();
        let look = now >= self.look_at;
        // The map has not changed since the wait, so its order has not.
        for ((endpoint, peer), ready) in self.peers.iter_mut().zip(ready) {
            if let Err(trouble) = peer.service(ready, look, now) {
                peer.renew(self.sockets.connect(endpoint), &trouble);
            }
        }
        if look {
            self.look_at = now + UNFINISHED_LOOK_INTERVAL;
            self.bound_inflow();
        }
        self.take_messages(now);
        // Last, so that what has come meanwhile travels together.
        for peer in self.peers.values_mut() {
            peer.send_all(&self.next_id, now);
        }
        self.peers.retain(|_, peer| !peer.is_spent(now));
        Ok(())
    }

    /// Gives up connections on which an answer has come without an end.
    fn bound_inflow(&mut self) {
        let mut in_total = 0;
        let mut given_up = None;
        let mut most: Option<(u64, Endpoint)> = None;
        for (endpoint, peer) in &mut self.peers {
            let inflow = peer.inflow();
            let unfinished = inflow.unfinished();
            in_total += unfinished;
            if let Some(problem) = inflow.excess() {
                given_up = Some((endpoint.clone(), ExchangeError::InvalidReply(problem)));
            }
            if most.as_ref().is_none_or(|(bytes, _)| unfinished > *bytes) {
                most = Some((unfinished, endpoint.clone()));
            }
        }
        if given_up.is_none() && is_too_much(in_total) {
            let problem = format!(
                "answers that are not whole have {in_total} bytes together, the limit is \
                 {UNFINISHED_BYTES_TOTAL_MAX}: read fewer large values at the same time"
            );
            given_up = most.map(|(_, endpoint)| (endpoint, ExchangeError::Lost(problem)));
        }
        let Some((endpoint, trouble)) = given_up else { return };
        tracing::warn!(node = %endpoint, %trouble, "a connection is given up");
        if let Some(peer) = self.peers.get_mut(&endpoint) {
            peer.renew(self.sockets.connect(&endpoint), &trouble);
        }
    }

    fn take_messages(&mut self, now: Instant) {
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                Message::Exchange(exchange) => match self.peer(&exchange.endpoint) {
                    Ok(peer) => peer.submit(*exchange),
                    Err(error) => {
                        let _ = exchange.answer.send(Err(ExchangeError::NotSent(error)));
                    }
                },
                Message::Source(source) => match self.peer(source.endpoint()) {
                    Ok(peer) => peer.take_in(&source, now),
                    Err(error) => source.refuse(&error),
                },
            }
        }
    }

    /// The node at `endpoint`, to which the first call makes a connection.
    fn peer(&mut self, endpoint: &Endpoint) -> Result<&mut Peer<O>, String> {
        if !self.peers.contains_key(endpoint) {
            let line = self.sockets.connect(endpoint);
            let line =
                line.map_err(|error| format!("no connection to it could be made: {error}"))?;
            self.peers.insert(endpoint.clone(), Peer::new(line));
        }
        self.peers.get_mut(endpoint).ok_or_else(|| "no connection to it is there".into())
    }
}

impl<O: Outbox> Drop for Driver<O> {
    /// The sources are not emptied any more.
    fn drop(&mut self) {
        self.sockets.end();
        for message in self.inbox.drain() {
            if let Message::Source(source) = message {
                source.close();
            }
        }
        for peer in self.peers.values() {
            peer.close();
        }
    }
}
