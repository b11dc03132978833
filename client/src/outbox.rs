//! The batches on their way from this client to one node: those of reads and those of writes.

use std::sync::Arc;
use std::time::Instant;

use kv_protocol::reply::Content;
use kv_protocol::request::Request;
use kv_transport::connection::UNCONNECTED;
use kv_transport::{Endpoint, ExchangeError, Outgoing};

use crate::batch;
use crate::error::ClientError;
use crate::in_flight::InFlight;
use crate::queue::{Entry, SendQueue};

/// The connections of one client to its nodes. Clones share them.
#[derive(Clone, Debug)]
pub struct Connections(kv_transport::Connections<Outbox>);

impl Connections {
    /// Starts the thread that has them. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError::Local`], where this machine gives no thread or no sockets.
    pub fn open() -> Result<Self, ClientError> {
        let connections = kv_transport::Connections::open();
        connections.map(Self).map_err(|error| ClientError::Local(error.to_string()))
    }

    /// As [`kv_transport::Connections::exchange`].
    pub(crate) async fn exchange(
        &self,
        endpoint: &Endpoint,
        request: &mut Request<'_>,
        reply_by: Instant,
    ) -> Result<Content, ExchangeError> {
        self.0.exchange(endpoint, request, reply_by).await
    }

    /// As [`kv_transport::Connections::announce`].
    pub(crate) fn announce(&self, queue: &Arc<SendQueue>) {
        self.0.announce(queue);
    }
}

/// Batches on their way to one node.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Where operations come from, once there were some.
    queue: Option<Arc<SendQueue>>,
    /// Of each [`Traffic`].
    in_flight: [InFlight; 2],
    /// Empty: the queue's entries are swapped with it, so that neither list is allocated anew.
    entries: Vec<Entry>,
}

/// A batch that was sent.
pub(crate) struct Batch {
    traffic: Traffic,
    entries: Vec<Entry>,
}

/// The kinds of operations. Reads and writes do not travel together, so that no read waits for the disk with a write.
#[derive(Clone, Copy)]
enum Traffic {
    Read,
    Write,
}

impl Traffic {
    const ALL: [Self; 2] = [Self::Read, Self::Write];

    fn of(entry: &Entry) -> Self {
        if entry.queued.operation.is_write() { Self::Write } else { Self::Read }
    }
}

impl Outbox {
    fn refuse_all(&self, entries: Vec<Entry>, problem: &str) {
        if let Some(queue) = self.queue.as_ref().filter(|_| !entries.is_empty()) {
            queue.refuse_all(entries, problem);
        }
    }
}

impl kv_transport::Outbox for Outbox {
    type Source = SendQueue;
    type Sent = Batch;

    fn take_in(&mut self, queue: &Arc<SendQueue>, now: Instant) {
        self.queue.get_or_insert_with(|| Arc::clone(queue));
        queue.swap(&mut self.entries);
        for entry in self.entries.drain(..) {
            self.in_flight[Traffic::of(&entry) as usize].push(entry, now);
        }
    }

    fn is_empty(&self) -> bool {
        self.in_flight.iter().all(InFlight::is_empty)
    }

    fn in_flight(&self) -> usize {
        self.in_flight.iter().map(InFlight::operations_in_flight).sum()
    }

    fn is_due(&self) -> bool {
        self.in_flight.iter().any(InFlight::is_batch_due)
    }

    fn block(&mut self, now: Instant) {
        let due = self.in_flight.iter_mut().filter(|it| it.is_batch_due());
        due.for_each(|it| it.block(now));
    }

    fn is_blocked(&self) -> bool {
        self.in_flight.iter().any(InFlight::is_blocked)
    }

    fn next(&mut self, id: u64, now: Instant) -> Option<Outgoing<Batch>> {
        let is_due = |it: &Traffic| self.in_flight[*it as usize].is_batch_due();
        let traffic = Traffic::ALL.into_iter().find(is_due)?;
        let queue = self.queue.as_ref()?;
        let in_flight = &mut self.in_flight[traffic as usize];
        let mut entries = in_flight.next_batch(queue.spread);
        queue.forget_unwanted(&mut entries);
        let (header, body) = batch::encode(id, &entries)?;
        let deadlines = entries.iter().map(|entry| entry.queued.deadline);
        // There is an entry, else nothing was encoded.
        let reply_by = deadlines.min().unwrap_or(now);
        in_flight.sent(entries.len());
        Some(Outgoing { header, body, reply_by, sent: Batch { traffic, entries } })
    }

    fn answered(&mut self, batch: Batch, answer: Result<Content, &ExchangeError>) {
        let Batch { traffic, entries } = batch;
        self.in_flight[traffic as usize].arrived(entries.len());
        let Some(queue) = &self.queue else { return };
        match answer {
            Ok(content) => {
                let answers = batch::answers(&entries, content);
                queue.answer(entries, answers.into_iter());
            }
            Err(error) => queue.answer(entries, std::iter::repeat_with(|| Err(error.clone()))),
        }
    }

    fn expire(&mut self, now: Instant) {
        for traffic in Traffic::ALL {
            let unconnected = self.in_flight[traffic as usize].unconnected(now);
            self.refuse_all(unconnected, UNCONNECTED);
            let late = self.in_flight[traffic as usize].overdue(now);
            self.refuse_all(late, "its turn did not come in time");
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.in_flight.iter().filter_map(InFlight::next_deadline).min()
    }

    fn refuse(&mut self, problem: &str) {
        for traffic in Traffic::ALL {
            let waiting = self.in_flight[traffic as usize].take();
            self.refuse_all(waiting, problem);
        }
    }

    fn close(&self) {
        if let Some(queue) = &self.queue {
            kv_transport::Source::close(&**queue);
        }
    }
}
