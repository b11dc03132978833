//! Standing: which copies are in sync, and since when.
//!
//! It lies beside the layout's document under its digest, and is sparse: a row that it does not list is whole, and
//! changed last in the epoch [`Standing::floor`] or before it. A layout in which nothing was ever out of sync has
//! the standing that says nothing, and its document names none.
//!
//! # A later epoch is only ever careful
//!
//! So that rows which have become whole again are not listed for ever, steps raise the floor above them, and with it
//! what is said of all rows that are not listed. Every rule of [`copies`](crate::copies) takes a row that changed
//! *later* for one that is less certain: a lease of before does not count, a session that was opened before is
//! opened again, what was sent before is refused, and a primary of before is waited for longer. No rule has a node
//! do anything sooner. What is raised is [`STANDING_EPOCHS`] back, so that it concerns nodes alone that have
//! not installed so many layouts.

mod encoding;
mod row;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use row::RowStanding;

use crate::copies::Positions;
use crate::digest::Digest;
use crate::limits::{STANDING_BYTES_MAX, STANDING_EPOCHS};
use crate::partition::{Partition, PartitionCount};

/// Which copies of each partition are in sync, and since when.
///
/// Rows of which the same is said share it: after a node was evicted from thousands of rows, there are as many
/// different ones as it has positions in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    floor: u64,
    /// All that is said of rows: each once, in ascending order, and nothing that is said of no row.
    said: Vec<RowStanding>,
    /// The rows that are listed, in ascending order, each with the place of what is said of it.
    rows: Vec<(Partition, u16)>,
}

impl Standing {
    /// The standing in which all copies are in sync, and whose rows may have changed up to the epoch `floor`.
    #[must_use]
    pub fn whole(floor: u64) -> Self {
        Self { floor, ..Self::default() }
    }

    fn of(floor: u64, rows: &BTreeMap<Partition, RowStanding>) -> Self {
        let said: BTreeSet<RowStanding> = rows.values().copied().collect();
        let said: Vec<RowStanding> = said.into_iter().collect();
        // There are no more of them than rows, which 16 bits count.
        let place = |it| said.binary_search(it).map_or(0, |place| place as u16);
        let rows = rows.iter().map(|(partition, it)| (*partition, place(it))).collect();
        Self { floor, said, rows }
    }

    /// Whether it says nothing: all rows are whole, and none has ever changed.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.floor == 0 && self.rows.is_empty()
    }

    /// The epoch in which a row that is not listed changed last, at the latest.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// How many copies are not in sync, in all rows.
    #[must_use]
    pub fn learners(&self) -> usize {
        self.listed().map(|(_, it)| it.learners().count()).sum()
    }

    /// How a partition's row stands.
    #[must_use]
    pub fn row(&self, partition: Partition) -> RowStanding {
        let listed = self.rows.binary_search_by_key(&partition, |(it, _)| *it);
        listed.map_or(RowStanding::whole(self.floor), |it| self.said(self.rows[it].1))
    }

    /// The rows that are listed, in ascending order: those that are not whole, and those that changed lately.
    pub fn listed(&self) -> impl Iterator<Item = (Partition, RowStanding)> + '_ {
        self.rows.iter().map(|(partition, place)| (*partition, self.said(*place)))
    }

    fn said(&self, place: u16) -> RowStanding {
        self.said[usize::from(place)]
    }

    /// The digest of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// The standing after a step to `epoch` in which these rows changed.
    ///
    /// It tells epochs apart as far as they matter. A row that is whole and changed [`STANDING_EPOCHS`] ago or
    /// earlier is not listed any more. Where the rest would have more bytes than there is room for, because hardly
    /// any two rows have the same past, *all* epochs so far back become the latest of these.
    pub(super) fn after(
        &self,
        changes: impl IntoIterator<Item = (Partition, RowStanding)>,
        epoch: u64,
    ) -> Self {
        let mut rows: BTreeMap<Partition, RowStanding> = self.listed().collect();
        rows.extend(changes);
        let back = epoch.saturating_sub(STANDING_EPOCHS);
        let is_over = |it: &RowStanding| it.is_whole() && it.since() <= back;
        let over = rows.values().filter(|it| is_over(it)).map(RowStanding::since).max();
        // A whole row is listed only where it changed after the floor.
        let floor = over.unwrap_or(self.floor);
        rows.retain(|_, it| !is_over(it));
        let exact = Self::of(floor, &rows);
        if exact.to_bytes().len() <= STANDING_BYTES_MAX {
            return exact;
        }
        let floor = floor.max(back);
        rows.values_mut().for_each(|it| *it = it.not_before(floor));
        Self::of(floor, &rows)
    }

    /// The standing of a layout that is published again as that of `epoch`: each row may have changed then.
    pub(super) fn republished(&self, epoch: u64) -> Self {
        let again = |(partition, it): (Partition, RowStanding)| (partition, it.not_before(epoch));
        let rows = self.listed().filter(|(_, it)| !it.is_whole()).map(again).collect();
        Self::of(epoch, &rows)
    }

    /// Checks that it is one of rows of so many copies, in a layout of this epoch.
    pub(super) fn check(
        &self,
        epoch: u64,
        partitions: PartitionCount,
        replicas: u32,
    ) -> Result<(), String> {
        let latest = self.said.iter().map(RowStanding::since).max();
        if self.floor.max(latest.unwrap_or(0)) > epoch {
            return Err("its standing tells of a later epoch".into());
        }
        let last = self.rows.last().map(|(partition, _)| *partition);
        if let Some(stranger) = last.filter(|it| it.0 >= partitions.get()) {
            return Err(format!("its standing lists partition {stranger}, which there is not"));
        }
        let row = Positions::first(replicas as usize);
        let wrong = self.listed().find(|(_, it)| {
            let learners = it.learners();
            !learners.are_among(row) || learners == row
        });
        wrong.map_or(Ok(()), |(partition, it)| {
            let learners = it.learners();
            Err(format!(
                "its standing has the copies {learners:?} of partition {partition} out of sync, of {replicas} one of which must be in sync"
            ))
        })
    }
}
