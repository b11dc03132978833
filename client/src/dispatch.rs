//! Packs the operations of many tasks into batches, and carries these to the nodes.
//!
//! Every node has a lane: a queue, and a task that empties it. While a few batches are under way to
//! the node, whatever comes gathers in the queue and becomes the next batch, so that batches grow
//! with the load and a lone operation waits for nobody. Queue and batches are bounded in number and
//! bytes: who has more waits with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kv_protocol::limits::BATCH_OPERATIONS_MAX;
use kv_protocol::refusal::{ErrorCode, Refusal};
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
    let mut operations: Vec<_> =
        batch.iter().map(|ticket| ticket.errand.operation.borrowed()).collect();
    let command = match operations.pop() {
        Some(only) if operations.is_empty() => Command::One(only),
        last => Command::Batch(operations.into_iter().chain(last).collect()),
    };
    let mut request = Request { id: None, context: first.errand.context, style: STYLE, command };
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
    mut operations: impl ExactSizeIterator<Item = &'a Operation<'static>>,
    content: Result<Content, ExchangeError>,
) -> Vec<Result<Outcome, ExchangeError>> {
    let count = operations.len();
    let invalid = |problem: String| vec![Err(ExchangeError::InvalidReply(problem)); count];
    match content {
        Ok(Content::Batch(outcomes)) if count > 1 && outcomes.len() == count => {
            let pairs = operations.zip(outcomes);
            pairs.map(|(operation, outcome)| checked(operation, outcome)).collect()
        }
        Ok(Content::One { key, done }) if count == 1 => {
            let operation = operations.next().filter(|operation| operation.key() == key);
            let result = operation.map(|operation| checked(operation, Ok(done)));
            result.map_or_else(|| invalid("it is about another key".into()), |it| vec![it])
        }
        Ok(Content::Refused(refusal)) => vec![refused(refusal, count); count],
        Ok(_) => invalid(format!("it is not the answer to {count} operations")),
        Err(error) => vec![Err(error); count],
    }
}

/// A refusal of a whole batch. One that is about what is in it says nothing about the others in it.
fn refused(refusal: Refusal, count: usize) -> Result<Outcome, ExchangeError> {
    match refusal.code {
        ErrorCode::BadRequest | ErrorCode::UnknownOp | ErrorCode::TooLarge if count > 1 => {
            Err(ExchangeError::SharedRefusal(refusal.message))
        }
        _ => Ok(Err(refusal)),
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

#[cfg(test)]
mod tests {
    use kv_protocol::reply::{Page, Record};
    use kv_protocol::request::Condition;
    use kv_protocol::version::Version;

    use super::*;

    const VERSION: Version = Version { epoch: 1, sequence: 1 };

    fn get(key: &'static str) -> Operation<'static> {
        Operation::Get { key: key.into() }
    }

    fn put(key: &'static str) -> Operation<'static> {
        Operation::Put { key: key.into(), value: b"v".into(), condition: Condition::None }
    }

    fn delete(key: &'static str) -> Operation<'static> {
        Operation::Delete { key: key.into(), condition: Condition::None }
    }

    fn of(
        operations: &[Operation<'static>],
        content: Content,
    ) -> Vec<Result<Outcome, ExchangeError>> {
        let outcomes = outcomes(operations.iter(), Ok(content));
        assert_eq!(outcomes.len(), operations.len());
        outcomes
    }

    fn is_invalid(results: &[Result<Outcome, ExchangeError>]) -> bool {
        results.iter().all(|it| matches!(it, Err(ExchangeError::InvalidReply(_))))
    }

    #[test]
    fn outcomes_go_to_their_operations() {
        let stored = Done::Stored { version: VERSION };
        let full = Refusal::new(ErrorCode::DiskFull, "full");
        let content =
            Content::Batch(vec![Ok(stored.clone()), Err(full.clone()), Ok(Done::Read(None))]);
        let results = of(&[put("a"), put("b"), get("c")], content);
        assert_eq!(results, [Ok(Ok(stored.clone())), Ok(Err(full)), Ok(Ok(Done::Read(None)))]);
        let content = Content::One { key: "a".into(), done: stored.clone() };
        assert_eq!(of(&[put("a")], content), [Ok(Ok(stored))]);
    }

    #[test]
    fn answers_to_something_else_are_refused() {
        let read = Done::Read(Some(Record { value: Vec::new(), version: None }));
        for (operation, done) in [
            (get("k"), Done::Stored { version: VERSION }),
            (get("k"), Done::Deleted { existed: true }),
            (put("k"), read.clone()),
            (put("k"), Done::Deleted { existed: true }),
            (delete("k"), Done::Stored { version: VERSION }),
            (delete("k"), read.clone()),
        ] {
            assert!(is_invalid(&of(&[operation], Content::One { key: "k".into(), done })));
        }
        assert!(is_invalid(&of(
            &[get("k")],
            Content::One { key: "other".into(), done: read.clone() }
        )));
        assert!(is_invalid(&of(&[get("k")], Content::Batch(vec![Ok(read.clone())]))));
        let both = [get("a"), get("b")];
        assert!(is_invalid(&of(&both, Content::Batch(Vec::new()))));
        assert!(is_invalid(&of(&both, Content::Batch(vec![Ok(read.clone()); 3]))));
        assert!(is_invalid(&of(&both, Content::One { key: "a".into(), done: read })));
        assert!(is_invalid(&of(&both, Content::Page(Page::default()))));
    }

    #[test]
    fn one_bad_operation_does_not_speak_for_the_others() {
        let refusal = |code| Content::Refused(Refusal::new(code, "operation 1: no"));
        let shared = of(&[put("a"), put("b")], refusal(ErrorCode::TooLarge));
        assert!(shared.iter().all(|it| matches!(it, Err(ExchangeError::SharedRefusal(_)))));
        let own = of(&[put("a")], refusal(ErrorCode::TooLarge));
        assert!(matches!(&own[..], [Ok(Err(_))]));
        let stale = of(&[put("a"), put("b")], refusal(ErrorCode::StaleEpoch));
        assert!(stale.iter().all(|it| matches!(it, Ok(Err(_)))));
    }
}
