//! What was read of the log is what a memtable would have, and changes sums as all that was written does, whatever
//! was left out of it.

use std::collections::BTreeMap;

use kv_core::partition_sum::RecordSize;
use kv_core::version::Version;
use proptest::prelude::*;

use super::*;
use crate::batch::{Batch, Before};
use crate::memtable::Memtable;

const PARTITIONS: u32 = 4;
/// Keys below this have a record before anything is read.
const STORED_KEYS: u8 = 128;
const STORED: RecordSize =
    RecordSize { version: Version { epoch: 0, sequence: 0 }, value_bytes: Some(300) };

/// A key of few, what is written of it, `None` where it is removed, and whether it says what there was before.
type Change = (u8, Option<u8>, bool);

fn change() -> impl Strategy<Value = Change> {
    (any::<u8>(), any::<Option<u8>>(), prop::bool::weighted(0.95))
}

/// Changes of few keys, which are written again and again.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let keys = prop_oneof![Just(1_u8), Just(16), Just(u8::MAX)];
    (keys, prop::collection::vec(change(), 1..20)).prop_map(|(keys, changes)| {
        changes.into_iter().map(|(key, value, tells)| (key % keys, value, tells)).collect()
    })
}

/// The records that there are.
#[derive(Default)]
struct Records(BTreeMap<u8, RecordSize>);

impl Records {
    fn stored() -> Self {
        Self((0..STORED_KEYS).map(|key| (key, STORED)).collect())
    }

    fn sums(&self) -> Sums {
        let partitions = PartitionCount::new(PARTITIONS).unwrap();
        let mut sums = Sums::new(partitions, true);
        for (key, record) in &self.0 {
            let key = key_of(*key);
            let mut sum = PartitionSum::default();
            sum.add((key.hash(), key.text().len()), *record);
            sums.add(partitions.partition(key.hash()), sum);
        }
        sums
    }

    /// A frame with changes of them, as the writer makes it.
    fn frame(
        &mut self,
        changes: &[Change],
        sequence: u64,
    ) -> (Bytes, Vec<batch::Mutation>, Counters) {
        let mut batch = Batch::default();
        self.add(&mut batch, changes, sequence);
        finish(batch, sequence)
    }

    fn add(&mut self, batch: &mut Batch, changes: &[Change], sequence: u64) {
        for (key, value, tells) in changes {
            let version = Version { epoch: 1, sequence };
            let size = value.map(|_| RecordSize { version, value_bytes: Some(1) });
            let known = match size {
                Some(size) => self.0.insert(*key, size),
                None => self.0.remove(key),
            };
            let known = known.map_or(Before::Nothing, Before::Record);
            let before = if *tells { known } else { Before::Unknown };
            let key = key_of(*key);
            match value {
                Some(value) => batch.put(key, version, Some(&[*value]), before),
                None => batch.remove(key, before),
            }
        }
    }
}

fn finish(batch: Batch, sequence: u64) -> (Bytes, Vec<batch::Mutation>, Counters) {
    let counters = Counters { sequence, ..Counters::default() };
    let (frame, changes) = batch.finish(counters);
    (frame.into(), changes, counters)
}

fn key_of(key: u8) -> StorageKey {
    StorageKey::new(&format!("key-{key}"))
}

/// What is known of all partitions.
fn known(sums: &Sums) -> Vec<Option<PartitionSum>> {
    (0..PARTITIONS).map(|it| sums.get(Partition(it))).collect()
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

/// So many frames, each of which writes all of 50 keys: the first one 1, the next one 2.
fn frames_of_50_keys(count: u8) -> impl Iterator<Item = Bytes> {
    let mut records = Records::default();
    (1..=count).map(move |version| {
        let keys: Vec<_> = (0..50).map(|key| (key, Some(version), true)).collect();
        records.frame(&keys, version.into()).0
    })
}

proptest! {
    #[test]
    fn it_has_what_a_memtable_has(
        groups in prop::collection::vec(changes(), 1..20),
        step in 1_usize..50,
        segment_frames in 1_usize..10,
    ) {
        let memtable = Memtable::default();
        let (mut frames, mut records) = (Vec::new(), Records::stored());
        for (group, sequence) in groups.iter().zip(1..) {
            let (frame, changes, counters) = records.frame(group, sequence);
            memtable.insert(&frame, changes, counters);
            frames.push(frame);
        }
        let mut replayed = Replayed::new(frames.chunks(segment_frames).map(read).collect());
        let mut as_it_is =
            Replayed::new(frames.chunks(segment_frames).map(read_as_it_is).collect());
        prop_assert!(replayed.bytes() <= as_it_is.bytes());
        let bring_up = |replayed: &mut Replayed| {
            known(&replayed.bring_up(Some(Records::stored().sums())).unwrap())
        };
        let sums = bring_up(&mut replayed);
        prop_assert_eq!(&sums, &bring_up(&mut as_it_is));
        for (known, expected) in sums.into_iter().zip(known(&records.sums())) {
            prop_assert!(known.is_none() || known == expected);
        }
        let is_untold = groups.iter().flatten().any(|(_, _, tells)| !tells);
        prop_assert_eq!(replayed.sums().is_some(), true);
        prop_assert!(is_untold || as_it_is.sums() == replayed.sums());
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
    let frames: Vec<_> = frames_of_50_keys(2).collect();
    let mut segment = read_as_it_is(&frames);
    let changes = segment.taken.iter_mut().flat_map(|read| &mut read.changes);
    changes.for_each(|(hash, _)| *hash %= HASHES);
    let replayed = Replayed::new(vec![Read::condense(segment)]);
    assert_eq!(replayed.changes.len(), 50, "the newest of each");
    for (_, place) in &replayed.changes {
        assert_eq!(replayed.change(*place).unwrap().1.before, Before::Nothing);
    }
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
    let frames: Vec<_> = frames_of_50_keys(20).collect();
    let segment = read(&frames);
    assert!(segment.bytes.len() <= frames[0].len(), "{} bytes", segment.bytes.len());
    let twice = read(&frames[..2]);
    assert!(twice.bytes.len() <= frames[0].len(), "half is worth it");
    let once = read(&frames[..1]);
    assert_eq!(once.bytes, frames[0], "nothing is superseded");
}

#[test]
fn a_segment_in_which_sums_begin_stays_as_it_is() {
    let mut records = Records::default();
    let keys: Vec<_> = (0..50).map(|key| (key, Some(key), false)).collect();
    let gone: Vec<_> = (0..50).map(|key| (key, None, false)).collect();
    let told: Vec<_> = (0..25).map(|key| (key, Some(key), true)).collect();
    let mut batch = Batch::default();
    [&keys, &gone, &keys, &gone].iter().for_each(|it| records.add(&mut batch, it, 1));
    batch.begin_sums(PartitionCount::new(PARTITIONS).unwrap());
    [&told, &told, &told].iter().for_each(|it| records.add(&mut batch, it, 1));
    let frames = [finish(batch, 1).0];
    let segment = read(&frames);
    assert_eq!(segment.bytes, frames[0]);
    let sums = Replayed::new(vec![segment]).bring_up(None).unwrap();
    assert_eq!(known(&sums), known(&records.sums()));
}

#[test]
fn nothing_is_found_where_nothing_was_read() {
    let replayed = Replayed::new(Vec::new());
    assert!(replayed.is_empty());
    assert_eq!(replayed.get(&StorageKey::new("key")), None);
    assert_eq!(replayed.range(Bound::Unbounded, 10), []);
}
