//! A writer on a real store, as one node has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kv_core::guard::{Context, Guard, Installed};
use kv_core::operation::{Condition, Done, Operation, Outcome, Record};
use kv_core::refusal::Refusal;
use kv_core::version::Version;
use kv_protocol::reply::Content;
use kv_protocol::request::Command;
use kv_storage::disk::Disk;
use kv_storage::{Counters, Fsync, Store};
use kv_system::wake::Wake;
use kv_transport::server::bounds::Bounds;
use kvnode::finished::{Completed, Finished};
use kvnode::installed_record;
use kvnode::writer::{Job, NotInstalled, Published, Work, WorkSender, Writer};
use tokio::sync::oneshot;

use super::{Cluster, sums, uuid};

const WAIT_MAX: Duration = Duration::from_secs(20);

/// What the writer answers.
pub(crate) fn content_of(finished: Finished) -> Content {
    match finished.result {
        Completed::Content(content) => content,
        Completed::Records(_) => panic!("the writer answers requests"),
    }
}

/// A node's writer.
pub(crate) struct Harness {
    node: u32,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) work: Option<WorkSender>,
    pub(crate) finished: flume::Receiver<Finished>,
    pub(crate) published: Arc<Published>,
    guard: Arc<ArcSwap<Guard>>,
    thread: Option<JoinHandle<Option<Counters>>>,
}

impl Harness {
    /// The writer of a node that has this installed unless its directory says otherwise.
    pub(crate) fn start(
        node: u32,
        directory: tempfile::TempDir,
        installed: Option<Installed>,
        disk_reserve_bytes: u64,
    ) -> Self {
        let store = Store::open(&directory.path().join("store"), Fsync::Always).unwrap();
        let stored = store.layout().unwrap();
        let stored = stored.map(|it| installed_record::decode(&it, uuid(node)).unwrap());
        let guard = Guard::new(uuid(node), stored.or(installed));
        let guard = Arc::new(ArcSwap::from_pointee(guard));
        let published = Arc::new(Published::new(Bounds::within(u64::MAX)));
        let disk = Disk::new(directory.path(), disk_reserve_bytes);
        let (finished_sender, finished) = flume::unbounded();
        let wake = Wake::new().unwrap();
        let (writer_guard, writer_published) = (Arc::clone(&guard), Arc::clone(&published));
        let writer = Writer::new(
            uuid(node),
            store,
            writer_guard,
            writer_published,
            disk,
            finished_sender,
            wake,
        );
        let (work, writer) = writer.lend();
        let thread = Some(std::thread::spawn(move || writer.run()));
        Self { node, directory, work: Some(work), finished, published, guard, thread }
    }

    /// Node 0, which owns everything.
    pub(crate) fn new() -> Self {
        let installed = Cluster::new(1, 1, |_| 0).install(0, None);
        Self::start(0, tempfile::tempdir().unwrap(), Some(installed), 0)
    }

    pub(crate) fn send(&self, request_number: u64, command: Command<'static>) {
        self.send_under(None, request_number, command);
    }

    fn send_under(&self, epoch: Option<u64>, request_number: u64, command: Command<'static>) {
        let context = Context { epoch, ..Context::default() };
        let guard = self.guard.load_full();
        let job = Job { request_number, context, command, known: Vec::new(), guard };
        self.work.as_ref().unwrap().send(Work::Request(job)).unwrap();
    }

    pub(crate) fn call(&self, command: Command<'static>) -> Content {
        self.call_under(None, command)
    }

    pub(crate) fn call_under(
        &self,
        epoch: impl Into<Option<u64>>,
        command: Command<'static>,
    ) -> Content {
        self.send_under(epoch.into(), 7, command);
        let finished = self.finished.recv().unwrap();
        assert_eq!(finished.request_number, 7);
        content_of(finished)
    }

    pub(crate) fn one(&self, operation: Operation<'static>) -> Outcome {
        self.one_under(None, operation)
    }

    pub(crate) fn one_under(
        &self,
        epoch: impl Into<Option<u64>>,
        operation: Operation<'static>,
    ) -> Outcome {
        match self.call_under(epoch, Command::One(operation)) {
            Content::One { done, .. } => Ok(done),
            Content::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn put(
        &self,
        key: &str,
        value: &'static str,
        condition: Condition,
    ) -> Result<Version, Refusal> {
        match self.one(put(key, value, condition))? {
            Done::Stored { version } => Ok(version),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Record> {
        match self.one(get(key)).unwrap() {
            Done::Read(record) => record,
            other => panic!("{other:?}"),
        }
    }

    /// Gives the writer a layout to install, without waiting for it.
    pub(crate) fn send_install(
        &self,
        cluster: &Cluster,
    ) -> oneshot::Receiver<Result<(), NotInstalled>> {
        let installed = cluster.install(self.node, self.guard.load().installed());
        let (reply, result) = oneshot::channel();
        let install = Work::Install(Box::new(installed), reply);
        self.work.as_ref().unwrap().send(install).unwrap();
        result
    }

    pub(crate) fn install(&self, cluster: &Cluster) {
        self.send_install(cluster).blocking_recv().unwrap().unwrap();
    }

    /// The epoch that the node's status shows.
    pub(crate) fn epoch(&self) -> u64 {
        self.published.acknowledged.get()
    }

    pub(crate) fn keys(&self) -> u64 {
        self.published.statistics.keys.load(Ordering::Relaxed)
    }

    /// Has other nodes confirm all that they are to be asked for.
    pub(crate) fn confirm(&self) {
        let questions = Arc::clone(&self.published.questions.borrow());
        let (epoch, partitions) = (questions.epoch, questions.partitions.clone());
        self.work.as_ref().unwrap().send(Work::Confirmed { epoch, partitions }).unwrap();
        // The writer answers this request after it has taken the confirmation in.
        self.call(Command::Batch(Vec::new()));
    }

    /// The partitions of which others are to be asked whether they hold them.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.published.questions.borrow().partitions.len()
    }

    /// How many partitions are kept that were never handed over.
    pub(crate) fn kept(&self) -> usize {
        self.published.kept.load().len()
    }

    /// Has others confirm what they are asked for, and waits until nothing is left to be cleared.
    pub(crate) fn wait_until_clear(&self) {
        let started = Instant::now();
        self.confirm();
        while self.published.statistics.partitions_to_clear.load(Ordering::Relaxed) > 0 {
            assert!(started.elapsed() < WAIT_MAX, "the clearing does not end");
            std::thread::yield_now();
        }
    }

    /// Stops the writer and starts another on the same directory, for a node that has this installed
    /// unless its directory says otherwise.
    pub(crate) fn restart_with(
        mut self,
        node: u32,
        installed: Option<Installed>,
        disk_reserve_bytes: u64,
    ) -> Self {
        self.stop();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Self::start(node, directory, installed, disk_reserve_bytes)
    }

    /// Stops the writer and starts another on the same directory.
    pub(crate) fn restart(self) -> Self {
        let (node, guard) = (self.node, self.guard.load_full());
        let installed = guard
            .installed()
            .map(|it| installed_record::decode(&installed_record::encode(it), uuid(node)).unwrap());
        self.restart_with(node, installed, 0)
    }

    /// Stops the writer. Returns the counters of its store, whose sums are what its records come to.
    pub(crate) fn stop(&mut self) -> Option<Counters> {
        self.work = None;
        let thread = self.thread.take()?;
        let counters = thread.join().unwrap().unwrap();
        sums::check(&self.directory.path().join("store"));
        Some(counters)
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn get(key: &str) -> Operation<'static> {
    Operation::Get { key: key.to_owned().into() }
}

pub(crate) fn put(key: &str, value: &'static str, condition: Condition) -> Operation<'static> {
    Operation::Put { key: key.to_owned().into(), value: value.as_bytes().into(), condition }
}

pub(crate) fn delete(key: &str, condition: Condition) -> Operation<'static> {
    Operation::Delete { key: key.to_owned().into(), condition }
}
