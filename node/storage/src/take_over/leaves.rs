//! How much of the engine's files a change makes it write anew.

use crate::engine::{Engine, LEAF_FANOUT, classify};
use crate::{StorageKey, StoreError};

/// What a leaf takes beside its records, in bytes: the ends of the blocks that it lies in, and its keys'
/// and records' lengths.
pub(super) const LEAF_OVERHEAD_BYTES: u64 = 10 << 10;

/// The room that `bytes` of records take at most, in bytes: a leaf lies in a place that has up to half as
/// much again as it needs.
pub(crate) const fn placed(bytes: u64) -> u64 {
    bytes.saturating_mul(3) / 2
}

/// What the leaves that have changed keys take, at most: the engine does not say where a leaf begins and
/// ends, so it is what lies around each key, as far as a leaf can reach.
#[derive(Default)]
pub(super) struct Leaves {
    pub(super) bytes: u64,
    /// The last key that is counted.
    counted_to: Option<Vec<u8>>,
}

impl Leaves {
    pub(super) fn add(
        &mut self,
        engine: &Engine,
        key: &StorageKey,
        record: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let key = key.to_bytes();
        self.bytes +=
            placed((key.len() + record.map_or(0, <[u8]>::len)) as u64) + LEAF_OVERHEAD_BYTES;
        let size = |key: &[u8], record: &[u8]| placed((key.len() + record.len()) as u64);
        for item in engine.data.range(..key.clone()).rev().take(LEAF_FANOUT) {
            let (before, record) = item.map_err(classify)?;
            if self.counted_to.as_deref().is_some_and(|counted| before[..] <= *counted) {
                break;
            }
            self.bytes += size(&before, &record);
        }
        for item in engine.data.range(key.clone()..).take(LEAF_FANOUT + 1) {
            let (after, record) = item.map_err(classify)?;
            if self.counted_to.as_deref().is_none_or(|counted| after[..] > *counted) {
                self.bytes += size(&after, &record);
                self.counted_to = Some(after.to_vec());
            }
        }
        // Where nothing follows it, what precedes it is counted now.
        self.counted_to = self.counted_to.take().max(Some(key));
        Ok(())
    }
}
