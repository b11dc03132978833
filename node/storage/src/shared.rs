//! What the handles of a store and its background thread share.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use arc_swap::ArcSwap;
use tracing::warn;

use kv_system::lock::lock;

use crate::changes::Changes;
use crate::disk::Disk;
use crate::engine::{self, Engine};
use crate::error::{Failure, StoreError};
use crate::memtable::Memtables;
use crate::strikes::Strikes;
use crate::sums::Sums;
use crate::wal::{Unsynced, WriteAheadLog};
use crate::{Counters, StoreOptions};

pub(crate) const WAL_DIRECTORY: &str = "redo";

const NO_FAILURE: u8 = 0;
const PASSING: u8 = 1;
const LASTING: u8 = 2;

/// One thread's handles of the engine; `None` where the engine failed and could not be started anew. It is
/// locked while its thread uses it, so that [`Store::reopen`](crate::Store::reopen) knows when no thread uses the
/// old engine any more; otherwise no thread contends for it.
pub(crate) type Slot = Mutex<Option<Engine>>;

pub(crate) struct Shared {
    pub(crate) directory: PathBuf,
    pub(crate) options: StoreOptions,
    pub(crate) disk: Disk,
    /// The write-ahead log's directory.
    pub(crate) wal_names: Arc<File>,
    /// The slots of all threads.
    slots: Mutex<Vec<Arc<Slot>>>,
    /// The one of the thread that has the engine take memtables over.
    pub(crate) checkpointer: Arc<Slot>,
    /// One that no thread uses, so that a new thread gets its handles while the others are at work.
    unused: Arc<Slot>,
    pub(crate) log: Mutex<WrittenLog>,
    /// What partitions have; `None` before it is known how many there are. It is locked only after the log by
    /// whoever needs both, and never while the disk is waited for.
    pub(crate) sums: Mutex<Option<Sums>>,
    pub(crate) memtables: ArcSwap<Memtables>,
    /// Whether the engine has failed or met damage and so refuses further work.
    pub(crate) stopped: AtomicBool,
    /// Whether the engine has met damage since this process started.
    has_met_damage: AtomicBool,
    /// Whether something failed in the background after which nothing more may be written: see
    /// [`Failure`].
    pub(crate) failed: AtomicU8,
    /// Whether the engine is not open for want of something that passes.
    pub(crate) is_absent: AtomicBool,
    /// Whether the last try to give the engine something had to be put off.
    pub(crate) waits: AtomicBool,
    /// How many bytes of pages the engine has written since it was opened, about, and keeps.
    pub(crate) engine_written: AtomicU64,
    /// What the engine needs to find its pages, in bytes.
    pub(crate) index_bytes: AtomicU64,
    /// How often the engine was read from.
    pub(crate) engine_reads: AtomicU64,
    /// Whether the store was closed, after which nothing more is begun: the log has what is left.
    pub(crate) is_closed: AtomicBool,
    /// The keys that are not read again.
    pub(crate) strikes: Strikes,
}

/// The log, and the state that an append to it needs.
pub(crate) struct WrittenLog {
    pub(crate) log: WriteAheadLog,
    pub(crate) counters: Counters,
    pub(crate) written_at: Instant,
    /// Whether a thread syncs what others have written, without having the log meanwhile.
    pub(crate) is_being_synced: bool,
}

impl WrittenLog {
    /// A log that was just opened, to which these counters belong.
    pub(crate) fn new(log: WriteAheadLog, counters: Counters) -> Self {
        Self { log, counters, written_at: Instant::now(), is_being_synced: false }
    }

    /// What has to be synced, where anything has; it is being synced from now on.
    pub(crate) fn begin_sync(&mut self) -> Option<Unsynced> {
        let unsynced = self.log.unsynced()?;
        self.is_being_synced = true;
        Some(unsynced)
    }

    /// Takes note that it has been synced, or that this has failed.
    pub(crate) fn end_sync(&mut self, unsynced: &Unsynced, result: &io::Result<()>) {
        self.is_being_synced = false;
        if result.is_ok() {
            self.log.synced(unsynced);
        }
    }
}

impl Shared {
    /// The shared part of the store in `directory`, which has this `engine` and `log`.
    pub(crate) fn new(
        directory: &Path,
        options: StoreOptions,
        disk: &Disk,
        engine: &Engine,
        log: WrittenLog,
        memtables: Memtables,
    ) -> Self {
        let checkpointer = Arc::new(Mutex::new(Some(engine.clone())));
        let unused = Arc::new(Mutex::new(Some(engine.clone())));
        Self {
            directory: directory.to_owned(),
            options,
            disk: disk.clone(),
            wal_names: log.log.names(),
            slots: Mutex::new(vec![Arc::clone(&checkpointer), Arc::clone(&unused)]),
            checkpointer,
            unused,
            log: Mutex::new(log),
            sums: Mutex::new(None),
            memtables: ArcSwap::from_pointee(memtables),
            stopped: AtomicBool::new(false),
            has_met_damage: AtomicBool::new(false),
            failed: AtomicU8::new(NO_FAILURE),
            is_absent: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            engine_written: AtomicU64::new(0),
            index_bytes: AtomicU64::new(engine::index_bytes(directory)),
            engine_reads: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            strikes: Strikes::default(),
        }
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        match self.failed.load(Ordering::Acquire) {
            NO_FAILURE => None,
            PASSING => Some(Failure::Passing),
            _ => Some(Failure::Lasting),
        }
    }

    pub(crate) fn fail(&self, failure: Failure) {
        let failed = if failure == Failure::Passing { PASSING } else { LASTING };
        self.failed.fetch_max(failed, Ordering::AcqRel);
    }

    /// How far the log's segment has come, as [`StoreOptions::filled_bytes`] counts it.
    pub(crate) fn filled_bytes(&self, log: &WriteAheadLog) -> u64 {
        let memtables = self.memtables.load();
        let frozen_bytes = memtables.frozen.as_ref().map_or(0, |(_, frozen)| frozen.memory_bytes());
        self.options.filled_bytes(log.length(), memtables.active.memory_bytes(), frozen_bytes)
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.is_absent.load(Ordering::Acquire)
    }

    /// A slot for one more thread.
    pub(crate) fn add_slot(&self) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        // Those of threads that have ended.
        slots.retain(|slot| Arc::strong_count(slot) > 1);
        let slot = Arc::new(Mutex::new(lock(&self.unused).clone()));
        slots.push(Arc::clone(&slot));
        slot
    }

    pub(crate) fn reopen(&self) -> Result<(), StoreError> {
        let slots = lock(&self.slots);
        self.reopen_in(&mut slots.iter().map(|slot| lock(slot)).collect::<Vec<_>>())
    }

    fn reopen_in(&self, slots: &mut [MutexGuard<'_, Option<Engine>>]) -> Result<(), StoreError> {
        if self.failure().is_some() {
            // An engine that could not write waits for ever for its flush when it is dropped.
            return Err(StoreError::Broken);
        }
        if self.disk.has_lost() {
            // It would find nothing, or another's files. The old one has its own open.
            return Err(StoreError::Waits("some of its files are not in their place".into()));
        }
        engine::forget_metadata(&self.directory, self.disk.belongings());
        // The engine locks its directory, so the old one must be gone before the new one starts.
        slots.iter_mut().for_each(|slot| **slot = None);
        let engine = Engine::open(&self.directory, &self.disk, self.options.engine_cache_bytes())
            .inspect_err(|error| {
            self.is_absent.store(error.passes(), Ordering::Release);
        })?;
        if let Err(error) = engine::keep_files(&self.directory, self.disk.belongings()) {
            warn!("the engine's files cannot be looked at: {error}");
        }
        slots.iter_mut().for_each(|slot| **slot = Some(engine.clone()));
        self.stopped.store(false, Ordering::Release);
        self.is_absent.store(false, Ordering::Release);
        self.engine_written.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Takes note of how much the engine needs to find its pages by now.
    pub(crate) fn measure_index(&self) {
        self.index_bytes.store(engine::index_bytes(&self.directory), Ordering::Relaxed);
    }

    pub(crate) fn wal_directory(&self) -> PathBuf {
        self.directory.join(WAL_DIRECTORY)
    }

    pub(crate) fn with_engine<T>(
        &self,
        slot: &Slot,
        use_engine: impl FnOnce(&Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failure() == Some(Failure::Passing) {
            return Err(StoreError::StartsAnew);
        }
        let engine = lock(slot);
        let Some(engine) = engine.as_ref() else {
            return Err(match self.is_absent() {
                true => StoreError::Waits("it could not be opened, and is tried again".into()),
                false => StoreError::Broken,
            });
        };
        if self.stopped.load(Ordering::Acquire) {
            return Err(StoreError::Broken);
        }
        self.note(use_engine(engine))
    }

    /// Whether the engine has met damage since this process started.
    pub(crate) fn has_met_damage(&self) -> bool {
        self.has_met_damage.load(Ordering::Acquire)
    }

    /// Uses the engine while no other thread does, and starts it anew before where it has stopped.
    pub(crate) fn with_engine_alone<T>(
        &self,
        use_engine: impl FnOnce(&Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failure() == Some(Failure::Passing) {
            return Err(StoreError::StartsAnew);
        }
        let slots = lock(&self.slots);
        let mut slots: Vec<_> = slots.iter().map(|slot| lock(slot)).collect();
        // The checkpointer's is the first.
        if self.stopped.load(Ordering::Acquire) || slots[0].is_none() {
            self.reopen_in(&mut slots).map_err(|error| match error {
                error if error.is_undone() => error,
                error if error.passes() => StoreError::Waits(error.to_string()),
                error => {
                    warn!("the storage engine does not start: {error}");
                    StoreError::Broken
                }
            })?;
        }
        let engine = slots[0].as_ref().ok_or(StoreError::Broken)?;
        self.note(use_engine(engine))
    }

    /// Takes note of what befell the engine.
    fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(&result, Err(StoreError::PageCorrupt(_) | StoreError::Engine(_))) {
            self.stopped.store(true, Ordering::Release);
        }
        if matches!(&result, Err(StoreError::PageCorrupt(_))) {
            self.has_met_damage.store(true, Ordering::Release);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fsync, StorageKey, Store};

    #[test]
    fn a_thread_gets_its_handles_while_the_engine_takes_something_over() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Fsync::Always).unwrap();
        let takes_over = lock(&store.shared.checkpointer);
        assert_eq!(store.reader().get(&StorageKey::new("key")).unwrap(), None);
        drop(takes_over);
    }
}
