//! What is unsent and unanswered at one node, and when it is given up.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::RequestId;
use tokio::sync::oneshot;

use super::ExchangeError;
use super::socket::{Line, Ready};
use super::waiting::Waiting;
use crate::batch;
use crate::endpoint::Endpoint;
use crate::lane::{Lane, Ticket};
use crate::limits::{
    BATCH_SHARE_MIN, BATCHES_IN_FLIGHT_MAX, CONNECTION_IDLE_MAX, REPLIES_PER_TURN_MAX,
};

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
    /// Requests that are not sent yet, in order.
    unsent: VecDeque<Exchange>,
    /// Where errands come from, once there were some.
    lane: Option<Arc<Lane>>,
    /// Errands that are not sent yet.
    waiting: Waiting,
    batches_in_flight: usize,
    /// How many operations are in these batches.
    operations_in_flight: usize,
    /// What is sent and not answered, by id.
    unanswered: HashMap<u64, Unanswered>,
    used: Instant,
    /// Whether there is no line any more.
    closed: bool,
}

struct Unanswered {
    reply_by: Instant,
    whose: Whose,
}

/// Who waits for an answer.
enum Whose {
    Exchange(Answer),
    Batch(Arc<Lane>, Vec<Ticket>),
}

impl Peer {
    pub(super) fn new(line: Line) -> Self {
        Self {
            line,
            unsent: VecDeque::new(),
            lane: None,
            waiting: Waiting::default(),
            batches_in_flight: 0,
            operations_in_flight: 0,
            unanswered: HashMap::new(),
            used: Instant::now(),
            closed: false,
        }
    }

    /// How many operations were sent and are not answered.
    pub(super) fn operations_in_flight(&self) -> usize {
        self.operations_in_flight
    }

    /// The line to wait for, and whether there is something to send.
    pub(super) fn wanted(&self) -> (&Line, bool) {
        (&self.line, !self.unsent.is_empty() || self.waiting.is_blocked())
    }

    /// Hands over a request.
    pub(super) fn submit(&mut self, exchange: Exchange) {
        self.unsent.push_back(exchange);
    }

    /// Hands over the `tickets` of a lane. They leave an empty list.
    pub(super) fn take_tickets(
        &mut self,
        lane: &Arc<Lane>,
        tickets: &mut Vec<Ticket>,
        now: Instant,
    ) {
        self.lane.get_or_insert_with(|| Arc::clone(lane));
        self.waiting.extend(tickets.drain(..), now);
    }

    /// Takes in what has come, and gives up what is late. Returns why the line is to be given up,
    /// where it is.
    pub(super) fn service(&mut self, ready: Ready, now: Instant) -> Result<(), ExchangeError> {
        if ready.receive {
            self.receive_all(now).map_err(ExchangeError::InvalidReply)?;
        }
        if ready.events && self.line.has_broken() {
            // What was sent is not sent again by ZeroMQ, so its answers will not come.
            if !self.unanswered.is_empty() {
                return Err(ExchangeError::Lost("the connection to the node broke".into()));
            }
        }
        self.expire(now)
    }

    /// Tells all who wait for an answer that there will be none, and goes on with another line, or
    /// tells the others too where there is none.
    pub(super) fn renew(&mut self, line: io::Result<Line>, trouble: &ExchangeError) {
        tracing::debug!(%trouble, requests = self.unanswered.len(), "a connection is given up");
        for (_, unanswered) in self.unanswered.drain() {
            unanswered.whose.fail(trouble);
        }
        (self.batches_in_flight, self.operations_in_flight) = (0, 0);
        match line {
            Ok(line) => self.line = line,
            Err(error) => {
                refuse(std::mem::take(&mut self.unsent), &error.to_string());
                let waiting = self.waiting.take();
                self.refuse(waiting, &error.to_string());
                self.closed = true;
            }
        }
    }

    fn receive_all(&mut self, now: Instant) -> Result<(), String> {
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
            self.used = now;
            match unanswered.whose {
                Whose::Exchange(answer) => drop(answer.send(Ok(reply.content))),
                Whose::Batch(lane, tickets) => {
                    self.batches_in_flight -= 1;
                    self.operations_in_flight -= tickets.len();
                    let answers = batch::answers(&tickets, reply.content);
                    lane.answer(tickets, answers.into_iter());
                }
            }
            // There is nothing more to come, and to look would cost a system call.
            if self.unanswered.is_empty() {
                return Ok(());
            }
        }
        Ok(())
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
        let Some(lane) = self.lane.clone() else { return };
        while self.is_batch_due() {
            if !self.line.can_send() {
                self.waiting.block(now);
                return;
            }
            let mut tickets = self.waiting.next_batch(lane.spread);
            lane.forget_unwanted(&mut tickets);
            let id = next_id.fetch_add(1, Ordering::Relaxed);
            let Some((header, body)) = batch::encode(id, &tickets) else { continue };
            let deadlines = tickets.iter().map(|ticket| ticket.errand.deadline);
            // There is a ticket, else nothing was encoded.
            let reply_by = deadlines.min().unwrap_or(now);
            let operations = tickets.len();
            let whose = Whose::Batch(Arc::clone(&lane), tickets);
            if self.send(id, header, body, Unanswered { reply_by, whose }, now) {
                self.batches_in_flight += 1;
                self.operations_in_flight += operations;
            }
        }
    }

    /// Whether the next batch is to be sent. While others are under way, it is held back until it is
    /// worth a message of its own: messages cost far more than the operations in them.
    fn is_batch_due(&self) -> bool {
        let (waiting, in_flight) = (self.waiting.len(), self.operations_in_flight);
        waiting > 0
            && self.batches_in_flight < BATCHES_IN_FLIGHT_MAX
            && waiting * BATCH_SHARE_MIN >= in_flight
    }

    /// Sends a message over a line that takes one. Returns whether it did.
    fn send(
        &mut self,
        id: u64,
        header: Vec<u8>,
        body: Option<Vec<u8>>,
        unanswered: Unanswered,
        now: Instant,
    ) -> bool {
        self.used = now;
        match self.line.send(header, body) {
            Ok(()) => {
                self.unanswered.insert(id, unanswered);
                true
            }
            Err(error) => {
                let problem = format!("the message was not accepted: {error}");
                unanswered.whose.fail(&ExchangeError::NotSent(problem));
                false
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
        let late = self.waiting.unconnected(now);
        self.refuse(late, UNCONNECTED);
        let late = self.waiting.overdue(now);
        self.refuse(late, "its turn did not come in time");
        let mut overdue = false;
        for (_, unanswered) in self.unanswered.extract_if(|_, it| it.reply_by <= now) {
            overdue = true;
            unanswered.whose.fail(&ExchangeError::TimedOut);
        }
        if overdue {
            let why = "the connection was given up, since the node left a request unanswered";
            return Err(ExchangeError::Lost(why.into()));
        }
        Ok(())
    }

    fn refuse(&self, tickets: Vec<Ticket>, problem: &str) {
        if let Some(lane) = self.lane.as_ref().filter(|_| !tickets.is_empty()) {
            lane.refuse(tickets, problem);
        }
    }

    /// When to look again, even if nothing happens.
    pub(super) fn next_deadline(&self) -> Instant {
        let unsent = self.unsent.iter().map(|exchange| exchange.send_by);
        let unanswered = self.unanswered.values().map(|unanswered| unanswered.reply_by);
        let deadlines = unsent.chain(unanswered).chain(self.waiting.next_deadline());
        deadlines.min().unwrap_or(self.used + CONNECTION_IDLE_MAX)
    }

    /// Whether nobody has used the line for [`CONNECTION_IDLE_MAX`], or it cannot be used.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        let unused =
            self.unsent.is_empty() && self.waiting.is_empty() && self.unanswered.is_empty();
        self.closed || (unused && now.duration_since(self.used) >= CONNECTION_IDLE_MAX)
    }

    /// Closes the lane: nobody empties it any more.
    pub(super) fn close(&self) {
        if let Some(lane) = &self.lane {
            lane.close();
        }
    }
}

const UNCONNECTED: &str = "no connection to it could be made";

impl Whose {
    fn fail(self, error: &ExchangeError) {
        match self {
            Self::Exchange(answer) => drop(answer.send(Err(error.clone()))),
            Self::Batch(lane, tickets) => {
                lane.answer(tickets, std::iter::repeat_with(|| Err(error.clone())));
            }
        }
    }
}

fn refuse(exchanges: VecDeque<Exchange>, problem: &str) {
    for exchange in exchanges {
        let _ = exchange.answer.send(Err(ExchangeError::NotSent(problem.to_owned())));
    }
}
