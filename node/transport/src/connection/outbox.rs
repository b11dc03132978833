//! What the connections' thread asks of a sender with much for one node, such as a client's queue.
//!
//! A single request goes through [`Connections::exchange`](super::Connections::exchange). A sender of many
//! keeps them in a queue of its own, a [`Source`], and tells the thread when that is not empty any
//! more. The thread then has an [`Outbox`] for the node: it asks it what to send next, and tells it what was
//! answered and what failed. So batches, their sizes and their order are the business of the outbox, and the
//! thread knows of connections and deadlines alone.

use std::sync::Arc;
use std::time::Instant;

use kv_protocol::reply::Content;

use super::ExchangeError;
use crate::endpoint::Endpoint;

/// A queue of work for one node, which any task may fill.
pub trait Source: Send + Sync + 'static {
    /// Where the node listens.
    fn endpoint(&self) -> &Endpoint;

    /// Refuses all that waits in the queue, and all that comes later: the thread has ended.
    fn close(&self);

    /// Refuses all that waits in the queue, since no connection to the node can be made.
    fn refuse(&self, problem: &str);
}

/// The messages on their way to one node, as the thread sees them.
pub trait Outbox: Default + Send + 'static {
    /// Where it comes from.
    type Source: Source;

    /// The part of a message that the thread keeps until its answer has come.
    type Sent: Send;

    /// Takes in all that waits in `source`.
    fn take_in(&mut self, source: &Arc<Self::Source>, now: Instant);

    /// Whether nothing waits to be sent.
    fn is_empty(&self) -> bool;

    /// How many operations were sent and are not answered.
    fn in_flight(&self) -> usize;

    /// Whether there is a message that is to be sent now, as soon as a connection takes it.
    fn is_due(&self) -> bool;

    /// Takes note that no connection takes the message that is due.
    fn block(&mut self, now: Instant);

    /// Whether a message that is due waits for a connection alone.
    fn is_blocked(&self) -> bool;

    /// The message that is due, under the request's number `id`; `None` where no task waits for it any more.
    fn next(&mut self, id: u64, now: Instant) -> Option<Outgoing<Self::Sent>>;

    /// What was `sent` has this answer, or will have none, and why.
    fn answered(&mut self, sent: Self::Sent, answer: Result<Content, &ExchangeError>);

    /// Gives up what has waited for too long.
    fn expire(&mut self, now: Instant);

    /// When to look again for what has waited too long, even if nothing happens.
    fn next_deadline(&self) -> Option<Instant>;

    /// Refuses all that waits to be sent, since no connection to the node can be made.
    fn refuse(&mut self, problem: &str);

    /// Refuses all that comes later: the thread has ended.
    fn close(&self);
}

/// A message that is to be sent.
pub struct Outgoing<S> {
    /// Its header frame.
    pub header: Vec<u8>,
    /// Its body frame, where it has one.
    pub body: Option<Vec<u8>>,
    /// When there must be an answer.
    pub reply_by: Instant,
    /// The part that is kept until then.
    pub sent: S,
}
