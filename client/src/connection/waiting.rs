//! The errands that wait for their turn at one node.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::lane::Ticket;
use crate::limits::CONNECT_WAIT;
use crate::packing::take_batch;

/// Errands in the order in which they came, and when they are given up.
#[derive(Default)]
pub(super) struct Waiting {
    tickets: VecDeque<Ticket>,
    /// No ticket has an earlier deadline.
    deadline: Option<Instant>,
    /// Since when there is no connection that would take the next batch.
    blocked_since: Option<Instant>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Takes tickets in, which come `now`.
    pub(super) fn extend(&mut self, tickets: impl Iterator<Item = Ticket>, now: Instant) {
        for mut ticket in tickets {
            ticket.came = now;
            let deadline = ticket.errand.deadline;
            self.deadline = Some(self.deadline.map_or(deadline, |it| it.min(deadline)));
            self.tickets.push_back(ticket);
        }
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

    /// Takes out everything.
    pub(super) fn take(&mut self) -> Vec<Ticket> {
        std::mem::take(self).tickets.into()
    }

    /// Takes out those that have waited for a connection for too long.
    pub(super) fn unconnected(&mut self, now: Instant) -> Vec<Ticket> {
        let Some(since) = self.blocked_since else { return Vec::new() };
        let late = |ticket: &Ticket| ticket.came.max(since) + CONNECT_WAIT <= now;
        let late = self.tickets.partition_point(late);
        let late = self.tickets.drain(..late).collect();
        if self.tickets.is_empty() {
            *self = Self::default();
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
