//! Finding the records to be removed: those of partitions that the node may not have any more, and
//! tombstones that no node needs any more. They are removed in chunks, between other work.

use std::collections::BTreeSet;

use kv_core::partition::{Partition, PartitionCount};

use crate::{Batch, Counters, Entry, ScanStart, Store, StoreError, Visit};

/// How many records one chunk removes.
pub const CHUNK_RECORDS_MAX: usize = 1024;
/// How many records are looked at for one chunk.
const CHUNK_LOOKED_AT_MAX: usize = 4096;

/// Records that are to be removed together.
pub struct Removal {
    /// The removals.
    pub batch: Batch,
    /// The store's counters after them.
    pub counters: Counters,
    /// How many there are.
    pub records: usize,
}

/// A collection that could not go on.
#[derive(Debug)]
pub struct Stuck {
    /// The partition at which it is.
    pub partition: Partition,
    /// What befell the store.
    pub error: StoreError,
}

impl Removal {
    /// No removals yet, on top of the stored records.
    #[must_use]
    pub fn new(counters: Counters) -> Self {
        Self { batch: Batch::default(), counters, records: 0 }
    }

    fn add(&mut self, entry: &Entry<'_>) {
        self.batch.remove_entry(entry);
        self.counters.subtract(entry.key.len(), entry.value_bytes());
        self.records += 1;
    }

    fn is_full(&self) -> bool {
        self.records >= CHUNK_RECORDS_MAX
    }
}

/// Those of `partitions` of which there are records.
///
/// # Errors
/// What befell the store.
pub fn occupied(
    store: &Store,
    count: PartitionCount,
    partitions: &BTreeSet<Partition>,
) -> Result<BTreeSet<Partition>, StoreError> {
    let mut found = BTreeSet::new();
    let Some(first) = partitions.first() else { return Ok(found) };
    store.scan(ScanStart::Hash(count.hash_range(*first).0), |entry| {
        let at = count.partition(entry.hash);
        if partitions.contains(&at) {
            found.insert(at);
        }
        let next = partitions.range(Partition(at.0 + 1)..).next();
        Ok(next.map_or(Visit::Stop, |next| Visit::Jump(count.hash_range(*next).0)))
    })?;
    Ok(found)
}

/// Adds the next records of the `unwanted` partitions to `removal`. Returns the partition that the
/// next chunk begins with: all before it are clear then; `None` where all of them are.
///
/// # Errors
/// [`Stuck`]; what was added before can be removed all the same.
pub fn clear(
    store: &Store,
    partitions: PartitionCount,
    unwanted: &BTreeSet<Partition>,
    removal: &mut Removal,
) -> Result<Option<Partition>, Stuck> {
    let mut rest = None;
    let start = start_of(partitions, unwanted.first().copied());
    visit_all(store, partitions, unwanted, start, |partition, entry| {
        if removal.is_full() {
            rest = Some(partition);
            return Visit::Stop;
        }
        removal.add(entry);
        Visit::Next
    })?;
    Ok(rest)
}

/// Adds the next tombstones of `partitions_owned` to `removal`, beginning after the key `after`.
/// Returns the key after which the next chunk begins; `None` after the last one.
///
/// # Errors
/// [`Stuck`]; what was added before can be removed all the same.
pub fn purge(
    store: &Store,
    partitions: PartitionCount,
    partitions_owned: &BTreeSet<Partition>,
    after: Option<&str>,
    removal: &mut Removal,
) -> Result<Option<String>, Stuck> {
    let mut looked_at = 0;
    let mut rest = None;
    let start = match after {
        Some(after) => ScanStart::After(after),
        None => start_of(partitions, partitions_owned.first().copied()),
    };
    visit_all(store, partitions, partitions_owned, start, |_, entry| {
        if entry.value_bytes().is_none() {
            removal.add(entry);
        }
        looked_at += 1;
        if removal.is_full() || looked_at >= CHUNK_LOOKED_AT_MAX {
            rest = Some(entry.key.to_owned());
            return Visit::Stop;
        }
        Visit::Next
    })?;
    Ok(rest)
}

fn start_of(partitions: PartitionCount, first: Option<Partition>) -> ScanStart<'static> {
    ScanStart::Hash(first.map_or(0, |first| partitions.hash_range(first).0))
}

/// Hands the records of the partitions in `collected` on to `visit`.
fn visit_all(
    store: &Store,
    partitions: PartitionCount,
    collected: &BTreeSet<Partition>,
    start: ScanStart<'_>,
    mut visit: impl FnMut(Partition, &Entry<'_>) -> Visit,
) -> Result<(), Stuck> {
    let mut at = match start {
        ScanStart::Hash(hash) => partitions.partition(hash),
        ScanStart::After(key) => partitions.partition_of(key),
    };
    let outcome = store.scan(start, |entry| {
        at = partitions.partition(entry.hash);
        if collected.contains(&at) {
            return Ok(visit(at, &entry));
        }
        let Some(next) = collected.range(at..).next() else { return Ok(Visit::Stop) };
        at = *next;
        Ok(Visit::Jump(partitions.hash_range(at).0))
    });
    match (outcome, collected.range(at..).next()) {
        // Where the rest is not to be removed, it does not matter that it is damaged.
        (Ok(()), _) | (Err(_), None) => Ok(()),
        (Err(error), Some(partition)) => Err(Stuck { partition: *partition, error }),
    }
}
