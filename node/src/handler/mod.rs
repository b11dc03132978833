//! From a request to its reply: answered at once, or sent through the writer.
//!
//! The handler lives on the serving loop's thread and knows no socket. Reads are answered at once where memory
//! has the records: nothing is shown that is not as durable as it will be. What it does not have is read by
//! threads for that, so that no other request waits for the disk. Reads of what is being written at that moment
//! follow the write through the writer, so that a client that sends
//! a read after a write, without waiting for its answer, is shown what was written. A batch that comes as
//! a stream asks for no such order, and its reads do not wait for the writer.
//!
//! - here: taking requests, and answering reads at once; `status`: what a node says of itself;
//! - `reads`: the requests that readers have; `pending`: those that the writer has; `held`: those that it gets, unless
//!   this thread carries them out itself.

mod held;
mod pending;
mod reads;
mod status;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use kv_core::guard::{Admitted, Guard};
use kv_core::layout::Side;
use kv_core::operation::{Done, Operation, Outcome};
use kv_core::refusal::Refusal;
use kv_protocol::frame::Payload;
use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::{Command, Digest, Request, RequestId, Style};
use kv_storage::disk::Disk;
use kv_storage::{StorageKey, Store};
use kv_transport::server::limits::SHORT_REPLY_BYTES_MAX;
use kv_transport::server::service::{Disposition, ReplyRoom, refuse};
use nohash_hasher::IntMap;

use self::held::HeldJobs;
pub use self::pending::JOBS_MAX;
use self::pending::Pending;
use self::reads::{KeysBeingRead, Reading, Records};
use crate::cache::RecordCache;
use crate::hints::Hints;
use crate::identity::Identity;
use crate::memory::MemoryBudget;
use crate::read_pool::{Found, ReadPool};
use crate::reader::{self, ReplyBudget};
use crate::tenure::Tenure;
use crate::write_set;
use crate::writer::{Published, Work, WorkSender};

/// What the handler needs of the rest of the node.
pub struct Resources {
    /// Who this node is.
    pub identity: Identity,
    /// The shard.
    pub store: Store,
    /// The node's rights.
    pub guard: Arc<ArcSwap<Guard>>,
    /// What the writer tells.
    pub published: Arc<Published>,
    /// The disk that the shard is on.
    pub disk: Disk,
    /// The writer's queue.
    pub work: WorkSender,
    /// Whether this process may still speak for its node.
    pub tenure: Arc<Tenure>,
    /// What requests tell about the layout in Consul.
    pub hints: Arc<Hints>,
    /// Why the layout that Consul has is not installed; `None` where it is.
    pub not_followed: Arc<ArcSwapOption<String>>,
    /// Why the last question in [`confirmation`](crate::confirmation) was in vain.
    pub in_vain: Arc<ArcSwapOption<String>>,
    /// The longest value that is accepted, in bytes.
    pub value_bytes_max: usize,
    /// The memory that all of this may take.
    pub memory: MemoryBudget,
}

/// Turns requests into replies. `P` is how the transport finds the peer again.
pub struct Handler<P> {
    resources: Resources,
    started_at: Instant,
    pool: ReadPool,
    reading: IntMap<u64, Reading<P>>,
    being_read: KeysBeingRead,
    pending: IntMap<u64, Pending<P>>,
    /// The bytes of keys and values of the requests that readers or the writer have.
    pending_bytes: usize,
    request_number_next: u64,
    held: HeldJobs,
    /// How many pending jobs write to a key with this hash.
    writing: IntMap<u64, u32>,
    cache: RecordCache,
    /// When the writer finished something last, and when a reader did.
    progress_at: Instant,
    read_at: Instant,
}

impl<P> Handler<P> {
    /// A handler without pending requests, with these readers.
    #[must_use]
    pub fn new(resources: Resources, pool: ReadPool) -> Self {
        let cache_bytes = resources.memory.record_cache_bytes(resources.store.index_bytes());
        let cache = RecordCache::new(resources.guard.load_full(), cache_bytes);
        Self {
            cache,
            resources,
            started_at: Instant::now(),
            pool,
            reading: IntMap::default(),
            being_read: KeysBeingRead::default(),
            pending: IntMap::default(),
            pending_bytes: 0,
            request_number_next: 0,
            held: HeldJobs::default(),
            writing: IntMap::default(),
            progress_at: Instant::now(),
            read_at: Instant::now(),
        }
    }

    /// Takes a request from `peer`. While there is no `room` for long replies, reads that have one are
    /// refused, those of many records before any work is done.
    pub fn take<B: Deref<Target = [u8]>>(
        &mut self,
        peer: P,
        payload: &Payload<B>,
        room: ReplyRoom,
    ) -> Disposition<P> {
        self.note_request();
        let body = payload.body.as_deref();
        let request = Request::decode(&payload.header, body, self.resources.value_bytes_max);
        match request {
            Ok(request) if room == ReplyRoom::Short && reads_much(&request.command) => {
                Disposition::Answered(peer, refuse(request.id, self.replies_unread()))
            }
            Ok(request) => {
                let guard = self.resources.guard.load_full();
                self.carry_out(peer, request, room, (guard, Records::default()))
            }
            Err(error) => Disposition::Answered(peer, refuse(error.id, error.refusal)),
        }
    }

    /// The id of a request that will not be carried out.
    #[must_use]
    pub fn id_of<B: Deref<Target = [u8]>>(&self, payload: &Payload<B>) -> Option<RequestId> {
        let body = payload.body.as_deref();
        match Request::decode(&payload.header, body, self.resources.value_bytes_max) {
            Ok(request) => request.id,
            Err(error) => error.id,
        }
    }

    /// Has a request answered, for which readers have found `records` under this guard.
    fn carry_out(
        &mut self,
        peer: P,
        request: Request<'_>,
        room: ReplyRoom,
        (mut guard, mut records): (Arc<Guard>, Records),
    ) -> Disposition<P> {
        let tenure = &self.resources.tenure;
        let meant = tenure.check().and_then(|()| tenure.check_meant(&request.context));
        if let Err(refusal) = meant
            && !matches!(request.command, Command::Status)
        {
            return answered(peer, request.id, refusal);
        }
        loop {
            let hints = &self.resources.hints;
            if let Some(epoch) = request.context.epoch.filter(|_| guard.is_behind(&request.context))
            {
                // The node is not made to look for an epoch that there cannot be.
                if guard.is_within_reach(epoch) {
                    hints.want(epoch);
                }
            } else if guard.is_ahead(&request.context) {
                hints.doubt();
            }
            self.cache.follow(&guard);
            let answer = match (&request.command, guard.admit(&request.context)) {
                (Command::Status, _) => Answer::Now(Content::Status(Box::new(self.status(&guard)))),
                (_, Err(refusal)) => Answer::Now(Content::Refused(refusal)),
                (command, Ok(admitted)) => {
                    self.answer_at_once(admitted, command, request.style, &records)
                }
            };
            let content = match answer {
                Answer::Now(content) => content,
                Answer::ByWriter => return self.queue(peer, request),
                Answer::ByReader => return self.read_many(peer, request, room, guard),
                Answer::AfterReads(keys) => {
                    return self.read_keys(peer, request, room, (guard, records), keys);
                }
            };
            // What was read may have been removed meanwhile, because another layout was installed:
            // then its absence says nothing.
            let current = self.resources.guard.load_full();
            if Arc::ptr_eq(&guard, &current) {
                // A reply at once comes of reads alone, which can be done again.
                let frames = if room == ReplyRoom::Short && is_long(&content) {
                    refuse(request.id, self.replies_unread())
                } else {
                    Reply { id: request.id, content }.encode(request.style)
                };
                return Disposition::Answered(peer, frames);
            }
            (guard, records) = (current, Records::default());
        }
    }

    /// Answers a read of durable records that memory has, or that readers have found.
    fn answer_at_once(
        &mut self,
        admitted: Admitted<'_>,
        command: &Command<'_>,
        style: Style,
        records: &Records,
    ) -> Answer {
        let is_ready = |it: &Operation<'_>| {
            let key = it.key();
            !it.is_write() && (style.streams || records.has(key) || !self.is_being_written(key))
        };
        let mut missing = Vec::new();
        let content = match command {
            Command::One(operation) if is_ready(operation) => {
                match self.read(admitted, operation.key(), records, &mut missing) {
                    Ok(done) => Content::One { key: operation.key().to_owned(), done },
                    Err(refusal) => Content::Refused(refusal),
                }
            }
            Command::Batch(operations) if operations.iter().all(is_ready) => {
                let mut budget = ReplyBudget::default();
                let read = |it: &Operation<'_>| {
                    budget.carry_out(it.borrowed(), |it| {
                        self.read(admitted, it.key(), records, &mut missing)
                    })
                };
                Content::Batch(operations.iter().map(read).collect())
            }
            Command::Holds { .. } => {
                let store = &self.resources.store;
                reader::answer(store, admitted, command).unwrap_or_else(Content::Refused)
            }
            command if self.can_be_read(command) => return Answer::ByReader,
            _ => return Answer::ByWriter,
        };
        if self.must_be_repaired() {
            return Answer::ByWriter;
        }
        if missing.is_empty() { Answer::Now(content) } else { Answer::AfterReads(missing) }
    }

    fn replies_unread(&self) -> Refusal {
        self.resources.published.replies.refusal()
    }

    /// Whether the engine has stopped. The writer starts it anew then, and what it finds is the better answer.
    fn must_be_repaired(&self) -> bool {
        let has_stopped = self.resources.store.has_stopped();
        if has_stopped {
            let _ = self.resources.work.send(Work::Repair);
        }
        has_stopped
    }

    /// Reads a key. Where a reader has to, it is one of the `missing` ones, and the outcome says nothing.
    fn read(
        &mut self,
        admitted: Admitted<'_>,
        key: &str,
        records: &Records,
        missing: &mut Vec<StorageKey>,
    ) -> Outcome {
        let mut refused = None;
        let outcome = write_set::read(admitted, key, || {
            if let Some(record) = self.cache.get(key) {
                return Ok(Some(record));
            }
            let storage_key = StorageKey::new(key);
            match records.get(&storage_key) {
                Some(Found::Record(record)) => return Ok(record.clone()),
                Some(Found::Refused(refusal)) => {
                    refused = Some(refusal.clone());
                    return Ok(None);
                }
                None => {}
            }
            let Some(record) = self.resources.store.get_from_memory(&storage_key) else {
                missing.push(storage_key);
                return Ok(None);
            };
            // A key that is being written changes without the cache's being told.
            if let Ok(Some(record)) = &record
                && !self.is_being_written(key)
            {
                self.cache.remember(key, record);
            }
            record
        });
        refused.map_or(outcome, Err)
    }

    /// Whether `command` reads many keys of which none is being written.
    fn can_be_read(&self, command: &Command<'_>) -> bool {
        match command {
            // Partitions that move away are frozen, and were durable before the layout was installed.
            Command::Fetch(_) | Command::Digest(Digest { side: Side::Source, .. }) => true,
            Command::Scan(_) | Command::GetAll | Command::Count(_) | Command::Stored { .. } => {
                self.writing.is_empty()
            }
            _ => false,
        }
    }
}

/// How a request is answered.
enum Answer {
    /// By this.
    Now(Content),
    /// Once readers have read these keys.
    AfterReads(Vec<StorageKey>),
    /// By a reader.
    ByReader,
    /// By the writer.
    ByWriter,
}

fn answered<P>(peer: P, id: Option<RequestId>, refusal: Refusal) -> Disposition<P> {
    Disposition::Answered(peer, refuse(id, refusal))
}

/// Whether `command` reads many records, so that its reply may be long.
fn reads_much(command: &Command<'_>) -> bool {
    match command {
        Command::Batch(operations) => operations.iter().any(|it| !it.is_write()),
        Command::GetAll | Command::Scan(_) | Command::Fetch(_) | Command::Stored { .. } => true,
        _ => false,
    }
}

/// Whether a reply is longer than those that there is always room for.
fn is_long(content: &Content) -> bool {
    matches!(content, Content::One { done: Done::Read(Some(record)), .. }
        if record.value.len() > SHORT_REPLY_BYTES_MAX)
}
