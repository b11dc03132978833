//! What the engine has not got yet: changes that are durable in the write-ahead log.

use std::ops::Bound;

use bytes::Bytes;

use crate::needs::Needs;
use crate::sums::stored::SumsUpdate;
use crate::{Counters, StorageKey};

/// The newest record of each key that was changed in some time; `None` where it was removed.
pub(crate) trait Changes: Send + Sync {
    /// The record of a key: `None` where it has not been changed, `Some(None)` where it was removed.
    fn get(&self, key: &StorageKey) -> Option<Option<Bytes>>;

    /// Up to so many changes from `start` on.
    fn range(&self, start: Bound<&StorageKey>, count: usize) -> Vec<(StorageKey, Option<Bytes>)>;

    /// How many keys were changed.
    fn keys(&self) -> usize;

    /// The bytes of the changes: those of the keys and of their newest records at least, or of all that was
    /// written.
    fn bytes(&self) -> u64;

    /// The memory that they take, in bytes, about, as far as writes have to wait for it.
    fn memory_bytes(&self) -> u64;

    /// Keeps everything from now on, for a scan that goes through it in pieces.
    fn begin_scan(&self);

    /// The scan has ended.
    fn end_scan(&self);

    /// The engine has all changes before `key`, durably. They may be given up where no scan relies on them: a thread
    /// that does not find a record here looks for it in the engine afterwards.
    fn forget_below(&self, key: &StorageKey);

    /// The layout that was installed last; `None` where none was.
    fn layout(&self) -> Option<Bytes>;

    /// The counters after its last change; `None` before the first one.
    fn counters(&self) -> Option<Counters>;

    /// What the engine is to get of the sums with it, once it changes no more; `None` where they are not kept.
    fn sums(&self) -> Option<&SumsUpdate>;

    /// What the engine needs to take it over, as far as that was measured since it changes no more.
    fn needs(&self) -> &Needs;
}
