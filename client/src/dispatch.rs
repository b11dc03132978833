//! Packs the operations of many tasks into batches, and carries these to the nodes.
//!
//! Every node has a lane: a queue, and a task that empties it. While a few batches are under way to
//! the node, whatever comes gathers in the queue and becomes the next batch, so that batches grow
//! with the load and a lone operation waits for nobody. Queue and batches are bounded in number and
//! bytes: who has more waits with it.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kv_protocol::limits::BATCH_OPERATIONS_MAX;
use kv_protocol::reply::{Content, Done, Outcome};
use kv_protocol::request::{Command, Context, Operation, Request, Style, Values};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::connection::{Connections, ExchangeError};
use crate::limits::{BATCHES_IN_FLIGHT_MAX, QUEUE_BYTES_MAX, QUEUE_OPERATIONS_MAX};
use crate::packing::{self, Parcel};
use crate::routing::Target;

/// How replies are to be written to this client.
pub(crate) const STYLE: Style = Style { values: Values::Body, versions: true };

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

/// The lanes to all nodes.
pub(crate) struct Dispatcher {
    connections: Connections,
    /// How far apart the deadlines in one batch may be.
    spread: Duration,
    lanes: Mutex<HashMap<Arc<Target>, Lane>>,
}

#[derive(Clone)]
struct Lane {
    tickets: mpsc::Sender<Ticket>,
    /// What is left of [`QUEUE_BYTES_MAX`].
    bytes_left: Arc<Semaphore>,
}

/// An errand that waits in a lane.
struct Ticket {
    errand: Errand,
    answer: oneshot::Sender<Result<Outcome, ExchangeError>>,
    _bytes: OwnedSemaphorePermit,
}

impl Dispatcher {
    /// For operations that have about `timeout` each.
    pub(crate) fn new(connections: Connections, timeout: Duration) -> Self {
        Self { connections, spread: timeout / 8, lanes: Mutex::default() }
    }

    /// Carries out one errand at `target`.
    ///
    /// It is answered by its deadline. Where the future is dropped before the errand was sent, it is
    /// not sent.
    ///
    /// # Errors
    /// [`ExchangeError`] says whether the operation can have reached the node.
    pub(crate) async fn carry(
        &self,
        target: &Arc<Target>,
        errand: Errand,
    ) -> Result<Outcome, ExchangeError> {
        let lane = self.lane(target);
        let bytes = packing::operation_bytes(&errand.operation).min(QUEUE_BYTES_MAX);
        // The limit is far below 4 GiB.
        let room = Arc::clone(&lane.bytes_left).acquire_many_owned(bytes as u32);
        let Ok(Ok(_bytes)) = tokio::time::timeout_at(errand.deadline.into(), room).await else {
            let problem = "it takes what it was sent too slowly, and this client's queue is full";
            return Err(ExchangeError::NotSent(problem.into()));
        };
        let (answer, answered) = oneshot::channel();
        let closed = || ExchangeError::Lost("this client has been closed".into());
        let ticket = Ticket { errand, answer, _bytes };
        lane.tickets.send(ticket).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    fn lane(&self, target: &Arc<Target>) -> Lane {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(target) {
            return lane.clone();
        }
        // Nodes move, and the lanes to where they were are forgotten; a lane that is in use just now
        // lives on until it is empty.
        lanes.retain(|_, lane| lane.bytes_left.available_permits() < QUEUE_BYTES_MAX);
        let (tickets, inbox) = mpsc::channel(QUEUE_OPERATIONS_MAX);
        let lane = Lane { tickets, bytes_left: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)) };
        let (connections, target) = (self.connections.clone(), Arc::clone(target));
        lanes.insert(Arc::clone(&target), lane.clone());
        tokio::spawn(drive(inbox, connections, target, self.spread));
        lane
    }
}

/// Empties a lane's queue for as long as somebody can put something into it.
async fn drive(
    mut inbox: mpsc::Receiver<Ticket>,
    connections: Connections,
    target: Arc<Target>,
    spread: Duration,
) {
    let slots = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT_MAX));
    let mut queue = VecDeque::new();
    loop {
        if queue.is_empty() {
            match inbox.recv().await {
                Some(ticket) => queue.push_back(ticket),
                None => return,
            }
        }
        // Before the batch is made, so that it takes along what comes while it waits.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        while queue.len() < BATCH_OPERATIONS_MAX
            && let Ok(ticket) = inbox.try_recv()
        {
            queue.push_back(ticket);
        }
        queue.retain(|ticket: &Ticket| !ticket.answer.is_closed());
        let batch = packing::take_batch(&mut queue, spread);
        let (connections, target) = (connections.clone(), Arc::clone(&target));
        tokio::spawn(async move {
            carry_batch(&connections, &target, batch).await;
            drop(slot);
        });
    }
}

async fn carry_batch(connections: &Connections, target: &Target, batch: Vec<Ticket>) {
    let Some(first) = batch.first() else { return };
    let earliest = batch.iter().map(|ticket| ticket.errand.deadline).min();
    let operations = batch.iter().map(|ticket| borrowed(&ticket.errand.operation)).collect();
    let mut request = Request {
        id: None,
        context: first.errand.context,
        style: STYLE,
        command: Command::Batch(operations),
    };
    let reply_by = earliest.unwrap_or(first.errand.deadline);
    let content = if reply_by <= Instant::now() {
        Err(ExchangeError::NotSent("its turn did not come in time".into()))
    } else {
        connections.exchange(&target.endpoint, &mut request, reply_by).await
    };
    let operations = batch.iter().map(|ticket| &*ticket.errand.operation);
    let results = outcomes(operations, content);
    for (ticket, result) in batch.into_iter().zip(results) {
        // The caller may have gone away, and then nobody needs the result.
        let _ = ticket.answer.send(result);
    }
}

/// What became of each operation of a batch.
fn outcomes<'a>(
    operations: impl ExactSizeIterator<Item = &'a Operation<'static>>,
    content: Result<Content, ExchangeError>,
) -> Vec<Result<Outcome, ExchangeError>> {
    let count = operations.len();
    match content {
        Ok(Content::Batch(outcomes)) if outcomes.len() == count => {
            let pairs = operations.zip(outcomes);
            pairs.map(|(operation, outcome)| checked(operation, outcome)).collect()
        }
        Ok(Content::Refused(refusal)) => vec![Ok(Err(refusal)); count],
        Ok(Content::Batch(outcomes)) => {
            let problem = format!("it has {} outcomes for {count} operations", outcomes.len());
            vec![Err(ExchangeError::InvalidReply(problem)); count]
        }
        Ok(_) => {
            let problem = "it is not the answer to a batch".to_owned();
            vec![Err(ExchangeError::InvalidReply(problem)); count]
        }
        Err(error) => vec![Err(error); count],
    }
}

/// Checks that an outcome is one that the operation can have.
fn checked(operation: &Operation<'_>, outcome: Outcome) -> Result<Outcome, ExchangeError> {
    let fits = matches!(
        (operation, &outcome),
        (_, Err(_))
            | (Operation::Put { .. }, Ok(Done::Stored { .. }))
            | (Operation::Delete { .. }, Ok(Done::Deleted { .. }))
            | (Operation::Get { .. }, Ok(Done::Read(_)))
    );
    if fits {
        return Ok(outcome);
    }
    Err(ExchangeError::InvalidReply("it answers another operation than was asked for".into()))
}

/// The same operation, without a copy of its key and value.
fn borrowed<'a>(operation: &'a Operation<'static>) -> Operation<'a> {
    match operation {
        Operation::Put { key, value, condition } => Operation::Put {
            key: Cow::Borrowed(key),
            value: Cow::Borrowed(value),
            condition: *condition,
        },
        Operation::Get { key } => Operation::Get { key: Cow::Borrowed(key) },
        Operation::Delete { key, condition } => {
            Operation::Delete { key: Cow::Borrowed(key), condition: *condition }
        }
    }
}

impl Parcel for Ticket {
    fn bytes(&self) -> usize {
        packing::operation_bytes(&self.errand.operation)
    }

    fn epoch(&self) -> u64 {
        self.errand.context.epoch.unwrap_or(0)
    }

    fn deadline(&self) -> Instant {
        self.errand.deadline
    }

    fn alone(&self) -> bool {
        self.errand.alone
    }
}
