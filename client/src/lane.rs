//! The way of operations from the tasks that ask for them to the thread that sends them.
//!
//! Every node has a lane: a queue that any task may put an errand into, and that the connections'
//! thread empties. Lanes are bounded in number and bytes: who has more waits with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kv_core::guard::Context;
use kv_core::operation::Operation;
use kv_core::operation::Outcome;
use tokio::sync::{Semaphore, oneshot};

use crate::connection::ExchangeError;
use crate::endpoint::Endpoint;
use crate::limits::{QUEUE_BYTES_MAX, QUEUE_OPERATIONS_MAX};
use crate::packing::{self, Parcel};

/// One operation to be carried to a node.
#[derive(Clone)]
pub(crate) struct Errand {
    /// Shared with whoever sends the errand again where that is due.
    pub(crate) operation: Arc<Operation<'static>>,
    pub(crate) context: Context,
    /// When there must be an answer.
    pub(crate) deadline: Instant,
    /// Whether it must not share a batch.
    pub(crate) alone: bool,
}

/// What becomes of an errand.
pub(crate) type Answer = Result<Outcome, ExchangeError>;

/// An errand whose answer somebody waits for.
pub(crate) struct Ticket {
    pub(crate) errand: Errand,
    /// When it came to the connections' thread.
    pub(crate) came: Instant,
    answer: oneshot::Sender<Answer>,
    bytes: usize,
}

/// The lane to the node at one address.
pub(crate) struct Lane {
    pub(crate) endpoint: Endpoint,
    /// How far apart the deadlines in one batch may be.
    pub(crate) spread: Duration,
    /// What is left of [`QUEUE_BYTES_MAX`].
    room: Semaphore,
    queue: Mutex<Vec<Ticket>>,
    /// Whether there was more than one ticket in the queue when it was emptied last.
    gathers: AtomicBool,
}

/// A ticket in a lane's queue, as its caller sees it.
pub(crate) struct Queued {
    pub(crate) answered: oneshot::Receiver<Answer>,
    /// Whether the queue was empty, so that the thread must be told that it is not any more.
    pub(crate) is_first: bool,
}

impl Lane {
    pub(crate) fn new(endpoint: Endpoint, spread: Duration) -> Self {
        let (room, queue) = (Semaphore::new(QUEUE_BYTES_MAX), Mutex::default());
        Self { endpoint, spread, room, queue, gathers: AtomicBool::new(false) }
    }

    /// Puts an errand into the queue once there is room for it.
    ///
    /// # Errors
    /// [`ExchangeError::NotSent`] where there was no room in time.
    pub(crate) async fn put(&self, errand: Errand) -> Result<Queued, ExchangeError> {
        let bytes = packing::operation_bytes(&errand.operation);
        let room = self.room.try_acquire_many(room_for(bytes));
        let room = match room {
            Ok(room) => room,
            Err(_) => {
                let room = self.room.acquire_many(room_for(bytes));
                match tokio::time::timeout_at(errand.deadline.into(), room).await {
                    Ok(Ok(room)) => room,
                    Ok(Err(_)) => return Err(ExchangeError::NotSent(CLOSED.into())),
                    Err(_) => {
                        let problem =
                            "it takes what it was sent too slowly, and this client's queue is full";
                        return Err(ExchangeError::NotSent(problem.into()));
                    }
                }
            }
        };
        // The thread gives it back, many at a time.
        room.forget();
        let (answer, answered) = oneshot::channel();
        let came = errand.deadline;
        let mut queue = self.queue();
        let is_first = queue.is_empty();
        queue.push(Ticket { errand, came, answer, bytes });
        Ok(Queued { answered, is_first })
    }

    /// Takes all tickets out of the queue, and leaves the empty `tickets` in their place.
    pub(crate) fn swap(&self, tickets: &mut Vec<Ticket>) {
        std::mem::swap(&mut *self.queue(), tickets);
        self.gathers.store(tickets.len() > 1, Ordering::Relaxed);
    }

    /// Whether others are likely to put something into the queue just now too.
    pub(crate) fn gathers(&self) -> bool {
        self.gathers.load(Ordering::Relaxed)
    }

    /// Whether nothing waits or is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.room.available_permits() == QUEUE_BYTES_MAX
    }

    /// Gives all who wait the answer that the client is closed.
    pub(crate) fn close(&self) {
        self.room.close();
        self.queue().clear();
    }

    /// Answers `tickets`, and makes room for others.
    pub(crate) fn answer(&self, tickets: Vec<Ticket>, answers: impl Iterator<Item = Answer>) {
        let mut room = 0;
        for (ticket, answer) in tickets.into_iter().zip(answers) {
            room += room_for(ticket.bytes);
            // The caller may have gone away, and then nobody needs the answer.
            let _ = ticket.answer.send(answer);
        }
        self.room.add_permits(room as usize);
    }

    /// Answers `tickets` that will not be sent.
    pub(crate) fn refuse(&self, tickets: Vec<Ticket>, problem: &str) {
        let refusal = || Some(Err(ExchangeError::NotSent(problem.to_owned())));
        self.answer(tickets, std::iter::from_fn(refusal));
    }

    /// Takes away those of `tickets` for whose answer nobody waits any more.
    pub(crate) fn forget_unwanted(&self, tickets: &mut Vec<Ticket>) {
        let unwanted = tickets.extract_if(.., |ticket| ticket.answer.is_closed());
        let room: u32 = unwanted.map(|ticket| room_for(ticket.bytes)).sum();
        if room > 0 {
            self.room.add_permits(room as usize);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Ticket>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of [`QUEUE_BYTES_MAX`] that an operation takes: at least so much that only
/// [`QUEUE_OPERATIONS_MAX`] find room.
fn room_for(bytes: usize) -> u32 {
    // The limit is far below 4 GiB.
    bytes.clamp(QUEUE_BYTES_MAX / QUEUE_OPERATIONS_MAX, QUEUE_BYTES_MAX) as u32
}

const CLOSED: &str = "this client's connections are closed";

/// What became of an errand whose lane has been closed.
pub(crate) fn closed() -> ExchangeError {
    ExchangeError::Lost(CLOSED.into())
}

impl Parcel for Ticket {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn context(&self) -> Context {
        self.errand.context
    }

    fn deadline(&self) -> Instant {
        self.errand.deadline
    }

    fn alone(&self) -> bool {
        self.errand.alone
    }
}

/// A place to keep the lane to a node, so that it is looked up once. It is no part of what the node is.
#[derive(Default)]
pub(crate) struct LaneCell(OnceLock<Arc<Lane>>);

impl LaneCell {
    pub(crate) fn get_or_init(&self, find: impl FnOnce() -> Arc<Lane>) -> &Arc<Lane> {
        self.0.get_or_init(find)
    }
}

impl std::fmt::Debug for LaneCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneCell").finish_non_exhaustive()
    }
}

impl PartialEq for LaneCell {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for LaneCell {}
