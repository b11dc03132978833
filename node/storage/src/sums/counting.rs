//! The thread that counts what partitions have of which that is not known.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kv_core::partition::{Partition, PartitionCount};
use kv_system::lock::lock;
use tracing::{info, warn};

use super::{SLICE_RECORDS, Slice};
use crate::shared::Shared;
use crate::{ScanStart, StorageKey, Store, StoreError, Visit};

/// How often it is looked whether there is something to be counted, and whether the engine can be read again.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// So many times as long as reading a slice took, it then waits: others read and write meanwhile.
const PAUSE_FACTOR: u32 = 3;

impl Shared {
    /// Counts what is to be counted, until the store ends.
    pub(crate) fn keep_counting(self: &Arc<Self>, ended: &flume::Receiver<()>) {
        // Had only while something is counted.
        let mut at_work: Option<(Store, Instant)> = None;
        let mut wait = LOOK_INTERVAL;
        while ended.recv_timeout(wait) == Err(flume::RecvTimeoutError::Timeout) {
            wait = LOOK_INTERVAL;
            let slice_begun = Instant::now();
            let Some((partitions, (partition, after))) = self.begin_slice() else {
                if let Some((_, begun)) = at_work.take() {
                    let took = begun.elapsed().as_secs_f64();
                    info!("counted what partitions have, beside all else, in {took:.1} s");
                }
                continue;
            };
            let (store, _) = at_work.get_or_insert_with(|| {
                info!("what partitions have is not known of all, and is counted beside all else");
                (Store::reader_of(self), slice_begun)
            });
            let slice = read_slice(store, (partitions, partition), after.as_ref());
            let mut sums = lock(&self.sums);
            let Some(sums) = sums.as_mut() else { continue };
            match slice {
                Ok(slice) => {
                    sums.end_slice(slice);
                    wait = slice_begun.elapsed() * PAUSE_FACTOR;
                }
                // A damaged place is not read again and again: each time, the engine has to be started anew.
                Err(error @ (StoreError::RecordCorrupt(_) | StoreError::PageCorrupt(_))) => {
                    sums.set_aside();
                    warn!("what partition {partition} has cannot be counted: {error}");
                }
                Err(_) => {}
            }
        }
    }

    fn begin_slice(&self) -> Option<(PartitionCount, (Partition, Option<StorageKey>))> {
        // An engine that waits for its repair is not asked.
        let is_readable = self.failure().is_none() && !self.stopped.load(Ordering::Acquire);
        let mut sums = lock(&self.sums);
        let sums = sums.as_mut().filter(|_| is_readable)?;
        Some((sums.partitions(), sums.begin_slice()?))
    }
}

fn read_slice(
    store: &Store,
    (partitions, partition): (PartitionCount, Partition),
    after: Option<&StorageKey>,
) -> Result<Slice, StoreError> {
    let first = ScanStart::Hash(partitions.hash_range(partition).0);
    let start = after.map_or(first, |after| ScanStart::After(after.text()));
    let mut slice = Slice { records: Vec::new(), is_last: true };
    store.scan(start, |entry| {
        if partitions.partition(entry.hash) != partition {
            return Ok(Visit::Stop);
        }
        slice.records.push((entry.storage_key(), entry.measure()?));
        slice.is_last = slice.records.len() < SLICE_RECORDS;
        Ok(if slice.is_last { Visit::Next } else { Visit::Stop })
    })?;
    Ok(slice)
}
