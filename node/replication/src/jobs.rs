//! The writes that wait for copies.

use std::collections::{BTreeMap, VecDeque};

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
}

impl Job {
    /// Whether a node has acknowledged it that has come to a position in a session, in which its copies were made
    /// equal to this node's. What was sent in another session was there before that, and so is in them.
    pub(crate) fn is_acked(&self, node: u16, session: Session, acked: u64) -> bool {
        let mut sent = self.sent.iter();
        sent.all(|(to, within, position)| *to != node || *within != session || *position <= acked)
    }
}

/// How it stands with a job that this node has durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It waits for this node.
    Waits(u16),
    /// It is settled, and confirmed or of unknown outcome.
    Settled(bool),
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// Those that this node does not have durably yet.
    unsynced: Vec<Job>,
    /// Those of which it is known that they wait for this node, among others maybe, about in the order in which they
    /// were written.
    waiting: BTreeMap<u16, VecDeque<Job>>,
}

impl Jobs {
    pub(crate) fn is_empty(&self) -> bool {
        self.unsynced.is_empty() && self.waiting.values().all(VecDeque::is_empty)
    }

    pub(crate) fn add(&mut self, job: Job) {
        self.unsynced.push(job);
    }

    /// Takes note that this node has all of them durably. Returns those that are settled, and how.
    pub(crate) fn synced(&mut self, judge: impl Fn(&Job) -> Verdict) -> Vec<(u64, bool)> {
        let jobs = std::mem::take(&mut self.unsynced);
        self.sort_in(jobs, judge)
    }

    /// Takes note that a node has come further. What it has not come to yet, it has not come to either where it was
    /// written later.
    pub(crate) fn acked(&mut self, node: u16, judge: impl Fn(&Job) -> Verdict) -> Vec<(u64, bool)> {
        let Some(waiting) = self.waiting.get_mut(&node) else { return Vec::new() };
        let is_through = |job: &mut Job| judge(job) != Verdict::Waits(node);
        let mut jobs = Vec::new();
        while let Some(job) = waiting.pop_front_if(is_through) {
            jobs.push(job);
        }
        self.sort_in(jobs, judge)
    }

    /// Takes note that any of them may wait no longer for whom it waited.
    pub(crate) fn look(&mut self, judge: impl Fn(&Job) -> Verdict) -> Vec<(u64, bool)> {
        let jobs = std::mem::take(&mut self.waiting).into_values().flatten();
        self.sort_in(jobs.collect(), judge)
    }

    fn sort_in(&mut self, jobs: Vec<Job>, judge: impl Fn(&Job) -> Verdict) -> Vec<(u64, bool)> {
        let mut settled = Vec::new();
        for job in jobs {
            match judge(&job) {
                Verdict::Waits(node) => self.waiting.entry(node).or_default().push_back(job),
                Verdict::Settled(is_confirmed) => settled.push((job.id, is_confirmed)),
            }
        }
        settled
    }
}
