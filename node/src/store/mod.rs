//! The node's shard on disk: the only module that names sled.
//!
//! One thread writes (the engine's batches are not safe beside other mutations), any thread reads.
//! A batch is durable when [`Store::commit`] returns. What lies where:
//!
//! - the default tree: data records under their [`StorageKey`], and one bookkeeping record with the
//!   counters, changed in the same batch as the data that they count;
//! - the tree `layout`: the installed layout with its tables and strategies, as one record.
//!
//! sled answers damage on its disk by refusing all further work. So that one damaged page does not
//! take the whole node down, [`Store::reopen`] starts the engine anew; the keys that led to the
//! damage are remembered and answered without touching it again.

mod counters;
mod engine;
mod entry;
mod key;
pub mod record;

use std::collections::HashMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv_protocol::version::Version;
use sled::InlineArray;

pub use self::counters::Counters;
pub use self::engine::OPENING_THREAD;
use self::engine::{Engine, classify, sealed, unsealed};
pub use self::entry::Entry;
pub use self::key::StorageKey;
pub use self::record::Stored;

/// A key whose reading stopped the engine this often is not read again. One strike is not enough:
/// a reader of a sound key can be told of damage that another reader met at the same moment.
const STRIKES_MAX: u8 = 2;
/// How many such keys are remembered; beyond it they are found out anew.
const STRUCK_KEYS_MAX: usize = 1 << 16;
const LAYOUT_KEY: &str = "installed";

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

/// Changes that become durable together.
#[derive(Default)]
pub struct Batch {
    changes: sled::Batch,
}

impl Batch {
    /// Adds the storing of a value or, where there is none, of a tombstone.
    pub fn put(&mut self, key: &StorageKey, version: Version, value: Option<&[u8]>) {
        self.changes.insert(key.as_bytes(), record::encode(key.as_bytes(), version, value));
    }

    /// Adds the removal of a record.
    pub fn remove(&mut self, key: &StorageKey) {
        self.changes.remove(key.as_bytes());
    }

    /// Adds the removal of a record that a scan has come across.
    pub fn remove_entry(&mut self, entry: &Entry<'_>) {
        self.changes.remove(entry.storage_key());
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

/// How a scan goes on after a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// With the next record.
    Next,
    /// With the first record of this hash or above, which must be above the record's own.
    Jump(u64),
    /// Not at all.
    Stop,
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
    pub fn get(&self, key: &StorageKey) -> Result<Option<Stored<Vec<u8>>>, StoreError> {
        if self.strikes().get(key).is_some_and(|strikes| *strikes >= STRIKES_MAX) {
            return Err(StoreError::Damaged("found out when it was last read".into()));
        }
        let result = self.with_engine(|engine| {
            let bytes = engine.data.get(key.as_bytes()).map_err(classify)?;
            let Some(bytes) = bytes else { return Ok(None) };
            let stored = record::decode(key.as_bytes(), &bytes);
            stored.map(|it| Some(it.to_owned())).map_err(|it| StoreError::Corrupt(it.to_string()))
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

    /// Whether there is a record of a key, and how long its value is: none for a tombstone. Nothing is
    /// verified.
    ///
    /// # Errors
    /// As [`Store::get`], except that a damaged record is none.
    pub fn measure(&self, key: &StorageKey) -> Result<Option<Option<u64>>, StoreError> {
        self.with_engine(|engine| {
            let bytes = engine.data.get(key.as_bytes()).map_err(classify)?;
            Ok(bytes.map(|bytes| record::value_bytes(&bytes)))
        })
    }

    /// Hands the records from `start` on to `visit`, in the order of their hashes, which says how to
    /// go on, until there are no more.
    ///
    /// # Errors
    /// As [`Store::get`], and what `visit` reports; the scan ends there.
    pub fn scan(
        &self,
        start: ScanStart<'_>,
        mut visit: impl FnMut(Entry<'_>) -> Result<Visit, StoreError>,
    ) -> Result<(), StoreError> {
        let from = |bound: Bound<StorageKey>| {
            (bound.map(|key| InlineArray::from(key.as_bytes())), Bound::Unbounded)
        };
        let mut range = from(match start {
            ScanStart::Hash(hash) => Bound::Included(StorageKey::first_of_hash(hash)),
            ScanStart::After(key) => Bound::Excluded(StorageKey::new(key)),
        });
        self.with_engine(|engine| {
            'jumps: loop {
                for entry in engine.data.range(range) {
                    let (storage_key, bytes) = entry.map_err(classify)?;
                    let entry = Entry::new(&storage_key, &bytes)?;
                    match visit(entry)? {
                        Visit::Jump(hash) if hash > entry.hash => {
                            range = from(Bound::Included(StorageKey::first_of_hash(hash)));
                            continue 'jumps;
                        }
                        Visit::Next | Visit::Jump(_) => {}
                        Visit::Stop => break,
                    }
                }
                return Ok(());
            }
        })
    }

    /// Applies a batch with its new counters and returns once both are durable.
    ///
    /// # Errors
    /// What befell the engine. Whether the batch took effect is then unknown, and the engine can
    /// neither be used nor closed any more: the process has to end, see [`Store::abandon`].
    pub fn commit(&self, batch: Batch, counters: Counters) -> Result<(), StoreError> {
        self.with_engine(|engine| engine.commit(batch.changes, counters))
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
            engine.flush()
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

/// Locks what no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
