//! Counting what partitions have, slice by slice, while others write.
//!
//! A slice is read beside the writer, so what it says is as old as anything since it was begun. What was written of
//! its keys meanwhile is noted, and counts instead. What is written of keys that were counted before is added, like
//! everywhere else; what comes later will be read. So a slice counts as if it had been read in the moment in which
//! it is taken into account.

use std::collections::{BTreeSet, HashMap};

use kv_core::partition::Partition;
use kv_core::partition_sum::{PartitionSum, RecordSize};
use nohash_hasher::BuildNoHashHasher;

use super::change_of;
use crate::{Before, StorageKey};

/// How many records a slice has at most.
pub(crate) const SLICE_RECORDS: usize = 1024;
/// A slice of which more keys were written meanwhile is read once more.
const NOTED_MAX: usize = 1 << 16;

/// What was read of a partition, in the order of the keys.
#[derive(Default)]
pub(crate) struct Slice {
    pub(crate) records: Vec<(StorageKey, RecordSize)>,
    /// Whether the partition has no more.
    pub(crate) is_last: bool,
}

/// How far the counting has come.
#[derive(Default)]
pub(super) struct Counted {
    partition: Option<Partition>,
    /// What the partition has up to the key `to`, which is not counted where there is none.
    sum: PartitionSum,
    to: Option<StorageKey>,
    /// The records, as they were left, of the keys behind that were written since a slice was begun; `None` where
    /// none is, or it does not count any more.
    noted: Option<HashMap<StorageKey, Option<RecordSize>, BuildNoHashHasher<StorageKey>>>,
    /// The partitions that could not be read.
    aside: BTreeSet<Partition>,
}

impl Counted {
    /// Begins with the next slice. Returns its partition, and the key after which it begins.
    pub(super) fn begin_slice(
        &mut self,
        unknown: &BTreeSet<Partition>,
    ) -> Option<(Partition, Option<StorageKey>)> {
        let next = || unknown.iter().find(|it| !self.aside.contains(it)).copied();
        let partition = self.partition.or_else(next)?;
        self.partition = Some(partition);
        self.noted = Some(HashMap::default());
        Some((partition, self.to.clone()))
    }

    /// Takes note of a change in a partition of which it is not known what it has.
    pub(super) fn change(
        &mut self,
        partition: Partition,
        key: &StorageKey,
        before: Before,
        after: Option<RecordSize>,
    ) {
        if self.partition != Some(partition) {
            return;
        }
        if self.to.as_ref().is_some_and(|to| key <= to) {
            match change_of((key.hash(), key.text().len()), before, after) {
                Some(change) => self.sum = self.sum.plus(change),
                None => self.begin_anew(),
            }
        } else if let Some(noted) = &mut self.noted {
            noted.insert(key.clone(), after);
            if noted.len() > NOTED_MAX {
                self.noted = None;
            }
        }
    }

    /// Takes a slice into account. Returns the partition that was counted with it to its end, and what it has.
    pub(super) fn end_slice(&mut self, slice: Slice) -> Option<(Partition, PartitionSum)> {
        let noted = self.noted.take()?;
        let last = slice.records.last().map(|(key, _)| key.clone());
        for (key, record) in &slice.records {
            if !noted.contains_key(key) {
                self.sum.add((key.hash(), key.text().len()), *record);
            }
        }
        for (key, record) in noted {
            let is_within = slice.is_last || last.as_ref().is_some_and(|last| key <= *last);
            if let Some(record) = record.filter(|_| is_within) {
                self.sum.add((key.hash(), key.text().len()), record);
            }
        }
        self.to = last.or_else(|| self.to.take());
        if !slice.is_last {
            return None;
        }
        let counted = (self.partition.take()?, self.sum);
        self.begin_anew();
        Some(counted)
    }

    /// Leaves the partition alone of which a slice was begun, until it is [tried again](Self::try_again).
    pub(super) fn put_aside(&mut self) {
        self.aside.extend(self.partition.take());
        self.begin_anew();
    }

    pub(super) fn try_again(&mut self, partition: Partition) {
        self.aside.remove(&partition);
    }

    /// How many partitions are left alone.
    pub(super) fn set_aside(&self) -> usize {
        self.aside.len()
    }

    fn begin_anew(&mut self) {
        (self.sum, self.to, self.noted) = (PartitionSum::default(), None, None);
    }
}
