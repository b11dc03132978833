//! A writer that the thread which hands work over has for a moment itself, and when it has not.

use std::sync::Arc;

use arc_swap::ArcSwap;
use kv_core::guard::{Context, Guard};
use kv_core::operation::{Condition, Done};
use kv_core::version::Version;
use kv_protocol::reply::Content;
use kv_protocol::request::Command;
use kv_storage::disk::Disk;
use kv_storage::{Batch, Before, Counters, Fsync, StorageKey, Store};
use kv_system::wake::Wake;
use kv_transport::server::bounds::Bounds;
use kvnode::finished::Finished;
use kvnode::write_set::KnownValue;
use kvnode::writer::{Job, Published, Work, WorkSender, Writer, WriterThread};

use crate::support::harness::{content_of, delete, get, put};
use crate::support::{Cluster, uuid};

const FIRST: Version = Version { epoch: 0, sequence: 1 };
const KNOWN: Option<KnownValue> = Some(KnownValue { version: FIRST, bytes: 3 });

/// The writer of a node that has the value `old` under `k`, whose thread does not run yet.
struct Idle {
    directory: tempfile::TempDir,
    sender: WorkSender,
    thread: WriterThread,
    finished: flume::Receiver<Finished>,
    guard: Arc<ArcSwap<Guard>>,
    disk: Disk,
}

impl Idle {
    fn new(fsync: Fsync) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path(), 0);
        let store = Store::open_on(&disk, &directory.path().join("store"), fsync).unwrap();
        let mut batch = Batch::default();
        batch.put(StorageKey::new("k"), FIRST, Some(b"old"), Before::Unknown);
        let mut counters = Counters { sequence: FIRST.sequence, ..Counters::default() };
        counters.add(1, Some(3));
        store.commit(batch, counters).unwrap();
        let installed = Cluster::new(1, 1, |_| 0).install(0, None);
        let guard = Arc::new(ArcSwap::from_pointee(Guard::new(uuid(0), Some(installed))));
        let (finished_sender, finished) = flume::unbounded();
        let writer = Writer::new(
            uuid(0),
            store,
            Arc::clone(&guard),
            Arc::new(Published::new(Bounds::within(u64::MAX))),
            disk.clone(),
            finished_sender,
            Wake::new().unwrap(),
        );
        let (sender, thread) = writer.lend();
        Self { directory, sender, thread, finished, guard, disk }
    }

    fn job(&self, request_number: u64, command: Command<'static>) -> Job {
        let known = match &command {
            Command::Batch(operations) => vec![KNOWN; operations.len()],
            _ => vec![KNOWN],
        };
        let guard = self.guard.load_full();
        Job { request_number, context: Context::default(), command, known, guard }
    }

    fn put(&self, request_number: u64, value: &'static str) -> Job {
        self.job(request_number, Command::One(put("k", value, Condition::None)))
    }

    /// Lets the thread do all that it was handed over, and end.
    fn run(self) -> (flume::Receiver<Finished>, Store, tempfile::TempDir) {
        drop(self.sender);
        self.thread.run().unwrap();
        let store = Store::open(&self.directory.path().join("store"), Fsync::Always).unwrap();
        (self.finished, store, self.directory)
    }
}

fn version_of(finished: Finished) -> Version {
    match content_of(finished) {
        Content::One { done: Done::Stored { version }, .. } => version,
        other => panic!("{other:?}"),
    }
}

fn value(store: &Store) -> Vec<u8> {
    store.get(&StorageKey::new("k")).unwrap().unwrap().value.unwrap()
}

#[test]
fn few_writes_are_carried_out_by_the_thread_that_has_them_and_are_kept() {
    let idle = Idle::new(Fsync::EverySecond);
    let jobs = vec![idle.put(1, "1"), idle.put(2, "2")];
    assert!(idle.sender.carry_out_here(jobs).is_ok());
    // They are answered before the writer's thread has ever run.
    let finished: Vec<_> = idle.finished.drain().collect();
    assert_eq!(finished.iter().map(|it| it.request_number).collect::<Vec<_>>(), [1, 2]);
    let versions: Vec<_> = finished.into_iter().map(version_of).collect();
    assert!(FIRST < versions[0] && versions[0] < versions[1], "{versions:?}");
    let (finished, store, _directory) = idle.run();
    assert!(finished.is_empty());
    assert_eq!(value(&store), b"2");
    assert_eq!((store.counters().keys, store.counters().bytes), (1, 2));
}

#[test]
fn nothing_overtakes_what_was_handed_over_before() {
    let idle = Idle::new(Fsync::EverySecond);
    idle.sender.send(Work::Request(idle.put(1, "before"))).unwrap();
    let refused = idle.sender.carry_out_here(vec![idle.put(2, "after")]);
    assert!(idle.finished.is_empty(), "it has overtaken the other one");
    for job in refused.unwrap_err() {
        idle.sender.send(Work::Request(job)).unwrap();
    }
    let (finished, store, _directory) = idle.run();
    let numbers: Vec<_> = finished.drain().map(|it| it.request_number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(value(&store), b"after");
}

#[test]
fn what_may_take_long_is_given_back_and_nothing_of_it_is_done() {
    let idle = Idle::new(Fsync::EverySecond);
    let is_given_back = |jobs: Vec<Job>| {
        let count = jobs.len();
        let refused = idle.sender.carry_out_here(jobs);
        assert!(idle.finished.is_empty());
        assert_eq!(refused.map_err(|it| it.len()), Err(count));
    };
    let writes = |count| Command::Batch(vec![put("k", "v", Condition::None); count]);
    is_given_back(vec![Job { known: vec![None], ..idle.put(1, "not known") }]);
    is_given_back(vec![Job { known: Vec::new(), ..idle.job(1, Command::GetAll) }]);
    is_given_back(vec![Job { known: vec![None], ..idle.job(1, Command::One(get("k"))) }]);
    is_given_back(vec![idle.put(1, "v"), Job { known: vec![None], ..idle.put(2, "not known") }]);
    is_given_back(vec![idle.job(1, writes(65))]);
    is_given_back(vec![idle.job(1, writes(64)), idle.put(2, "one too many")]);
    let long = Box::leak("v".repeat(64 << 10).into_boxed_str());
    is_given_back(vec![idle.put(1, long)]);
    let installed = Cluster::new(1, 1, |_| 0).install(0, None);
    let other = Arc::new(Guard::new(uuid(0), Some(installed)));
    is_given_back(vec![Job { guard: other, ..idle.put(1, "known under other rights") }]);
    idle.disk.note(&std::io::ErrorKind::StorageFull.into());
    is_given_back(vec![idle.put(1, "there is no room")]);
    idle.disk.tend();
    let least =
        vec![idle.job(1, writes(63)), idle.job(2, Command::One(delete("k", Condition::None)))];
    assert!(idle.sender.carry_out_here(least).is_ok());
    assert_eq!(idle.finished.drain().count(), 2);
}

#[test]
fn a_node_that_syncs_every_write_lends_nothing() {
    let idle = Idle::new(Fsync::Always);
    assert!(!idle.sender.lends());
    assert!(idle.sender.carry_out_here(vec![idle.put(1, "1")]).is_err());
    assert!(idle.finished.is_empty());
}

#[test]
fn a_log_that_was_removed_is_not_written_to() {
    let idle = Idle::new(Fsync::EverySecond);
    std::fs::remove_dir_all(idle.directory.path().join("store").join("redo")).unwrap();
    // It is noticed as it is written.
    assert!(idle.sender.carry_out_here(vec![idle.put(1, "1")]).is_ok());
    let content = content_of(idle.finished.recv().unwrap());
    assert!(matches!(content, Content::Refused(_)), "{content:?}");
    assert!(
        idle.sender.carry_out_here(vec![idle.put(2, "2")]).is_err(),
        "there is no place for it"
    );
}
