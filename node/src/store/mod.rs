//! The node's shard on disk: the only module that names sled.
//!
//! One thread writes, any thread reads. A batch is durable when [`Store::commit`] returns: then it is
//! in the redo log. What lies where:
//!
//! - `redo`: the log, to which groups of changes are appended, in the folder `redo`;
//! - `memtable`: the same changes in memory, where they are found until the engine has them;
//! - `checkpoint`: the thread that gives them to the engine, many at once; `take_over`: how, on a disk
//!   that may be full; `backpressure`: what becomes of writes when it cannot keep up;
//! - `engine`: sled, with data records under their [`StorageKey`], a few bookkeeping records beside
//!   them, and the installed layout in a tree of its own;
//! - `scan`: all of this as one ordered whole.
//!
//! sled answers damage on its disk by refusing all further work. So that one damaged page does not
//! take the whole node down, [`Store::reopen`] starts the engine anew; the keys that led to the
//! damage are remembered and answered without touching it again.

mod backpressure;
mod batch;
mod checkpoint;
mod counters;
mod engine;
mod entry;
mod key;
mod memtable;
mod options;
pub mod record;
mod redo;
mod scan;
mod take_over;
mod unfinished;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tracing::warn;

pub use self::batch::Batch;
use self::checkpoint::Background;
pub use self::counters::Counters;
use self::engine::Engine;
pub use self::engine::OPENING_THREAD;
pub use self::entry::Entry;
pub use self::key::StorageKey;
use self::memtable::{Memtable, Memtables};
pub use self::options::{SEGMENT_BYTES_DEFAULT, StoreOptions};
pub use self::record::Stored;
pub use self::redo::{Fsync, RedoError};
use self::redo::{Keeping, Malformed, RedoLog};
pub use self::scan::{ScanStart, Visit};
use crate::disk::Disk;
use crate::limits::PIECE_BYTES;
use crate::transient::{file_bytes_max, is_read_only, passes};

/// A key whose reading stopped the engine this often is not read again. One strike is not enough:
/// a reader of a sound key can be told of damage that another reader met at the same moment.
const STRIKES_MAX: u8 = 2;
/// How many such keys are remembered; beyond it they are found out anew.
const STRUCK_KEYS_MAX: usize = 1 << 16;
const REDO_DIRECTORY: &str = "redo";

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
    /// The redo log cannot be used.
    #[error(transparent)]
    Redo(#[from] RedoError),
    /// The system lacks something that it will have again. Nothing was done, and it can be tried again.
    #[error("the storage engine waits: {0}")]
    Waits(String),
    /// The engine failed to write while it was opened, and holds its files until this process ends.
    #[error("the storage engine failed to write: {0}")]
    Spoiled(io::Error),
    /// The engine failed for want of something that passes, and the node starts anew.
    #[error(
        "the storage engine lacked something that the system will have again: the node starts anew"
    )]
    StartsAnew,
    /// The engine failed and could not be started anew.
    #[error("the storage engine is out of order; see the node's log")]
    OutOfOrder,
}

impl StoreError {
    /// Whether the cause passes by itself.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Engine(error) | Self::Redo(RedoError::File { source: error, .. }) => {
                passes(error)
            }
            other => other.is_undone(),
        }
    }

    /// Whether a new process can go on where this one cannot.
    #[must_use]
    pub fn passes_with_the_process(&self) -> bool {
        matches!(self, Self::Spoiled(error) if passes(error))
    }

    /// Whether nothing was done, and everything goes on as before.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        use RedoError::{NotWritten, Removed, Unusable};
        matches!(self, Self::Waits(_) | Self::Redo(NotWritten { .. } | Removed(_) | Unusable))
    }

    /// Whether nothing can be written any more, and all that is stored can be read on: the disk has become
    /// read-only, and what it has of the last write is not known.
    #[must_use]
    pub fn ends_writing(&self) -> bool {
        matches!(self, Self::Redo(RedoError::File { source, .. }) if is_read_only(source))
    }
}

/// Why nothing can be written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// For want of something that the system will have again: a new process can go on at once.
    Passing,
    /// The files are not to be trusted, or cannot be used.
    Lasting,
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Passing => Self::StartsAnew,
            Failure::Lasting => Self::OutOfOrder,
        }
    }
}

const NO_FAILURE: u8 = 0;
const PASSING: u8 = 1;
const LASTING: u8 = 2;

/// A handle to a shard's records.
///
/// The engine's own handles must not be shared between threads, so each thread has one of these:
/// the writer the one from [`Store::open`], the serving loop the one from [`Store::reader`].
pub struct Store {
    shared: Arc<Shared>,
    slot: usize,
    /// Only the writer's handle has it.
    background: Option<Background>,
}

const WRITER: usize = 0;
const READER: usize = 1;
const CHECKPOINTER: usize = 2;

struct Shared {
    directory: PathBuf,
    options: StoreOptions,
    disk: Disk,
    /// The redo log's directory.
    redo_names: Arc<File>,
    /// The engine's handles of each thread; none where the engine failed and could not be started
    /// anew. A slot is locked while its thread uses it, so that [`Store::reopen`] knows when nobody
    /// uses the old engine any more; otherwise nobody contends for it.
    slots: [Mutex<Option<Engine>>; 3],
    log: Mutex<WrittenLog>,
    memtables: ArcSwap<Memtables>,
    /// Whether the engine has failed or met damage and so refuses further work.
    stopped: AtomicBool,
    /// Whether something failed in the background after which nothing more may be written: see
    /// [`Failure`].
    failed: AtomicU8,
    /// Whether the engine is not open for want of something that passes.
    is_absent: AtomicBool,
    /// Whether the last try to give the engine something had to be put off.
    waits: AtomicBool,
    /// How many bytes the engine was given since it was opened.
    engine_written: AtomicU64,
    /// How often the engine was read from.
    engine_reads: AtomicU64,
    /// How often reading a key stopped the engine.
    strikes: Mutex<HashMap<StorageKey, u8>>,
    has_strikes: AtomicBool,
}

/// The log, and what is to be known when it is appended to.
struct WrittenLog {
    log: RedoLog,
    counters: Counters,
    written_at: Instant,
}

impl Store {
    /// Opens the store in `directory`, creating it where there is none.
    ///
    /// # Errors
    /// Where the directory cannot be used or its files are damaged.
    pub fn open(directory: &Path, options: impl Into<StoreOptions>) -> Result<Self, StoreError> {
        Self::open_on(&Disk::new(directory, 0), directory, options)
    }

    /// As [`Store::open`], on a disk that holds a reserve.
    ///
    /// # Errors
    /// As [`Store::open`]; where the error [passes](StoreError::passes), it can be tried again.
    pub fn open_on(
        disk: &Disk,
        directory: &Path,
        options: impl Into<StoreOptions>,
    ) -> Result<Self, StoreError> {
        let engine = Engine::open(directory, disk)?;
        Self::open_with(&engine, disk, directory, options.into().within(file_bytes_max()))
            .inspect_err(|error| {
                if error.passes() {
                    // It has written nothing that is not on the disk, so that it can be dropped.
                    return;
                }
                // Dropped, it would write, and wait for ever where it cannot. The process ends anyway.
                std::mem::forget(engine.clone());
            })
    }

    fn open_with(
        engine: &Engine,
        disk: &Disk,
        directory: &Path,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let checkpointed = engine.checkpointed()?;
        let replayed = Memtable::default();
        let log = RedoLog::open(&directory.join(REDO_DIRECTORY), disk, checkpointed, |frame| {
            let (counters, changes) = batch::read(&frame).map_err(|batch::Malformed| Malformed)?;
            replayed.insert(&frame, changes, counters);
            Ok(())
        })?;
        disk.belongings().keep_open(&directory.join(REDO_DIRECTORY), &log.names())?;
        engine::keep_files(directory, disk.belongings())?;
        let counters = match replayed.counters() {
            Some(counters) => counters,
            None => engine.counters()?,
        };
        let frozen = (!replayed.is_empty()).then(|| (log.number() - 1, Arc::new(replayed)));
        let memtables = Memtables { active: Arc::default(), frozen };
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            options,
            disk: disk.clone(),
            redo_names: log.names(),
            slots: [(); 3].map(|()| Mutex::new(Some(engine.clone()))),
            log: Mutex::new(WrittenLog { log, counters, written_at: Instant::now() }),
            memtables: ArcSwap::from_pointee(memtables),
            stopped: AtomicBool::new(false),
            failed: AtomicU8::new(NO_FAILURE),
            is_absent: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            engine_written: AtomicU64::new(0),
            engine_reads: AtomicU64::new(0),
            strikes: Mutex::default(),
            has_strikes: AtomicBool::new(false),
        });
        let background = Background::start(&shared)?;
        background.wake();
        Ok(Self { shared, slot: WRITER, background: Some(background) })
    }

    /// The handle for the thread that only reads.
    #[must_use]
    pub fn reader(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), slot: READER, background: None }
    }

    /// The record of a key.
    ///
    /// # Errors
    /// As [`Store::look_up`].
    pub fn get(&self, key: &StorageKey) -> Result<Option<Stored<Vec<u8>>>, StoreError> {
        self.look_up(key, |stored| stored.to_owned())
    }

    /// Hands the record of a key, where there is one, to `look`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where it is damaged, otherwise what befell the engine.
    pub fn look_up<T>(
        &self,
        key: &StorageKey,
        look: impl FnOnce(Stored<&[u8]>) -> T,
    ) -> Result<Option<T>, StoreError> {
        let decode = |bytes: &[u8]| {
            let stored = record::decode(key.parts(), bytes);
            stored.map(look).map(Some).map_err(|damage| StoreError::Corrupt(damage.to_string()))
        };
        match self.shared.memtables.load().get(key) {
            Some(Some(record)) => return decode(&record),
            Some(None) => return Ok(None),
            None => {}
        }
        if self.is_struck(key) {
            return Err(StoreError::Damaged("found out when it was last read".into()));
        }
        let result = self.with_engine(|engine| {
            let Some(bytes) = engine.get(key)? else { return Ok(None) };
            decode(&bytes)
        });
        if matches!(result, Err(StoreError::Damaged(_))) {
            self.strike(key);
        }
        result
    }

    /// Whether the engine has stopped and waits for [`Store::reopen`].
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        let result = self.shared.with_engine(self.slot, |_| Ok(()));
        matches!(result, Err(StoreError::OutOfOrder | StoreError::Waits(_)))
    }

    /// Why nothing can be written any more, where something failed in the background.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.shared.failure()
    }

    /// Whether there is a record of a key, and how long its value is: none for a tombstone. Nothing is
    /// verified.
    ///
    /// # Errors
    /// As [`Store::get`], except that a damaged record is none.
    pub fn measure(&self, key: &StorageKey) -> Result<Option<Option<u64>>, StoreError> {
        if let Some(changed) = self.shared.memtables.load().get(key) {
            return Ok(changed.map(|bytes| record::value_bytes(&bytes)));
        }
        self.with_engine(|engine| Ok(engine.get(key)?.map(|bytes| record::value_bytes(&bytes))))
    }

    /// Applies a batch with its new counters and returns once both are durable, as durable as the
    /// store was told to make writes.
    ///
    /// # Errors
    /// What befell the log. Where that is [undone](StoreError::is_undone), the batch takes no effect.
    /// Otherwise whether it does is unknown, and nothing can be written any more: the process has to
    /// end, see [`Store::abandon`].
    pub fn commit(&self, batch: Batch, counters: Counters) -> Result<(), StoreError> {
        let is_synced = self.shared.options.fsync == Fsync::Always;
        self.append(batch, counters, Keeping { is_synced, can_be_found: true })
    }

    /// As [`Store::commit`], and the batch is on the disk, with all before it, however the store was
    /// told to make writes durable.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_synced(&self, batch: Batch, counters: Counters) -> Result<(), StoreError> {
        self.append(batch, counters, Keeping { is_synced: true, can_be_found: true })
    }

    /// As [`Store::commit`], of removals of what other nodes have. Where the log was removed, they need
    /// not outlive this process: whoever moves the node's records away waits for them.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_removals(&self, batch: Batch, counters: Counters) -> Result<(), StoreError> {
        let is_synced = self.shared.options.fsync == Fsync::Always;
        self.append(batch, counters, Keeping { is_synced, can_be_found: false })
    }

    /// The counters as they were last committed.
    #[must_use]
    pub fn counters(&self) -> Counters {
        lock(&self.shared.log).counters
    }

    /// The disk room that the engine needs to take over what is only in the log, in bytes: what is new
    /// there, and what it writes anew, of the `stored_bytes`, before it gives up the old, a piece at a time.
    #[must_use]
    pub fn headroom_bytes(&self, stored_bytes: u64) -> u64 {
        let pending: u64 =
            self.shared.memtables.load().newest_first().map(|memtable| memtable.bytes()).sum();
        take_over::placed(pending).saturating_add(stored_bytes.min(PIECE_BYTES))
    }

    /// Has the engine take over soon what is only in the log.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn checkpoint_soon(&self) -> Result<(), StoreError> {
        if self.shared.memtables.load().active.is_empty() {
            return Ok(());
        }
        self.freeze(&mut lock(&self.shared.log).log)
    }

    /// Stores the installed layout's record durably. Where the log was removed, it is known to this process
    /// alone, so that the node can still be relieved of what it has.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn put_layout(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.put_layout(bytes);
        self.append(batch, self.counters(), Keeping { is_synced: true, can_be_found: false })
    }

    /// Has the next write numbered above `sequence`, durably. Without a layout nothing has been written.
    ///
    /// # Errors
    /// As [`Store::commit`], and where the layout's record cannot be read.
    pub fn skip_to(&self, sequence: u64) -> Result<(), StoreError> {
        let Some(layout) = self.layout()? else { return Ok(()) };
        let mut batch = Batch::default();
        batch.put_layout(&layout);
        let counters = Counters { sequence, ..self.counters() };
        self.append(batch, counters, Keeping { is_synced: true, can_be_found: true })
    }

    /// The installed layout's record, where there is one.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn layout(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let memtables = self.shared.memtables.load();
        match memtables.newest_first().find_map(|memtable| memtable.layout()) {
            Some(layout) => Ok(Some(layout.to_vec())),
            None => self.with_engine(Engine::layout),
        }
    }

    /// Starts the engine anew from what is durable, after a read has met damage. It must not be called
    /// after a commit that failed.
    ///
    /// # Errors
    /// What befell it; the store is then out of order until the next try.
    pub fn reopen(&self) -> Result<(), StoreError> {
        self.shared.reopen()
    }

    /// Closes the store in order: the engine takes over all that is in the redo log, so that the next
    /// start finds that empty. Where that fails, the next start finds it in the log.
    ///
    /// # Errors
    /// Why the engine has not got everything.
    pub fn close(mut self) -> Result<(), StoreError> {
        // This thread goes on with what the others leave.
        self.background = None;
        if self.shared.failure().is_some() || self.shared.disk.has_lost() {
            self.abandon();
            return Err(StoreError::OutOfOrder);
        }
        self.shared.checkpoint()?;
        self.shared.freeze(&mut lock(&self.shared.log).log)?;
        self.shared.checkpoint()
    }

    /// Gives the store up without closing it, after a commit that failed.
    pub fn abandon(self) {
        // Closing would flush, and the engine waits for ever for a flush that failed.
        std::mem::forget(self);
    }

    fn append(&self, batch: Batch, counters: Counters, keeping: Keeping) -> Result<(), StoreError> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure.into());
        }
        let (frame, changes) = batch.finish(counters);
        if self.shared.memtables.load().frozen.is_some() {
            let length = lock(&self.shared.log).log.length();
            std::thread::sleep(backpressure::delay(frame.len(), length, self.shared.options));
        }
        let mut log = lock(&self.shared.log);
        if log.log.length() >= self.shared.options.segment_bytes_max() {
            // It could not be ended before, and must not grow any more.
            self.freeze(&mut log.log)?;
        }
        let frame = log.log.append(frame, keeping)?;
        log.counters = counters;
        log.written_at = Instant::now();
        self.shared.memtables.load().active.insert(&frame, changes, counters);
        if log.log.length() >= self.shared.options.segment_bytes {
            match self.freeze(&mut log.log) {
                // The changes are durable all the same.
                Err(error) if error.is_undone() => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Freezes the active memtable, and waits until that is possible where it has grown too long.
    fn freeze(&self, log: &mut RedoLog) -> Result<(), StoreError> {
        let Some(background) = &self.background else { return Ok(()) };
        while log.length() >= self.shared.options.segment_bytes_max()
            && self.shared.memtables.load().frozen.is_some()
            && self.shared.failure().is_none()
            && !self.shared.disk.is_lost()
        {
            if self.shared.waits.load(Ordering::Acquire) {
                let why = "the redo log is as long as it may be, and cannot be made shorter yet";
                return Err(StoreError::Waits(why.into()));
            }
            // It is told after every try, so this ends where the tries fail.
            let _ = background.done.recv();
        }
        self.shared.freeze(log)?;
        background.wake();
        Ok(())
    }

    fn with_engine<T>(
        &self,
        use_engine: impl FnOnce(&Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.shared.engine_reads.fetch_add(1, Ordering::Relaxed);
        self.shared.with_engine(self.slot, use_engine)
    }

    fn is_struck(&self, key: &StorageKey) -> bool {
        self.shared.has_strikes.load(Ordering::Acquire)
            && lock(&self.shared.strikes).get(key).is_some_and(|strikes| *strikes >= STRIKES_MAX)
    }

    fn strike(&self, key: &StorageKey) {
        let mut strikes = lock(&self.shared.strikes);
        if strikes.len() >= STRUCK_KEYS_MAX {
            strikes.clear();
        }
        *strikes.entry(key.clone()).or_default() += 1;
        self.shared.has_strikes.store(true, Ordering::Release);
    }
}

impl Shared {
    fn failure(&self) -> Option<Failure> {
        match self.failed.load(Ordering::Acquire) {
            NO_FAILURE => None,
            PASSING => Some(Failure::Passing),
            _ => Some(Failure::Lasting),
        }
    }

    fn fail(&self, failure: Failure) {
        let failed = if failure == Failure::Passing { PASSING } else { LASTING };
        self.failed.fetch_max(failed, Ordering::AcqRel);
    }

    fn is_absent(&self) -> bool {
        self.is_absent.load(Ordering::Acquire)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut slots = self.slots.each_ref().map(lock);
        if self.failure().is_some() {
            // An engine that could not write waits for ever for its flush when it is dropped.
            return Err(StoreError::OutOfOrder);
        }
        if self.disk.has_lost() {
            // It would find nothing, or another's files. The old one has its own open.
            return Err(StoreError::Waits("some of its files are not in their place".into()));
        }
        engine::forget_metadata(&self.directory, self.disk.belongings());
        // The engine locks its directory, so the old one must be gone before the new one starts.
        slots.iter_mut().for_each(|slot| **slot = None);
        let engine = Engine::open(&self.directory, &self.disk).inspect_err(|error| {
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

    fn redo_directory(&self) -> PathBuf {
        self.directory.join(REDO_DIRECTORY)
    }

    fn with_engine<T>(
        &self,
        slot: usize,
        use_engine: impl FnOnce(&Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failure() == Some(Failure::Passing) {
            return Err(StoreError::StartsAnew);
        }
        let engine = lock(&self.slots[slot]);
        let Some(engine) = engine.as_ref() else {
            return Err(match self.is_absent() {
                true => StoreError::Waits("it could not be opened, and is tried again".into()),
                false => StoreError::OutOfOrder,
            });
        };
        if self.stopped.load(Ordering::Acquire) {
            return Err(StoreError::OutOfOrder);
        }
        let result = use_engine(engine);
        if matches!(&result, Err(StoreError::Damaged(_) | StoreError::Engine(_))) {
            self.stopped.store(true, Ordering::Release);
        }
        result
    }
}

/// Locks what no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
