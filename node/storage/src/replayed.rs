//! The changes that the log has when the node starts. They change no more, so that they are put in order once,
//! and stay where they were read.

use std::ops::{Bound, Range};

use bytes::Bytes;
use kv_core::partition::key_hash;
use rayon::slice::ParallelSliceMut;

use crate::batch::{self, CHANGES_AT, ChangeKind, FramedChange};
use crate::changes::Changes;
use crate::needs::Needs;
use crate::newest;
use crate::wal::{Malformed, Segment, Taker};
use crate::{Counters, StorageKey};

/// A change's place has its segment above so many bits, and the offset in that below.
const OFFSET_BITS: u32 = 40;
/// How many changes begin with the same bits as one another, about: they are gone through one after another.
const CHANGES_PER_BUCKET: usize = 8;

/// A change: the hash of its key, and its place. In this order, those of one key are together, the newest last.
pub(crate) type Found = (u64, u64);

/// What was read of a piece of a segment.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) changes: Vec<Found>,
    pub(crate) bytes: u64,
    pub(crate) counters: Option<Counters>,
    pub(crate) layout: Option<Range<usize>>,
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

fn record((segment, change): &(&Bytes, FramedChange<'_>)) -> Option<Bytes> {
    (change.kind == ChangeKind::Put).then(|| segment.slice(change.rest.clone()))
}

impl Changes for Replayed {
    fn get(&self, key: &StorageKey) -> Option<Option<Bytes>> {
        let first = self.first_from(key.hash());
        self.changes.get(first).filter(|it| it.0 == key.hash())?;
        let newest_first = self.of_one_hash(first).iter().rev();
        let mut changes = newest_first.filter_map(|(_, place)| self.change(*place));
        changes.find(|(_, change)| change.key == key.text()).as_ref().map(record)
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
                    of_keys.push((key, record(&change)));
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

    fn needs(&self) -> &Needs {
        &self.needs
    }
}

#[cfg(test)]
mod tests {
    use kv_core::version::Version;
    use proptest::prelude::*;

    use super::*;
    use crate::batch::Batch;
    use crate::memtable::Memtable;

    /// A key of few, and what is written of it; `None` where it is removed.
    type Change = (u8, Option<u8>);

    fn frame(changes: &[Change], sequence: u64) -> (Bytes, Vec<batch::Mutation>, Counters) {
        let mut batch = Batch::default();
        for (key, value) in changes {
            let key = StorageKey::new(&format!("key-{key}"));
            match value {
                Some(value) => batch.put(key, Version { epoch: 1, sequence }, Some(&[*value])),
                None => batch.remove(key),
            }
        }
        let counters = Counters { sequence, ..Counters::default() };
        let (frame, changes) = batch.finish(counters);
        (frame.into(), changes, counters)
    }

    fn read(frames: &[Bytes]) -> Segment<Read> {
        Read::condense(read_as_it_is(frames))
    }

    fn read_as_it_is(frames: &[Bytes]) -> Segment<Read> {
        let bytes = Bytes::from(frames.concat());
        let mut at = 0;
        let taken = frames.chunks(2).map(|frames| {
            let mut read = Read::default();
            for frame in frames {
                read.take(&bytes, at..at + frame.len()).unwrap();
                at += frame.len();
            }
            read
        });
        let taken = taken.collect();
        Segment { bytes, taken }
    }

    fn all(changes: &dyn Changes, step: usize) -> Vec<(StorageKey, Option<Bytes>)> {
        let mut all: Vec<(StorageKey, Option<Bytes>)> = Vec::new();
        loop {
            let last = all.last().map(|(key, _)| key.clone());
            let start = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let next = changes.range(start, step);
            assert!(next.len() <= step);
            if next.is_empty() {
                return all;
            }
            all.extend(next);
        }
    }

    proptest! {
        #[test]
        fn it_has_what_a_memtable_has(
            groups in prop::collection::vec(prop::collection::vec(any::<Change>(), 1..20), 1..20),
            step in 1_usize..50,
            segment_frames in 1_usize..10,
        ) {
            let memtable = Memtable::default();
            let mut frames = Vec::new();
            for (group, sequence) in groups.iter().zip(1..) {
                let (frame, changes, counters) = frame(group, sequence);
                memtable.insert(&frame, changes, counters);
                frames.push(frame);
            }
            let replayed = Replayed::new(frames.chunks(segment_frames).map(read).collect());
            let as_it_is = frames.chunks(segment_frames).map(read_as_it_is).collect();
            prop_assert!(replayed.bytes() <= Replayed::new(as_it_is).bytes());
            prop_assert_eq!(all(&replayed, step), all(&memtable, step));
            prop_assert_eq!(replayed.keys(), memtable.keys());
            prop_assert!(replayed.bytes() >= memtable.bytes());
            prop_assert_eq!(replayed.counters(), memtable.counters());
            for key in 0..=u8::MAX {
                let key = StorageKey::new(&format!("key-{key}"));
                prop_assert_eq!(replayed.get(&key), memtable.get(&key));
                let from = replayed.range(Bound::Included(&key), 3);
                prop_assert_eq!(from, memtable.range(Bound::Included(&key), 3));
            }
        }
    }

    #[test]
    fn keys_with_one_hash_are_told_apart() {
        const HASHES: u64 = 3;
        let keys = |version: u8| (0..50).map(move |key| (key, Some(version))).collect::<Vec<_>>();
        let frames = [frame(&keys(1), 1).0, frame(&keys(2), 2).0];
        let mut replayed = Replayed::new(vec![read(&frames)]);
        replayed.changes.iter_mut().for_each(|(hash, _)| *hash %= HASHES);
        replayed.put_in_order();
        let found = all(&replayed, 7);
        assert!(found.is_sorted_by(|(one, _), (other, _)| one < other));
        assert_eq!(found.len(), 50);
        for (key, record) in found {
            assert_eq!(record.as_ref().unwrap().last(), Some(&2), "the newest of {key:?}");
            assert_eq!(replayed.get(&key), Some(record));
        }
        assert_eq!(replayed.get(&StorageKey::first_of_hash(1)), None);
    }

    #[test]
    fn what_is_written_again_and_again_takes_the_memory_of_what_is_newest() {
        let again = |version: u8| (0..50).map(move |key| (key, Some(version))).collect::<Vec<_>>();
        let frames: Vec<Bytes> = (0..20).map(|it| frame(&again(it), it.into()).0).collect();
        let segment = read(&frames);
        assert!(segment.bytes.len() <= frames[0].len(), "{} bytes", segment.bytes.len());
        let twice = read(&frames[..2]);
        assert!(twice.bytes.len() <= frames[0].len(), "half is worth it");
        let once = read(&frames[..1]);
        assert_eq!(once.bytes, frames[0], "nothing is superseded");
    }

    #[test]
    fn nothing_is_found_where_nothing_was_read() {
        let replayed = Replayed::new(Vec::new());
        assert!(replayed.is_empty());
        assert_eq!(replayed.get(&StorageKey::new("key")), None);
        assert_eq!(replayed.range(Bound::Unbounded, 10), []);
    }
}
