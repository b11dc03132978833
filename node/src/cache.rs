//! Records that were read lately, so that reading them again does not bother the engine.
//!
//! It belongs to the serving loop's thread. That thread hands all writes of clients on, and forgets
//! their keys then; and what a layout's installing takes away or brings is forgotten with everything
//! else, since the cache is of one guard only. So nothing in it can be older than what is stored.

use std::sync::Arc;

use kv_protocol::partition::key_hash;
use nohash_hasher::BuildNoHashHasher;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use crate::guard::Guard;
use crate::store::Stored;

/// The memory that cached records may take, in bytes.
const BYTES_MAX: u64 = 64 << 20;
/// About what a small record takes beside its key and its value, in bytes.
const OVERHEAD_BYTES: u64 = 128;
/// A larger value costs more to copy than to read again.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Records that were read lately, under the hashes of their keys.
pub struct RecordCache {
    records: Records,
    guard: Arc<Guard>,
}

type Records = Cache<u64, Cached, Bytes, BuildNoHashHasher<u64>>;

struct Cached {
    key: Box<str>,
    record: Stored<Vec<u8>>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<u64, Cached> for Bytes {
    fn weight(&self, _: &u64, cached: &Cached) -> u64 {
        let value_bytes = cached.record.value.as_ref().map_or(0, Vec::len);
        OVERHEAD_BYTES + (cached.key.len() + value_bytes) as u64
    }
}

impl RecordCache {
    /// An empty one, for what `guard` allows to be read.
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
        (*cached.key == *key).then(|| cached.record.clone())
    }

    /// Remembers what was just read of a key.
    pub fn remember(&mut self, key: &str, record: &Stored<Vec<u8>>) {
        if record.value.as_ref().is_none_or(|value| value.len() <= VALUE_BYTES_MAX) {
            let cached = Cached { key: key.into(), record: record.clone() };
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
