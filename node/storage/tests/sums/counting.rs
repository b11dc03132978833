//! Counting what partitions have of which that is not known.

use std::path::Path;

use kv_core::partition::PartitionCount;
use kv_storage::{Batch, Before, Counters, Fsync, StorageKey, Store, StoreOptions};

use super::model::{Becomes, Change, Records, assert_all_right, assert_right, wait_until_known};
use super::{files, model, value};

/// Several slices for each of the partitions.
const KEYS: u16 = 20_000;

fn partitions() -> PartitionCount {
    PartitionCount::new(4).unwrap()
}

/// A store as a program has left it that keeps no sums.
fn older(directory: &Path, options: impl Into<StoreOptions>) -> (Store, Records) {
    let store = Store::open(directory, options).unwrap();
    let mut records = Records::default();
    let keys: Vec<_> = (0..KEYS).map(|key| value(key, false)).collect();
    keys.chunks(1000).for_each(|keys| records.commit(&store, keys));
    (store, records)
}

#[test]
fn what_an_older_program_has_left_is_counted_while_others_write() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { segment_bytes: 100 << 10, ..Fsync::EverySecond.into() };
    let (store, mut records) = older(directory.path(), options);
    store.keep_sums(partitions()).unwrap();
    assert!(model::known(&store, partitions()).is_empty(), "nothing of it is known");
    let (mut state, mut number) = (1_u32, 0_u32);
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    while model::known(&store, partitions()).len() < 4 {
        number += 1;
        let changes: Vec<_> = (0..8)
            .map(|_| Change {
                key: random(u32::from(KEYS) + 1000) as u16,
                becomes: match random(4) {
                    0 => Becomes::Nothing,
                    1 => Becomes::Tombstone,
                    _ => Becomes::Value(random(50) as usize),
                },
                tells: number % 1000 > 0 || number > 3000,
            })
            .collect();
        records.commit(&store, &changes);
        if number % 64 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    assert_all_right(&store, partitions());
    store.close().unwrap();
    let store = Store::open(directory.path(), options).unwrap();
    assert_all_right(&store, partitions());
}

#[test]
fn what_was_counted_stays_known_though_nothing_more_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = older(directory.path(), Fsync::Always);
    store.keep_sums(partitions()).unwrap();
    wait_until_known(&store, partitions(), 4);
    // An idle store gives that to the engine after a while; a crash before costs another count.
    let last = || *files::read(directory.path()).last_key_value().unwrap().0;
    let before = last();
    let started = std::time::Instant::now();
    while last() == before || files::read(directory.path()).len() > 1 {
        assert!(started.elapsed().as_secs() < 30, "it is not stored");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(store);
    assert_all_right(&Store::open(directory.path(), Fsync::Always).unwrap(), partitions());
}

#[test]
fn another_number_of_partitions_is_counted_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = older(directory.path(), Fsync::Always);
    store.keep_sums(partitions()).unwrap();
    wait_until_known(&store, partitions(), 4);
    let more = PartitionCount::new(8).unwrap();
    store.keep_sums(more).unwrap();
    assert!(model::known(&store, partitions()).is_empty());
    wait_until_known(&store, more, 8);
    assert_all_right(&store, more);
}

#[test]
fn a_partition_with_a_damaged_record_is_counted_once_that_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = older(directory.path(), Fsync::Always);
    drop(store);
    let mut segments = files::read(directory.path());
    let (number, last) = segments.pop_last().unwrap();
    let mut contents: Vec<_> = files::frames(&last).into_iter().map(|it| it.content).collect();
    contents.retain(|it| !it.is_empty());
    // The value of the last key.
    *contents.last_mut().unwrap().last_mut().unwrap() ^= 1;
    segments.insert(number, files::segment(number, &contents));
    files::replace(directory.path(), &segments);
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    store.keep_sums(partitions()).unwrap();
    wait_until_known(&store, partitions(), 3);
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(model::known(&store, partitions()).len(), 3, "what is damaged is not counted");
    let mut batch = Batch::default();
    batch.remove(StorageKey::new(&format!("key-{}", KEYS - 1)), Before::Unknown);
    store.commit(batch, Counters::default()).unwrap();
    assert_right(&store, partitions());
    wait_until_known(&store, partitions(), 4);
    assert_all_right(&store, partitions());
}
