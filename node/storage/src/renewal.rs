//! Starting the engine anew, so that it gives back the memory of the pages that it has written.
//!
//! sled keeps each page that was written since it was opened: `Leaf::max_unflushed_epoch`, once it is set, is
//! never taken back, and `ObjectCache::mark_access_and_evict` evicts no page that has one.

use std::sync::atomic::Ordering;

use kv_system::descriptors;
use tracing::warn;

use crate::checkpoint::IDLE_MIN;
use crate::limits::{DESCRIPTORS_PER_CHECKPOINT, SMALL_FILES_BYTES};
use crate::shared::Shared;
use crate::unfinished;

/// An idle engine that has written so many bytes of pages is started anew.
const WRITTEN_BYTES_OF_IDLE_MAX: u64 = 16 << 20;

impl Shared {
    /// Starts the engine anew where it keeps more in memory than it may, or much, and no reader has used it
    /// since the last look, at `reads_before`.
    pub(crate) fn renew_engine(&self, reads_before: &mut u64) {
        let reads = self.engine_reads.load(Ordering::Relaxed);
        let is_quiet = std::mem::replace(reads_before, reads) == reads
            && self.log.try_lock().is_ok_and(|log| log.written_at.elapsed() >= IDLE_MIN);
        let written_max = match is_quiet {
            true => WRITTEN_BYTES_OF_IDLE_MAX.min(self.options.engine_written_bytes_max()),
            false => self.options.engine_written_bytes_max(),
        };
        let is_due = self.engine_written.load(Ordering::Relaxed) >= written_max
            && self.memtables.load().frozen.is_none();
        // An engine that does not open for a time is tried again, though no reader may need it.
        if self.is_absent() || is_due && self.can_be_renewed() {
            self.renew();
        }
    }

    /// Starts the engine anew in the middle of a take-over, where it keeps more in memory than it may.
    pub(crate) fn renew_grown_engine(&self) {
        if self.can_be_renewed() {
            self.renew();
        }
    }

    fn renew(&self) {
        if let Err(error) = self.reopen() {
            warn!(
                "the storage engine does not start anew: {error}; a reader or a writer that needs it tries again"
            );
        }
    }

    /// Whether the system has what a start of the engine takes.
    fn can_be_renewed(&self) -> bool {
        let needed = unfinished::metadata_bytes(&self.directory) + SMALL_FILES_BYTES;
        !self.disk.is_lost()
            && self.disk.has(needed)
            && descriptors::are_left(DESCRIPTORS_PER_CHECKPOINT).is_ok()
    }
}
