//! Giving the engine the changes in the write-ahead log, in the background.
//!
//! When the log's segment is long enough, or no write has come for a while, the active memtable is
//! frozen and the log goes on with another segment. A thread then has the engine take the frozen
//! memtable over, with one flush for all of it, and removes the segment. The thread also syncs what
//! writes did not wait for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kv_system::failpoints;
use kv_system::lock::lock;
use kv_system::transient::is_read_only;
use tracing::{error, warn};

use crate::changes::Changes;
use crate::engine::Engine;
use crate::memtable::{Memtable, Memtables};
use crate::shared::Shared;
use crate::sums::Sums;
use crate::take_over::{Taking, Untaken};
use crate::wal::{self, WriteAheadLog};
use crate::{Failure, Fsync, StorageKey, StoreError};

/// The engine takes over all changes that there are when no write has come for this long.
pub(crate) const IDLE_MIN: Duration = Duration::from_secs(3);
/// How often an idle store is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A checkpoint that met damage so often in succession is not tried again.
const FAILURES_MAX: u32 = 8;
/// While the engine waits for something, the log says so at most this often.
const SAYING_SPACING: Duration = Duration::from_secs(60);
/// How often writes that do not wait for the disk are synced to it.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The threads that work for a store in the background; they end when this is dropped.
pub(crate) struct Background {
    /// One that is told when there is a frozen memtable, and one that only tells, by its end, that
    /// the threads shall end.
    channels: Option<(flume::Sender<()>, flume::Sender<()>)>,
    /// Told when the engine has taken one over.
    pub(crate) done: flume::Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    pub(crate) fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let (frozen, frozen_receiver) = flume::bounded(1);
        let (done_sender, done) = flume::bounded(1);
        let (running, ended) = flume::bounded::<()>(0);
        let mut threads = Vec::new();
        let checkpointing = Arc::clone(shared);
        threads.push(std::thread::Builder::new().name("checkpoint".into()).spawn(move || {
            checkpointing.keep_checkpointing(&frozen_receiver, &done_sender);
        })?);
        let (counting, stopped) = (Arc::clone(shared), ended.clone());
        let count = move || counting.keep_counting(&stopped);
        threads.push(std::thread::Builder::new().name("counting".into()).spawn(count)?);
        if shared.options.fsync == Fsync::EverySecond {
            let syncing = Arc::clone(shared);
            let sync = move || syncing.keep_syncing(&ended);
            threads.push(std::thread::Builder::new().name("sync".into()).spawn(sync)?);
        }
        Ok(Self { channels: Some((frozen, running)), done, threads })
    }

    /// Has the frozen memtable taken over.
    pub(crate) fn wake(&self) {
        if let Some((frozen, _)) = &self.channels {
            // Where it was told and has not looked yet, it will find this one as well.
            let _ = frozen.try_send(());
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.channels = None;
        for thread in self.threads.drain(..) {
            // Its panic has been printed, and no caller is left to tell.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn keep_checkpointing(&self, frozen: &flume::Receiver<()>, done: &flume::Sender<()>) {
        let (mut failures, mut reads, mut said_at) = (0, 0, None::<Instant>);
        loop {
            let is_woken = match frozen.recv_timeout(LOOK_INTERVAL) {
                Ok(()) => true,
                Err(flume::RecvTimeoutError::Timeout) => false,
                Err(flume::RecvTimeoutError::Disconnected) => return,
            };
            self.disk.tend();
            let frozen = if is_woken { Ok(()) } else { self.freeze_idle() };
            let result = frozen.and_then(|()| self.checkpoint());
            let waits = matches!(&result, Err(error) if error.is_undone() || error.ends_writing());
            self.waits.store(waits, Ordering::Release);
            match result {
                Ok(()) => failures = 0,
                // A missing file is reported where files are looked for.
                Err(_) if waits && self.disk.is_lost() => {}
                Err(_) if waits && self.is_closed.load(Ordering::Acquire) => return,
                Err(error) if waits => {
                    if said_at.is_none_or(|at| at.elapsed() >= SAYING_SPACING) {
                        said_at = Some(Instant::now());
                        warn!(
                            "what is in the write-ahead log waits there, and nothing of it is lost: {error}"
                        );
                    }
                }
                // Where there is damage, the next try starts the engine anew and has it for itself.
                Err(StoreError::PageCorrupt(_) | StoreError::Broken) if failures < FAILURES_MAX => {
                    failures += 1;
                }
                Err(error) => self.fail_by(&error),
            }
            let _ = done.try_send(());
            self.renew_engine(&mut reads);
        }
    }

    /// Nothing may be written any more, after this error.
    fn fail_by(&self, error: &StoreError) {
        if self.failure().is_some() {
            return;
        }
        let failure = if error.passes() { Failure::Passing } else { Failure::Lasting };
        let then = match failure {
            Failure::Passing => "the node starts anew",
            Failure::Lasting => "the node ends",
        };
        let lost = match self.disk.look() {
            Ok(Some(missing)) => format!(
                "{} is not in its place, and what was removed is lost with this process",
                missing.display()
            ),
            _ => "nothing is lost".to_owned(),
        };
        error!(
            "what is in the write-ahead log could not be given to the engine: {error}; {lost}, and {then}"
        );
        self.fail(failure);
    }

    /// A reader has met damage while the engine had changes that were not flushed. It neither flushes them
    /// nor ends without that, but the log has them, and a new process gives them to a new engine.
    fn start_anew_by(&self, error: &StoreError) {
        warn!(
            "a read met damage while the engine took over what is in the write-ahead log: {error}; nothing is lost, and the node starts anew"
        );
        self.fail(Failure::Passing);
    }

    fn keep_syncing(&self, ended: &flume::Receiver<()>) {
        while ended.recv_timeout(SYNC_INTERVAL) == Err(flume::RecvTimeoutError::Timeout) {
            let Some(unsynced) = lock(&self.log).begin_sync() else { continue };
            // Writes go on meanwhile.
            let result = unsynced.sync();
            lock(&self.log).end_sync(&unsynced, &result);
            match result {
                Ok(()) => {}
                // It is written nowhere before the disk can be written to.
                Err(error) if is_read_only(&error) => self.disk.note(&error),
                Err(error) => {
                    error!(
                        "the write-ahead log could not be synced to the disk: {error}; the node ends"
                    );
                    self.fail(Failure::Lasting);
                    return;
                }
            }
        }
    }

    fn freeze_idle(&self) -> Result<(), StoreError> {
        // A writer that holds it may wait for this thread, and is not idle.
        let Ok(mut log) = self.log.try_lock() else { return Ok(()) };
        let is_idle = log.written_at.elapsed() >= IDLE_MIN && !self.disk.is_lost();
        let has_nothing = self.memtables.load().active.is_empty()
            && !lock(&self.sums).as_ref().is_some_and(Sums::are_to_be_stored);
        if !is_idle || has_nothing {
            return Ok(());
        }
        self.freeze(&mut log.log)
    }

    /// Freezes the active memtable, where none is frozen, and begins another segment.
    pub(crate) fn freeze(&self, log: &mut WriteAheadLog) -> Result<(), StoreError> {
        let memtables = self.memtables.load_full();
        // In a directory that is lost, there is no place for another segment.
        let is_possible = self.failure().is_none() && !self.disk.is_lost();
        if memtables.frozen.is_some() || !is_possible {
            return Ok(());
        }
        // While much is written, the next one will be about as large.
        let is_busy = self.filled_bytes(log) >= self.options.segment_bytes;
        let keys = if is_busy { memtables.active.keys() } else { 0 };
        let active = Arc::new(Memtable::with_room_for(keys));
        let segment = log.rotate()?;
        memtables.active.set_sums(lock(&self.sums).as_mut().map(Sums::take_update));
        let frozen: Arc<dyn Changes> = Arc::clone(&memtables.active) as _;
        let frozen = Some((segment, frozen));
        self.memtables.store(Arc::new(Memtables { active, frozen }));
        Ok(())
    }

    /// Has the engine take over the frozen memtable, where there is one.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        let Some((segment, frozen)) = self.memtables.load().frozen.clone() else { return Ok(()) };
        // Files that no later start would find are given nothing.
        if self.failure().is_some() || self.disk.has_lost() {
            return Ok(());
        }
        let mut after = None;
        while let Some(last) = self.take_over(&*frozen, segment, after)? {
            // It goes on with an engine that keeps nothing in memory, where that can be had.
            self.renew_grown_engine();
            after = Some(last);
        }
        failpoints::pass("node::checkpoint::after-flush");
        if self.disk.has_lost() {
            // Where it was given into such files all the same, the log has it.
            return Ok(());
        }
        self.memtables.rcu(|it| Memtables { active: Arc::clone(&it.active), frozen: None });
        // The engine remembers to have it, so that the next one or the next start can remove it as well.
        let removed = wal::remove_through(&self.wal_names, &self.wal_directory(), segment);
        if let Err(error) = removed.map_err(StoreError::from)
            && !error.passes()
            && !self.disk.has_lost()
        {
            return Err(error);
        }
        failpoints::pass("node::checkpoint::after-remove");
        Ok(())
    }

    /// Has the engine take a memtable over, as [`Taking::carry_out`] does it.
    fn take_over(
        &self,
        frozen: &dyn Changes,
        segment: u64,
        after: Option<StorageKey>,
    ) -> Result<Option<StorageKey>, StoreError> {
        failpoints::pass("node::checkpoint::before-flush");
        // Not the log's: the writer may hold that, and wait for this.
        let counters = frozen.counters().unwrap_or_default();
        // A reader that meets damage has the engine refuse to flush, so that one with unflushed changes is
        // lost. Once damage is known readers wait; until then it is not worth having them wait.
        let is_alone = self.has_met_damage();
        let take = |engine: &Engine| {
            let taking = Taking {
                engine,
                memtable: frozen,
                segment,
                disk: &self.disk,
                directory: &self.directory,
                stored: (counters.bytes, counters.keys + counters.tombstones),
                needs: frozen.needs(),
                flush_bytes_max: self.options.engine_flush_bytes_max(),
                written_bytes_max: self.options.engine_written_bytes_max(),
                written_bytes: &self.engine_written,
                after: after.clone(),
                is_closed: &self.is_closed,
                has_met_damage: is_alone,
            };
            let mut taken = taking.carry_out();
            if failpoints::is_on("node::checkpoint::no-room") {
                let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
                taken = Err(Untaken::Spoiled(error.into()));
            }
            match taken {
                Ok(last) => Ok(last),
                Err(Untaken::Waits(error) | Untaken::Failed(error)) => Err(error),
                Err(Untaken::Spoiled(error)) => {
                    // Known before another thread can use the engine, and start it anew.
                    match error {
                        StoreError::PageCorrupt(_) if !is_alone => self.start_anew_by(&error),
                        _ => self.fail_by(&error),
                    }
                    Err(error)
                }
            }
        };
        let taken = match is_alone {
            true => self.with_engine_alone(take),
            false => self.with_engine(&self.checkpointer, take),
        };
        self.measure_index();
        taken
    }
}
