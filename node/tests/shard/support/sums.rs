//! Whether the sums that a writer has left are right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kv_core::partition::{Partition, PartitionCount};
use kv_core::partition_sum::PartitionSum;
use kv_storage::{Fsync, ScanStart, Store, StoreError, Visit};

use super::PARTITIONS;

/// Compares the sums of the store that lies there with what its records come to, unless some of these are damaged.
pub(super) fn check(store: &Path) {
    let Ok(store) = Store::open(store, Fsync::Always) else { return };
    let partitions = PartitionCount::new(PARTITIONS).unwrap();
    let all: BTreeSet<_> = (0..PARTITIONS).map(Partition).collect();
    let known = store.sums(partitions, &all);
    let Ok(scanned) = scan(&store, partitions) else { return };
    let is_new = store.layout().unwrap().is_none() && scanned.is_empty();
    assert!(is_new || known.len() == all.len(), "only {:?} are known", known.keys());
    for (partition, sum) in known {
        let scanned = scanned.get(&partition).copied().unwrap_or_default();
        assert_eq!(sum, scanned, "of partition {partition}");
    }
}

fn scan(
    store: &Store,
    partitions: PartitionCount,
) -> Result<BTreeMap<Partition, PartitionSum>, StoreError> {
    let mut sums: BTreeMap<_, PartitionSum> = BTreeMap::new();
    store.scan(ScanStart::Hash(0), |entry| {
        let sum = sums.entry(partitions.partition(entry.hash)).or_default();
        sum.add((entry.hash, entry.key.len()), entry.measure()?);
        Ok(Visit::Next)
    })?;
    Ok(sums)
}
