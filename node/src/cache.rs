//! Records that were read or written lately, so that reading them again does not bother the engine.
//!
//! It belongs to the serving loop's thread. That thread hands all writes of clients on, forgets their
//! keys then, and remembers none of them before they are answered; and what a layout's installing takes
//! away or brings is forgotten with everything else, since the cache is of one guard only. So no record
//! in it is older than the stored one.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use kv_core::guard::Guard;
use kv_core::partition::key_hash;
use kv_core::version::Version;
use kv_storage::Stored;
use nohash_hasher::BuildNoHashHasher;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::write_set::KnownValue;

/// About what a small record takes beside its key and its value, in bytes: what stands before them, and its
/// places in the cache and in the allocator.
const OVERHEAD_BYTES: u64 = 96;
/// How many of the entries are remembered by their hashes alone once they are gone, as a share.
const GHOSTS: f64 = 0.1;
/// A larger value costs more to copy than to read again.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Records that were read or written lately, under the hashes of their keys.
pub struct RecordCache {
    /// It goes with the process: giving millions of records back one by one would hold up its end.
    records: ManuallyDrop<Cache<u64, Cached, Bytes, BuildNoHashHasher<u64>>>,
    guard: Arc<Guard>,
    /// While it has less than this, there is room for what is not in it.
    roomy_bytes: u64,
    /// The number of the guard. What was remembered under another one counts no more, and goes as others come.
    generation: u32,
}

/// A record with its key, in one piece of memory: the head, the key, the value.
struct Cached(Box<[u8]>);

/// What stands before the key.
struct Head {
    generation: u32,
    key_bytes: u16,
    is_tombstone: bool,
    version: Version,
}

const HEAD_BYTES: usize = 23;

impl Head {
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&self.generation.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.key_bytes.to_le_bytes());
        bytes[6] = self.is_tombstone.into();
        bytes[7..15].copy_from_slice(&self.version.epoch.to_le_bytes());
        bytes[15..].copy_from_slice(&self.version.sequence.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (generation, rest) = bytes.split_first_chunk()?;
        let (key_bytes, rest) = rest.split_first_chunk()?;
        let ([is_tombstone], rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let head = Self {
            generation: u32::from_le_bytes(*generation),
            key_bytes: u16::from_le_bytes(*key_bytes),
            is_tombstone: *is_tombstone != 0,
            version: Version {
                epoch: u64::from_le_bytes(*epoch),
                sequence: u64::from_le_bytes(*sequence),
            },
        };
        Some((head, rest))
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<u64, Cached> for Bytes {
    fn weight(&self, _: &u64, Cached(bytes): &Cached) -> u64 {
        OVERHEAD_BYTES + (bytes.len() - HEAD_BYTES) as u64
    }
}

impl RecordCache {
    /// An empty cache of at most `bytes_max`, for reads that `guard` admits.
    #[must_use]
    pub fn new(guard: Arc<Guard>, bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / (2 * OVERHEAD_BYTES)).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(bytes_max)
            .ghost_allocation(GHOSTS)
            .build();
        let records = match options {
            Ok(options) => Cache::with_options(
                options,
                Bytes,
                BuildNoHashHasher::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with(
                items,
                bytes_max,
                Bytes,
                BuildNoHashHasher::default(),
                DefaultLifecycle::default(),
            ),
        };
        let records = ManuallyDrop::new(records);
        Self { records, guard, roomy_bytes: roomy_bytes(bytes_max), generation: 0 }
    }

    /// Takes at most `bytes_max` from now on.
    pub fn fit(&mut self, bytes_max: u64) {
        if self.records.capacity() != bytes_max {
            self.records.set_capacity(bytes_max);
            self.roomy_bytes = roomy_bytes(bytes_max);
        }
    }

    /// Forgets everything where the guard is another one.
    pub fn follow(&mut self, guard: &Arc<Guard>) {
        if Arc::ptr_eq(&self.guard, guard) {
            return;
        }
        self.guard = Arc::clone(guard);
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.records.clear();
        }
    }

    /// The record of a key, where it is known.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Stored<Vec<u8>>> {
        let (head, value) = self.find(key_hash(key), key)?;
        let value = (!head.is_tombstone).then(|| value.to_vec());
        Some(Stored { version: head.version, value })
    }

    fn find(&self, hash: u64, key: &str) -> Option<(Head, &[u8])> {
        let Cached(bytes) = self.records.get(&hash)?;
        let (head, rest) = Head::decode(bytes)?;
        let (cached_key, value) = rest.split_at_checked(head.key_bytes.into())?;
        let is_current = head.generation == self.generation && cached_key == key.as_bytes();
        is_current.then_some((head, value))
    }

    /// Remembers what is stored of a key.
    pub fn remember(&mut self, key: &str, record: &Stored<Vec<u8>>) {
        let value = record.value.as_deref().unwrap_or_default();
        let Ok(key_bytes) = u16::try_from(key.len()) else { return };
        if value.len() > VALUE_BYTES_MAX {
            return;
        }
        let head = Head {
            generation: self.generation,
            key_bytes,
            is_tombstone: record.value.is_none(),
            version: record.version,
        };
        let cached = Cached([&head.encode(), key.as_bytes(), value].concat().into());
        self.records.insert(key_hash(key), cached);
    }

    /// What is known of the value of a key.
    #[must_use]
    pub fn known(&self, hash: u64, key: &str) -> Option<KnownValue> {
        let (head, value) = self.find(hash, key)?;
        (!head.is_tombstone)
            .then_some(KnownValue { version: head.version, bytes: value.len() as u64 })
    }

    /// Forgets the keys with this hash, which are about to be written. Returns whether there was one, or there is
    /// room for another one.
    pub fn forget(&mut self, hash: u64) -> bool {
        self.records.remove(&hash).is_some() || self.records.weight() < self.roomy_bytes
    }
}

/// How full a cache of `bytes_max` is when it counts as having no room.
fn roomy_bytes(bytes_max: u64) -> u64 {
    bytes_max / 100 * 95
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: u64 = 1 << 20;

    fn record(number: u64) -> Stored<Vec<u8>> {
        let version = Version { epoch: 7, sequence: number };
        Stored {
            version,
            value: (!number.is_multiple_of(3)).then(|| number.to_string().into_bytes()),
        }
    }

    fn key(number: u64) -> String {
        format!("key-{number}")
    }

    fn guard() -> Arc<Guard> {
        Arc::new(Guard::new(uuid::Uuid::new_v4(), None))
    }

    #[test]
    fn what_was_read_is_known_until_it_is_written() {
        let mut cache = RecordCache::new(guard(), BYTES_MAX);
        for number in 0..9 {
            assert_eq!(cache.get(&key(number)), None);
            cache.remember(&key(number), &record(number));
        }
        cache.forget(key_hash(&key(4)));
        for number in 0..9 {
            let expected = (number != 4).then(|| record(number));
            assert_eq!(cache.get(&key(number)), expected, "{number}");
        }
    }

    #[test]
    fn nothing_is_known_under_another_guard() {
        let mut cache = RecordCache::new(guard(), BYTES_MAX);
        cache.remember("key", &record(1));
        let other = guard();
        cache.follow(&other);
        assert_eq!(cache.get("key"), None);
        cache.remember("key", &record(2));
        cache.follow(&other);
        assert_eq!(cache.get("key"), Some(record(2)));
    }

    #[test]
    fn it_takes_no_more_than_it_may() {
        let mut cache = RecordCache::new(guard(), BYTES_MAX);
        for number in 0..100_000 {
            cache.remember(&key(number), &record(number));
            assert!(cache.records.weight() <= BYTES_MAX);
        }
        assert!(cache.records.weight() > BYTES_MAX / 2, "it is used");
        let long = Stored { value: Some(vec![0; VALUE_BYTES_MAX + 1]), ..record(1) };
        cache.remember("long", &long);
        assert_eq!(cache.get("long"), None);
    }

    #[test]
    fn it_gives_up_records_where_it_may_take_less() {
        let mut cache = RecordCache::new(guard(), BYTES_MAX);
        (1..10_000).for_each(|number| cache.remember(&key(number), &record(number)));
        assert!(cache.records.weight() > BYTES_MAX / 2);
        cache.fit(BYTES_MAX / 4);
        assert!(cache.records.weight() <= BYTES_MAX / 4);
        assert!((1..10_000).any(|number| cache.get(&key(number)).is_some()));
        assert!(!cache.forget(0), "it has no room");
        cache.fit(BYTES_MAX);
        assert!(cache.forget(0), "it has room again");
    }
}
