//! Changes that are durable in the write-ahead log and not yet in the engine.
//!
//! Keys are found by their hashes. They are put in order only when a scan or the engine goes through them,
//! which most memtables see once, when the engine gets them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use kv_system::lock;
use nohash_hasher::BuildNoHashHasher;

use crate::batch::Mutation;
use crate::changes::Changes;
use crate::needs::Needs;
use crate::{Counters, StorageKey};

/// How many changes are taken in while readers wait.
const CHANGES_PER_LOCK: usize = 64;
/// How many keys are put in order while readers and the writer wait.
const KEYS_PER_LOCK: usize = 1024;

/// The newest record of each key that was changed since it was begun; `None` where it was removed.
#[derive(Default)]
pub(crate) struct Memtable {
    content: RwLock<Content>,
    needs: Needs,
}

#[derive(Default)]
struct Content {
    records: HashMap<StorageKey, Option<Bytes>, BuildNoHashHasher<StorageKey>>,
    /// The keys of the records, in order.
    ordered: BTreeSet<StorageKey>,
    /// Those of them that are not in `ordered` yet.
    unordered: Vec<StorageKey>,
    /// The bytes of the frames that were taken in.
    bytes: u64,
    counters: Option<Counters>,
    layout: Option<Bytes>,
}

impl Content {
    fn set(&mut self, key: StorageKey, record: Option<Bytes>) {
        match self.records.entry(key) {
            Entry::Occupied(mut known) => drop(known.insert(record)),
            Entry::Vacant(new) => {
                self.unordered.push(new.key().clone());
                new.insert(record);
            }
        }
    }
}

impl Memtable {
    /// One that has room for so many keys.
    pub(crate) fn with_room_for(keys: usize) -> Self {
        let memtable = Self::default();
        memtable.write().records.reserve(keys);
        memtable
    }

    /// Takes in the changes of a frame that is durable.
    pub(crate) fn insert(&self, frame: &Bytes, changes: Vec<Mutation>, counters: Counters) {
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let mut content = self.write();
            for change in changes.by_ref().take(CHANGES_PER_LOCK) {
                match change {
                    Mutation::Put(key, range) => content.set(key, Some(frame.slice(range))),
                    Mutation::Remove(key) => content.set(key, None),
                    Mutation::Layout(range) => content.layout = Some(frame.slice(range)),
                }
            }
        }
        let mut content = self.write();
        content.bytes += frame.len() as u64;
        content.counters = Some(counters);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counters().is_none()
    }

    /// The content, with all its keys in order.
    fn ordered(&self) -> RwLockReadGuard<'_, Content> {
        loop {
            let content = self.read();
            if content.unordered.is_empty() {
                return content;
            }
            drop(content);
            let content = &mut *self.write();
            let rest = content.unordered.len().saturating_sub(KEYS_PER_LOCK);
            content.ordered.extend(content.unordered.drain(rest..));
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Content> {
        lock::read(&self.content)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        lock::write(&self.content)
    }
}

impl Changes for Memtable {
    fn get(&self, key: &StorageKey) -> Option<Option<Bytes>> {
        self.read().records.get(key).cloned()
    }

    fn range(&self, start: Bound<&StorageKey>, count: usize) -> Vec<(StorageKey, Option<Bytes>)> {
        let content = self.ordered();
        let keys = content.ordered.range((start, Bound::Unbounded)).take(count);
        keys.map(|key| (key.clone(), content.records.get(key).cloned().flatten())).collect()
    }

    fn keys(&self) -> usize {
        self.read().records.len()
    }

    fn bytes(&self) -> u64 {
        self.read().bytes
    }

    fn layout(&self) -> Option<Bytes> {
        self.read().layout.clone()
    }

    fn counters(&self) -> Option<Counters> {
        self.read().counters
    }

    fn needs(&self) -> &Needs {
        &self.needs
    }
}

/// The memtables at one moment: a record that is in neither is in the engine.
#[derive(Clone, Default)]
pub(crate) struct Memtables {
    /// The one that takes changes in.
    pub(crate) active: Arc<Memtable>,
    /// What came before, which the engine is getting, and the last segment of the write-ahead log that has
    /// something of it.
    pub(crate) frozen: Option<(u64, Arc<dyn Changes>)>,
}

impl Memtables {
    /// The newest change of a key, as [`Changes::get`] gives it.
    pub(crate) fn get(&self, key: &StorageKey) -> Option<Option<Bytes>> {
        self.active.get(key).or_else(|| self.frozen.as_ref()?.1.get(key))
    }

    pub(crate) fn newest_first(&self) -> impl Iterator<Item = Arc<dyn Changes>> {
        let active: Arc<dyn Changes> = Arc::clone(&self.active) as _;
        std::iter::once(active).chain(self.frozen.as_ref().map(|(_, frozen)| Arc::clone(frozen)))
    }
}
