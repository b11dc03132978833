//! What clients may do with a partition here, and when what they have written is settled.

use kv_core::copies::term::Term;
use kv_core::partition::Partition;

use super::{Output, Replicator};
use crate::jobs::{Job, Verdict};
use crate::limits::BUSY_MS;
use crate::shard::Shard;
use crate::stream::Stream;

/// Why a node does not write to a partition now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It is not the primary, or does not serve yet.
    NotServing,
    /// Fewer copies are in sync than a write needs.
    TooFew,
    /// A copy does not keep up.
    Busy,
}

/// Why jobs may be settled.
#[derive(Clone, Copy)]
pub(super) enum Cause {
    /// This node has them durably.
    Synced,
    /// Another one has come further.
    Acked(u16),
    /// A row has changed, or a copy was made equal.
    Changed,
}

impl<S: Shard> Replicator<S> {
    /// Whether clients may read a partition here.
    #[must_use]
    pub fn may_read(&self, now: u64, partition: Partition) -> bool {
        let placement = self.placement.as_ref();
        let Some(view) = placement.and_then(|it| it.view(partition)) else { return false };
        let has_leases = |term: &Term| {
            term.needed().iter().all(|position| {
                let contact = self.contacts.get(&view.row.node(position));
                contact.is_some_and(|it| it.has_lease(now, &view))
            })
        };
        self.terms.get(&partition).is_some_and(|it| it.serves() && has_leases(it))
    }

    /// Whether clients may write to a partition here.
    ///
    /// # Errors
    /// Why not.
    pub fn may_write(&self, now: u64, partition: Partition) -> Result<(), Hindrance> {
        let term = self.terms.get(&partition).filter(|it| it.serves() && !self.leaves);
        let (Some(term), Some(placement)) = (term, &self.placement) else {
            return Err(Hindrance::NotServing);
        };
        if !term.has_enough(placement.min_in_sync) {
            return Err(Hindrance::TooFew);
        }
        let is_busy = |node: u16| {
            let stream = self.streams.get(&node);
            stream.is_some_and(|it| it.is_full() || it.owes_for(now) >= BUSY_MS)
        };
        match term.needed().iter().any(|position| is_busy(term.row().node(position))) {
            true => Err(Hindrance::Busy),
            false => Ok(()),
        }
    }

    /// Ends the jobs for which no copy has to be waited any more, after something that can have brought that about.
    pub(super) fn settle(&mut self, cause: Cause) {
        let (terms, streams) = (&self.terms, &self.streams);
        let min_in_sync = self.placement.as_ref().map_or(1, |it| it.min_in_sync);
        // The first node that a job waits for in a partition.
        let waits_for = |job: &Job, term: &Term| {
            let mut needed = term.needed().iter();
            let position = needed.find(|position| {
                let node = term.row().node(*position);
                let is_acked = |it: &Stream<S>| job.is_acked(node, it.session(), it.acked());
                !(term.equal().contains(*position) && streams.get(&node).is_some_and(is_acked))
            });
            position.map(|it| term.row().node(it))
        };
        let judge = |job: &Job| {
            let mut is_confirmed = true;
            for partition in &job.partitions {
                let Some(term) = terms.get(partition).filter(|it| it.serves()) else {
                    return Verdict::Settled(false);
                };
                if let Some(node) = waits_for(job, term) {
                    return Verdict::Waits(node);
                }
                is_confirmed &= term.has_enough(min_in_sync);
            }
            Verdict::Settled(is_confirmed)
        };
        let settled = match cause {
            Cause::Synced => self.jobs.synced(judge),
            Cause::Acked(node) => self.jobs.acked(node, judge),
            Cause::Changed => self.jobs.look(judge),
        };
        let settled = settled.into_iter();
        self.outputs
            .extend(settled.map(|(job, is_confirmed)| Output::Settled { job, is_confirmed }));
    }
}
