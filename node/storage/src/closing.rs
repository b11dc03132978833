//! Closing a store: the log has everything, so that a stop waits for next to nothing.
//!
//! What little the engine lacks it gets, so that the next start finds an empty log. Where it lacks more, or is in the
//! middle of a take-over, the process ends without it, as it may at any time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kv_system::lock::lock;

use crate::{Store, StoreError};

/// A store that is closed has the engine take over no more than this, in bytes of changes.
const CLOSING_BYTES_MAX: u64 = 1 << 20;
/// How long it waits for that.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

impl Store {
    /// Closes the store in order, so that the next start finds everything. What is only in the log is on the disk
    /// then; the engine takes it over where that is little, and otherwise it stays there. The rest is left to the
    /// end of the process, where it takes long: a node that has much in memory, or a slow disk, stops as soon.
    ///
    /// # Errors
    /// Why something may be missing, or why the engine has not got what was little.
    pub fn close(self) -> Result<(), StoreError> {
        if self.shared.failure().is_some() || self.shared.disk.has_lost() {
            self.abandon();
            return Err(StoreError::Broken);
        }
        let mut log = lock(&self.shared.log);
        // A disk that has become read-only can have nothing that is not on it, and would refuse a sync.
        if log.log.unsynced().is_some() {
            log.log.sync_or_fail()?;
        }
        drop(log);
        if self.pending_bytes() > CLOSING_BYTES_MAX {
            self.shared.is_closed.store(true, Ordering::Release);
            self.abandon();
            return Ok(());
        }
        let (sender, completed) = flume::bounded(1);
        let complete = move || drop(sender.send(self.complete()));
        std::thread::Builder::new().name("closing".into()).spawn(complete)?;
        match completed.recv_timeout(CLOSE_WITHIN) {
            Ok(completed) => completed,
            // Where that takes long, the process ends without it.
            Err(flume::RecvTimeoutError::Timeout) => Ok(()),
            Err(flume::RecvTimeoutError::Disconnected) => Err(StoreError::Broken),
        }
    }

    /// Has the engine take over what is only in the log, and gives it up.
    fn complete(mut self) -> Result<(), StoreError> {
        // This thread goes on with what the others leave.
        self.background = None;
        let shared = &self.shared;
        let completed = shared
            .checkpoint()
            .and_then(|()| shared.freeze(&mut lock(&shared.log).log))
            .and_then(|()| shared.checkpoint());
        if shared.failure().is_some() {
            self.abandon();
        }
        completed
    }
}

#[cfg(test)]
mod tests {
    use kv_core::version::Version;

    use super::*;
    use crate::{Batch, Before, Counters, Fsync, StorageKey};

    const VERSION: Version = Version { epoch: 1, sequence: 1 };

    /// A store with a record of so many bytes.
    fn written(directory: &std::path::Path, bytes: u64) -> Store {
        let store = Store::open(directory, Fsync::EverySecond).unwrap();
        let mut batch = Batch::default();
        let value = vec![7; usize::try_from(bytes).unwrap()];
        batch.put(StorageKey::new("key"), VERSION, Some(&value), Before::Unknown);
        store.commit(batch, Counters { keys: 1, bytes, ..Counters::default() }).unwrap();
        store
    }

    #[test]
    fn little_is_taken_over_and_much_stays_in_the_log() {
        for (bytes, is_taken_over) in [(1000, true), (CLOSING_BYTES_MAX, false)] {
            let directory = tempfile::tempdir().unwrap();
            let store = written(directory.path(), bytes);
            let shared = std::sync::Arc::clone(&store.shared);
            store.close().unwrap();
            let log_bytes: u64 = std::fs::read_dir(shared.wal_directory())
                .unwrap()
                .map(|segment| segment.unwrap().metadata().unwrap().len())
                .sum();
            assert_eq!(log_bytes < bytes, is_taken_over, "{bytes}");
            assert!(lock(&shared.log).log.unsynced().is_none(), "a power loss takes nothing");
        }
    }

    #[test]
    fn a_stop_waits_for_no_engine_that_hangs() {
        for bytes in [1000, CLOSING_BYTES_MAX] {
            let directory = tempfile::tempdir().unwrap();
            let store = written(directory.path(), bytes);
            let shared = std::sync::Arc::clone(&store.shared);
            let hangs = lock(&shared.checkpointer);
            store.close().unwrap();
            drop(hangs);
        }
    }
}
