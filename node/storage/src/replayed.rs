//! The changes that the log has when the node starts. They change no more, so that they are put in order once,
//! and stay where they were read.

#[cfg(test)]
mod tests;

use std::ops::{Bound, Range};

use bytes::Bytes;
use kv_core::partition::{Partition, PartitionCount, key_hash};
use kv_core::partition_sum::PartitionSum;
use rayon::prelude::*;

use crate::batch::{self, CHANGES_AT, ChangeKind, FramedChange};
use crate::changes::Changes;
use crate::needs::Needs;
use crate::newest;
use crate::sums::stored::SumsUpdate;
use crate::sums::{self, Sums};
use crate::wal::{Malformed, Segment, Taker};
use crate::{Counters, StorageKey, record};

/// A change's place has its segment above so many bits, and the offset in that below.
const OFFSET_BITS: u32 = 40;
/// How many changes begin with the same bits as one another, about: they are gone through one after another.
const CHANGES_PER_BUCKET: usize = 8;
/// How many changes one thread adds up at a time.
const CHANGES_PER_PIECE: usize = 1 << 14;

/// A change: the hash of its key, and its place. In this order, those of one key are together, the newest last.
pub(crate) type Found = (u64, u64);

/// What was read of a piece of a segment.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) changes: Vec<Found>,
    pub(crate) bytes: u64,
    pub(crate) counters: Option<Counters>,
    pub(crate) layout: Option<Range<usize>>,
    /// Where sums are kept from, and of how many partitions.
    pub(crate) sums_begun: Option<(u64, PartitionCount)>,
}

impl Taker for Read {
    fn take(&mut self, segment: &[u8], frame: Range<usize>) -> Result<(), Malformed> {
        self.counters = Some(batch::read_counters(&segment[frame.clone()])?);
        self.bytes += frame.len() as u64;
        let content = &segment[..frame.end];
        let mut at = frame.start + CHANGES_AT;
        while at < frame.end {
            let change = batch::read_change(content, at)?;
            match change.kind {
                ChangeKind::Layout => self.layout = Some(change.rest.clone()),
                ChangeKind::Sums => {
                    let partitions = batch::read_partitions(&content[change.rest.clone()])?;
                    self.sums_begun = Some((at as u64, partitions));
                }
                ChangeKind::Put | ChangeKind::Remove => {
                    self.changes.push((key_hash(change.key), at as u64));
                }
            }
            at = change.rest.end;
        }
        Ok(())
    }

    fn condense(segment: Segment<Self>) -> Segment<Self> {
        newest::newest_of(segment)
    }
}

/// All changes that were read.
#[derive(Default)]
pub(crate) struct Replayed {
    segments: Vec<Bytes>,
    changes: Vec<Found>,
    /// Where the changes begin whose hashes begin with the bits of each number, and where the last ones end.
    buckets: Vec<usize>,
    keys: usize,
    bytes: u64,
    counters: Option<Counters>,
    layout: Option<Bytes>,
    /// The place that sums are kept from, and of how many partitions.
    sums_begun: Option<(u64, PartitionCount)>,
    sums: Option<SumsUpdate>,
    needs: Needs,
}

impl Replayed {
    /// What was read of segments that follow one another.
    pub(crate) fn new(segments: Vec<Segment<Read>>) -> Self {
        let mut all = Self::default();
        for (number, Segment { bytes, taken }) in (0..).zip(segments) {
            for read in taken {
                let place = |offset: u64| number << OFFSET_BITS | offset;
                all.changes.extend(read.changes.into_iter().map(|(hash, at)| (hash, place(at))));
                all.bytes += read.bytes;
                all.counters = read.counters.or(all.counters);
                all.layout = read.layout.map(|it| bytes.slice(it)).or(all.layout);
                let begun = read.sums_begun.map(|(at, partitions)| (place(at), partitions));
                all.sums_begun = begun.or(all.sums_begun);
            }
            all.segments.push(bytes);
        }
        all.put_in_order();
        all
    }

    fn put_in_order(&mut self) {
        self.changes.par_sort_unstable();
        self.keys = self.changes.chunk_by(|one, next| one.0 == next.0).count();
        self.fill_buckets();
    }

    /// Brings `sums` up to what was read, from the last checkpoint on, and has the engine given them with it.
    pub(crate) fn bring_up(&mut self, sums: Option<Sums>) -> Option<Sums> {
        let (from, mut sums) = match self.sums_begun {
            Some((from, partitions)) => (from, Sums::new(partitions, true)),
            None => (0, sums?),
        };
        let partitions = sums.partitions();
        let pieces = self.changes.par_chunks(CHANGES_PER_PIECE);
        let changed: Vec<_> =
            pieces.map(|changes| self.change_of_each(partitions, from, changes)).collect();
        for (partition, change) in changed.into_iter().flatten() {
            match change {
                Some(change) => sums.add(partition, change),
                None => sums.forget(partition),
            }
        }
        self.sums = (!self.is_empty()).then(|| sums.take_update());
        Some(sums)
    }

    /// By how much some changes from a place on change what partitions have; `None` where that is not known.
    fn change_of_each(
        &self,
        partitions: PartitionCount,
        from: u64,
        changes: &[Found],
    ) -> Vec<(Partition, Option<PartitionSum>)> {
        let of_partitions = changes
            .chunk_by(|one, next| partitions.partition(one.0) == partitions.partition(next.0));
        let change_of = |(hash, place): &Found| {
            let (segment, change) = self.change(*place)?;
            let after = match change.kind {
                ChangeKind::Put => Some(record::measure(&segment[change.rest])?),
                _ => None,
            };
            sums::change_of((*hash, change.key.len()), change.before, after)
        };
        let sum_of = |changes: &[Found]| {
            let mut counting = changes.iter().filter(|(_, place)| *place >= from);
            counting.try_fold(PartitionSum::default(), |sum, it| Some(sum.plus(change_of(it)?)))
        };
        of_partitions.map(|it| (partitions.partition(it[0].0), sum_of(it))).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counters.is_none()
    }

    fn fill_buckets(&mut self) {
        let count = (self.changes.len() / CHANGES_PER_BUCKET).next_power_of_two().max(2);
        self.buckets = vec![self.changes.len(); count + 1];
        let mut filled = 0;
        for (at, (hash, _)) in self.changes.iter().enumerate() {
            let bucket = bucket(*hash, count);
            while filled <= bucket {
                self.buckets[filled] = at;
                filled += 1;
            }
        }
    }

    /// Where the first change whose hash is at least `hash` stands.
    fn first_from(&self, hash: u64) -> usize {
        let Some(count) = self.buckets.len().checked_sub(1) else { return 0 };
        let bucket = bucket(hash, count);
        let (from, to) = (self.buckets[bucket], self.buckets[bucket + 1]);
        from + self.changes[from..to].partition_point(|it| it.0 < hash)
    }

    /// The changes of keys with the hash of the one at `at`.
    fn of_one_hash(&self, at: usize) -> &[Found] {
        let rest = &self.changes[at..];
        rest.chunk_by(|one, next| one.0 == next.0).next().unwrap_or_default()
    }

    /// What stands at a place. It was read before.
    fn change(&self, place: u64) -> Option<(&Bytes, FramedChange<'_>)> {
        let segment = self.segments.get((place >> OFFSET_BITS) as usize)?;
        let offset = place & ((1 << OFFSET_BITS) - 1);
        Some((segment, batch::read_change(segment, offset as usize).ok()?))
    }
}

/// Which of `count` buckets, a power of two, this hash is in.
fn bucket(hash: u64, count: usize) -> usize {
    (hash >> (u64::BITS - count.trailing_zeros())) as usize
}

fn record_of((segment, change): &(&Bytes, FramedChange<'_>)) -> Option<Bytes> {
    (change.kind == ChangeKind::Put).then(|| segment.slice(change.rest.clone()))
}

impl Changes for Replayed {
    fn get(&self, key: &StorageKey) -> Option<Option<Bytes>> {
        let first = self.first_from(key.hash());
        self.changes.get(first).filter(|it| it.0 == key.hash())?;
        let newest_first = self.of_one_hash(first).iter().rev();
        let mut changes = newest_first.filter_map(|(_, place)| self.change(*place));
        changes.find(|(_, change)| change.key == key.text()).as_ref().map(record_of)
    }

    fn range(&self, start: Bound<&StorageKey>, count: usize) -> Vec<(StorageKey, Option<Bytes>)> {
        let mut at = match start {
            Bound::Included(key) | Bound::Excluded(key) => self.first_from(key.hash()),
            Bound::Unbounded => 0,
        };
        let is_before = |key: &StorageKey| match start {
            Bound::Included(start) => key < start,
            Bound::Excluded(start) => key <= start,
            Bound::Unbounded => false,
        };
        let mut range: Vec<(StorageKey, Option<Bytes>)> = Vec::new();
        while at < self.changes.len() && range.len() < count {
            let of_hash = self.of_one_hash(at);
            at += of_hash.len();
            let mut of_keys: Vec<(StorageKey, Option<Bytes>)> = Vec::with_capacity(1);
            for (hash, place) in of_hash.iter().rev() {
                let Some(change) = self.change(*place) else { continue };
                // What comes behind is older.
                if of_keys.iter().all(|(key, _)| key.text() != change.1.key) {
                    let key = StorageKey::of_parts((*hash, change.1.key));
                    of_keys.push((key, record_of(&change)));
                }
            }
            of_keys.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            range.extend(of_keys.into_iter().filter(|(key, _)| !is_before(key)));
        }
        range.truncate(count);
        range
    }

    fn keys(&self) -> usize {
        self.keys
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes wait for none of it, since the node has to serve as soon as it has started.
    fn memory_bytes(&self) -> u64 {
        0
    }

    fn begin_scan(&self) {}

    fn end_scan(&self) {}

    /// It stays where it was read.
    fn forget_below(&self, _: &StorageKey) {}

    fn layout(&self) -> Option<Bytes> {
        self.layout.clone()
    }

    fn counters(&self) -> Option<Counters> {
        self.counters
    }

    fn sums(&self) -> Option<&SumsUpdate> {
        self.sums.as_ref()
    }

    fn needs(&self) -> &Needs {
        &self.needs
    }
}
