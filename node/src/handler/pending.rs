//! Requests that the writer has: what they take meanwhile, and which peers wait for them.

use std::time::{Duration, Instant};

use kv_core::partition::key_hash;
use kv_core::refusal::{ErrorCode, Refusal, shutting_down};
use kv_protocol::frame::Payload;
use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::{Command, Request, RequestId, Style};
use kv_transport::server::Peer;
use kv_transport::server::limits::PENDING_REQUESTS_MAX;
use kv_transport::server::service::{Disposition, Frame, Frames, ReplyRoom, Service, refuse};

use super::Handler;
use crate::write_set;
use crate::writer::{Finished, Job, Size, Work};

/// The most requests that wait for the writer.
pub const JOBS_MAX: usize = 4096;
/// The most bytes of keys and values that wait for the writer.
const JOBS_BYTES_MAX: usize = 256 << 20;
/// A writer that has finished nothing for this long, with work at hand, hangs.
const WRITER_SILENCE_MAX: Duration = Duration::from_secs(30);

const _: () = assert!((PENDING_REQUESTS_MAX as usize) < JOBS_MAX / 2);

/// A request that the writer has.
pub(super) struct Pending<P> {
    peer: P,
    id: Option<RequestId>,
    style: Style,
    bytes: usize,
    written: Vec<u64>,
}

impl<P> Handler<P> {
    /// Takes back what the writer has finished.
    pub fn finish(&mut self, finished: Finished) -> Option<(P, Frames)> {
        self.resources.published.replies.take(&finished.content);
        let pending = self.pending.remove(&finished.request_number)?;
        self.progress_at = Instant::now();
        self.pending_bytes -= pending.bytes;
        for hash in pending.written {
            if let Some(count) = self.writing.get_mut(&hash) {
                *count -= 1;
                if *count == 0 {
                    self.writing.remove(&hash);
                }
            }
        }
        // What was written by a process that has been replaced counts no more.
        let content = match self.resources.tenure.check() {
            Ok(()) => finished.content,
            Err(refusal) => Content::Refused(refusal),
        };
        let reply = Reply { id: pending.id, content };
        Some((pending.peer, reply.encode(pending.style)))
    }

    pub(super) fn queue(&mut self, peer: P, request: Request<'_>) -> Disposition<P> {
        let bytes = Size::of(&request.command).bytes;
        if self.pending.len() >= JOBS_MAX || self.pending_bytes + bytes > JOBS_BYTES_MAX {
            let refusal = Refusal::new(
                ErrorCode::Overloaded,
                format!(
                    "{} requests are waiting for this node's disk: try again",
                    self.pending.len()
                ),
            );
            return Disposition::Answered(peer, refuse(request.id, refusal));
        }
        let written = match written_hashes(&request.command) {
            Ok(written) => written,
            Err(refusal) => return Disposition::Answered(peer, refuse(request.id, refusal)),
        };
        let request_number = self.request_number_next;
        self.request_number_next += 1;
        let command = request.command.into_owned();
        let job = Job { request_number, context: request.context, command };
        if self.resources.work.send(Work::Request(job)).is_err() {
            return Disposition::Answered(peer, refuse(request.id, shutting_down()));
        }
        if self.pending.is_empty() {
            self.progress_at = Instant::now();
        }
        for hash in &written {
            *self.writing.entry(*hash).or_default() += 1;
            self.cache.forget(*hash);
        }
        self.pending_bytes += bytes;
        let pending = Pending { peer, id: request.id, style: request.style, bytes, written };
        self.pending.insert(request_number, pending);
        Disposition::Pending
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

    fn id_of(&self, payload: &Payload<Frame>) -> Option<RequestId> {
        Self::id_of(self, payload)
    }

    fn note_unread(&self, bytes: u64) {
        self.resources.published.replies.set_unread(bytes);
    }

    fn pending(&self) -> usize {
        self.pending.len()
    }

    fn is_busy(&self) -> bool {
        self.pending.len() >= JOBS_MAX / 2 || self.pending_bytes >= JOBS_BYTES_MAX / 2
    }

    fn is_gone(&self) -> bool {
        self.resources.work.is_disconnected()
    }

    fn hangs(&self) -> bool {
        !self.pending.is_empty() && self.progress_at.elapsed() > WRITER_SILENCE_MAX
    }
}

/// The hashes of the keys that `command` writes to.
///
/// # Errors
/// Where it is a stream of records that cannot be read.
fn written_hashes(command: &Command<'_>) -> Result<Vec<u64>, Refusal> {
    let operations = match command {
        Command::One(operation) => std::slice::from_ref(operation),
        Command::Batch(operations) => operations,
        Command::Copy { records, stream } => {
            let records = write_set::read_stream(*records, stream)?;
            return Ok(records.iter().map(|record| key_hash(record.key)).collect());
        }
        _ => &[],
    };
    Ok(operations.iter().filter(|it| it.is_write()).map(|it| key_hash(it.key())).collect())
}
