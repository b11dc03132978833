//! What drives the sockets of one client, in turns: on the connections' thread, or lent to a task.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::inflow::is_too_much;
use super::lending::Ask;
use super::outbox::{Outbox, Source};
use super::peer::{Exchange, Peer};
use super::socket::{Ready, Sockets, Waker};
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
    /// A task could do the work.
    Ask(Ask),
}

pub(super) struct Driver<O: Outbox> {
    sockets: Sockets,
    inbox: flume::Receiver<Message<O>>,
    next_id: Arc<AtomicU64>,
    peers: HashMap<Endpoint, Peer<O>>,
    /// When connections are to be looked at for answers that are not whole.
    look_at: Instant,
    /// The task that could do the work.
    ask: Option<Ask>,
    /// The most operations that were under way in one of the last turns, or somewhat less.
    under_way_lately: usize,
}

impl<O: Outbox> Driver<O> {
    pub(super) fn new(
        inbox: flume::Receiver<Message<O>>,
        next_id: Arc<AtomicU64>,
    ) -> io::Result<(Waker, Self)> {
        let (waker, sockets) = Sockets::new()?;
        let peers = HashMap::new();
        let look_at = Instant::now();
        let driver =
            Self { sockets, inbox, next_id, peers, look_at, ask: None, under_way_lately: 0 };
        Ok((waker, driver))
    }

    /// Whether the waker is closed, so that there is nothing more to do.
    pub(super) fn is_closed(&self) -> bool {
        self.sockets.closed()
    }

    /// Waits for something to do, and does it.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        let time = self
            .next_look()
            .map_or(CONNECTION_IDLE_MAX, |at| at.saturating_duration_since(Instant::now()));
        self.note_under_way();
        // Whose answers have all come is about to ask again.
        let may_spin = (1..=SPIN_OPERATIONS_MAX).contains(&self.under_way_lately);
        let lines = self.peers.values().map(Peer::wanted);
        let ready = self.sockets.wait(lines, time, may_spin, || !self.inbox.is_empty())?;
        self.act(ready.into_iter(), Instant::now());
        Ok(())
    }

    /// Does what there is to do `now`, without waiting. Whether there was something.
    pub(super) fn turn_awake(&mut self, now: Instant) -> bool {
        self.sockets.work(now);
        let is_due = || {
            !self.inbox.is_empty()
                || self.peers.values().any(Peer::can_receive)
                || self.next_look().is_some_and(|at| at <= now)
        };
        if self.sockets.closed() || !is_due() {
            return false;
        }
        self.note_under_way();
        self.act(std::iter::repeat(Ready { receive: true, events: true }), now);
        self.sockets.work(now);
        true
    }

    /// Whether a task is likely to have something to do all the time, and no more than one thread can do.
    pub(super) fn is_worth_lending(&self) -> bool {
        self.is_worth_keeping() && self.sockets.is_awake()
    }

    /// Whether a task that has it has no more to do than one thread can do.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.under_way_lately <= SPIN_OPERATIONS_MAX
    }

    /// The task that could do the work, where there is one.
    pub(super) fn take_ask(&mut self) -> Option<Ask> {
        self.ask.take()
    }

    /// When to look again, even if nothing happens. Where there are connections, something may come on them
    /// at any time.
    fn next_look(&self) -> Option<Instant> {
        let deadline = self.peers.values().map(Peer::next_deadline).min();
        deadline.map(|at| at.min(self.look_at))
    }

    /// Takes note of how many operations are under way.
    fn note_under_way(&mut self) {
        let under_way: usize = self.peers.values().map(Peer::operations_in_flight).sum();
        let lately = self.under_way_lately;
        self.under_way_lately = (lately - lately.div_ceil(16)).max(under_way);
    }

    /// Does what there is to do at lines that are `ready`, in the order of the peers, and with what was
    /// handed over.
    fn act(&mut self, ready: impl Iterator<Item = Ready>, now: Instant) {
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
                Message::Ask(ask) => self.ask = Some(ask),
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
