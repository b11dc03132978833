//! Changes that are durable in the write-ahead log and not yet in the engine.
//!
//! Keys are found by their hashes. They are put in order only when a scan or the engine goes through them,
//! which most memtables see once, when the engine gets them. What the engine has by then is given up as it goes.

#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use kv_system::lock;
use nohash_hasher::BuildNoHashHasher;

use crate::batch::Mutation;
use crate::change::Change;
use crate::changes::Changes;
use crate::needs::Needs;
use crate::sums::stored::SumsUpdate;
use crate::{Counters, StorageKey};

/// How many changes are taken in, or given up, while readers wait.
const CHANGES_PER_LOCK: usize = 64;
/// How many keys are put in order while readers and the writer wait, beside others that are.
const KEYS_PER_LOCK: usize = 1024;

/// What a change takes beside its key and its record, in bytes, about: its places in the table, in the order and in
/// the allocator.
const OVERHEAD_BYTES: u64 = 64;

/// The newest record of each key that was changed since it was begun; `None` where it was removed.
#[derive(Default)]
pub(crate) struct Memtable {
    content: RwLock<Content>,
    /// Held by a thread while it puts keys in order.
    ordering: Mutex<()>,
    /// How many scans go through it piece by piece, and rely on what was in it when they began.
    scans: AtomicUsize,
    sums: OnceLock<SumsUpdate>,
    needs: Needs,
}

#[derive(Default)]
struct Content {
    /// The changes of keys, under their hashes.
    changes: HashMap<u64, Change, BuildNoHashHasher<u64>>,
    /// Those of keys whose hash is that of another key in `changes`.
    others: BTreeMap<StorageKey, Change>,
    /// The hashes in `changes`, in order.
    ordered: BTreeSet<u64>,
    /// Those of them that are not in `ordered` yet.
    unordered: Vec<u64>,
    /// The bytes of the keys and of their newest records.
    bytes: u64,
    counters: Option<Counters>,
    layout: Option<Bytes>,
}

impl Content {
    fn set(&mut self, key: &StorageKey, record: Option<Bytes>) {
        self.bytes += (key.text().len() + record.as_ref().map_or(0, Bytes::len)) as u64;
        let before = match self.changes.entry(key.hash()) {
            Entry::Occupied(mut known) if known.get().key() == key.text() => {
                Some(known.get_mut().replace(key, record))
            }
            Entry::Occupied(_) => self
                .others
                .insert(key.clone(), Change::new(key, record))
                .map(|before| before.bytes()),
            Entry::Vacant(new) => {
                self.unordered.push(key.hash());
                new.insert(Change::new(key, record));
                None
            }
        };
        self.bytes -= before.unwrap_or_default() as u64;
    }

    fn find(&self, key: &StorageKey) -> Option<&Change> {
        let change = self.changes.get(&key.hash())?;
        if change.key() == key.text() { Some(change) } else { self.others.get(key) }
    }

    /// The changes of the keys with this hash, in the order of the keys.
    fn of_hash(&self, hash: u64) -> impl Iterator<Item = &Change> {
        let one = self.changes.get(&hash);
        if self.others.is_empty() {
            return one.into_iter().chain(Vec::new());
        }
        let others = self.others.range(StorageKey::first_of_hash(hash)..);
        let others = others.take_while(|(key, _)| key.hash() == hash).map(|(_, change)| change);
        let mut changes: Vec<_> = one.into_iter().chain(others).collect();
        changes.sort_unstable_by_key(|change| change.key());
        None.into_iter().chain(changes)
    }

    /// Gives up the first changes in the order of the keys, as far as their hashes are below `hash`. Returns whether
    /// there may be more of them.
    fn forget_some_below(&mut self, hash: u64) -> bool {
        for _ in 0..CHANGES_PER_LOCK {
            let Some(first) = self.ordered.first().copied().filter(|first| *first < hash) else {
                return false;
            };
            self.ordered.pop_first();
            let mut forgotten = self.changes.remove(&first).map_or(0, |change| change.bytes());
            while let Some((key, _)) = self.others.range(StorageKey::first_of_hash(first)..).next()
                && key.hash() == first
            {
                let key = key.clone();
                forgotten += self.others.remove(&key).map_or(0, |change| change.bytes());
            }
            self.bytes -= forgotten as u64;
        }
        true
    }
}

impl Memtable {
    /// One that has room for so many keys.
    pub(crate) fn with_room_for(keys: usize) -> Self {
        let memtable = Self::default();
        memtable.write().changes.reserve(keys);
        memtable
    }

    /// Takes in the changes of a frame that is durable.
    pub(crate) fn insert(&self, frame: &Bytes, changes: Vec<Mutation>, counters: Counters) {
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let mut content = self.write();
            for change in changes.by_ref().take(CHANGES_PER_LOCK) {
                match change {
                    Mutation::Put(key, range) => content.set(&key, Some(frame.slice(range))),
                    Mutation::Remove(key) => content.set(&key, None),
                    Mutation::Layout(range) => content.layout = Some(frame.slice(range)),
                }
            }
        }
        self.write().counters = Some(counters);
    }

    /// Has the engine given these sums with what it has.
    pub(crate) fn set_sums(&self, sums: Option<SumsUpdate>) {
        if let Some(sums) = sums {
            let _ = self.sums.set(sums);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counters().is_none()
    }

    /// The content, with all its keys in order.
    fn ordered(&self) -> RwLockReadGuard<'_, Content> {
        if !self.read().unordered.is_empty() {
            let _ordering = lock::lock(&self.ordering);
            if self.read().ordered.is_empty() {
                self.put_all_in_order();
            }
        }
        loop {
            let content = self.read();
            if content.unordered.is_empty() {
                return content;
            }
            drop(content);
            let _ordering = lock::lock(&self.ordering);
            let content = &mut *self.write();
            let rest = content.unordered.len().saturating_sub(KEYS_PER_LOCK);
            content.ordered.extend(content.unordered.drain(rest..));
            if content.unordered.is_empty() {
                content.unordered = Vec::new();
            }
        }
    }

    /// Puts the keys in order that are there now, while none is, which costs a tenth of putting each in its place.
    fn put_all_in_order(&self) {
        let mut hashes = self.read().unordered.clone();
        let count = hashes.len();
        hashes.sort_unstable();
        let ordered = hashes.into_iter().collect();
        let content = &mut *self.write();
        content.ordered = ordered;
        content.unordered = content.unordered.split_off(count);
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
        self.read().find(key).map(Change::record)
    }

    fn range(&self, start: Bound<&StorageKey>, count: usize) -> Vec<(StorageKey, Option<Bytes>)> {
        let content = self.ordered();
        let first = match start {
            Bound::Included(key) | Bound::Excluded(key) => key.hash(),
            Bound::Unbounded => 0,
        };
        let changes = content.ordered.range(first..).flat_map(|hash| {
            let changes = content.of_hash(*hash);
            changes.map(|change| (StorageKey::of_parts((*hash, change.key())), change))
        });
        changes
            .skip_while(|(key, _)| !(start, Bound::Unbounded).contains(key))
            .take(count)
            .map(|(key, change)| (key, change.record()))
            .collect()
    }

    fn keys(&self) -> usize {
        let content = self.read();
        content.changes.len() + content.others.len()
    }

    fn bytes(&self) -> u64 {
        self.read().bytes
    }

    fn memory_bytes(&self) -> u64 {
        let content = self.read();
        let keys = content.changes.len() + content.others.len();
        content.bytes + keys as u64 * OVERHEAD_BYTES
    }

    fn begin_scan(&self) {
        self.scans.fetch_add(1, Ordering::SeqCst);
    }

    fn end_scan(&self) {
        self.scans.fetch_sub(1, Ordering::SeqCst);
    }

    fn forget_below(&self, key: &StorageKey) {
        loop {
            let mut content = self.write();
            // A scan that begins now finds the engine's records of what is given up in this moment.
            let is_scanned = self.scans.load(Ordering::SeqCst) > 0;
            if is_scanned || !content.forget_some_below(key.hash()) {
                return;
            }
        }
    }

    fn layout(&self) -> Option<Bytes> {
        self.read().layout.clone()
    }

    fn counters(&self) -> Option<Counters> {
        self.read().counters
    }

    fn sums(&self) -> Option<&SumsUpdate> {
        self.sums.get()
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
