//! Threads that read from the disk, so that a read that has to wait for it holds up no other one.
//!
//! The serving loop hands them the keys that it does not find in memory, some at a time, and commands that read
//! many keys. What they find is as new as it was when they got the job, or newer, and never unconfirmed: a
//! store shows nothing else.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use kv_core::guard::{Context, Guard};
use kv_core::limits::{GET_ALL_BYTES_MAX, PAGE_BYTES_TARGET};
use kv_core::refusal::Refusal;
use kv_protocol::reply::Content;
use kv_protocol::request::Command;
use kv_storage::{StorageKey, Store, Stored};
use kv_system::wake::Wake;
use kv_system::{failpoints, priority};

use crate::allocator;
use crate::finished::{Completed, Finished};
use crate::limits::SCANNERS;
use crate::reader;
use crate::refusals::from_store;
use crate::writer::Published;

/// How many keys one thread reads at once: the others can read the rest of a batch at the same time.
pub const KEYS_PER_JOB: usize = 16;
/// How much stack a reader needs, in bytes.
const STACK_BYTES: usize = 512 << 10;

/// Something to read.
pub struct ReadJob {
    /// The serving loop's number for the request that it belongs to.
    pub request_number: u64,
    /// What is read.
    pub wanted: Wanted,
}

/// What is read.
pub enum Wanted {
    /// The records of some keys.
    Records(Vec<StorageKey>),
    /// What a command asks for that reads many keys, where this guard admits it in this context.
    Answer(Arc<Guard>, Context, Command<'static>),
}

/// What was found of a key.
pub enum Found {
    /// Its record, where there is one.
    Record(Option<Stored<Vec<u8>>>),
    /// It could not be read, or there is no room for it among what clients have not read yet.
    Refused(Refusal),
}

/// What was found of some keys of a request.
pub struct FoundRecords {
    /// What was found of each.
    pub records: Vec<(StorageKey, Found)>,
    /// The bytes of the values.
    pub bytes: u64,
}

/// The threads: many that read keys, and a few that read many keys at once, which take longer. They end when
/// this is dropped.
pub struct ReadPool {
    /// `None` once they are to end.
    queues: Option<Queues>,
    threads: Vec<JoinHandle<()>>,
}

/// What is to be read. It is bounded by the requests that the serving loop has pending.
struct Queues {
    records: flume::Sender<ReadJob>,
    answers: flume::Sender<ReadJob>,
}

impl ReadPool {
    /// Starts the threads, with so many `readers`, which read from `store` and hand back what they find by `finished`.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(
        readers: usize,
        store: &Store,
        published: &Arc<Published>,
        finished: &flume::Sender<Finished>,
        wake: &Wake,
    ) -> io::Result<Self> {
        let (records, record_jobs) = flume::unbounded();
        let (answers, answer_jobs) = flume::unbounded();
        let queues = Some(Queues { records, answers });
        let mut pool = Self { queues, threads: Vec::with_capacity(readers + SCANNERS) };
        let queues = std::iter::repeat_n(("reader", record_jobs), readers);
        let queues = queues.chain(std::iter::repeat_n(("scanner", answer_jobs), SCANNERS));
        for (name, jobs) in queues {
            let reader = Reader {
                store: store.reader(),
                published: Arc::clone(published),
                finished: finished.clone(),
                wake: wake.clone(),
            };
            let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK_BYTES);
            pool.threads.push(thread.spawn(move || {
                // What memory has is answered first.
                priority::lower_own();
                allocator::begin_one_of_many();
                while let Ok(job) = jobs.recv() {
                    reader.carry_out(job);
                }
            })?);
        }
        Ok(pool)
    }

    /// Has something read.
    pub fn read(&self, job: ReadJob) {
        let Some(queues) = &self.queues else { return };
        let queue = match job.wanted {
            Wanted::Records(_) => &queues.records,
            Wanted::Answer(..) => &queues.answers,
        };
        // The threads outlive this, unless all of them have panicked: then the request times out.
        let _ = queue.send(job);
    }
}

impl Drop for ReadPool {
    fn drop(&mut self) {
        self.queues = None;
        for thread in self.threads.drain(..) {
            // Its panic has been printed, and no caller is left to tell.
            let _ = thread.join();
        }
    }
}

/// What one thread has.
struct Reader {
    store: Store,
    published: Arc<Published>,
    finished: flume::Sender<Finished>,
    wake: Wake,
}

impl Reader {
    fn carry_out(&self, ReadJob { request_number, wanted }: ReadJob) {
        failpoints::pass("node::reader::before");
        let result = match wanted {
            Wanted::Records(keys) => Completed::Records(self.records(keys)),
            Wanted::Answer(guard, context, command) => {
                Completed::Content(self.answer(&guard, &context, &command))
            }
        };
        // Where the serving loop is gone, no client waits for it.
        let _ = self.finished.send(Finished { request_number, result });
        self.wake.raise();
    }

    fn records(&self, keys: Vec<StorageKey>) -> FoundRecords {
        let mut bytes = 0;
        let read = |key: StorageKey| {
            let found = match self.store.get(&key) {
                Ok(record) => {
                    let value = record.as_ref().and_then(|it| it.value.as_ref());
                    let value_bytes = value.map_or(0, |it| it.len() as u64);
                    if self.published.replies.reserve(value_bytes) {
                        bytes += value_bytes;
                        Found::Record(record)
                    } else {
                        Found::Refused(self.published.replies.refusal())
                    }
                }
                Err(error) => Found::Refused(from_store(&error)),
            };
            (key, found)
        };
        let records = keys.into_iter().map(read).collect();
        FoundRecords { records, bytes }
    }

    fn answer(&self, guard: &Guard, context: &Context, command: &Command<'_>) -> Content {
        let longest = match command {
            Command::GetAll => GET_ALL_BYTES_MAX,
            _ => PAGE_BYTES_TARGET,
        };
        let replies = &self.published.replies;
        // The longest reply of each scanner has room above what may wait.
        if !replies.has_room(0, PAGE_BYTES_TARGET as u64) {
            return Content::Refused(replies.refusal());
        }
        replies.expect(longest as u64);
        let answer = guard.admit(context);
        let answer = answer.and_then(|admitted| reader::answer(&self.store, admitted, command));
        let content = answer.unwrap_or_else(Content::Refused);
        replies.finish(&content);
        replies.release(longest as u64);
        content
    }
}
