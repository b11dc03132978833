//! Carrying out a group of requests: staged together, made durable together, then answered.

use std::time::Instant;

use kv_protocol::refusal::Refusal;
use kv_protocol::reply::{Content, Outcome};
use kv_protocol::request::{Command, Operation};

use tracing::warn;

use super::{Job, Size, Writer};
use crate::failpoints;
use crate::guard::Admitted;
use crate::reader::{self, ReplyBudget};
use crate::refusals::outcome_unknown;
use crate::staging::{Room, Staging};
use crate::store::{Store, StoreError};

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

impl Writer {
    /// Carries a group of requests of this size out and answers them.
    pub(super) fn carry_out(&mut self, group: Vec<Job>, size: Size) {
        if group.is_empty() {
            return;
        }
        let guard = self.guard.load_full();
        let room = self.disk.room(size.bytes as u64 + self.store.headroom_bytes());
        if room != Room::Free
            && let Err(error) = self.store.checkpoint_soon()
        {
            warn!("the disk is full, and the redo log cannot be made shorter: {error}");
        }
        let mut staging = Staging::new(self.counters, room);
        let mut staged = Vec::new();
        let mut reads = Vec::new();
        let mut has_copies = false;
        for job in group {
            let admitted = match guard.admit(&job.context) {
                Ok(admitted) => admitted,
                Err(refusal) => {
                    self.finish(job.ticket, Content::Refused(refusal));
                    continue;
                }
            };
            let outcome = match job.command {
                Command::One(operation) => {
                    let key = operation.key().to_owned();
                    Staged::One(key, self.stage(&mut staging, admitted, operation))
                }
                Command::Batch(operations) => {
                    let mut budget = ReplyBudget::default();
                    let mut stage = |it| self.stage(&mut staging, admitted, it);
                    let carry_out = |operation| budget.carry_out(operation, &mut stage);
                    Staged::Batch(operations.into_iter().map(carry_out).collect())
                }
                Command::Copy { records, stream } => {
                    self.repair();
                    has_copies = true;
                    Staged::Copied(staging.copy(&self.store, admitted, records, &stream))
                }
                command => {
                    reads.push((job.ticket, admitted, command));
                    continue;
                }
            };
            staged.push((job.ticket, outcome));
        }
        let commit_started = Instant::now();
        let committed = self.commit_staged(staging, has_copies);
        self.pace.note(size, commit_started.elapsed());
        for (ticket, outcome) in staged {
            let content = match &committed {
                Ok(()) => outcome.into_content(),
                Err(error) => Content::Refused(outcome_unknown(error)),
            };
            self.finish(ticket, content);
        }
        for (ticket, admitted, command) in reads {
            let content = self.read(admitted, &command);
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

    fn commit_staged(&mut self, staging: Staging, has_copies: bool) -> Result<(), StoreError> {
        if staging.is_empty() {
            return Ok(());
        }
        if has_copies {
            failpoints::pass("node::copy::before-commit");
        }
        failpoints::pass("node::commit::before");
        let (batch, counters) = staging.into_batch();
        // The node that a record is copied from may remove it soon, so the copy must be on the disk.
        let commit = if has_copies { Store::commit_synced } else { Store::commit };
        let committed = self.commit_by(commit, batch, counters);
        failpoints::pass("node::commit::after");
        if has_copies {
            failpoints::pass("node::copy::after-commit");
        }
        committed
    }

    /// Reads many keys. It comes after the group's commit, so all that it finds is durable.
    fn read(&mut self, admitted: Admitted<'_>, command: &Command<'_>) -> Content {
        self.repair();
        reader::answer(&self.store, admitted, command).unwrap_or_else(Content::Refused)
    }
}
