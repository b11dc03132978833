//! The shard: one thread writes, any thread reads.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use kv_system::lock::lock;
use kv_system::transient::file_bytes_max;

use crate::changes::Changes;
use crate::checkpoint::Background;
use crate::disk::Disk;
use crate::engine::{self, Engine};
use crate::error::{Failure, StoreError};
use crate::limits::PIECE_BYTES;
use crate::memtable::Memtables;
use crate::record::{self, Stored};
use crate::replayed::{Read, Replayed};
use crate::shared::{Shared, Slot, WAL_DIRECTORY, WrittenLog};
use crate::wal::{Keeping, WriteAheadLog};
use crate::{Batch, Counters, StorageKey, StoreOptions, take_over};

/// A handle to a shard's records.
///
/// The engine's own handles must not be shared between threads, so each thread has one of these:
/// the writer the one from [`Store::open`], each that reads one from [`Store::reader`].
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    slot: Arc<Slot>,
    /// Only the writer's handle has it.
    pub(crate) background: Option<Background>,
}

impl Store {
    /// Opens the store in `directory`, and makes it if need be.
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
        let options = options.into().within(file_bytes_max());
        let engine = Engine::open(directory, disk, options.engine_cache_bytes())?;
        Self::open_with(&engine, disk, directory, options).inspect_err(|error| {
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
        let (log, segments) =
            WriteAheadLog::open::<Read>(&directory.join(WAL_DIRECTORY), disk, checkpointed)?;
        let mut replayed = Replayed::new(segments);
        disk.belongings().keep_open(&directory.join(WAL_DIRECTORY), &log.names())?;
        engine::keep_files(directory, disk.belongings())?;
        let counters = match replayed.counters() {
            Some(counters) => counters,
            None => engine.counters()?,
        };
        let is_empty = replayed.is_empty();
        let sums = replayed.bring_up(engine.sums(checkpointed)?);
        let replayed: Arc<dyn Changes> = Arc::new(replayed);
        let frozen = (!is_empty).then(|| (log.number() - 1, replayed));
        let memtables = Memtables { active: Arc::default(), frozen };
        let log = WrittenLog::new(log, counters);
        let shared = Shared::new(directory, options, disk, engine, log, memtables);
        *lock(&shared.sums) = sums;
        let shared = Arc::new(shared);
        let background = Background::start(&shared)?;
        background.wake();
        Ok(Self { slot: shared.add_slot(), shared, background: Some(background) })
    }

    /// A handle for one more thread, which only reads.
    #[must_use]
    pub fn reader(&self) -> Self {
        Self::reader_of(&self.shared)
    }

    pub(crate) fn reader_of(shared: &Arc<Shared>) -> Self {
        Self { slot: shared.add_slot(), shared: Arc::clone(shared), background: None }
    }

    /// The record of a key.
    ///
    /// # Errors
    /// As [`Store::look_up`].
    pub fn get(&self, key: &StorageKey) -> Result<Option<Stored<Vec<u8>>>, StoreError> {
        self.look_up(key, |stored| stored.to_owned())
    }

    /// The record of a key where it need not be looked for in the engine; `None` where it does.
    ///
    /// # Errors
    /// [`StoreError::RecordCorrupt`] where it is damaged.
    pub fn get_from_memory(
        &self,
        key: &StorageKey,
    ) -> Option<Result<Option<Stored<Vec<u8>>>, StoreError>> {
        let record = self.shared.memtables.load().get(key)?;
        let decode = |bytes: &Bytes| {
            let stored = record::decode(key.parts(), bytes).map(|it| it.to_owned());
            stored.map_err(|damage| StoreError::RecordCorrupt(damage.to_string()))
        };
        Some(record.as_ref().map(decode).transpose())
    }

    /// Hands the record of a key, where there is one, to `look`.
    ///
    /// # Errors
    /// [`StoreError::RecordCorrupt`] where it is damaged, otherwise what befell the engine.
    pub fn look_up<T>(
        &self,
        key: &StorageKey,
        look: impl FnOnce(Stored<&[u8]>) -> T,
    ) -> Result<Option<T>, StoreError> {
        let decode = |bytes: &[u8]| {
            let stored = record::decode(key.parts(), bytes);
            stored
                .map(look)
                .map(Some)
                .map_err(|damage| StoreError::RecordCorrupt(damage.to_string()))
        };
        match self.shared.memtables.load().get(key) {
            Some(Some(record)) => return decode(&record),
            Some(None) => return Ok(None),
            None => {}
        }
        if self.shared.strikes.is_struck(key) {
            return Err(StoreError::PageCorrupt("found out when it was last read".into()));
        }
        let result = self.with_engine(|engine| {
            let Some(bytes) = engine.get(key)? else { return Ok(None) };
            decode(&bytes)
        });
        if matches!(result, Err(StoreError::PageCorrupt(_))) {
            self.shared.strikes.strike(key);
        }
        result
    }

    /// Whether the engine has stopped and waits for [`Store::reopen`].
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        let result = self.shared.with_engine(&self.slot, |_| Ok(()));
        matches!(result, Err(StoreError::Broken | StoreError::Waits(_)))
    }

    /// Why nothing can be written any more, where something failed in the background.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.shared.failure()
    }

    /// Whether there is a record of a key, and how long its value is: `Some(None)` for a tombstone. Nothing is
    /// verified.
    ///
    /// # Errors
    /// As [`Store::get`], except that a damaged record is no error.
    pub fn measure(&self, key: &StorageKey) -> Result<Option<Option<u64>>, StoreError> {
        if let Some(changed) = self.shared.memtables.load().get(key) {
            return Ok(changed.map(|bytes| record::value_bytes(&bytes)));
        }
        self.with_engine(|engine| Ok(engine.get(key)?.map(|bytes| record::value_bytes(&bytes))))
    }

    /// The counters as they were last committed.
    #[must_use]
    pub fn counters(&self) -> Counters {
        lock(&self.shared.log).counters
    }

    /// The memory that the engine takes to find its pages, about, in bytes: some ten for each key.
    #[must_use]
    pub fn index_bytes(&self) -> u64 {
        self.shared.index_bytes.load(Ordering::Relaxed)
    }

    /// The disk room that the engine needs to take over the changes that are only in the log, in bytes: for
    /// those, and for what it writes anew, of the `stored_bytes`, before it gives up the old, a piece at a time.
    #[must_use]
    pub fn headroom_bytes(&self, stored_bytes: u64) -> u64 {
        take_over::placed(self.pending_bytes()).saturating_add(stored_bytes.min(PIECE_BYTES))
    }

    /// Has the engine take over soon the changes that are only in the log.
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

    /// Starts the engine anew from its durable state, after a read has met damage. It must not be called
    /// after a commit that failed.
    ///
    /// # Errors
    /// What befell it; the store is then out of order until the next try.
    pub fn reopen(&self) -> Result<(), StoreError> {
        self.shared.reopen()
    }

    /// The bytes of the changes that are only in the log.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.shared.memtables.load().newest_first().map(|changes| changes.bytes()).sum()
    }

    /// Gives the store up without closing it, after a commit that failed.
    pub fn abandon(self) {
        // Closing would flush, and the engine waits for ever for a flush that failed.
        std::mem::forget(self);
    }

    pub(crate) fn with_engine<T>(
        &self,
        use_engine: impl FnOnce(&Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.shared.engine_reads.fetch_add(1, Ordering::Relaxed);
        self.shared.with_engine(&self.slot, use_engine)
    }
}
