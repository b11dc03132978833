//! What is unsent and unanswered at one node, and when it is given up.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::Instant;

use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::RequestId;
use tokio::sync::oneshot;

use super::ExchangeError;
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
    pub(super) answer: Answer,
}

/// Where an answer goes. Its receiver may be gone, and then nobody needs the answer.
pub(super) type Answer = oneshot::Sender<Result<Content, ExchangeError>>;

/// A node as the thread knows it.
pub(super) struct Peer {
    line: Line,
    /// What is not sent yet, in order.
    unsent: VecDeque<Exchange>,
    /// What is sent and not answered, by id.
    unanswered: HashMap<u64, Unanswered>,
    used: Instant,
    /// Whether there is no line any more.
    closed: bool,
}

struct Unanswered {
    reply_by: Instant,
    answer: Answer,
}

impl Peer {
    pub(super) fn new(line: Line) -> Self {
        let (unsent, unanswered) = (VecDeque::new(), HashMap::new());
        Self { line, unsent, unanswered, used: Instant::now(), closed: false }
    }

    /// The line to wait for, and whether there is something to send.
    pub(super) fn wanted(&self) -> (&Line, bool) {
        (&self.line, !self.unsent.is_empty())
    }

    /// Hands over a request; it is sent at once where the line takes it.
    pub(super) fn submit(&mut self, exchange: Exchange) {
        self.unsent.push_back(exchange);
        self.send_all();
    }

    /// Does what there is to do. Returns why the line is to be given up, where it is.
    pub(super) fn service(&mut self, ready: Ready, now: Instant) -> Result<(), ExchangeError> {
        if ready.receive {
            self.receive_all().map_err(ExchangeError::InvalidReply)?;
        }
        if ready.broken {
            self.line.take_event();
            // What was sent is not sent again by ZeroMQ, so its answers will not come.
            if !self.unanswered.is_empty() {
                return Err(ExchangeError::Lost("the connection to the node broke".into()));
            }
        }
        if ready.send {
            self.send_all();
        }
        self.expire(now)
    }

    /// Tells all who wait for an answer that there will be none, and goes on with another line, or
    /// tells the others too where there is none.
    pub(super) fn renew(&mut self, line: io::Result<Line>, trouble: &ExchangeError) {
        tracing::debug!(%trouble, requests = self.unanswered.len(), "a connection is given up");
        for (_, unanswered) in self.unanswered.drain() {
            let _ = unanswered.answer.send(Err(trouble.clone()));
        }
        match line {
            Ok(line) => self.line = line,
            Err(error) => {
                refuse(std::mem::take(&mut self.unsent), &error.to_string());
                self.closed = true;
            }
        }
    }

    fn receive_all(&mut self) -> Result<(), String> {
        for _ in 0..REPLIES_PER_TURN_MAX {
            let Some(message) = self.line.receive() else { return Ok(()) };
            let (header, body) = message?;
            let reply =
                Reply::decode(&header, body.as_deref()).map_err(|error| error.to_string())?;
            let Some(RequestId::Number(id)) = reply.id else {
                return Err("it does not repeat the request's id".into());
            };
            let Some(unanswered) = self.unanswered.remove(&id) else {
                return Err(format!("it repeats the id {id}, which no unanswered request has"));
            };
            self.used = Instant::now();
            let _ = unanswered.answer.send(Ok(reply.content));
        }
        Ok(())
    }

    fn send_all(&mut self) {
        while !self.unsent.is_empty() && self.line.can_send() {
            let Some(exchange) = self.unsent.pop_front() else { return };
            let Exchange { id, header, body, reply_by, answer, .. } = exchange;
            if answer.is_closed() {
                continue;
            }
            self.used = Instant::now();
            match self.line.send(header, body) {
                Ok(()) => drop(self.unanswered.insert(id, Unanswered { reply_by, answer })),
                Err(error) => {
                    let problem = format!("the message was not accepted: {error}");
                    let _ = answer.send(Err(ExchangeError::NotSent(problem)));
                }
            }
        }
    }

    /// Answers what waited too long. An answer that is overdue costs the line.
    fn expire(&mut self, now: Instant) -> Result<(), ExchangeError> {
        if self.unsent.iter().any(|exchange| exchange.send_by <= now) {
            let (late, unsent) =
                self.unsent.drain(..).partition(|exchange| exchange.send_by <= now);
            self.unsent = unsent;
            refuse(late, "no connection to it could be made");
        }
        let mut overdue = false;
        for (_, unanswered) in self.unanswered.extract_if(|_, it| it.reply_by <= now) {
            overdue = true;
            let _ = unanswered.answer.send(Err(ExchangeError::TimedOut));
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
        unsent.chain(unanswered).min().unwrap_or(self.used + CONNECTION_IDLE_MAX)
    }

    /// Whether nobody has used the line for [`CONNECTION_IDLE_MAX`], or it cannot be used.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        let unused = self.unsent.is_empty() && self.unanswered.is_empty();
        self.closed || (unused && now.duration_since(self.used) >= CONNECTION_IDLE_MAX)
    }
}

fn refuse(exchanges: VecDeque<Exchange>, problem: &str) {
    for exchange in exchanges {
        let _ = exchange.answer.send(Err(ExchangeError::NotSent(problem.to_owned())));
    }
}
