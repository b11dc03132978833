//! The errands of one kind on their way to one node.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::lane::Ticket;
use crate::limits::{BATCH_BESIDE_MIN, BATCH_SHARE_MIN, BATCHES_IN_FLIGHT_MAX, CONNECT_WAIT};
use crate::packing::take_batch;

/// Errands that wait for their turn, in the order in which they came, when they are given up, and how
/// many others are under way.
#[derive(Default)]
pub(super) struct Flow {
    tickets: VecDeque<Ticket>,
    /// No ticket has an earlier deadline.
    deadline: Option<Instant>,
    /// Since when there is no connection that would take the next batch.
    blocked_since: Option<Instant>,
    batches_in_flight: usize,
    /// How many operations are in these batches.
    operations_in_flight: usize,
}

impl Flow {
    pub(super) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Takes a ticket in, which comes `now`.
    pub(super) fn push(&mut self, mut ticket: Ticket, now: Instant) {
        ticket.came = now;
        let deadline = ticket.errand.deadline;
        self.deadline = Some(self.deadline.map_or(deadline, |it| it.min(deadline)));
        self.tickets.push_back(ticket);
    }

    /// Whether the next batch is to be sent. While others are under way, it is held back until it is
    /// worth a message of its own: messages cost far more than the operations in them.
    pub(super) fn is_batch_due(&self) -> bool {
        let waiting = self.tickets.len();
        let is_worth_it =
            waiting >= BATCH_BESIDE_MIN && waiting * BATCH_SHARE_MIN >= self.operations_in_flight;
        match self.batches_in_flight {
            0 => waiting > 0,
            in_flight => in_flight < BATCHES_IN_FLIGHT_MAX && is_worth_it,
        }
    }

    /// Takes note that a batch of so many operations was sent.
    pub(super) fn sent(&mut self, operations: usize) {
        self.batches_in_flight += 1;
        self.operations_in_flight += operations;
    }

    /// Takes note that a batch of so many operations is not under way any more.
    pub(super) fn arrived(&mut self, operations: usize) {
        self.batches_in_flight -= 1;
        self.operations_in_flight -= operations;
    }

    /// How many operations were sent and are not answered.
    pub(super) fn operations_in_flight(&self) -> usize {
        self.operations_in_flight
    }

    /// Whether the next batch only waits for a connection.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_since.is_some() && !self.is_empty()
    }

    /// Takes note that there is no connection that would take the next batch.
    pub(super) fn block(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// Takes out what is to be sent next, over a connection that is there.
    pub(super) fn next_batch(&mut self, spread: Duration) -> Vec<Ticket> {
        let batch = take_batch(&mut self.tickets, spread);
        self.blocked_since = None;
        if self.tickets.is_empty() {
            self.deadline = None;
        }
        batch
    }

    /// Takes out everything that waits.
    pub(super) fn take(&mut self) -> Vec<Ticket> {
        (self.deadline, self.blocked_since) = (None, None);
        std::mem::take(&mut self.tickets).into()
    }

    /// Takes out those that have waited for a connection for too long.
    pub(super) fn unconnected(&mut self, now: Instant) -> Vec<Ticket> {
        let Some(since) = self.blocked_since else { return Vec::new() };
        let late = |ticket: &Ticket| ticket.came.max(since) + CONNECT_WAIT <= now;
        let late = self.tickets.partition_point(late);
        let late = self.tickets.drain(..late).collect();
        if self.tickets.is_empty() {
            (self.deadline, self.blocked_since) = (None, None);
        }
        late
    }

    /// Takes out those whose deadlines have passed.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Ticket> {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        let (late, tickets) =
            self.tickets.drain(..).partition(|ticket| ticket.errand.deadline <= now);
        self.tickets = tickets;
        if self.tickets.is_empty() {
            self.blocked_since = None;
        }
        self.deadline = self.tickets.iter().map(|ticket| ticket.errand.deadline).min();
        Vec::from(late)
    }

    /// When to look again, even if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let connect_by = self.blocked_since.zip(self.tickets.front());
        let connect_by = connect_by.map(|(since, ticket)| ticket.came.max(since) + CONNECT_WAIT);
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
    use crate::endpoint::Endpoint;
    use crate::lane::{Errand, Lane};

    /// A flow in which so many operations wait.
    fn waiting(count: usize) -> Flow {
        let lane = Lane::new(Endpoint::tcp("127.0.0.1", 2000).unwrap(), Duration::ZERO);
        let now = Instant::now();
        for _ in 0..count {
            let operation = Arc::new(Operation::Get { key: "k".into() });
            let context = Context::default();
            let errand = Errand { operation, context, deadline: now, alone: false };
            assert!(lane.put(errand).now_or_never().unwrap().is_ok());
        }
        let (mut flow, mut tickets) = (Flow::default(), Vec::new());
        lane.swap(&mut tickets);
        tickets.into_iter().for_each(|ticket| flow.push(ticket, now));
        flow
    }

    #[test]
    fn a_batch_waits_for_others_only_where_it_is_small() {
        let is_due = |count, under_way: &[usize]| {
            let mut flow = waiting(count);
            under_way.iter().for_each(|operations| flow.sent(*operations));
            flow.is_batch_due()
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
        let mut flow = waiting(1);
        flow.sent(7);
        assert!(!flow.is_batch_due() && flow.operations_in_flight() == 7);
        flow.arrived(7);
        assert!(flow.is_batch_due() && flow.operations_in_flight() == 0);
    }
}
