//! Requests that the writer has: what they take meanwhile, and which peers wait for them.

use std::time::{Duration, Instant};

use kv_core::partition::key_hash;
use kv_core::refusal::{ErrorCode, Refusal, shutting_down};
use kv_protocol::frame::Payload;
use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::{Command, Request, RequestId, Style};
use kv_storage::StorageKey;
use kv_transport::server::Peer;
use kv_transport::server::limits::PENDING_REQUESTS_MAX;
use kv_transport::server::service::{Disposition, Frame, Frames, ReplyRoom, Service};

use super::{Handler, answered};
use crate::finished::{Completed, Finished};
use crate::write_set::{self, KnownValue};
use crate::writer::{Job, Size};

/// The most requests that wait for readers and the writer.
pub const JOBS_MAX: usize = 4096;
/// A writer that has finished nothing for this long, with work at hand, hangs, and so do readers.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Among so many operations, those that write to the same key are looked for.
const REPEATED_MAX: usize = 64;

const _: () = assert!((PENDING_REQUESTS_MAX as usize) < JOBS_MAX / 2);

/// A request that the writer has.
pub(super) struct Pending<P> {
    peer: P,
    id: Option<RequestId>,
    style: Style,
    bytes: usize,
    written: Vec<Written>,
}

/// A key that a request writes to.
struct Written {
    hash: u64,
    /// The number of the operation among those of its request.
    operation: usize,
    /// The key, where its record is remembered afterwards.
    remembered: Option<StorageKey>,
}

impl<P> Handler<P> {
    /// Takes back what the writer or a reader has finished.
    pub fn finish(&mut self, finished: Finished) -> Option<(P, Frames)> {
        let Finished { request_number, result } = finished;
        // The engine needs more by and by, and the cache of records makes room for it.
        let index_bytes = self.resources.store.index_bytes();
        self.cache.fit(self.resources.memory.record_cache_bytes(index_bytes));
        match result {
            Completed::Records(records) => self.take_records(request_number, records),
            Completed::Content(content) => {
                self.resources.published.replies.take(&content);
                match self.pending.remove(&request_number) {
                    Some(pending) => Some(self.complete(pending, content)),
                    None => self.take_answer(request_number, content),
                }
            }
        }
    }

    /// The reply to a request that the writer has carried out.
    fn complete(&mut self, pending: Pending<P>, content: Content) -> (P, Frames) {
        self.progress_at = Instant::now();
        self.pending_bytes -= pending.bytes;
        for Written { hash, operation, remembered } in pending.written {
            let Some(count) = self.writing.get_mut(&hash) else { continue };
            *count -= 1;
            if *count > 0 {
                continue;
            }
            self.writing.remove(&hash);
            // Of what was refused the node may have a record that is not its own.
            if let Some(key) = remembered
                && is_done(&content, operation)
                && let Some(Ok(Some(record))) = self.resources.store.get_from_memory(&key)
            {
                self.cache.remember(key.text(), &record);
            }
        }
        // What was written by a process that has been replaced counts no more.
        let content = match self.resources.tenure.check() {
            Ok(()) => content,
            Err(refusal) => Content::Refused(refusal),
        };
        let reply = Reply { id: pending.id, content };
        (pending.peer, reply.encode(pending.style))
    }

    /// The bytes of a command's keys and values, where there is room for one more request that waits.
    ///
    /// # Errors
    /// `overloaded`.
    pub(super) fn make_room(&self, command: &Command<'_>) -> Result<usize, Refusal> {
        let bytes = Size::of(command).bytes;
        let waiting = self.pending.len() + self.reading.len();
        // However long it is, a single one has room.
        let bytes_max = self.resources.memory.jobs_bytes().max(bytes);
        if waiting < JOBS_MAX && self.pending_bytes + bytes <= bytes_max {
            return Ok(bytes);
        }
        Err(Refusal::new(
            ErrorCode::Overloaded,
            format!("{waiting} requests are waiting for this node's disk: try again"),
        ))
    }

    pub(super) fn number(&mut self) -> u64 {
        let number = self.request_number_next;
        self.request_number_next += 1;
        number
    }

    pub(super) fn queue(&mut self, peer: P, request: Request<'_>) -> Disposition<P> {
        let bytes = match self.make_room(&request.command) {
            Ok(bytes) => bytes,
            Err(refusal) => return answered(peer, request.id, refusal),
        };
        let guard = self.resources.guard.load_full();
        self.cache.follow(&guard);
        let (written, known) = match self.begin_writing(&request.command) {
            Ok(begun) => begun,
            Err(refusal) => return answered(peer, request.id, refusal),
        };
        let request_number = self.number();
        let command = request.command.into_owned();
        let job = Job { request_number, context: request.context, command, known, guard };
        // Where the writer is gone, so is the node.
        if self.hand_over(job).is_err() {
            return answered(peer, request.id, shutting_down());
        }
        if self.pending.is_empty() {
            self.progress_at = Instant::now();
        }
        self.pending_bytes += bytes;
        let pending = Pending { peer, id: request.id, style: request.style, bytes, written };
        self.pending.insert(request_number, pending);
        Disposition::Pending
    }

    /// Takes note of the keys that a command writes to, and says what is known of the values that its operations
    /// find.
    ///
    /// # Errors
    /// It is a stream of records that cannot be read.
    fn begin_writing(
        &mut self,
        command: &Command<'_>,
    ) -> Result<(Vec<Written>, Vec<Option<KnownValue>>), Refusal> {
        let operations = match command {
            Command::One(operation) => std::slice::from_ref(operation),
            Command::Batch(operations) => operations,
            Command::Copy { records, stream } => {
                let records = write_set::read_stream(*records, stream)?;
                let written = records.iter().map(|record| {
                    let hash = key_hash(record.key);
                    self.begin_writing_to(hash);
                    Written { hash, operation: 0, remembered: None }
                });
                return Ok((written.collect(), Vec::new()));
            }
            _ => &[],
        };
        let mut written = Vec::with_capacity(operations.len());
        let mut known = Vec::with_capacity(operations.len());
        let finds_repeated = operations.len() <= REPEATED_MAX;
        for (number, operation) in operations.iter().enumerate() {
            if !operation.is_write() {
                known.push(None);
                continue;
            }
            let key = operation.key();
            let hash = key_hash(key);
            // While it is being written, it changes without the cache's being told.
            let is_settled = !self.writing.contains_key(&hash);
            known.push(if is_settled {
                self.cache.known(hash, key)
            } else {
                // Before this very request, it was what the first one finds that writes to it.
                let written = if finds_repeated { written.as_slice() } else { &[] };
                let first = written.iter().find(|it: &&Written| it.hash == hash);
                let first = first.map(|it| it.operation).filter(|it| operations[*it].key() == key);
                first.and_then(|it| known[it])
            });
            let is_remembered = self.begin_writing_to(hash);
            let remembered = is_remembered.then(|| StorageKey::new(key));
            written.push(Written { hash, operation: number, remembered });
        }
        Ok((written, known))
    }

    /// Takes note that a key with this hash is written. Returns whether its record shall be remembered then.
    fn begin_writing_to(&mut self, hash: u64) -> bool {
        *self.writing.entry(hash).or_default() += 1;
        self.being_read.write(hash);
        self.cache.forget(hash)
    }

    pub(super) fn is_being_written(&self, key: &str) -> bool {
        self.writing.contains_key(&key_hash(key))
    }
}

/// The handler as the serving loop knows it.
impl Service for Handler<Peer> {
    type Finished = Finished;

    fn take(&mut self, peer: Peer, payload: &Payload<Frame>, room: ReplyRoom) -> Disposition<Peer> {
        Self::take(self, peer, payload, room)
    }

    fn finish(&mut self, finished: Finished) -> Option<(Peer, Frames)> {
        Self::finish(self, finished)
    }

    fn flush(&mut self) {
        self.work_off_held();
    }

    fn id_of(&self, payload: &Payload<Frame>) -> Option<RequestId> {
        Self::id_of(self, payload)
    }

    fn note_unread(&self, bytes: u64) {
        self.resources.published.replies.set_unread(bytes);
    }

    fn pending(&self) -> usize {
        self.pending.len() + self.reading.len()
    }

    fn is_busy(&self) -> bool {
        self.pending() >= JOBS_MAX / 2
            || self.pending_bytes >= self.resources.memory.jobs_bytes() / 2
    }

    fn is_gone(&self) -> bool {
        self.resources.work.is_disconnected()
    }

    fn hangs(&self) -> bool {
        !self.pending.is_empty() && self.progress_at.elapsed() > SILENCE_MAX
            || !self.reading.is_empty() && self.read_at.elapsed() > SILENCE_MAX
    }
}

/// Whether the operation of this number was carried out.
fn is_done(content: &Content, operation: usize) -> bool {
    match content {
        Content::One { .. } => true,
        Content::Batch(outcomes) => outcomes.get(operation).is_some_and(Result::is_ok),
        _ => false,
    }
}
