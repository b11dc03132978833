//! The one thread that changes anything: it orders all writes and layout installs.
//!
//! It takes whatever work has queued up, carries it out as one group, makes the group durable with
//! one flush, and only then hands the outcomes back. So the writes of many clients share a flush,
//! and no reply speaks of what could still vanish. Reads of keys that are being written pass
//! through here too, for the same reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kv_protocol::reply::{Content, Outcome};
use kv_protocol::request::{Command, Context, Operation};
use tokio::sync::oneshot;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::disk::Disk;
use crate::guard::{Admitted, Guard, Installed};
use crate::installed_record;
use crate::reader::{self, ReplyBudget};
use crate::refusals::outcome_unknown;
use crate::staging::Staging;
use crate::store::{Counters, Store, StoreError};
use crate::wake::Wake;

/// A group takes in no more work once it has this many operations.
const GROUP_OPERATIONS_MAX: usize = 1024;
/// A group takes in no more work once its values have this many bytes.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// An engine that does not start is tried again at most this often.
const REPAIR_SPACING: Duration = Duration::from_secs(1);

/// Something for the writer to do.
pub enum Work {
    /// A request to carry out.
    Request(Job),
    /// A layout to install durably.
    Install(Box<Installed>, oneshot::Sender<Result<(), StoreError>>),
    /// The serving loop met damage: start the engine anew.
    Repair,
}

/// A request on its way through the writer.
pub struct Job {
    /// The serving loop's number for it.
    pub ticket: u64,
    /// What its client believes.
    pub context: Context,
    /// What is asked.
    pub command: Command<'static>,
}

/// What became of a [`Job`].
pub struct Finished {
    /// The job's ticket.
    pub ticket: u64,
    /// What the client is told.
    pub content: Content,
}

/// The counters as every thread may read them.
#[derive(Debug, Default)]
pub struct Gauges {
    /// The records that are stored.
    pub keys: AtomicU64,
    /// The bytes of their keys and values.
    pub bytes: AtomicU64,
}

/// The writer's state; it lives on its own thread.
pub struct Writer {
    uuid: Uuid,
    store: Store,
    guard: Arc<ArcSwap<Guard>>,
    disk: Disk,
    gauges: Arc<Gauges>,
    counters: Counters,
    repair_failed_at: Option<Instant>,
    /// Whether a commit has failed, after which the engine is of no more use.
    has_failed: bool,
    finished: flume::Sender<Finished>,
    wake: Wake,
}

impl Writer {
    /// Prepares the writer for the node with this `uuid`. It publishes its counters in `gauges`,
    /// and the node's rights, when it installs a layout, in `guard`.
    ///
    /// # Errors
    /// Where the counters cannot be read.
    pub fn new(
        uuid: Uuid,
        store: Store,
        guard: Arc<ArcSwap<Guard>>,
        gauges: Arc<Gauges>,
        disk: Disk,
        finished: flume::Sender<Finished>,
        wake: Wake,
    ) -> Result<Self, StoreError> {
        let counters = store.counters()?;
        let writer = Self {
            uuid,
            store,
            guard,
            gauges,
            disk,
            counters,
            repair_failed_at: None,
            has_failed: false,
            finished,
            wake,
        };
        writer.publish_counters();
        Ok(writer)
    }

    /// Works until every sender of `work` is gone and all of it is done, or until the engine fails
    /// in a commit: it cannot be used any more then, and the node has to end. Returns the counters as
    /// the store has them, where it works.
    pub fn run(mut self, work: &flume::Receiver<Work>) -> Option<Counters> {
        while !self.has_failed {
            let Ok(first) = work.recv() else { return Some(self.counters) };
            let mut group = Vec::new();
            let mut size = Size::default();
            let mut next = Some(first);
            while let Some(item) = next {
                match item {
                    Work::Request(job) => {
                        size.add(&job.command);
                        group.push(job);
                    }
                    Work::Install(installed, reply) => {
                        // What came before an install is judged by the old layout, what comes
                        // after it by the new one.
                        self.carry_out(std::mem::take(&mut group));
                        size = Size::default();
                        let result = self.install(*installed);
                        let _ = reply.send(result);
                    }
                    Work::Repair => self.repair(),
                }
                next = if size.is_full() { None } else { work.try_recv().ok() };
            }
            self.carry_out(group);
        }
        self.store.abandon();
        None
    }

    fn carry_out(&mut self, group: Vec<Job>) {
        if group.is_empty() {
            return;
        }
        let guard = self.guard.load_full();
        let wanted_bytes: u64 = group.iter().map(|job| Size::of(&job.command).bytes as u64).sum();
        let room = self.disk.room(wanted_bytes);
        let mut staging = Staging::new(self.counters, room);
        let mut staged = Vec::new();
        let mut scans = Vec::new();
        for job in group {
            match guard.admit(&job.context) {
                Err(refusal) => self.finish(job.ticket, Content::Refused(refusal)),
                Ok(admitted) => match job.command {
                    Command::One(operation) => {
                        let key = operation.key().to_owned();
                        let outcome = self.stage(&mut staging, admitted, operation);
                        staged.push((job.ticket, Outcomes::One(key, outcome)));
                    }
                    Command::Batch(operations) => {
                        let mut budget = ReplyBudget::default();
                        let mut stage = |it| self.stage(&mut staging, admitted, it);
                        let outcomes = operations
                            .into_iter()
                            .map(|operation| budget.carry_out(operation, &mut stage))
                            .collect();
                        staged.push((job.ticket, Outcomes::Batch(outcomes)));
                    }
                    command => scans.push((job.ticket, admitted, command)),
                },
            }
        }
        let committed = self.commit(staging);
        for (ticket, outcomes) in staged {
            let content = match &committed {
                Ok(()) => outcomes.into_content(),
                Err(error) => Content::Refused(outcome_unknown(error)),
            };
            self.finish(ticket, content);
        }
        for (ticket, admitted, command) in scans {
            let content = self.scan(admitted, &command);
            self.finish(ticket, content);
        }
        self.wake.raise();
    }

    fn stage(
        &mut self,
        staging: &mut Staging,
        admitted: Admitted<'_>,
        operation: Operation<'_>,
    ) -> Outcome {
        self.repair();
        staging.carry_out(&self.store, admitted, operation)
    }

    fn commit(&mut self, staging: Staging) -> Result<(), StoreError> {
        if staging.is_empty() {
            return Ok(());
        }
        if self.has_failed {
            return Err(StoreError::OutOfOrder);
        }
        self.repair();
        let (batch, counters) = staging.into_batch();
        match self.store.commit(batch, counters) {
            Ok(()) => {
                self.counters = counters;
                self.publish_counters();
                Ok(())
            }
            Err(error) => {
                error!("a group of writes could not be made durable: {error}; the node ends");
                self.has_failed = true;
                Err(error)
            }
        }
    }

    /// Reads for a scan. It comes after the group's commit, so all that it finds is durable.
    fn scan(&mut self, admitted: Admitted<'_>, command: &Command<'_>) -> Content {
        self.repair();
        let page = match command {
            Command::Scan(scan) => reader::page(&self.store, admitted, scan),
            _ => reader::all(&self.store, admitted),
        };
        page.map_or_else(Content::Refused, Content::Page)
    }

    fn install(&mut self, installed: Installed) -> Result<(), StoreError> {
        let epoch = installed.layout.epoch;
        if let Err(error) = self.store.put_layout(&installed_record::encode(&installed)) {
            error!("the layout of epoch {epoch} could not be stored: {error}; the node ends");
            self.has_failed = true;
            return Err(error);
        }
        let summary = installed.summary();
        self.guard.store(Arc::new(Guard::new(self.uuid, Some(installed))));
        info!(
            "installed the layout of epoch {epoch}: this node owns {} partitions",
            summary.partitions_owned
        );
        Ok(())
    }

    /// Starts the engine anew where a read has met damage, unless that failed a moment ago.
    fn repair(&mut self) {
        let failed_just_now = self.repair_failed_at.is_some_and(|at| at.elapsed() < REPAIR_SPACING);
        if !self.store.has_stopped() || self.has_failed || failed_just_now {
            return;
        }
        warn!("a damaged page was met: starting the storage engine anew");
        match self.store.reopen() {
            Ok(counters) => {
                self.repair_failed_at = None;
                self.counters = counters;
                self.publish_counters();
            }
            Err(error) => {
                self.repair_failed_at = Some(Instant::now());
                error!("the storage engine does not start: {error}");
            }
        }
    }

    fn publish_counters(&self) {
        self.gauges.keys.store(self.counters.keys, Ordering::Relaxed);
        self.gauges.bytes.store(self.counters.bytes, Ordering::Relaxed);
    }

    fn finish(&self, ticket: u64, content: Content) {
        // The serving loop outlives the writer's work; where it is gone, nobody waits for this.
        let _ = self.finished.send(Finished { ticket, content });
    }
}

/// The outcomes of one job.
enum Outcomes {
    One(String, Outcome),
    Batch(Vec<Outcome>),
}

impl Outcomes {
    fn into_content(self) -> Content {
        match self {
            Self::One(key, Ok(done)) => Content::One { key, done },
            Self::One(_, Err(refusal)) => Content::Refused(refusal),
            Self::Batch(outcomes) => Content::Batch(outcomes),
        }
    }
}

/// How much work a command is.
#[derive(Clone, Copy, Default)]
pub struct Size {
    /// Its operations.
    pub operations: usize,
    /// The bytes of its keys and values.
    pub bytes: usize,
}

impl Size {
    /// The size of `command`.
    #[must_use]
    pub fn of(command: &Command<'_>) -> Self {
        let mut size = Self::default();
        size.add(command);
        size
    }

    fn add(&mut self, command: &Command<'_>) {
        let operations = match command {
            Command::One(operation) => std::slice::from_ref(operation),
            Command::Batch(operations) => operations,
            _ => &[],
        };
        self.operations += operations.len().max(1);
        for operation in operations {
            let value_bytes = match operation {
                Operation::Put { value, .. } => value.len(),
                _ => 0,
            };
            self.bytes += operation.key().len() + value_bytes;
        }
    }

    fn is_full(self) -> bool {
        self.operations >= GROUP_OPERATIONS_MAX || self.bytes >= GROUP_BYTES_MAX
    }
}
