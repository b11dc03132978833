//! Committing batches: each is appended to the write-ahead log, and then in the memtable.
//!
//! Where writes do not wait for the disk, an append is a copy into the operating system's memory, as a rule. A
//! thread that must not wait, since others' requests wait for it, appends by [`UnsyncedLog`], which is not to be
//! had whenever an append could take longer.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::time::Instant;

use kv_system::lock::lock;

use crate::batch::Mutation;
use crate::error::StoreError;
use crate::shared::{Shared, WrittenLog};
use crate::wal::{Fsync, Keeping, WriteAheadLog};
use crate::{Batch, Before, Counters, Store, backpressure};

/// How well a group is kept that does not wait for the disk.
const UNSYNCED: Keeping = Keeping { is_synced: false, can_be_found: true };

impl Store {
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

    /// As [`Store::commit`], of removals of records that other nodes have. Where the log was removed, they need
    /// not outlive this process: the mover that takes the node's records away waits for them.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_removals(&self, batch: Batch, counters: Counters) -> Result<(), StoreError> {
        let is_synced = self.shared.options.fsync == Fsync::Always;
        self.append(batch, counters, Keeping { is_synced, can_be_found: false })
    }

    /// The log, for appends that wait for nothing; `None` where each waits for the disk.
    #[must_use]
    pub fn unsynced_log(&self) -> Option<UnsyncedLog> {
        let is_unsynced = self.shared.options.fsync == Fsync::EverySecond;
        is_unsynced.then(|| UnsyncedLog(Arc::clone(&self.shared)))
    }

    pub(crate) fn append(
        &self,
        batch: Batch,
        counters: Counters,
        keeping: Keeping,
    ) -> Result<(), StoreError> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure.into());
        }
        let changes = Finished::of(batch, counters);
        if self.shared.memtables.load().frozen.is_some() {
            let length = self.shared.filled_bytes(&lock(&self.shared.log).log);
            std::thread::sleep(backpressure::delay(
                changes.frame.len(),
                length,
                self.shared.options,
            ));
        }
        let mut log = lock(&self.shared.log);
        if self.shared.filled_bytes(&log.log) >= self.shared.options.segment_bytes_max() {
            // It could not be ended before, and must not grow any more.
            self.freeze(&mut log.log)?;
        }
        self.shared.append_to(&mut log, changes, keeping)?;
        if self.shared.filled_bytes(&log.log) >= self.shared.options.segment_bytes {
            match self.freeze(&mut log.log) {
                // The changes are durable all the same.
                Err(error) if error.is_undone() => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Freezes the active memtable, and waits until that is possible where it has grown too long.
    pub(crate) fn freeze(&self, log: &mut WriteAheadLog) -> Result<(), StoreError> {
        let Some(background) = &self.background else { return Ok(()) };
        while self.shared.filled_bytes(log) >= self.shared.options.segment_bytes_max()
            && self.shared.memtables.load().frozen.is_some()
            && self.shared.failure().is_none()
            && !self.shared.disk.is_lost()
        {
            if self.shared.waits.load(Ordering::Acquire) {
                let why =
                    "the write-ahead log is as long as it may be, and cannot be made shorter yet";
                return Err(StoreError::Waits(why.into()));
            }
            // It is told after every try, so this ends where the tries fail.
            let _ = background.done.recv();
        }
        self.shared.freeze(log)?;
        background.wake();
        Ok(())
    }
}

impl Shared {
    /// Appends a frame to the log, and has the active memtable take in what it changes.
    fn append_to(
        &self,
        log: &mut WrittenLog,
        Finished { frame, changes, before, counters }: Finished,
        keeping: Keeping,
    ) -> Result<(), StoreError> {
        let frame = log.log.append(frame, keeping)?;
        log.counters = counters;
        log.written_at = Instant::now();
        // A slice that is counted has all of these changes or none.
        let mut sums = lock(&self.sums);
        if let Some(sums) = sums.as_mut() {
            sums.take_in(&frame, &changes, &before);
        }
        self.memtables.load().active.insert(&frame, changes, counters);
        Ok(())
    }
}

/// A batch as it is appended.
struct Finished {
    frame: Vec<u8>,
    changes: Vec<Mutation>,
    before: Vec<Before>,
    counters: Counters,
}

impl Finished {
    fn of(mut batch: Batch, counters: Counters) -> Self {
        let before = batch.take_before();
        let (frame, changes) = batch.finish(counters);
        Self { frame, changes, before, counters }
    }
}

/// The log of a store whose writes do not wait for the disk.
#[derive(Clone)]
pub struct UnsyncedLog(Arc<Shared>);

impl UnsyncedLog {
    /// The log for one append that waits for nothing. `None` where it would: for another thread that has the log,
    /// for the sync that is under way, for another segment, or for the engine.
    #[must_use]
    pub fn try_lock(&self) -> Option<Appender<'_>> {
        let Self(shared) = self;
        let log = match shared.log.try_lock() {
            Ok(log) => log,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        // While the file is synced, the operating system may have a thread that writes to it wait for that.
        let is_ready = !log.is_being_synced
            && log.log.is_ready()
            && shared.filled_bytes(&log.log) < shared.options.segment_bytes
            && shared.failure().is_none();
        is_ready.then_some(Appender { shared, log })
    }
}

/// The log, locked for one append.
pub struct Appender<'a> {
    shared: &'a Shared,
    log: MutexGuard<'a, WrittenLog>,
}

impl Appender<'_> {
    /// As [`Store::commit`]. A segment that is long enough now is ended by a later commit, or once the store is
    /// idle.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit(mut self, batch: Batch, counters: Counters) -> Result<(), StoreError> {
        self.shared.append_to(&mut self.log, Finished::of(batch, counters), UNSYNCED)
    }
}

#[cfg(test)]
mod tests {
    use kv_core::version::Version;

    use super::*;
    use crate::{StorageKey, StoreOptions};

    fn changes(sequence: u64) -> (Batch, Counters) {
        let mut batch = Batch::default();
        batch.put(
            StorageKey::new("k"),
            Version { epoch: 1, sequence },
            Some(b"value"),
            Before::Unknown,
        );
        (batch, Counters { keys: 1, bytes: 6, sequence, tombstones: 0 })
    }

    #[test]
    fn the_log_is_lent_only_where_an_append_waits_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions { segment_bytes: 400, ..Fsync::EverySecond.into() };
        let store = Store::open(directory.path(), options).unwrap();
        let log = store.unsynced_log().unwrap();
        let is_had = || log.try_lock().is_some();
        let (batch, counters) = changes(1);
        log.try_lock().unwrap().commit(batch, counters).unwrap();
        assert_eq!(store.counters(), counters);
        assert!(store.get(&StorageKey::new("k")).unwrap().is_some());
        let held = lock(&store.shared.log);
        assert!(!is_had(), "another thread has it");
        drop(held);
        assert!(is_had());
        let unsynced = lock(&store.shared.log).begin_sync().unwrap();
        assert!(!is_had(), "it is being synced");
        let result = unsynced.sync();
        lock(&store.shared.log).end_sync(&unsynced, &result);
        assert!(is_had());
        assert!(lock(&store.shared.log).begin_sync().is_none(), "nothing is left to be synced");
        let mut sequence = 1;
        while is_had() {
            sequence += 1;
            assert!(sequence < 10, "the segment has no end");
            let (batch, counters) = changes(sequence);
            log.try_lock().unwrap().commit(batch, counters).unwrap();
        }
        let segment = lock(&store.shared.log).log.number();
        // The next commit ends the segment.
        let (batch, counters) = changes(sequence + 1);
        store.commit(batch, counters).unwrap();
        assert_eq!(lock(&store.shared.log).log.number(), segment + 1);
        assert!(is_had());
        drop((store, log));
        let store = Store::open(directory.path(), options).unwrap();
        assert_eq!(store.counters(), counters);
    }

    #[test]
    fn where_writes_wait_for_the_disk_it_is_not_lent() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Fsync::Always).unwrap();
        assert!(store.unsynced_log().is_none());
    }
}
