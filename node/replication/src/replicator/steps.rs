//! The steps that the layout is to take, as a node sees it.

use std::collections::BTreeSet;

use kv_core::copies::term::Term;
use kv_core::copies::{Positions, Row};
use kv_core::partition::Partition;

use super::Replicator;
use crate::limits::{BACKUP_SILENT_MS, BELOW_MIN_DELAY_MS, PRIMARY_SILENT_MS, RANK_DELAY_MS};
use crate::shard::Shard;

/// A step of the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These nodes' copies are in sync no more, in each row in which this node's is.
    Evict(BTreeSet<u16>),
    /// This node's copies are in sync no more where one is of these nodes, which it hears.
    Yield(BTreeSet<u16>),
    /// Nothing but the epoch.
    Fence,
    /// These learners are in sync. Promised under this very epoch.
    Admit {
        /// The epoch.
        epoch: u64,
        /// For each partition, which positions of its row.
        promised: Vec<(Partition, Positions)>,
    },
}

impl<S: Shard> Replicator<S> {
    /// The step that the layout is to take, as this node sees it.
    pub(super) fn step(&self) -> Option<Step> {
        let is_ready = self.leaves && self.jobs.is_empty() && !self.has_left();
        if self.lost.is_some() || is_ready {
            let heard: BTreeSet<_> = self.heard().collect();
            return (!heard.is_empty()).then_some(Step::Yield(heard));
        }
        let evicted = self.evicted();
        if !evicted.is_empty() {
            return Some(Step::Evict(evicted));
        }
        let waits_for_silent = |term: &Term| {
            term.promised().iter().any(|position| !self.hears(term.row().node(position)))
        };
        let unfinished = self.unfinished.iter();
        let terms: Vec<_> = unfinished.filter_map(|it| Some((*it, self.terms.get(it)?))).collect();
        if terms.iter().any(|(_, it)| it.needs_fence() || waits_for_silent(it)) {
            return Some(Step::Fence);
        }
        let promised = terms.into_iter().map(|(partition, term)| (partition, term.promised()));
        let promised: Vec<_> = promised.filter(|(_, it)| !it.is_empty()).collect();
        let epoch = self.epoch()?;
        (!promised.is_empty()).then_some(Step::Admit { epoch, promised })
    }

    /// Whether a node has been heard lately.
    pub(super) fn hears(&self, node: u16) -> bool {
        self.contacts.get(&node).is_some_and(|it| it.is_heard(self.now))
    }

    fn heard(&self) -> impl Iterator<Item = u16> {
        self.contacts.keys().copied().filter(|node| self.hears(*node))
    }

    /// The nodes that do not answer for too long.
    fn evicted(&self) -> BTreeSet<u16> {
        // One that is cut off accuses nobody.
        let hears_enough = (self.heard().count() + 1) * 2 > self.contacts.len();
        let Some(placement) = self.placement.as_ref().filter(|_| hears_enough) else {
            return BTreeSet::new();
        };
        self.rows.iter().flat_map(|row| self.evicted_of(*row, placement.min_in_sync)).collect()
    }

    fn evicted_of(&self, row: Row, min_in_sync: usize) -> Vec<u16> {
        let others = row.in_sync().iter().map(|it| row.node(it)).filter(|it| *it != self.me);
        let put_off = match row.in_sync().count() > min_in_sync {
            true => 0,
            false => BELOW_MIN_DELAY_MS,
        };
        let silent_for =
            |node: u16| self.contacts.get(&node).map_or(0, |it| it.silent_for(self.now));
        let is_due = |node: &u16| {
            if row.primary() == self.me {
                let down_for = self.down_since.get(node).map_or(0, |at| self.now - at);
                let owes_for = self.streams.get(node).map_or(0, |it| it.owes_for(self.now));
                let waited = silent_for(*node).max(down_for).max(owes_for);
                return waited >= BACKUP_SILENT_MS + put_off;
            }
            let backups = row.in_sync().iter().filter(|it| *it != row.primary_position());
            let rank = backups.take_while(|it| row.node(*it) != self.me).count() as u64;
            *node == row.primary()
                && silent_for(*node) >= PRIMARY_SILENT_MS + rank * RANK_DELAY_MS + put_off
        };
        others.filter(is_due).collect()
    }

    /// A node that has lost writes goes on once no other copy is in sync where it is primary: the others have
    /// become primaries, or were not needed for what it has acknowledged. What it writes from then on is numbered
    /// above what it has lost.
    pub(super) fn yield_place(&mut self, shard: &mut S) {
        let Some(lost) = self.lost else { return };
        if self.terms.values().all(|term| term.row().in_sync().count() == 1) {
            shard.skip_to(lost);
            self.lost = None;
        }
    }
}
