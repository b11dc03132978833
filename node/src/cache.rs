//! Records that were read lately, so that reading them again does not bother the engine.
//!
//! It belongs to the serving loop's thread. That thread hands all writes of clients on, forgets their
//! keys then, and remembers none of them before they are answered; and what a layout's installing takes
//! away or brings is forgotten with everything else, since the cache is of one guard only. So no record
//! in it is older than the stored one.

use std::sync::Arc;

use kv_core::partition::key_hash;
use kv_core::version::Version;
use nohash_hasher::BuildNoHashHasher;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use kv_core::guard::Guard;
use kv_storage::Stored;

/// The memory that cached records may take, in bytes.
const BYTES_MAX: u64 = 64 << 20;
/// About what a small record takes beside its key and its value, in bytes.
const OVERHEAD_BYTES: u64 = 96;
/// A larger value costs more to copy than to read again.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Records that were read lately, under the hashes of their keys.
pub struct RecordCache {
    records: Records,
    guard: Arc<Guard>,
}

type Records = Cache<u64, Cached, Bytes, BuildNoHashHasher<u64>>;

/// A key and its record, side by side.
struct Cached {
    /// The key, and after it the value, unless the record is a tombstone.
    bytes: Box<[u8]>,
    key_bytes: u16,
    is_tombstone: bool,
    version: Version,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<u64, Cached> for Bytes {
    fn weight(&self, _: &u64, cached: &Cached) -> u64 {
        OVERHEAD_BYTES + cached.bytes.len() as u64
    }
}

impl RecordCache {
    /// An empty cache, for reads that `guard` admits.
    #[must_use]
    pub fn new(guard: Arc<Guard>) -> Self {
        Self { records: empty(), guard }
    }

    /// Forgets everything where the guard is another one.
    pub fn follow(&mut self, guard: &Arc<Guard>) {
        if !Arc::ptr_eq(&self.guard, guard) {
            self.guard = Arc::clone(guard);
            self.records = empty();
        }
    }

    /// The record of a key, where it is known.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Stored<Vec<u8>>> {
        let cached = self.records.get(&key_hash(key))?;
        let (cached_key, value) = cached.bytes.split_at(cached.key_bytes.into());
        (cached_key == key.as_bytes()).then(|| Stored {
            version: cached.version,
            value: (!cached.is_tombstone).then(|| value.to_vec()),
        })
    }

    /// Remembers what was just read of a key.
    pub fn remember(&mut self, key: &str, record: &Stored<Vec<u8>>) {
        let value = record.value.as_deref().unwrap_or_default();
        let Ok(key_bytes) = u16::try_from(key.len()) else { return };
        if value.len() <= VALUE_BYTES_MAX {
            let cached = Cached {
                bytes: [key.as_bytes(), value].concat().into(),
                key_bytes,
                is_tombstone: record.value.is_none(),
                version: record.version,
            };
            self.records.insert(key_hash(key), cached);
        }
    }

    /// Forgets the keys with this hash, which are about to be written.
    pub fn forget(&mut self, hash: u64) {
        self.records.remove(&hash);
    }
}

fn empty() -> Records {
    let items = (BYTES_MAX / (2 * OVERHEAD_BYTES)) as usize;
    Cache::with(items, BYTES_MAX, Bytes, BuildNoHashHasher::default(), Default::default())
}
