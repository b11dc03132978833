//! From a request to its reply: answered at once, or sent through the writer.
//!
//! The handler lives on the serving loop's thread and knows no socket. Reads are answered at once from
//! the store, which shows nothing that is not as durable as it will be, unless they read something that
//! is being written at that moment: then they follow the write through the writer, so that a client that sends
//! a read after a write, without waiting for its answer, is shown what was written. A batch that comes as
//! a stream asks for no such order, and its reads wait for nothing.
//!
//! - here: taking requests, and answering reads at once; `status`: what a node says of itself;
//! - `pending`: the requests that the writer has.

mod pending;
mod status;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use kv_core::guard::{Admitted, Guard};
use kv_core::layout::Side;
use kv_core::operation::{Done, Operation, Outcome};
use kv_protocol::frame::Payload;
use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::{Command, Digest, Request, RequestId, Style};
use kv_storage::disk::Disk;
use kv_storage::{StorageKey, Store};
use kv_transport::server::limits::SHORT_REPLY_BYTES_MAX;
use kv_transport::server::service::{Disposition, ReplyRoom, refuse};
use nohash_hasher::IntMap;

pub use self::pending::JOBS_MAX;
use self::pending::Pending;
use crate::cache::RecordCache;
use crate::hints::Hints;
use crate::identity::Identity;
use crate::reader::{self, ReplyBudget};
use crate::refusals::replies_unread;
use crate::tenure::Tenure;
use crate::write_set;
use crate::writer::{Published, Work};

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
    pub work: flume::Sender<Work>,
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
}

/// Turns requests into replies. `P` is how the transport finds the peer again.
pub struct Handler<P> {
    resources: Resources,
    started_at: Instant,
    pending: IntMap<u64, Pending<P>>,
    pending_bytes: usize,
    request_number_next: u64,
    /// How many pending jobs write to a key with this hash.
    writing: IntMap<u64, u32>,
    cache: RecordCache,
    progress_at: Instant,
}

impl<P> Handler<P> {
    /// A handler without pending requests.
    #[must_use]
    pub fn new(resources: Resources) -> Self {
        let cache = RecordCache::new(resources.guard.load_full());
        Self {
            cache,
            resources,
            started_at: Instant::now(),
            pending: IntMap::default(),
            pending_bytes: 0,
            request_number_next: 0,
            writing: IntMap::default(),
            progress_at: Instant::now(),
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
        let body = payload.body.as_deref();
        let request = Request::decode(&payload.header, body, self.resources.value_bytes_max);
        match request {
            Ok(request) if room == ReplyRoom::Short && reads_much(&request.command) => {
                Disposition::Answered(peer, refuse(request.id, replies_unread()))
            }
            Ok(request) => self.carry_out(peer, request, room),
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

    fn carry_out(&mut self, peer: P, request: Request<'_>, room: ReplyRoom) -> Disposition<P> {
        let tenure = &self.resources.tenure;
        let meant = tenure.check().and_then(|()| tenure.check_meant(&request.context));
        if let Err(refusal) = meant
            && !matches!(request.command, Command::Status)
        {
            return Disposition::Answered(peer, refuse(request.id, refusal));
        }
        loop {
            let guard = self.resources.guard.load_full();
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
            let content = match (&request.command, guard.admit(&request.context)) {
                (Command::Status, _) => Some(Content::Status(Box::new(self.status(&guard)))),
                (_, Err(refusal)) => Some(Content::Refused(refusal)),
                (command, Ok(admitted)) => self.answer_at_once(admitted, command, request.style),
            };
            let Some(content) = content else { return self.queue(peer, request) };
            // What was read may have been removed meanwhile, because another layout was installed:
            // then its absence says nothing.
            if Arc::ptr_eq(&guard, &self.resources.guard.load()) {
                // A reply at once comes of reads alone, which can be done again.
                let frames = if room == ReplyRoom::Short && is_long(&content) {
                    refuse(request.id, replies_unread())
                } else {
                    Reply { id: request.id, content }.encode(request.style)
                };
                return Disposition::Answered(peer, frames);
            }
        }
    }

    /// Answers a read of durable records; `None` where the writer has to be asked.
    fn answer_at_once(
        &mut self,
        admitted: Admitted<'_>,
        command: &Command<'_>,
        style: Style,
    ) -> Option<Content> {
        let is_ready = |it: &Operation<'_>| {
            !it.is_write() && (style.streams || !self.is_being_written(it.key()))
        };
        let content = match command {
            Command::One(operation) if is_ready(operation) => {
                match self.read(admitted, operation.key()) {
                    Ok(done) => Content::One { key: operation.key().to_owned(), done },
                    Err(refusal) => Content::Refused(refusal),
                }
            }
            Command::Batch(operations) if operations.iter().all(is_ready) => {
                let mut budget = ReplyBudget::default();
                let read = |it: &Operation<'_>| {
                    budget.carry_out(it.borrowed(), |it| self.read(admitted, it.key()))
                };
                Content::Batch(operations.iter().map(read).collect())
            }
            command if self.can_be_read(command) => {
                let store = &self.resources.store;
                let content =
                    reader::answer(store, admitted, command).unwrap_or_else(Content::Refused);
                // That it was asked for the last of it, the node has to remember.
                if reader::verified_peer(admitted, command, &content).is_some() {
                    return None;
                }
                content
            }
            _ => return None,
        };
        if self.resources.store.has_stopped() {
            // The writer starts the engine anew, and what it finds then is the better answer.
            let _ = self.resources.work.try_send(Work::Repair);
            return None;
        }
        Some(content)
    }

    fn read(&mut self, admitted: Admitted<'_>, key: &str) -> Outcome {
        write_set::read(admitted, key, || {
            if let Some(record) = self.cache.get(key) {
                return Ok(Some(record));
            }
            let record = self.resources.store.get(&StorageKey::new(key))?;
            // A key that is being written changes without the cache's being told.
            if let Some(record) = &record
                && !self.is_being_written(key)
            {
                self.cache.remember(key, record);
            }
            Ok(record)
        })
    }

    /// Whether `command` reads many keys of which none is being written.
    fn can_be_read(&self, command: &Command<'_>) -> bool {
        match command {
            // Partitions that move away are frozen, and were durable before the layout was installed.
            Command::Fetch(_) | Command::Digest(Digest { side: Side::Source, .. }) => true,
            // This one reads no keys.
            Command::Holds { .. } => true,
            Command::Scan(_) | Command::GetAll | Command::Count(_) | Command::Stored { .. } => {
                self.writing.is_empty()
            }
            _ => false,
        }
    }
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
