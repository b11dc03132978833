//! The writes that wait for copies.

use std::collections::VecDeque;

use kv_core::partition::Partition;

use crate::message::Session;

/// What was written together, and is answered together.
#[derive(Debug)]
pub(crate) struct Job {
    /// The caller's number for it.
    pub(crate) id: u64,
    pub(crate) partitions: Vec<Partition>,
    /// Where in which session each node was sent it.
    pub(crate) sent: Vec<(u16, Session, u64)>,
    /// Whether this node has it durably.
    pub(crate) is_durable: bool,
}

impl Job {
    /// Whether a node has acknowledged it that has come to a position in a session, in which its copies were made
    /// equal to this node's. What was sent in another session was there before that, and so is in them.
    pub(crate) fn is_acked(&self, node: u16, session: Session, acked: u64) -> bool {
        let mut sent = self.sent.iter();
        sent.all(|(to, within, position)| *to != node || *within != session || *position <= acked)
    }
}

/// All of them, in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    waiting: VecDeque<Job>,
}

impl Jobs {
    pub(crate) fn add(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// Takes note that this node has all of them durably.
    pub(crate) fn synced(&mut self) {
        self.waiting.iter_mut().for_each(|job| job.is_durable = true);
    }

    /// Takes out those for which `decide` gives an end.
    pub(crate) fn settle<E>(&mut self, mut decide: impl FnMut(&Job) -> Option<E>) -> Vec<(u64, E)> {
        let mut settled = Vec::new();
        self.waiting.retain(|job| match decide(job) {
            None => true,
            Some(end) => {
                settled.push((job.id, end));
                false
            }
        });
        settled
    }
}
