//! What is done to a store, and what its sums must be then: what a scan of all records comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kv_core::partition::{Partition, PartitionCount};
use kv_core::partition_sum::{PartitionSum, RecordSize};
use kv_core::version::Version;
use kv_storage::{Batch, Before, Counters, ScanStart, StorageKey, Store, Visit};
use proptest::prelude::*;

const WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What becomes of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Becomes {
    Value(usize),
    Tombstone,
    Nothing,
}

/// A change of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) key: u16,
    pub(crate) becomes: Becomes,
    /// Whether it says what there was before.
    pub(crate) tells: bool,
}

/// Changes of so many keys at most, one of `untold` of which does not say what there was before.
pub(crate) fn change(keys: u16, untold: Option<u32>) -> impl Strategy<Value = Change> {
    let becomes = prop_oneof![
        6 => (0_usize..300).prop_map(Becomes::Value),
        1 => Just(Becomes::Tombstone),
        2 => Just(Becomes::Nothing),
    ];
    let tells = match untold {
        Some(one_of) => prop::bool::weighted(1.0 - 1.0 / f64::from(one_of)).boxed(),
        None => Just(true).boxed(),
    };
    (0..keys, becomes, tells).prop_map(|(key, becomes, tells)| Change { key, becomes, tells })
}

/// The records of a store, as its writer knows them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) records: BTreeMap<u16, RecordSize>,
    sequence: u64,
}

impl Records {
    /// Those that a store has.
    pub(crate) fn of(store: &Store) -> Self {
        let mut records = BTreeMap::new();
        let visit = |entry: kv_storage::Entry<'_>| {
            let number = entry.key.strip_prefix("key-").unwrap().parse().unwrap();
            records.insert(number, entry.measure().unwrap());
            Ok(Visit::Next)
        };
        store.scan(ScanStart::Hash(0), visit).unwrap();
        Self { records, sequence: store.counters().sequence }
    }

    /// Commits changes, here and in the store.
    pub(crate) fn commit(&mut self, store: &Store, changes: &[Change]) {
        let mut batch = Batch::default();
        for Change { key: number, becomes, tells } in changes {
            self.sequence += 1;
            let key = StorageKey::new(&format!("key-{number}"));
            let known = self.records.get(number).map_or(Before::Nothing, |it| Before::Record(*it));
            let before = if *tells { known } else { Before::Unknown };
            let version = Version { epoch: self.sequence % 3 * 500, sequence: self.sequence };
            let value = match becomes {
                Becomes::Value(bytes) => Some(vec![b'v'; *bytes]),
                Becomes::Tombstone => None,
                Becomes::Nothing => {
                    batch.remove(key, before);
                    self.records.remove(number);
                    continue;
                }
            };
            batch.put(key, version, value.as_deref(), before);
            let value_bytes = value.map(|it| it.len() as u64);
            self.records.insert(*number, RecordSize { version, value_bytes });
        }
        let keys = self.records.len() as u64;
        let counters = Counters { sequence: self.sequence, keys, ..Counters::default() };
        store.commit(batch, counters).unwrap();
    }
}

/// The sums of all partitions of which they are known.
pub(crate) fn known(
    store: &Store,
    partitions: PartitionCount,
) -> BTreeMap<Partition, PartitionSum> {
    let all: BTreeSet<_> = (0..partitions.get()).map(Partition).collect();
    store.sums(partitions, &all)
}

/// The sums of all partitions, by a scan of all records.
pub(crate) fn scanned(
    store: &Store,
    partitions: PartitionCount,
) -> BTreeMap<Partition, PartitionSum> {
    let all = (0..partitions.get()).map(|it| (Partition(it), PartitionSum::default()));
    let mut sums: BTreeMap<_, _> = all.collect();
    store
        .scan(ScanStart::Hash(0), |entry| {
            let sum = sums.get_mut(&partitions.partition(entry.hash)).unwrap();
            sum.add((entry.hash, entry.key.len()), entry.measure()?);
            Ok(Visit::Next)
        })
        .unwrap();
    sums
}

/// What is known is what there is.
#[track_caller]
pub(crate) fn assert_right(store: &Store, partitions: PartitionCount) {
    let scanned = scanned(store, partitions);
    for (partition, sum) in known(store, partitions) {
        assert_eq!(sum, scanned[&partition], "of partition {partition}");
    }
}

/// All is known, and what there is.
#[track_caller]
pub(crate) fn assert_all_right(store: &Store, partitions: PartitionCount) {
    assert_eq!(known(store, partitions), scanned(store, partitions));
}

/// Waits until so many partitions are known.
#[track_caller]
pub(crate) fn wait_until_known(store: &Store, partitions: PartitionCount, count: usize) {
    let started = Instant::now();
    loop {
        let known = known(store, partitions).len();
        if known == count {
            return;
        }
        assert!(started.elapsed() < WAIT_MAX, "{known} partitions of {count} are known");
        std::thread::sleep(LOOK_INTERVAL);
    }
}
