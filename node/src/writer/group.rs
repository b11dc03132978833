//! Carrying out a group of requests: each staged as it comes, all made durable together, then answered.

use std::sync::Arc;
use std::time::Instant;

use kv_core::guard::{Admitted, Context, Guard};
use kv_core::limits::PAGE_BYTES_TARGET;
use kv_core::operation::{Operation, Outcome};
use kv_core::refusal::Refusal;
use kv_protocol::reply::Content;
use kv_protocol::request::Command;
use kv_storage::disk::{Resource, Room, Shortage};
use kv_storage::limits::SMALL_FILES_BYTES;
use kv_storage::{Batch, Counters, Store, StoreError};
use kv_system::failpoints;
use tracing::{error, warn};

use super::{Job, Size, Writer};
use crate::installed_record;
use crate::reader::{self, ReplyBudget};
use crate::refusals::from_commit;
use crate::write_set::{KnownValue, WriteSet};

/// The disk is asked for room for so many bytes at once.
pub(super) const ROOM_STEP_BYTES: usize = 64 << 10;

/// What a job will be answered once the group is durable.
enum Staged {
    One(String, Outcome),
    Batch(Vec<Outcome>),
    Copied(Result<u32, Refusal>),
}

impl Staged {
    fn into_content(self) -> Content {
        match self {
            Self::One(key, Ok(done)) => Content::One { key, done },
            Self::Batch(outcomes) => Content::Batch(outcomes),
            Self::Copied(Ok(copied)) => Content::Copied { copied },
            Self::One(_, Err(refusal)) | Self::Copied(Err(refusal)) => Content::Refused(refusal),
        }
    }
}

/// A group of requests that is being carried out: what they change, and what they will be answered.
pub(super) struct Group {
    guard: Arc<Guard>,
    write_set: WriteSet,
    size: Size,
    /// The bytes for which the disk was asked for room.
    room_bytes: usize,
    staged: Vec<(u64, Staged)>,
    /// The bytes of values that were read for clients.
    read_bytes: u64,
    /// What reads many keys, once the group is durable.
    reads: Vec<(u64, Context, Command<'static>)>,
    has_copies: bool,
}

impl Group {
    pub(super) fn size(&self) -> Size {
        self.size
    }
}

impl Writer {
    /// A group without requests, on top of the stored records.
    pub(super) fn begin_group(&self) -> Group {
        self.begin_group_in(0)
    }

    /// A group that the disk has room for up to so many bytes.
    pub(super) fn begin_group_in(&self, room_bytes: usize) -> Group {
        Group {
            guard: self.guard.load_full(),
            // As a rule, the next group is about as large.
            write_set: WriteSet::new(self.counters)
                .with_room_for(self.group_commit_delay.operations()),
            size: Size::default(),
            room_bytes,
            staged: Vec::new(),
            read_bytes: 0,
            reads: Vec::new(),
            has_copies: false,
        }
    }

    /// Carries a request out in memory. It is done as soon as the request is there, while others of its
    /// group are still on their way.
    pub(super) fn take_in(&mut self, group: &mut Group, job: Job) {
        group.size.add(&job.command);
        let Group { guard, write_set, staged, reads, read_bytes, .. } = group;
        let published = Arc::clone(&self.published);
        let mut admit = |outcome| published.replies.admit(read_bytes, outcome);
        let admitted = match guard.admit(&job.context) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.finish(job.request_number, Content::Refused(refusal)),
        };
        // Installing another layout may have taken away what was known.
        let known = if Arc::ptr_eq(guard, &job.guard) { job.known } else { Vec::new() };
        let mut known = known.into_iter().chain(std::iter::repeat(None));
        let outcome = match job.command {
            Command::One(operation) => {
                let key = operation.key().to_owned();
                let known = known.next().flatten();
                Staged::One(key, admit(self.stage(write_set, admitted, operation, known)))
            }
            Command::Batch(operations) => {
                let mut budget = ReplyBudget::default();
                let carry_out = |(operation, known)| {
                    budget.carry_out(operation, |it| {
                        admit(self.stage(write_set, admitted, it, known))
                    })
                };
                Staged::Batch(operations.into_iter().zip(known).map(carry_out).collect())
            }
            Command::Copy { records, stream } => {
                self.repair();
                group.has_copies = true;
                Staged::Copied(write_set.copy(&self.store, admitted, records, &stream))
            }
            command => return reads.push((job.request_number, job.context, command)),
        };
        staged.push((job.request_number, outcome));
    }

    /// Makes a group durable and answers its requests.
    pub(super) fn complete(&mut self, group: Group) {
        if group.size.operations == 0 {
            return;
        }
        if !group.write_set.is_empty() {
            self.repair();
        }
        // The node that a record is copied from may remove it soon, so the copy must be on the disk.
        let commit = if group.has_copies { Store::commit_synced } else { Store::commit };
        self.answer(group, commit);
        self.wake.raise();
    }

    /// Makes a group durable as `commit` does it, and answers its requests.
    pub(super) fn answer(
        &mut self,
        group: Group,
        commit: impl FnOnce(&Store, Batch, Counters) -> Result<(), StoreError>,
    ) {
        let commit_started = Instant::now();
        let committed = self.commit_staged(group.write_set, group.has_copies, commit);
        self.group_commit_delay.note(group.size, commit_started.elapsed());
        for (request_number, outcome) in group.staged {
            let content = match &committed {
                Ok(()) => outcome.into_content(),
                Err(error) => Content::Refused(from_commit(error)),
            };
            self.finish(request_number, content);
        }
        for (request_number, context, command) in group.reads {
            let content = match group.guard.admit(&context) {
                Ok(admitted) => {
                    let content = self.read(admitted, &command);
                    self.note_digest(admitted, &command, content)
                }
                Err(refusal) => Content::Refused(refusal),
            };
            self.finish(request_number, content);
        }
    }

    /// Asks the disk for room for what the group comes to with a request, and has the log made shorter where there
    /// is none.
    pub(super) fn make_room(&self, group: &mut Group, job: &Job) {
        let mut size = group.size;
        size.add(&job.command);
        if group.room_bytes > 0 && size.bytes <= group.room_bytes {
            return;
        }
        group.room_bytes = size.bytes + ROOM_STEP_BYTES;
        let bytes = group.room_bytes as u64;
        let room = self.disk.room(bytes + self.store.headroom_bytes(self.counters.bytes), bytes);
        if let Room::Removals(Shortage { of: Resource::Bytes, .. }) | Room::Nothing(_) = room
            && let Err(error) = self.store.checkpoint_soon()
            && !error.is_undone()
        {
            warn!("the disk is full, and the write-ahead log cannot be made shorter: {error}");
        }
        group.write_set.set_room(room);
    }

    fn stage(
        &mut self,
        write_set: &mut WriteSet,
        admitted: Admitted<'_>,
        operation: Operation<'_>,
        known: Option<KnownValue>,
    ) -> Outcome {
        if known.is_none() {
            // It may have to be looked for in the engine.
            self.repair();
        }
        write_set.carry_out(&self.store, admitted, operation, known)
    }

    fn commit_staged(
        &mut self,
        write_set: WriteSet,
        has_copies: bool,
        commit: impl FnOnce(&Store, Batch, Counters) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if write_set.is_empty() {
            return Ok(());
        }
        if has_copies {
            failpoints::pass("node::copy::before-commit");
        }
        failpoints::pass("node::commit::before");
        let (batch, counters) = write_set.into_batch();
        let committed = self.commit_by(commit, batch, counters);
        failpoints::pass("node::commit::after");
        if has_copies {
            failpoints::pass("node::copy::after-commit");
        }
        committed
    }

    /// Keeps durably that the node was asked for the digest of all that it hands over to another one,
    /// before it gives the last of it: that is how it knows, later, that others have its records.
    fn note_digest(
        &mut self,
        admitted: Admitted<'_>,
        command: &Command<'_>,
        content: Content,
    ) -> Content {
        let Some(peer) = reader::verified_peer(admitted, command, &content) else { return content };
        let guard = self.guard.load_full();
        // Another layout may have been installed after the group was begun.
        let current = guard.installed().filter(|it| it.layout.epoch == admitted.epoch());
        let Some(installed) = current else { return content };
        installed.note_digested(peer);
        self.repair();
        let record = installed_record::encode(installed);
        // A node on a full disk can still be relieved of what it has.
        let _ = self.disk.make_room(record.len() as u64 + SMALL_FILES_BYTES, 0);
        self.store.put_layout(&record).map_or_else(
            |error| {
                if !error.is_undone() {
                    error!("what was handed over could not be stored: {error}; the node ends");
                    self.has_failed = true;
                }
                Content::Refused(from_commit(&error))
            },
            |()| content,
        )
    }

    /// Reads many keys. It comes after the group's commit, so all that it finds is durable.
    fn read(&mut self, admitted: Admitted<'_>, command: &Command<'_>) -> Content {
        // These are long, or may be, and none of the group's values waits any more.
        if !self.published.replies.has_room(0, PAGE_BYTES_TARGET as u64) {
            return Content::Refused(self.published.replies.refusal());
        }
        self.repair();
        reader::answer(&self.store, admitted, command).unwrap_or_else(Content::Refused)
    }
}
