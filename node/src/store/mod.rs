//! The node's shard on disk: the only module that names sled.
//!
//! One thread writes (the engine's batches are not safe beside other mutations), any thread reads.
//! A batch is durable when [`Store::commit`] returns. What lies where:
//!
//! - the default tree: data records under their [`StorageKey`], and one bookkeeping record with the
//!   counters, changed in the same batch as the data that they count;
//! - the tree `layout`: the installed layout with its table and strategy, as one record.
//!
//! sled answers damage on its disk by refusing all further work. So that one damaged page does not
//! take the whole node down, [`Store::reopen`] starts the engine anew; the keys that led to the
//! damage are remembered and answered without touching it again.

mod key;
pub mod record;

use std::collections::HashMap;
use std::io;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv_protocol::reply::Record;
use kv_protocol::version::Version;
use serde::{Deserialize, Serialize};
use sled::InlineArray;

pub use key::StorageKey;

/// Entries per leaf of the engine's tree, which rewrites a leaf for a change of one of them: few,
/// since values may be large. Fixed for ever once a data directory exists.
const LEAF_FANOUT: usize = 32;
/// The engine's page cache, in bytes.
const CACHE_BYTES: usize = 256 << 20;
/// Pages are lightly compressed when they are written.
const COMPRESSION_LEVEL: i32 = 1;
/// A key whose reading stopped the engine this often is not read again. One strike is not enough:
/// a reader of a sound key can be told of damage that another reader met at the same moment.
const STRIKES_MAX: u8 = 2;
/// How many such keys are remembered; beyond it they are found out anew.
const STRUCK_KEYS_MAX: usize = 1 << 16;
const LAYOUT_TREE: &str = "layout";
const LAYOUT_KEY: &str = "installed";
const COUNTERS_KEY: [u8; 9] = *b"\0counters";
const COUNTERS_BYTES: usize = 24;

const _: () = assert!(COUNTERS_KEY[0] == key::MARK_META);

type Tree = sled::Tree<LEAF_FANOUT>;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The record is damaged; the engine works.
    #[error("the record is damaged on disk: {0}")]
    Corrupt(String),
    /// The page of the engine that the record is on is damaged; the engine has stopped.
    #[error("the record is damaged on disk: {0}")]
    Damaged(String),
    /// The engine failed.
    #[error("the storage engine failed: {0}")]
    Engine(#[from] io::Error),
    /// The engine failed and could not be started anew.
    #[error("the storage engine is out of order; see the node's log")]
    OutOfOrder,
}

/// Numbers that are stored with the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// The records that are stored.
    pub keys: u64,
    /// The bytes of their keys and values.
    pub bytes: u64,
    /// The number of the last write.
    pub sequence: u64,
}

/// Changes that become durable together.
#[derive(Default)]
pub struct Batch {
    changes: sled::Batch,
}

impl Batch {
    /// Adds the storing of a record.
    pub fn put(&mut self, key: &StorageKey, version: Version, value: &[u8]) {
        self.changes.insert(key.as_bytes(), record::encode(key.as_bytes(), version, value));
    }

    /// Adds the removal of a record.
    pub fn remove(&mut self, key: &StorageKey) {
        self.changes.remove(key.as_bytes());
    }
}

/// Where a scan starts.
#[derive(Clone, Copy, Debug)]
pub enum ScanStart<'a> {
    /// With the first key of this hash or above.
    Hash(u64),
    /// After this key.
    After(&'a str),
}

/// A handle to a shard's records.
///
/// The engine's own handles must not be shared between threads, so each thread has one of these:
/// the writer the one from [`Store::open`], the serving loop the one from [`Store::reader`].
pub struct Store {
    shared: Arc<Shared>,
    slot: usize,
}

const WRITER: usize = 0;
const READER: usize = 1;

struct Shared {
    directory: PathBuf,
    /// The engine's handles of each thread; none where the engine failed and could not be started
    /// anew. A slot is locked while its thread uses it, so that [`Store::reopen`] knows when nobody
    /// uses the old engine any more; otherwise nobody contends for it.
    slots: [Mutex<Option<Engine>>; 2],
    /// Whether the engine has failed or met damage and so refuses further work.
    stopped: AtomicBool,
    /// How often reading a key stopped the engine.
    strikes: Mutex<HashMap<StorageKey, u8>>,
}

#[derive(Clone)]
struct Engine {
    data: Tree,
    layout: Tree,
}

impl Store {
    /// Opens the store in `directory`, creating it where there is none.
    ///
    /// # Errors
    /// [`StoreError::Engine`] where the directory cannot be used or its files are damaged.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let engine = Engine::open(directory)?;
        let shared = Shared {
            directory: directory.to_owned(),
            slots: [Mutex::new(Some(engine.clone())), Mutex::new(Some(engine))],
            stopped: AtomicBool::new(false),
            strikes: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), slot: WRITER })
    }

    /// The handle for the thread that only reads.
    #[must_use]
    pub fn reader(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), slot: READER }
    }

    /// The record of a key.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where it is damaged, otherwise what befell the engine.
    pub fn get(&self, key: &StorageKey) -> Result<Option<Record>, StoreError> {
        if self.strikes().get(key).is_some_and(|strikes| *strikes >= STRIKES_MAX) {
            return Err(StoreError::Damaged("found out when it was last read".into()));
        }
        let result = self.with_engine(|engine| {
            let bytes = engine.data.get(key.as_bytes()).map_err(classify)?;
            bytes.map(|bytes| decode(key.as_bytes(), &bytes)).transpose()
        });
        if matches!(result, Err(StoreError::Damaged(_))) {
            let mut strikes = self.strikes();
            if strikes.len() >= STRUCK_KEYS_MAX {
                strikes.clear();
            }
            *strikes.entry(key.clone()).or_default() += 1;
        }
        result
    }

    /// Whether the engine has stopped and waits for [`Store::reopen`].
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        matches!(self.with_engine(|_| Ok(())), Err(StoreError::OutOfOrder))
    }

    /// Hands the records from `start` on to `visit`, in the order of their hashes, until it breaks,
    /// a record's hash exceeds `hash_last`, or there are no more.
    ///
    /// # Errors
    /// As [`Store::get`]; the scan ends there.
    pub fn scan(
        &self,
        start: ScanStart<'_>,
        hash_last: u64,
        mut visit: impl FnMut(&str, Record) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let start = match start {
            ScanStart::Hash(hash) => Bound::Included(StorageKey::first_of_hash(hash)),
            ScanStart::After(key) => Bound::Excluded(StorageKey::new(key)),
        };
        let start = start.as_ref().map(|key| InlineArray::from(key.as_bytes()));
        self.with_engine(|engine| {
            for entry in engine.data.range((start, Bound::Unbounded)) {
                let (storage_key, bytes) = entry.map_err(classify)?;
                let Some((hash, key)) = StorageKey::parse(&storage_key) else {
                    return Err(StoreError::Corrupt(
                        "a key in the engine is not a record's".into(),
                    ));
                };
                if hash > hash_last || visit(key, decode(&storage_key, &bytes)?).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Applies a batch with its new counters and returns once both are durable.
    ///
    /// # Errors
    /// What befell the engine. Whether the batch took effect is then unknown, and the engine can
    /// neither be used nor closed any more: the process has to end, see [`Store::abandon`].
    pub fn commit(&self, batch: Batch, counters: Counters) -> Result<(), StoreError> {
        let mut changes = batch.changes;
        changes.insert(COUNTERS_KEY.as_slice(), sealed(&counters.encode()));
        self.with_engine(|engine| {
            engine.data.apply_batch(changes).map_err(classify)?;
            engine.data.flush().map_err(classify)?;
            Ok(())
        })
    }

    /// The counters as they were last committed.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn counters(&self) -> Result<Counters, StoreError> {
        self.with_engine(Engine::counters)
    }

    /// Stores the installed layout's record durably.
    ///
    /// # Errors
    /// What befell the engine.
    pub fn put_layout(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.with_engine(|engine| {
            engine.layout.insert(LAYOUT_KEY, sealed(bytes)).map_err(classify)?;
            engine.data.flush().map_err(classify)?;
            Ok(())
        })
    }

    /// The installed layout's record, where there is one.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn layout(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.with_engine(|engine| {
            let bytes = engine.layout.get(LAYOUT_KEY).map_err(classify)?;
            bytes.map(|bytes| unsealed(&bytes).map(<[u8]>::to_vec)).transpose()
        })
    }

    /// Starts the engine anew from what is durable, after a read has met damage, and gives the
    /// counters that it finds. It must not be called after a [`Store::commit`] that failed: the
    /// engine then waits for ever for its own flush to finish.
    ///
    /// # Errors
    /// What befell it; the store is then out of order until the next try.
    pub fn reopen(&self) -> Result<Counters, StoreError> {
        let [mut writer, mut reader] = [WRITER, READER].map(|slot| lock(&self.shared.slots[slot]));
        // The engine locks its directory, so the old one must be gone before the new one starts.
        (*writer, *reader) = (None, None);
        let engine = Engine::open(&self.shared.directory)?;
        let counters = engine.counters()?;
        (*writer, *reader) = (Some(engine.clone()), Some(engine));
        self.shared.stopped.store(false, Ordering::Release);
        Ok(counters)
    }

    /// Gives the store up without closing it, after a commit that failed.
    pub fn abandon(self) {
        // Closing would flush, and the engine waits for ever for the flush that failed.
        std::mem::forget(self);
    }

    fn with_engine<T>(
        &self,
        use_engine: impl FnOnce(&Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let engine = lock(&self.shared.slots[self.slot]);
        let engine = engine.as_ref().ok_or(StoreError::OutOfOrder)?;
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err(StoreError::OutOfOrder);
        }
        let result = use_engine(engine);
        if matches!(&result, Err(StoreError::Damaged(_) | StoreError::Engine(_))) {
            self.shared.stopped.store(true, Ordering::Release);
        }
        result
    }

    fn strikes(&self) -> MutexGuard<'_, HashMap<StorageKey, u8>> {
        lock(&self.shared.strikes)
    }
}

/// The name of the thread on which the engine is opened. The engine panics on some damage, and
/// unwinding would wait for ever for a flush: the process has to end when this thread panics.
pub const OPENING_THREAD: &str = "store-open";

impl Engine {
    fn open(directory: &Path) -> Result<Self, StoreError> {
        let directory = directory.to_owned();
        let opening = std::thread::Builder::new()
            .name(OPENING_THREAD.into())
            .spawn(move || Self::open_here(&directory))?;
        opening.join().unwrap_or(Err(StoreError::OutOfOrder))
    }

    fn open_here(directory: &Path) -> Result<Self, StoreError> {
        let config = sled::Config {
            path: directory.to_owned(),
            cache_capacity_bytes: CACHE_BYTES,
            zstd_compression_level: COMPRESSION_LEVEL,
            // The writer flushes; a flusher of the engine's own would end the process on an error.
            flush_every_ms: None,
            // The engine would read and rewrite scattered pages in every flush, and a damaged one
            // among them would fail the flush. Freed places are used again all the same.
            target_heap_file_fill_ratio: 0.0,
            ..sled::Config::default()
        };
        let db = config.open::<LEAF_FANOUT>().map_err(classify)?;
        let layout = db.open_tree(LAYOUT_TREE).map_err(classify)?;
        // The trees keep the database open.
        Ok(Self { data: Tree::clone(&db), layout })
    }

    fn counters(&self) -> Result<Counters, StoreError> {
        match self.data.get(COUNTERS_KEY).map_err(classify)? {
            None => Ok(Counters::default()),
            Some(bytes) => Counters::decode(unsealed(&bytes)?),
        }
    }
}

impl Counters {
    fn encode(self) -> [u8; COUNTERS_BYTES] {
        let mut bytes = [0; COUNTERS_BYTES];
        let numbers = [self.keys, self.bytes, self.sequence];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let Ok(bytes) = <[u8; COUNTERS_BYTES]>::try_from(bytes) else {
            return Err(StoreError::Corrupt(format!(
                "the counters have {} bytes, expected {COUNTERS_BYTES}",
                bytes.len()
            )));
        };
        let mut numbers = bytes
            .chunks_exact(8)
            .map(|number| number.iter().rev().fold(0, |high, byte| high << 8 | u64::from(*byte)));
        let mut next = || numbers.next().unwrap_or_default();
        Ok(Self { keys: next(), bytes: next(), sequence: next() })
    }
}

fn decode(storage_key: &[u8], bytes: &[u8]) -> Result<Record, StoreError> {
    record::decode(storage_key, bytes).map_err(|damage| StoreError::Corrupt(damage.to_string()))
}

/// sled reports a page whose checksum is wrong as invalid data, and every operation after that
/// with the same error.
fn classify(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            StoreError::Damaged(error.to_string())
        }
        _ => StoreError::Engine(error),
    }
}

/// Locks what no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes with their checksum before them.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    [&crc32fast::hash(bytes).to_le_bytes(), bytes].concat()
}

fn unsealed(bytes: &[u8]) -> Result<&[u8], StoreError> {
    match bytes.split_first_chunk::<4>() {
        Some((checksum, bytes)) if *checksum == crc32fast::hash(bytes).to_le_bytes() => Ok(bytes),
        _ => Err(StoreError::Corrupt("a bookkeeping record's checksum does not match".into())),
    }
}
