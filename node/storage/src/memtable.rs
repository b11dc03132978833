//! Changes that are durable in the write-ahead log and not yet in the engine.
//!
//! Keys are found by their hashes. They are put in order only when a scan or the engine goes through them,
//! which most memtables see once, when the engine gets them. What the engine has by then is given up as it goes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use kv_system::lock;
use nohash_hasher::BuildNoHashHasher;

use crate::batch::Mutation;
use crate::change::Change;
use crate::changes::Changes;
use crate::needs::Needs;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Batch;
    use kv_core::version::Version;

    const HASH: u64 = 7;

    fn key(hash: u64, text: &str) -> StorageKey {
        StorageKey::of_parts((hash, text))
    }

    fn record(bytes: &'static [u8]) -> Option<Bytes> {
        Some(Bytes::from_static(bytes))
    }

    /// An attacker can have many keys with one hash.
    #[test]
    fn keys_with_one_hash_are_kept_apart_and_in_order() {
        let memtable = Memtable::default();
        let texts = ["m", "z", "a", "ab", ""];
        for (number, text) in texts.iter().enumerate() {
            memtable.write().set(&key(HASH, text), record(&b"12345"[..number]));
        }
        memtable.write().set(&key(HASH - 1, "x"), None);
        memtable.write().set(&key(HASH + 1, "b"), record(b"last"));
        memtable.write().set(&key(HASH, "a"), None);
        assert_eq!(memtable.keys(), 7);
        assert_eq!(memtable.get(&key(HASH, "z")), Some(record(b"1")));
        assert_eq!(memtable.get(&key(HASH, "a")), Some(None));
        assert_eq!(memtable.get(&key(HASH, "none")), None);
        assert_eq!(memtable.get(&key(HASH + 2, "m")), None);
        let ordered = [
            key(HASH - 1, "x"),
            key(HASH, ""),
            key(HASH, "a"),
            key(HASH, "ab"),
            key(HASH, "m"),
            key(HASH, "z"),
            key(HASH + 1, "b"),
        ];
        for (at, first) in ordered.iter().enumerate() {
            for (start, from) in [(Bound::Included(first), at), (Bound::Excluded(first), at + 1)] {
                for count in [1, 3, 10] {
                    let found = memtable.range(start, count);
                    let found: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
                    assert_eq!(found, &ordered[from..ordered.len().min(from + count)]);
                }
            }
        }
    }

    #[test]
    fn what_others_have_taken_the_place_of_is_not_counted() {
        let memtable = Memtable::default();
        let mut sizes = Vec::new();
        for bytes in [0, 100, 100, 3, 100_000, 5] {
            let mut batch = Batch::default();
            let value = vec![b'v'; bytes];
            batch.put(StorageKey::new("key"), Version { epoch: 1, sequence: 1 }, Some(&value));
            let (frame, changes) = batch.finish(Counters::default());
            memtable.insert(&frame.into(), changes, Counters::default());
            let record = memtable.get(&StorageKey::new("key")).flatten().unwrap_or_default();
            assert!(record.ends_with(&value));
            assert_eq!(memtable.bytes(), (3 + record.len()) as u64);
            sizes.push(memtable.memory_bytes());
        }
        assert_eq!(sizes[1], sizes[2]);
        assert!(sizes[5] < 200, "{sizes:?}");
    }

    #[test]
    fn what_the_engine_has_is_given_up_and_nothing_that_a_scan_relies_on() {
        let memtable = Memtable::default();
        let before = memtable.memory_bytes();
        let fill = || {
            let mut content = memtable.write();
            for hash in 0..1000 {
                content.set(&key(hash, "a"), record(b"12345"));
                content.set(&key(hash, "b"), None);
            }
        };
        fill();
        let all = memtable.range(Bound::Unbounded, usize::MAX);
        assert_eq!(all.len(), 2000);
        memtable.begin_scan();
        memtable.forget_below(&key(700, "b"));
        assert_eq!(memtable.range(Bound::Unbounded, usize::MAX), all, "a scan goes on");
        memtable.end_scan();
        memtable.forget_below(&key(700, "b"));
        assert_eq!(memtable.range(Bound::Unbounded, usize::MAX), all[1400..]);
        assert_eq!((memtable.keys(), memtable.get(&key(699, "b"))), (600, None));
        assert_eq!(memtable.get(&key(700, "a")), Some(record(b"12345")));
        memtable.forget_below(&key(1000, ""));
        assert_eq!((memtable.keys(), memtable.bytes()), (0, 0));
        assert_eq!(memtable.memory_bytes(), before);
    }

    #[test]
    fn keys_that_come_while_others_are_put_in_order_are_found_too() {
        let memtable = Memtable::default();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..50_000_u64 {
                    let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    memtable.write().set(&key(hash, "k"), record(b"1"));
                }
            });
            while !writer.is_finished() {
                let found = memtable.range(Bound::Unbounded, usize::MAX);
                assert!(found.is_sorted_by(|(one, _), (next, _)| one < next));
                assert!(found.len() <= memtable.keys());
            }
        });
        assert_eq!(memtable.range(Bound::Unbounded, usize::MAX).len(), 50_000);
    }
}
