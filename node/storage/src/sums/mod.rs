//! The [sums](PartitionSum) of a node's partitions, kept by the writer as it goes.
//!
//! A change says what there was before it ([`Before`]), so that it is taken into account without looking anything
//! up. The log has that too: a start brings the sums that the engine has with its last checkpoint up to what the
//! log has ([`Replayed`](crate::replayed::Replayed)). Where a change does not say it, or a program that kept no
//! sums has written something, sums are unknown until they were `counted`.
//!
//! - here: keeping them; [`stored`]: how they lie in the engine, as far as they have changed; `counted`: counting
//!   those that are not known, while others write; `counting`: the thread that does.

mod counted;
mod counting;
pub(crate) mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use bytes::Bytes;
use kv_core::partition::{Partition, PartitionCount};
use kv_core::partition_sum::{PartitionSum, RecordSize};
use kv_system::lock::lock;

use self::counted::Counted;
pub(crate) use self::counted::{SLICE_RECORDS, Slice};
use self::stored::{PARTITIONS_PER_BLOB, SumsUpdate};
use crate::batch::Mutation;
use crate::wal::Keeping;
use crate::{Batch, Before, ScanStart, StorageKey, Store, StoreError, Visit, record};

/// How many changes' sums are brought into the processor's nearest memory at once.
const CHANGES_PER_TOUCH: usize = 64;

/// A sum, in one line of the processor's caches.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Line(PartitionSum);

/// The sums of all partitions.
pub(crate) struct Sums {
    partitions: PartitionCount,
    /// Of each partition; of one that is not known, nothing.
    sums: Vec<Line>,
    unknown: BTreeSet<Partition>,
    /// Which blobs the engine does not have as they are here.
    is_changed: Vec<bool>,
    counted: Counted,
}

impl Sums {
    /// The sums of partitions without records, or of which it is not known what they have.
    pub(crate) fn new(partitions: PartitionCount, are_known: bool) -> Self {
        let all = (0..partitions.get()).map(Partition);
        let count = partitions.get() as usize;
        Self {
            partitions,
            sums: vec![Line::default(); count],
            unknown: all.filter(|_| !are_known).collect(),
            is_changed: vec![true; count.div_ceil(PARTITIONS_PER_BLOB)],
            counted: Counted::default(),
        }
    }

    pub(crate) fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// The sum of a partition; `None` where it is not known.
    pub(crate) fn get(&self, partition: Partition) -> Option<PartitionSum> {
        if self.unknown.contains(&partition) {
            return None;
        }
        self.sums.get(partition.0 as usize).map(|line| line.0)
    }

    /// Takes the changes of a frame into account that is durable now, of which this is what there was `before`.
    pub(crate) fn take_in(&mut self, frame: &Bytes, changes: &[Mutation], before: &[Before]) {
        let pieces = changes.chunks(CHANGES_PER_TOUCH).zip(before.chunks(CHANGES_PER_TOUCH));
        for (changes, before) in pieces {
            self.touch(changes);
            for (change, before) in changes.iter().zip(before) {
                match change {
                    Mutation::Put(key, range) => {
                        self.change(key, *before, record::measure(&frame[range.clone()]));
                    }
                    Mutation::Remove(key) => self.change(key, *before, None),
                    Mutation::Layout(_) => {}
                }
            }
        }
    }

    /// Has the processor fetch the sums that these changes change, many of them at a time: what lies anywhere in
    /// its main memory would have the writer wait for each in turn.
    fn touch(&self, changes: &[Mutation]) {
        let keys_of = |change: &Mutation| match change {
            Mutation::Put(key, _) | Mutation::Remove(key) => {
                self.sums[self.partitions.partition(key.hash()).0 as usize].0.keys
            }
            Mutation::Layout(_) => 0,
        };
        black_box(changes.iter().map(keys_of).fold(0, u64::wrapping_add));
    }

    fn change(&mut self, key: &StorageKey, before: Before, after: Option<RecordSize>) {
        let partition = self.partitions.partition(key.hash());
        // Damage that kept a partition from being counted may be gone now.
        if before == Before::Unknown {
            self.counted.try_again(partition);
        }
        if !self.unknown.is_empty() && self.unknown.contains(&partition) {
            return self.counted.change(partition, key, before, after);
        }
        let index = partition.0 as usize;
        let (sum, key) = (&mut self.sums[index].0, (key.hash(), key.text().len()));
        match before {
            Before::Unknown => return self.forget(partition),
            Before::Nothing => {}
            Before::Record(record) => sum.subtract(key, record),
        }
        if let Some(record) = after {
            sum.add(key, record);
        }
        self.is_changed[index / PARTITIONS_PER_BLOB] = true;
    }

    /// Adds a change to what a partition has, where that is known.
    pub(crate) fn add(&mut self, partition: Partition, change: PartitionSum) {
        if !self.unknown.contains(&partition) {
            let index = partition.0 as usize;
            let Line(sum) = &mut self.sums[index];
            *sum = sum.plus(change);
            self.is_changed[index / PARTITIONS_PER_BLOB] = true;
        }
    }

    /// What a partition has is not known any more.
    pub(crate) fn forget(&mut self, partition: Partition) {
        if self.unknown.insert(partition) {
            let index = partition.0 as usize;
            self.sums[index] = Line::default();
            self.is_changed[index / PARTITIONS_PER_BLOB] = true;
        }
    }

    /// A partition was counted.
    fn learn(&mut self, partition: Partition, sum: PartitionSum) {
        if self.unknown.remove(&partition) {
            self.add(partition, sum);
        }
    }

    /// Whether the engine lacks something of them that it can have: what is being counted is given to it once all
    /// is.
    pub(crate) fn are_to_be_stored(&self) -> bool {
        !self.is_being_counted() && self.is_changed.contains(&true)
    }

    /// What the engine does not have yet; it counts as had from here on.
    pub(crate) fn take_update(&mut self) -> SumsUpdate {
        let changed = std::mem::take(&mut self.is_changed);
        self.is_changed = vec![false; changed.len()];
        let blobs = (0..).zip(changed).filter(|(_, is_changed)| *is_changed);
        SumsUpdate::new(self.partitions, blobs.map(|(blob, _)| blob), |it| self.get(it))
    }

    /// Whether there are partitions that are being counted, or are to be.
    pub(crate) fn is_being_counted(&self) -> bool {
        self.unknown.len() > self.counted.set_aside()
    }

    /// The partition of which the next slice is to be counted, and the key after which it begins; `None` where
    /// nothing is to be counted.
    pub(crate) fn begin_slice(&mut self) -> Option<(Partition, Option<StorageKey>)> {
        self.counted.begin_slice(&self.unknown)
    }

    /// Takes a slice into account that was read since it was begun.
    pub(crate) fn end_slice(&mut self, slice: Slice) {
        if let Some((partition, sum)) = self.counted.end_slice(slice) {
            self.learn(partition, sum);
        }
    }

    /// The slice that was begun could not be read, and is not tried again before its partition is written to by a
    /// change that does not know what there was.
    pub(crate) fn set_aside(&mut self) {
        self.counted.put_aside();
    }
}

impl Store {
    /// Has the sums of so many partitions kept from here on, where they are not. Only the writer's handle may be
    /// asked, and before anything is written of a layout's partitions.
    ///
    /// # Errors
    /// As [`Store::commit`]; they are not kept then.
    pub fn keep_sums(&self, partitions: PartitionCount) -> Result<(), StoreError> {
        let is_kept = |sums: &Sums| sums.partitions() == partitions;
        if lock(&self.shared.sums).as_ref().is_some_and(is_kept) {
            return Ok(());
        }
        let mut is_empty = true;
        let looked = self.scan(ScanStart::Hash(0), |_| {
            is_empty = false;
            Ok(Visit::Stop)
        });
        let are_known = looked.is_ok() && is_empty;
        if are_known {
            let mut batch = Batch::default();
            batch.begin_sums(partitions);
            let keeping = Keeping { is_synced: false, can_be_found: false };
            self.append(batch, self.counters(), keeping)?;
        }
        *lock(&self.shared.sums) = Some(Sums::new(partitions, are_known));
        Ok(())
    }

    /// The sums of those of these partitions of which they are known.
    #[must_use]
    pub fn sums(
        &self,
        partitions: PartitionCount,
        wanted: &BTreeSet<Partition>,
    ) -> BTreeMap<Partition, PartitionSum> {
        let sums = lock(&self.shared.sums);
        let Some(sums) = sums.as_ref().filter(|it| it.partitions() == partitions) else {
            return BTreeMap::new();
        };
        wanted.iter().filter_map(|it| Some((*it, sums.get(*it)?))).collect()
    }
}

/// By how much a change of the key with this hash and length changes a sum; `None` where it is not known what there
/// was before.
pub(crate) fn change_of(
    key: (u64, usize),
    before: Before,
    after: Option<RecordSize>,
) -> Option<PartitionSum> {
    let mut sum = PartitionSum::default();
    match before {
        Before::Unknown => return None,
        Before::Nothing => {}
        Before::Record(record) => sum.subtract(key, record),
    }
    if let Some(record) = after {
        sum.add(key, record);
    }
    Some(sum)
}
