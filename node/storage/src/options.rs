//! How a store is to be kept.

use crate::Fsync;

/// How long a segment of the write-ahead log is by default, in bytes. More would save
/// work where keys are written again and again, and cost memory and time at the start.
const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// A segment may grow to so many times its length where the engine does not keep up.
const SEGMENTS_MAX: u64 = 2;

/// The memory that the changes in a segment may take by default, in bytes.
const MEMTABLE_BYTES_DEFAULT: u64 = 128 << 20;

/// While the engine takes a memtable over, that and the next one together may take so many times as much.
const MEMTABLES_MAX: f64 = 1.3;

/// The memory that the engine may take by default, in bytes.
const ENGINE_BYTES_DEFAULT: u64 = 256 << 20;

/// How a store is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// When a write counts as durable.
    pub fsync: Fsync,
    /// The engine takes over the changes in a segment of the write-ahead log when it has this many bytes.
    pub segment_bytes: u64,
    /// The same, when the newest changes of its keys take this much memory, in bytes: where keys are written again
    /// and again, that comes later.
    pub memtable_bytes: u64,
    /// The memory that the engine may take, in bytes: a quarter for pages that were read, the rest for those that
    /// were written. What it needs to find its pages comes on top:
    /// [`Store::index_bytes`](crate::Store::index_bytes).
    pub engine_bytes: u64,
}

impl StoreOptions {
    /// The memory that the engine's cache of pages may take, in bytes.
    pub(crate) fn engine_cache_bytes(self) -> usize {
        usize::try_from(self.engine_bytes / 4).unwrap_or(usize::MAX)
    }

    /// How much the engine writes between two flushes at most, in bytes.
    pub(crate) fn engine_flush_bytes_max(self) -> u64 {
        self.engine_bytes / 8
    }

    /// The engine is started anew once pages of so many bytes were written: it keeps them in memory for as
    /// long as it runs.
    pub(crate) fn engine_written_bytes_max(self) -> u64 {
        self.engine_bytes / 4 * 3
    }

    /// The same, where no file may be longer than `file_bytes_max`.
    pub(crate) fn within(self, file_bytes_max: u64) -> Self {
        // Twice, so that a group that begins in a segment that is as long as it may be can end there.
        let longest = file_bytes_max / SEGMENTS_MAX / 2;
        Self { segment_bytes: self.segment_bytes.min(longest), ..self }
    }

    /// Writes wait for the engine where a segment has grown to this many bytes meanwhile.
    pub(crate) fn segment_bytes_max(self) -> u64 {
        self.segment_bytes.saturating_mul(SEGMENTS_MAX)
    }

    /// How far a segment of this `length` has come, as a length, whose changes take `active_bytes` of memory, beside
    /// `frozen_bytes` of those that the engine is getting: all in bytes.
    pub(crate) fn filled_bytes(self, length: u64, active_bytes: u64, frozen_bytes: u64) -> u64 {
        let share = |bytes: u64| bytes as f64 / self.memtable_bytes.max(1) as f64;
        let beyond = (share(active_bytes + frozen_bytes) - 1.0) / (MEMTABLES_MAX - 1.0);
        let both = if frozen_bytes > 0 { beyond * SEGMENTS_MAX as f64 } else { 0.0 };
        length.max((share(active_bytes).max(both) * self.segment_bytes as f64) as u64)
    }
}

impl From<Fsync> for StoreOptions {
    fn from(fsync: Fsync) -> Self {
        Self {
            fsync,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            memtable_bytes: MEMTABLE_BYTES_DEFAULT,
            engine_bytes: ENGINE_BYTES_DEFAULT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_full_by_its_length_by_its_changes_and_with_those_before() {
        let options = StoreOptions {
            segment_bytes: 1000,
            memtable_bytes: 200,
            ..StoreOptions::from(Fsync::Always)
        };
        for (length, active_bytes, frozen_bytes, filled) in [
            (0, 0, 0, 0),
            (700, 100, 0, 700),
            (700, 180, 0, 900),
            (0, 200, 0, 1000),
            // The engine has begun: there is room for three tenths as much again.
            (0, 6, 200, 200),
            (0, 30, 200, 1000),
            (0, 60, 200, options.segment_bytes_max()),
            // What it has by then is room again.
            (0, 130, 100, 1000),
            (0, 160, 100, options.segment_bytes_max()),
            (0, 200, 10, 1000),
            (1300, 0, 200, 1300),
        ] {
            let it = options.filled_bytes(length, active_bytes, frozen_bytes);
            // The shares are rounded.
            assert!(it.abs_diff(filled) <= 1, "{it}: {length} {active_bytes} {frozen_bytes}");
        }
    }
}
