//! Connections to nodes: a request goes in, its answer comes out.
//!
//! One thread owns one socket per node and speaks for all tasks of a client. A request that gets no
//! answer in time takes its socket with it (the "Lazy Pirate" of ZeroMQ's guide), so that nothing
//! which is still queued in a socket can reach a node after its sender was told that it failed.
//!
//! | file | what |
//! |---|---|
//! | `driver` | what the thread does in turns: waits for sockets and deadlines, and for what tasks hand over |
//! | `lending` | when a task of the program does that instead |
//! | `peer` | the requests that are unsent or unanswered at one node, and when they are given up |
//! | `outbox` | what it asks of a sender with much for one node, and tells it |
//! | `inflow` | how much of an answer that is not whole ZeroMQ holds |
//! | `socket` | ZeroMQ, narrowed to the calls that are needed here |

mod driver;
mod inflow;
mod lending;
mod outbox;
mod peer;
mod socket;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kv_protocol::reply::Content;
use kv_protocol::request::{Request, RequestId};
use tokio::sync::oneshot;

use self::driver::{Driver, Message};
use self::lending::Lending;
use self::peer::Exchange;
use self::socket::Waker;
use crate::endpoint::Endpoint;
use crate::limits::CONNECT_WAIT;

pub use outbox::{Outbox, Outgoing, Source};
pub use peer::UNCONNECTED;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// It was certainly not sent.
    #[error("{0}")]
    NotSent(String),
    /// It was refused because of something that it was sent with, and certainly not carried out.
    #[error("{0}")]
    SharedRefusal(String),
    /// It was sent, and then the connection broke or was given up.
    #[error("{0}")]
    Lost(String),
    /// It was sent, and not answered in time.
    #[error("the node did not answer in time")]
    TimedOut,
    /// It was sent, and the answer is not one of the protocol's.
    #[error("{0}")]
    InvalidReply(String),
}

/// The connections of one process to nodes, whose streams come from outboxes. Clones share them.
pub struct Connections<O: Outbox> {
    shared: Arc<Shared<O>>,
}

impl<O: Outbox> Clone for Connections<O> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<O: Outbox> {
    messages: flume::Sender<Message<O>>,
    waker: Waker,
    lending: Arc<Lending<O>>,
    next_id: Arc<AtomicU64>,
}

impl<O: Outbox> Shared<O> {
    /// Hands a message over. Whether there is nothing that takes it.
    fn hand_over(&self, message: Message<O>) -> bool {
        let gone = self.messages.send(message).is_err();
        if let Some(ask) = self.lending.note_hand_over() {
            // Where it is not taken, the task that asks ends.
            let _ = self.messages.send(Message::Ask(ask));
        }
        self.waker.wake();
        gone
    }
}

impl<O: Outbox> fmt::Debug for Connections<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl<O: Outbox> Connections<O> {
    /// Starts the thread. Nothing is connected yet.
    ///
    /// # Errors
    /// Where the system gives no thread or no sockets.
    pub fn open() -> std::io::Result<Self> {
        let (messages, inbox) = flume::unbounded();
        let next_id = Arc::new(AtomicU64::new(1));
        let (waker, driver) = Driver::new(inbox, Arc::clone(&next_id))?;
        let lending = Arc::new(Lending::new(driver));
        let thread = std::thread::Builder::new().name("kv-connections".into());
        let lender = Arc::clone(&lending);
        thread.spawn(move || lender.run())?;
        Ok(Self { shared: Arc::new(Shared { messages, waker, lending, next_id }) })
    }

    /// Sends `request` to the node at `endpoint`, and gives its answer. The request gets an id.
    ///
    /// A request that is under way is not taken back where the future is dropped.
    ///
    /// # Errors
    /// [`ExchangeError`] says whether the request can have reached the node.
    pub async fn exchange(
        &self,
        endpoint: &Endpoint,
        request: &mut Request<'_>,
        reply_by: Instant,
    ) -> Result<Content, ExchangeError> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        request.id = Some(RequestId::Number(id));
        let (header, body) = request.encode();
        let (answer, answered) = oneshot::channel();
        let send_by = reply_by.min(Instant::now() + CONNECT_WAIT);
        let endpoint = endpoint.clone();
        let exchange = Exchange { id, endpoint, header, body, send_by, reply_by, answer };
        let message = Message::Exchange(Box::new(exchange));
        if self.shared.hand_over(message) {
            return Err(ExchangeError::NotSent("this client's connections are closed".into()));
        }
        let closed = || ExchangeError::Lost("this client's connections are closed".into());
        // The thread may end after it was told. It says so before it looks for the last time.
        if self.shared.waker.is_ended() {
            return Err(closed());
        }
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Has the thread empty a source, in whose empty queue there is something now.
    pub fn announce(&self, source: &Arc<O::Source>) {
        let gone = self.shared.hand_over(Message::Source(Arc::clone(source)));
        // The thread may end after it was told. It says so before it looks for the last time.
        if gone || self.shared.waker.is_ended() {
            source.close();
        }
    }
}

impl<O: Outbox> Drop for Shared<O> {
    fn drop(&mut self) {
        self.waker.close();
    }
}
