//! How sums lie in the engine, and to which checkpoint they belong.

use std::collections::BTreeMap;

use kv_core::version::Version;
use proptest::prelude::*;

use super::*;
use crate::{Counters, Fsync};

fn count(number: u32) -> PartitionCount {
    PartitionCount::new(number).unwrap()
}

fn sum() -> impl Strategy<Value = PartitionSum> {
    (any::<u128>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(digest, keys, tombstones, bytes)| PartitionSum { digest, keys, tombstones, bytes },
    )
}

/// What may become of a partition: another sum, or that it is not known.
fn change() -> impl Strategy<Value = (prop::sample::Index, Option<PartitionSum>)> {
    (any::<prop::sample::Index>(), proptest::option::weighted(0.9, sum()))
}

fn all(sums: &Sums) -> Vec<Option<PartitionSum>> {
    (0..sums.partitions().get()).map(|it| sums.get(Partition(it))).collect()
}

proptest! {
    #[test]
    fn the_engine_has_them_as_they_were_though_it_gets_only_what_has_changed(
        partitions in prop_oneof![Just(1), Just(64), Just(1024), Just(65_536)].prop_map(count),
        are_known: bool,
        rounds in proptest::collection::vec(proptest::collection::vec(change(), 0..20), 1..5),
    ) {
        let mut sums = Sums::new(partitions, are_known);
        let mut engine: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (changes, checkpoint) in rounds.into_iter().zip(1..) {
            let changed = changes.len();
            for (at, sum) in changes {
                let partition = Partition(at.index(partitions.get() as usize) as u32);
                match sum {
                    Some(sum) => sums.add(partition, sum),
                    None => sums.forget(partition),
                }
            }
            let records: Vec<_> = sums.take_update().records(checkpoint).collect();
            prop_assert!(checkpoint == 1 || records.len() <= changed + 1);
            engine.extend(records);
            let get = |key: &[u8]| Ok(engine.get(key).cloned());
            let mut read = stored::read(checkpoint, get).unwrap().unwrap();
            prop_assert_eq!(all(&read), all(&sums));
            prop_assert_eq!(read.take_update().records(checkpoint).count(), 1);
            prop_assert!(stored::read(checkpoint - 1, get).unwrap().is_none());
            prop_assert!(stored::read(checkpoint + 1, get).unwrap().is_none());
        }
    }

    #[test]
    fn what_is_damaged_or_missing_is_found_out(
        known in proptest::collection::vec(sum(), 64),
        cut: prop::sample::Index,
        which in 0_usize..3,
    ) {
        let mut sums = Sums::new(count(128), true);
        for (partition, sum) in (0..).map(Partition).zip(known) {
            sums.add(partition, sum);
        }
        let mut engine: BTreeMap<Vec<u8>, Vec<u8>> = sums.take_update().records(1).collect();
        let record = engine.values_mut().nth(which).unwrap();
        let length = record.len();
        record.truncate(cut.index(length));
        let read = |engine: &BTreeMap<Vec<u8>, Vec<u8>>| {
            stored::read(1, |key| Ok(engine.get(key).cloned()))
        };
        prop_assert!(!matches!(read(&engine), Ok(Some(_))), "{length} bytes of record {which}");
        let key = engine.keys().nth(which).unwrap().clone();
        engine.remove(&key);
        prop_assert!(!matches!(read(&engine), Ok(Some(_))));
    }
}

#[test]
fn how_they_lie_in_the_engine_is_pinned() {
    let mut sums = Sums::new(count(2), true);
    sums.add(Partition(1), PartitionSum { digest: 7, keys: 200, tombstones: 1, bytes: 3 });
    let records: Vec<_> = sums.take_update().records(258).collect();
    let head = (b"\0sums".to_vec(), vec![2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    let digest = [&[7][..], &[0; 15]].concat();
    let blob = [&[1, 2][..], &digest, &[200, 1, 1, 3]].concat();
    assert_eq!(records, [head, (b"\0sums\0\0".to_vec(), blob)]);
    sums.forget(Partition(0));
    let records: Vec<_> = sums.take_update().records(259).collect();
    assert_eq!(records[1].1[0], 0);
}

fn write(store: &Store, sequence: u64, before: Before) {
    let mut batch = Batch::default();
    batch.put(StorageKey::new("key"), Version { epoch: 1, sequence }, Some(b"value"), before);
    store.commit(batch, Counters { sequence, ..Counters::default() }).unwrap();
}

#[test]
fn sums_that_a_program_left_behind_that_keeps_none_are_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let known = |store: &Store| store.sums(count(1), &[Partition(0)].into()).len();
    let open = || Store::open(directory.path(), Fsync::Always).unwrap();
    let store = open();
    store.keep_sums(count(1)).unwrap();
    write(&store, 1, Before::Nothing);
    store.close().unwrap();
    let store = open();
    assert_eq!(known(&store), 1);
    // As if it kept none.
    *lock(&store.shared.sums) = None;
    write(&store, 2, Before::Unknown);
    store.close().unwrap();
    let store = open();
    assert!(lock(&store.shared.sums).is_none());
    store.keep_sums(count(1)).unwrap();
    assert_eq!(known(&store), 0, "there is a record, and it is counted first");
}
