//! The operations of one kind on their way to one node: those that wait, and how many are in flight.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kv_transport::limits::CONNECT_WAIT;

use crate::batcher::take_batch;
use crate::limits::{BATCH_BESIDE_MIN, BATCH_SHARE_MIN, BATCHES_IN_FLIGHT_MAX};
use crate::queue::Entry;

/// Operations that wait for their turn, in the order in which they came, when they are given up, and how
/// many others are in flight.
#[derive(Default)]
pub(crate) struct InFlight {
    entries: VecDeque<Entry>,
    /// No entry has an earlier deadline.
    deadline: Option<Instant>,
    /// Since when there is no connection that would take the next batch.
    blocked_since: Option<Instant>,
    batches_in_flight: usize,
    /// How many operations are in these batches.
    operations_in_flight: usize,
}

impl InFlight {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes an entry in, which comes `now`.
    pub(crate) fn push(&mut self, mut entry: Entry, now: Instant) {
        entry.came = now;
        let deadline = entry.queued.deadline;
        self.deadline = Some(self.deadline.map_or(deadline, |it| it.min(deadline)));
        self.entries.push_back(entry);
    }

    /// Whether the next batch is to be sent. While others are under way, it is held back until it is
    /// worth a message of its own: messages cost far more than the operations in them.
    pub(crate) fn is_batch_due(&self) -> bool {
        let waiting = self.entries.len();
        let is_worth_it =
            waiting >= BATCH_BESIDE_MIN && waiting * BATCH_SHARE_MIN >= self.operations_in_flight;
        match self.batches_in_flight {
            0 => waiting > 0,
            batches => batches < BATCHES_IN_FLIGHT_MAX && is_worth_it,
        }
    }

    /// Takes note that a batch of so many operations was sent.
    pub(crate) fn sent(&mut self, operations: usize) {
        self.batches_in_flight += 1;
        self.operations_in_flight += operations;
    }

    /// Takes note that a batch of so many operations is not under way any more.
    pub(crate) fn arrived(&mut self, operations: usize) {
        self.batches_in_flight -= 1;
        self.operations_in_flight -= operations;
    }

    /// How many operations were sent and are not answered.
    pub(crate) fn operations_in_flight(&self) -> usize {
        self.operations_in_flight
    }

    /// Whether the next batch only waits for a connection.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked_since.is_some() && !self.is_empty()
    }

    /// Takes note that there is no connection that would take the next batch.
    pub(crate) fn block(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// Takes out the next batch, for a connection that takes it.
    pub(crate) fn next_batch(&mut self, spread: Duration) -> Vec<Entry> {
        let batch = take_batch(&mut self.entries, spread);
        self.blocked_since = None;
        if self.entries.is_empty() {
            self.deadline = None;
        }
        batch
    }

    /// Takes out everything that waits.
    pub(crate) fn take(&mut self) -> Vec<Entry> {
        (self.deadline, self.blocked_since) = (None, None);
        std::mem::take(&mut self.entries).into()
    }

    /// Takes out those that have waited for a connection for too long.
    pub(crate) fn unconnected(&mut self, now: Instant) -> Vec<Entry> {
        let Some(since) = self.blocked_since else { return Vec::new() };
        let late = |entry: &Entry| entry.came.max(since) + CONNECT_WAIT <= now;
        let late = self.entries.partition_point(late);
        let late = self.entries.drain(..late).collect();
        if self.entries.is_empty() {
            (self.deadline, self.blocked_since) = (None, None);
        }
        late
    }

    /// Takes out those whose deadlines have passed.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Entry> {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        let (late, entries) =
            self.entries.drain(..).partition(|entry| entry.queued.deadline <= now);
        self.entries = entries;
        if self.entries.is_empty() {
            self.blocked_since = None;
        }
        self.deadline = self.entries.iter().map(|entry| entry.queued.deadline).min();
        Vec::from(late)
    }

    /// When to look again, even if nothing happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let connect_by = self.blocked_since.zip(self.entries.front());
        let connect_by = connect_by.map(|(since, entry)| entry.came.max(since) + CONNECT_WAIT);
        connect_by.into_iter().chain(self.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use kv_core::guard::Context;
    use kv_core::operation::Operation;

    use super::*;
    use crate::queue::{QueuedOperation, SendQueue};
    use kv_transport::Endpoint;

    /// An in-flight window in which so many operations wait.
    fn waiting(count: usize) -> InFlight {
        let queue = SendQueue::new(Endpoint::tcp("127.0.0.1", 2000).unwrap(), Duration::ZERO);
        let now = Instant::now();
        for _ in 0..count {
            let operation = Arc::new(Operation::Get { key: "k".into() });
            let context = Context::default();
            let queued = QueuedOperation { operation, context, deadline: now, alone: false };
            assert!(queue.put(queued).now_or_never().unwrap().is_ok());
        }
        let (mut in_flight, mut entries) = (InFlight::default(), Vec::new());
        queue.swap(&mut entries);
        entries.into_iter().for_each(|entry| in_flight.push(entry, now));
        in_flight
    }

    #[test]
    fn a_batch_waits_for_others_only_where_it_is_small() {
        let is_due = |count, under_way: &[usize]| {
            let mut in_flight = waiting(count);
            under_way.iter().for_each(|operations| in_flight.sent(*operations));
            in_flight.is_batch_due()
        };
        assert!(!is_due(0, &[]) && is_due(1, &[]));
        assert!(!is_due(BATCH_BESIDE_MIN - 1, &[1]) && is_due(BATCH_BESIDE_MIN, &[1]));
        let many = BATCH_BESIDE_MIN * BATCH_SHARE_MIN;
        assert!(is_due(BATCH_BESIDE_MIN, &[many]) && !is_due(BATCH_BESIDE_MIN, &[many + 1]));
        assert!(is_due(1000, &[1; BATCHES_IN_FLIGHT_MAX - 1]));
        assert!(!is_due(1000, &[1; BATCHES_IN_FLIGHT_MAX]));
    }

    #[test]
    fn what_has_arrived_makes_room() {
        let mut in_flight = waiting(1);
        in_flight.sent(7);
        assert!(!in_flight.is_batch_due() && in_flight.operations_in_flight() == 7);
        in_flight.arrived(7);
        assert!(in_flight.is_batch_due() && in_flight.operations_in_flight() == 0);
    }
}
