//! What the engine needs of the disk for what it lacks of a memtable, measured once.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the engine needs for what it lacks of a memtable, in bytes; 0 where that is to be measured.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// For all of it at once: all leaves that change.
    pub(crate) whole_bytes: AtomicU64,
    /// By how much the store grows.
    pub(crate) growth_bytes: AtomicU64,
}

impl Needs {
    /// Has all be measured anew.
    pub(crate) fn forget(&self) {
        self.whole_bytes.store(0, Ordering::Relaxed);
        self.growth_bytes.store(0, Ordering::Relaxed);
    }
}
