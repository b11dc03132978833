//! The writer, which changes everything that is changed: it orders all writes and layout installs.
//!
//! One thread has it at a time, as a rule its own. It takes whatever work has queued up, carries it out as one group, makes the group durable with
//! one flush, and only then hands the outcomes back. So the writes of many clients share a flush,
//! and no reply speaks of what could still vanish. Reads that were sent after a write pass through here
//! too, so that they see it.
//!
//! - here: what it has, and working off a group with what comes meanwhile;
//! - `lending`: the queue, the writer's thread, and lending the writer to the serving thread; `at_once`: which
//!   groups that one carries out;
//! - `group`: carrying a group of requests out; `size`: how much is a group; `group_commit`: how long it
//!   waits for company;
//! - `published`: what other threads are told;
//! - `replies`: how much is read for clients that do not read on;
//! - `install`: installing a layout; `background`: removals when no request waits.

mod at_once;
mod background;
mod group;
mod group_commit;
mod install;
mod lending;
mod published;
mod replies;
mod size;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kv_core::guard::Context;
use kv_core::partition::Partition;
use kv_protocol::reply::Content;
use kv_protocol::request::Command;
use tokio::sync::oneshot;
use tracing::{debug, error, warn};
use uuid::Uuid;

use self::at_once::Pauses;
use self::background::Background;
use self::group_commit::GroupCommitDelay;
pub use self::lending::{WorkSender, WriterEnded, WriterThread};
pub use self::published::{AcknowledgedEpoch, Published, Questions, Statistics};
pub use self::replies::ReplyBytes;
pub use self::size::Size;
use crate::finished::{Completed, Finished};
use crate::write_set::KnownValue;
use kv_core::guard::{Guard, Installed};
use kv_storage::disk::Disk;
use kv_storage::{Batch, Counters, Failure, Store, StoreError, UnsyncedLog};
use kv_system::wake::Wake;

/// However much work there is, something is done in the background after this many pieces of it.
const WORK_PER_BACKGROUND: u32 = 16;
/// How often an idle writer sees whether the store works.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// An engine that does not start is tried again at most this often.
const REPAIR_SPACING: Duration = Duration::from_secs(1);

/// Something for the writer to do.
pub enum Work {
    /// A request to carry out.
    Request(Job),
    /// A layout to install durably.
    Install(Box<Installed>, oneshot::Sender<Result<(), NotInstalled>>),
    /// Other nodes hold partitions of which there are records here.
    Confirmed {
        /// The epoch in which they were asked.
        epoch: u64,
        /// The partitions.
        partitions: Vec<Partition>,
    },
    /// The serving loop met damage: start the engine anew.
    Repair,
}

/// Why a layout was not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotInstalled {
    /// It could not be stored.
    #[error("the layout could not be stored: {0}")]
    Store(#[from] StoreError),
    /// The layout has moved on without waiting for this node.
    #[error(
        "in epoch {epoch} this node is to serve partition {partition}, and what lies here of it is not removed yet, since no other node has confirmed that it holds it: the layout is not installed"
    )]
    Unclear {
        /// The layout's epoch.
        epoch: u64,
        /// The first such partition.
        partition: Partition,
    },
}

/// A request on its way through the writer.
pub struct Job {
    /// The serving loop's number for it.
    pub request_number: u64,
    /// What its client believes.
    pub context: Context,
    /// The command that it sent.
    pub command: Command<'static>,
    /// The values that its operations find, as far as the serving loop knew them when it handed it on, in the
    /// order of the operations, and under which guard.
    pub known: Vec<Option<KnownValue>>,
    /// The guard.
    pub guard: Arc<Guard>,
}

/// The writer's state, which one thread [has](Writer::lend) at a time.
pub struct Writer {
    uuid: Uuid,
    store: Store,
    /// What the serving thread appends to; `None` where each write waits for the disk.
    unsynced_log: Option<UnsyncedLog>,
    pauses: Pauses,
    guard: Arc<ArcSwap<Guard>>,
    disk: Disk,
    published: Arc<Published>,
    counters: Counters,
    repair_failed_at: Option<Instant>,
    /// Whether a commit has failed, after which the engine is of no more use.
    has_failed: bool,
    background: Background,
    group_commit_delay: GroupCommitDelay,
    finished: flume::Sender<Finished>,
    wake: Wake,
}

impl Writer {
    /// Prepares the writer for the node with this `uuid`. It tells others of itself in
    /// `published`, and the node's rights, when it installs a layout, in `guard`. What the layout that is in
    /// `guard` already asks for, it does here.
    #[must_use]
    pub fn new(
        uuid: Uuid,
        store: Store,
        guard: Arc<ArcSwap<Guard>>,
        published: Arc<Published>,
        disk: Disk,
        finished: flume::Sender<Finished>,
        wake: Wake,
    ) -> Self {
        let counters = store.counters();
        let mut writer = Self {
            uuid,
            unsynced_log: store.unsynced_log(),
            pauses: Pauses::default(),
            store,
            guard,
            published,
            disk,
            counters,
            repair_failed_at: None,
            has_failed: false,
            background: Background::default(),
            group_commit_delay: GroupCommitDelay::default(),
            finished,
            wake,
        };
        if let Some(installed) = writer.guard.load_full().installed() {
            writer.keep_sums(installed);
            writer.background.plan(&writer.store, counters, None, installed);
            writer.resume();
        }
        writer.publish_counters();
        writer.publish_what_is_kept();
        writer
    }

    /// Removes what the node keeps, or has not removed yet since no other node has confirmed that it
    /// holds it: an operator says so.
    pub fn let_all_go(&mut self) {
        let guard = self.guard.load_full();
        let Some(installed) = guard.installed() else { return };
        self.background.let_all_go(installed);
        self.resume();
        self.publish_what_is_kept();
    }

    /// Carries out work and what comes meanwhile, until the last group of it is durable. Returns how many pieces
    /// of work that were.
    fn work_off(&mut self, first: Work, work: &flume::Receiver<Work>) -> usize {
        let started = Instant::now();
        let mut group = self.begin_group();
        let (mut next, mut done) = (Some(first), 0);
        while let Some(item) = next {
            done += 1;
            match item {
                Work::Request(job) => {
                    self.make_room(&mut group, &job);
                    self.take_in(&mut group, job);
                }
                Work::Install(installed, reply) => {
                    // What came before an install is judged by the old layout, what comes
                    // after it by the new one.
                    self.complete(group);
                    let result = self.install(*installed);
                    let _ = reply.send(result);
                    group = self.begin_group();
                }
                Work::Confirmed { epoch, partitions } => {
                    // Removals are counted on top of what the group has come to.
                    self.complete(group);
                    self.confirm(epoch, &partitions);
                    group = self.begin_group();
                }
                Work::Repair => self.repair(),
            }
            next = self.group_commit_delay.next(work, group.size(), started);
        }
        self.complete(group);
        done
    }

    /// Ends in order, or, where it has failed, at once. Returns the counters as the store has them, where it
    /// works.
    fn end(mut self) -> Option<Counters> {
        // It has a part of the store.
        self.unsynced_log = None;
        if self.has_failed {
            if let Some(failure) = self.store.failure() {
                let passes = failure == Failure::Passing;
                self.published.can_start_anew.store(passes, Ordering::Release);
            }
            self.store.abandon();
            return None;
        }
        if say_lost(&self.disk) {
            self.store.abandon();
            return None;
        }
        let counters = self.counters;
        match self.store.close() {
            Ok(()) => Some(counters),
            Err(_) if say_lost(&self.disk) => None,
            Err(error) if error.passes() => {
                warn!("what is in the store's log stays there for the next start: {error}");
                None
            }
            Err(error) => {
                error!(
                    "the store could not be closed: {error}; the next start finds what is left in its log"
                );
                None
            }
        }
    }

    /// Makes changes durable as `commit` does it, with the counters after them.
    fn commit_by(
        &mut self,
        commit: impl FnOnce(&Store, Batch, Counters) -> Result<(), StoreError>,
        batch: Batch,
        counters: Counters,
    ) -> Result<(), StoreError> {
        if self.has_failed {
            return Err(StoreError::Broken);
        }
        match commit(&self.store, batch, counters) {
            Ok(()) => {
                self.counters = counters;
                self.publish_counters();
                Ok(())
            }
            Err(error) if error.is_undone() => {
                debug!("a group of writes was not written: {error}");
                Err(error)
            }
            Err(error) if error.ends_writing() => {
                error!(
                    "a group of writes could not be made durable: {error}; the node reads on, and writes again once it is started again on a disk that can be written to"
                );
                Err(error)
            }
            Err(error) => {
                error!("a group of writes could not be made durable: {error}; the node ends");
                self.has_failed = true;
                self.published.can_start_anew.store(error.passes(), Ordering::Release);
                Err(error)
            }
        }
    }

    /// Has the store sum up what each partition has. Where it cannot now, readers count that.
    fn keep_sums(&self, installed: &Installed) {
        if let Err(error) = self.store.keep_sums(installed.layout.partitions) {
            warn!("what each partition has is counted whenever it is asked for: {error}");
        }
    }

    /// Starts the engine anew where a read has met damage, unless that failed a moment ago.
    fn repair(&mut self) {
        let failed_just_now = self.repair_failed_at.is_some_and(|at| at.elapsed() < REPAIR_SPACING);
        if !self.store.has_stopped() || self.has_failed || failed_just_now {
            return;
        }
        warn!("the storage engine met damage, or could not be opened: starting it anew");
        match self.store.reopen() {
            Ok(()) => self.repair_failed_at = None,
            Err(error) => {
                self.repair_failed_at = Some(Instant::now());
                error!("the storage engine does not start: {error}");
            }
        }
    }

    fn publish_counters(&self) {
        let to_clear = self.background.partitions_to_clear();
        self.published.statistics.publish(self.counters, to_clear);
    }

    fn finish(&self, request_number: u64, content: Content) {
        self.published.replies.finish(&content);
        // The serving loop outlives the writer's work; where it is gone, no client waits for this.
        let _ =
            self.finished.send(Finished { request_number, result: Completed::Content(content) });
    }
}

/// Says as the node ends that something of what it had is missing, where that is so.
fn say_lost(disk: &Disk) -> bool {
    let Ok(Some(missing)) = disk.look() else { return false };
    warn!(
        "{} is not in its place: what was removed of this node's data is lost now",
        missing.display()
    );
    true
}
