//! The requests that are unsent or unanswered at one node, and when they are given up.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::RequestId;
use tokio::sync::oneshot;

use super::ExchangeError;
use super::inflow::Inflow;
use super::outbox::{Outbox, Outgoing};
use super::socket::{Line, Ready};
use crate::endpoint::Endpoint;
use crate::limits::{CONNECTION_IDLE_MAX, REPLIES_PER_TURN_MAX};

/// A request on its way.
pub(super) struct Exchange {
    /// The request's id.
    pub(super) id: u64,
    pub(super) endpoint: Endpoint,
    pub(super) header: Vec<u8>,
    pub(super) body: Option<Vec<u8>>,
    /// When there must be a connection.
    pub(super) send_by: Instant,
    /// When there must be an answer.
    pub(super) reply_by: Instant,
    pub(super) answer: ReplySender,
}

/// Where an answer goes. Its receiver may be gone: then the task that asked does not need it any more.
pub(super) type ReplySender = oneshot::Sender<Result<Content, ExchangeError>>;

/// A node as the thread knows it.
pub(super) struct Peer<O: Outbox> {
    line: Line,
    /// Requests that are not sent yet, in order.
    unsent: VecDeque<Exchange>,
    outbox: O,
    /// The requests that were sent and not answered, by id.
    unanswered: HashMap<u64, Unanswered<O::Sent>>,
    used: Instant,
    /// Whether there is no line any more.
    closed: bool,
}

struct Unanswered<S> {
    reply_by: Instant,
    whose: Whose<S>,
}

/// The task, or the outbox, that waits for an answer.
enum Whose<S> {
    Exchange(ReplySender),
    Outbox(S),
}

impl<O: Outbox> Peer<O> {
    pub(super) fn new(line: Line) -> Self {
        Self {
            line,
            unsent: VecDeque::new(),
            outbox: O::default(),
            unanswered: HashMap::new(),
            used: Instant::now(),
            closed: false,
        }
    }

    /// How many operations were sent and are not answered.
    pub(super) fn operations_in_flight(&self) -> usize {
        self.outbox.in_flight()
    }

    /// The line to wait for, and whether there is something to send.
    pub(super) fn wanted(&self) -> (&Line, bool) {
        (&self.line, !self.unsent.is_empty() || self.outbox.is_blocked())
    }

    /// Whether there is an answer to take in.
    pub(super) fn can_receive(&self) -> bool {
        self.line.can_receive()
    }

    /// Hands over a request.
    pub(super) fn submit(&mut self, exchange: Exchange) {
        self.unsent.push_back(exchange);
    }

    /// Hands over what waits in a source.
    pub(super) fn take_in(&mut self, source: &Arc<O::Source>, now: Instant) {
        self.outbox.take_in(source, now);
    }

    /// Takes in the answers that have come, and gives up requests that are late. Where there is a `look` at
    /// the answers that are not whole, the line's inflow knows of them then. Returns why the line is to be given
    /// up, where it is.
    pub(super) fn service(
        &mut self,
        ready: Ready,
        look: bool,
        now: Instant,
    ) -> Result<(), ExchangeError> {
        let broken = ready.events && self.line.has_broken();
        // Before the whole answers are taken in, so that only the bytes of the others are left of it.
        let read = if look { self.line.bytes_read() } else { None };
        if ready.receive || read.is_some() {
            let is_all = self.receive_all(now).map_err(ExchangeError::InvalidReply)?;
            if let (Some(read), true) = (read, is_all) {
                self.line.inflow().look(read);
            }
        }
        if broken {
            // What was sent is not sent again by ZeroMQ, so its answers will not come.
            if !self.unanswered.is_empty() {
                return Err(ExchangeError::Lost("the connection to the node broke".into()));
            }
        }
        self.expire(now)
    }

    /// Tells all who wait for an answer that there will be none, and goes on with another `line`;
    /// where that could not be made, tells the unsent ones too.
    pub(super) fn renew(&mut self, line: io::Result<Line>, trouble: &ExchangeError) {
        tracing::debug!(%trouble, requests = self.unanswered.len(), "a connection is given up");
        for (_, unanswered) in self.unanswered.drain() {
            unanswered.whose.fail(trouble, &mut self.outbox);
        }
        match line {
            Ok(line) => self.line = line,
            Err(error) => {
                refuse(std::mem::take(&mut self.unsent), &error.to_string());
                self.outbox.refuse(&error.to_string());
                self.closed = true;
            }
        }
    }

    /// What has come.
    pub(super) fn inflow(&mut self) -> &mut Inflow {
        self.line.inflow()
    }

    /// Takes in what has come. Says whether that was all.
    fn receive_all(&mut self, now: Instant) -> Result<bool, String> {
        for _ in 0..REPLIES_PER_TURN_MAX {
            let Some(message) = self.line.receive() else { return Ok(true) };
            let (header, body) = message?;
            let reply =
                Reply::decode(&header, body.as_deref()).map_err(|error| error.to_string())?;
            let Some(RequestId::Number(id)) = reply.id else {
                return Err("it does not repeat the request's id".into());
            };
            let Some(unanswered) = self.unanswered.remove(&id) else {
                return Err(format!("it repeats the id {id}, which no unanswered request has"));
            };
            self.used = now;
            match unanswered.whose {
                Whose::Exchange(answer) => drop(answer.send(Ok(reply.content))),
                Whose::Outbox(sent) => self.outbox.answered(sent, Ok(reply.content)),
            }
            // There is nothing more to come, and to look would cost a system call.
            if self.unanswered.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends what can be sent.
    pub(super) fn send_all(&mut self, next_id: &AtomicU64, now: Instant) {
        while !self.unsent.is_empty() && self.line.can_send() {
            let Some(exchange) = self.unsent.pop_front() else { return };
            let Exchange { id, header, body, reply_by, answer, .. } = exchange;
            if !answer.is_closed() {
                let unanswered = Unanswered { reply_by, whose: Whose::Exchange(answer) };
                self.send(id, header, body, unanswered, now);
            }
        }
        while self.outbox.is_due() {
            if !self.line.can_send() {
                self.outbox.block(now);
                break;
            }
            let id = next_id.fetch_add(1, Ordering::Relaxed);
            let Some(message) = self.outbox.next(id, now) else { continue };
            let Outgoing { header, body, reply_by, sent } = message;
            let unanswered = Unanswered { reply_by, whose: Whose::Outbox(sent) };
            self.send(id, header, body, unanswered, now);
        }
    }

    /// Sends a message over a line that takes one.
    fn send(
        &mut self,
        id: u64,
        header: Vec<u8>,
        body: Option<Vec<u8>>,
        unanswered: Unanswered<O::Sent>,
        now: Instant,
    ) {
        self.used = now;
        match self.line.send(header, body) {
            Ok(()) => drop(self.unanswered.insert(id, unanswered)),
            Err(error) => {
                let problem = format!("the message was not accepted: {error}");
                unanswered.whose.fail(&ExchangeError::NotSent(problem), &mut self.outbox);
            }
        }
    }

    /// Answers what waited too long. An answer that is overdue costs the line.
    fn expire(&mut self, now: Instant) -> Result<(), ExchangeError> {
        if self.unsent.iter().any(|exchange| exchange.send_by <= now) {
            let (late, unsent) =
                self.unsent.drain(..).partition(|exchange| exchange.send_by <= now);
            self.unsent = unsent;
            refuse(late, UNCONNECTED);
        }
        self.outbox.expire(now);
        let mut overdue = false;
        for (_, unanswered) in self.unanswered.extract_if(|_, it| it.reply_by <= now) {
            overdue = true;
            unanswered.whose.fail(&ExchangeError::TimedOut, &mut self.outbox);
        }
        if overdue {
            let why = "the connection was given up, since the node left a request unanswered";
            return Err(ExchangeError::Lost(why.into()));
        }
        Ok(())
    }

    /// When to look again, even if nothing happens.
    pub(super) fn next_deadline(&self) -> Instant {
        let unsent = self.unsent.iter().map(|exchange| exchange.send_by);
        let unanswered = self.unanswered.values().map(|unanswered| unanswered.reply_by);
        let waiting = self.outbox.next_deadline();
        let deadlines = unsent.chain(unanswered).chain(waiting);
        deadlines.min().unwrap_or(self.used + CONNECTION_IDLE_MAX)
    }

    /// Whether the line has carried nothing for [`CONNECTION_IDLE_MAX`], or cannot be used.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        let unused = self.unsent.is_empty() && self.outbox.is_empty() && self.unanswered.is_empty();
        self.closed || (unused && now.duration_since(self.used) >= CONNECTION_IDLE_MAX)
    }

    /// Nothing is sent any more.
    pub(super) fn close(&self) {
        self.outbox.close();
    }
}

/// Why a request is refused for which no connection has come to be in time.
pub const UNCONNECTED: &str = "no connection to it could be made";

impl<S> Whose<S> {
    fn fail<O: Outbox<Sent = S>>(self, error: &ExchangeError, outbox: &mut O) {
        match self {
            Self::Exchange(answer) => drop(answer.send(Err(error.clone()))),
            Self::Outbox(sent) => outbox.answered(sent, Err(error)),
        }
    }
}

fn refuse(exchanges: VecDeque<Exchange>, problem: &str) {
    for exchange in exchanges {
        let _ = exchange.answer.send(Err(ExchangeError::NotSent(problem.to_owned())));
    }
}
