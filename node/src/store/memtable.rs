//! Changes that are durable in the redo log and not yet in the engine.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::batch::Change;
use super::{Counters, StorageKey};

/// How many changes are taken in while readers wait.
const CHANGES_PER_LOCK: usize = 64;

/// The newest record of each key that was changed since it was begun; none where it was removed.
#[derive(Default)]
pub(super) struct Memtable {
    content: RwLock<Content>,
}

#[derive(Default)]
struct Content {
    records: BTreeMap<StorageKey, Option<Bytes>>,
    counters: Option<Counters>,
    layout: Option<Bytes>,
}

impl Memtable {
    /// Takes in the changes of a frame that is durable.
    pub(super) fn insert(&self, frame: &Bytes, changes: Vec<Change>, counters: Counters) {
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let mut content = self.write();
            for change in changes.by_ref().take(CHANGES_PER_LOCK) {
                match change {
                    Change::Put(key, range) => {
                        content.records.insert(key, Some(frame.slice(range)));
                    }
                    Change::Remove(key) => drop(content.records.insert(key, None)),
                    Change::Layout(range) => content.layout = Some(frame.slice(range)),
                }
            }
        }
        self.write().counters = Some(counters);
    }

    /// The record of a key; none where it has not been changed, and none in that where it was removed.
    pub(super) fn get(&self, key: &StorageKey) -> Option<Option<Bytes>> {
        self.read().records.get(key).cloned()
    }

    pub(super) fn layout(&self) -> Option<Bytes> {
        self.read().layout.clone()
    }

    /// The counters after its last change; none where there was no change.
    pub(super) fn counters(&self) -> Option<Counters> {
        self.read().counters
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counters().is_none()
    }

    /// Up to so many changes from `start` on.
    pub(super) fn range(
        &self,
        start: Bound<&StorageKey>,
        count: usize,
    ) -> Vec<(StorageKey, Option<Bytes>)> {
        let content = self.read();
        let range = content.records.range((start, Bound::Unbounded));
        range.take(count).map(|(key, record)| (key.clone(), record.clone())).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memtables at one moment: what is in neither is in the engine.
#[derive(Clone, Default)]
pub(super) struct Memtables {
    /// The one that takes changes in.
    pub(super) active: Arc<Memtable>,
    /// The one before, which the engine is getting, and the last segment of the redo log that has
    /// something of it.
    pub(super) frozen: Option<(u64, Arc<Memtable>)>,
}

impl Memtables {
    /// What is known of a key, as [`Memtable::get`] gives it.
    pub(super) fn get(&self, key: &StorageKey) -> Option<Option<Bytes>> {
        self.newest_first().find_map(|memtable| memtable.get(key))
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(self.frozen.as_ref().map(|(_, frozen)| frozen))
    }
}
