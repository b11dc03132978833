//! The way of operations from the tasks that ask for them to the thread that sends them.
//!
//! Every node has a send queue, into which any task may put an operation, and which the connections'
//! thread empties. Queues are bounded in number and bytes: a task with more waits with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use kv_core::guard::Context;
use kv_core::operation::{Operation, Outcome};
use kv_system::lock::lock;
use kv_transport::{Endpoint, ExchangeError, Source};
use tokio::sync::{Semaphore, oneshot};

use crate::batcher::{self, Batchable};
use crate::limits::{QUEUE_BYTES_MAX, QUEUE_OPERATIONS_MAX};

/// One operation to be carried to a node.
#[derive(Clone)]
pub(crate) struct QueuedOperation {
    /// Shared with the executor, which sends it again where that is due.
    pub(crate) operation: Arc<Operation<'static>>,
    pub(crate) context: Context,
    /// When there must be an answer.
    pub(crate) deadline: Instant,
    /// Whether it must not share a batch.
    pub(crate) alone: bool,
}

/// What becomes of a queued operation.
pub(crate) type OperationResult = Result<Outcome, ExchangeError>;

/// A queued operation for whose answer a task waits.
pub(crate) struct Entry {
    pub(crate) queued: QueuedOperation,
    /// When it came to the connections' thread.
    pub(crate) came: Instant,
    answer: oneshot::Sender<OperationResult>,
    bytes: usize,
}

/// The operations that wait to be sent to the node at one address.
pub(crate) struct SendQueue {
    pub(crate) endpoint: Endpoint,
    /// How far apart the deadlines in one batch may be.
    pub(crate) spread: Duration,
    /// The bytes that are left of [`QUEUE_BYTES_MAX`].
    room: Semaphore,
    entries: Mutex<Vec<Entry>>,
    /// Whether there was more than one entry in the queue when it was emptied last.
    gathers: AtomicBool,
}

/// A queued operation, as the task sees it that has put it there.
pub(crate) struct Enqueued {
    pub(crate) answered: oneshot::Receiver<OperationResult>,
    /// Whether the queue was empty, so that the thread must be told that it is not any more.
    pub(crate) is_first: bool,
}

impl SendQueue {
    pub(crate) fn new(endpoint: Endpoint, spread: Duration) -> Self {
        let (room, entries) = (Semaphore::new(QUEUE_BYTES_MAX), Mutex::default());
        Self { endpoint, spread, room, entries, gathers: AtomicBool::new(false) }
    }

    /// Puts an operation into the queue once there is room for it.
    ///
    /// # Errors
    /// [`ExchangeError::NotSent`] where there was no room in time.
    pub(crate) async fn put(&self, queued: QueuedOperation) -> Result<Enqueued, ExchangeError> {
        let bytes = batcher::operation_bytes(&queued.operation);
        let room = self.room.try_acquire_many(room_for(bytes));
        let room = match room {
            Ok(room) => room,
            Err(_) => {
                let room = self.room.acquire_many(room_for(bytes));
                match tokio::time::timeout_at(queued.deadline.into(), room).await {
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
        let came = queued.deadline;
        let mut entries = self.entries();
        let is_first = entries.is_empty();
        entries.push(Entry { queued, came, answer, bytes });
        Ok(Enqueued { answered, is_first })
    }

    /// Takes all entries out of the queue, and leaves the empty `entries` in their place.
    pub(crate) fn swap(&self, entries: &mut Vec<Entry>) {
        std::mem::swap(&mut *self.entries(), entries);
        self.gathers.store(entries.len() > 1, Ordering::Relaxed);
    }

    /// Whether others are likely to put something into the queue just now too.
    pub(crate) fn gathers(&self) -> bool {
        self.gathers.load(Ordering::Relaxed)
    }

    /// Whether nothing waits or is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.room.available_permits() == QUEUE_BYTES_MAX
    }

    /// Answers `entries`, and makes room for others.
    pub(crate) fn answer(
        &self,
        entries: Vec<Entry>,
        answers: impl Iterator<Item = OperationResult>,
    ) {
        let mut room = 0;
        for (entry, answer) in entries.into_iter().zip(answers) {
            room += room_for(entry.bytes);
            // The caller may have gone away, and then does not need the answer.
            let _ = entry.answer.send(answer);
        }
        self.room.add_permits(room as usize);
    }

    /// Answers `entries` that will not be sent.
    pub(crate) fn refuse_all(&self, entries: Vec<Entry>, problem: &str) {
        let refusal = || Some(Err(ExchangeError::NotSent(problem.to_owned())));
        self.answer(entries, std::iter::from_fn(refusal));
    }

    /// Takes away those of `entries` whose callers have gone away.
    pub(crate) fn forget_unwanted(&self, entries: &mut Vec<Entry>) {
        let unwanted = entries.extract_if(.., |entry| entry.answer.is_closed());
        let room: u32 = unwanted.map(|entry| room_for(entry.bytes)).sum();
        if room > 0 {
            self.room.add_permits(room as usize);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        lock(&self.entries)
    }
}

/// The part of [`QUEUE_BYTES_MAX`] that an operation takes: at least so much that only
/// [`QUEUE_OPERATIONS_MAX`] find room.
fn room_for(bytes: usize) -> u32 {
    // The limit is far below 4 GiB.
    bytes.clamp(QUEUE_BYTES_MAX / QUEUE_OPERATIONS_MAX, QUEUE_BYTES_MAX) as u32
}

const CLOSED: &str = "this client's connections are closed";

/// What became of an operation whose queue has been closed.
pub(crate) fn closed() -> ExchangeError {
    ExchangeError::Lost(CLOSED.into())
}

impl Source for SendQueue {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn close(&self) {
        self.room.close();
        self.entries().clear();
    }

    fn refuse(&self, problem: &str) {
        let mut entries = Vec::new();
        self.swap(&mut entries);
        self.refuse_all(entries, problem);
    }
}

impl Batchable for Entry {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn context(&self) -> Context {
        self.queued.context
    }

    fn deadline(&self) -> Instant {
        self.queued.deadline
    }

    fn alone(&self) -> bool {
        self.queued.alone
    }
}

/// A place to keep the queue to a node, so that it is looked up once. It is no part of what the node is.
#[derive(Default)]
pub(crate) struct QueueCell(OnceLock<Arc<SendQueue>>);

impl QueueCell {
    pub(crate) fn get_or_init(&self, find: impl FnOnce() -> Arc<SendQueue>) -> &Arc<SendQueue> {
        self.0.get_or_init(find)
    }
}

impl std::fmt::Debug for QueueCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueCell").finish_non_exhaustive()
    }
}

impl PartialEq for QueueCell {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for QueueCell {}
