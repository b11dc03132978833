//! The decisions of a client about one operation on a key: whom to ask for what, and what follows
//! from the answer. It does no I/O and knows no clock, so that a test can explore all ways through it.
//!
//! An [`Attempt`] tries an operation once, under one layout. It begins with [`Attempt::start`], which says what to
//! ask first; each [`SubReply`] is handed to [`Attempt::after`], until a step ends it. Where a step says
//! [`Step::StartOver`], nothing was done, and a new attempt under the newest layout may succeed.
//!
//! | partition | operation | who is asked |
//! |---|---|---|
//! | owned | any | the owner |
//! | being handed over | any | no node, since none serves it: start over under the next layout |
//! | moving | PUT without a condition | the destination |
//! | moving | GET | the destination, which may say `not_copied`; then the source, whose answer is the answer |
//! | moving | DELETE, conditional PUT | the destination, which may say `not_copied`; then the record is *promoted* (read at the source, copied to the destination, all in one epoch), and the destination asked again |
//!
//! A write of which it is not certain that it was not carried out ends as [`Step::Unknown`] and is
//! never sent again.

use crate::layout::{Assignment, Move};
use crate::operation::{Condition, Done, Operation, Outcome, Record};
use crate::refusal::{ErrorCode, Refusal};
use crate::version::Version;

/// The version of a tombstone that is promoted: lower than any that a node gives, since no client
/// wrote it. It only says that the source has no record.
pub const ABSENT_VERSION: Version = Version { epoch: 0, sequence: 0 };

/// One attempt to carry out an operation under one layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    access: Access,
    assignment: Assignment,
    stage: Stage,
}

/// What matters of an operation for its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Access {
    Read,
    /// A write that does not depend on the record before it.
    Overwrite,
    /// A write that depends on the record before it: a DELETE (which says whether there was a record), or
    /// one with a condition.
    Judged,
}

/// What the attempt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// The outcome of the operation.
    Operation,
    /// What the source has.
    SourceRead,
    /// The destination's word that it has the promoted record.
    Promotion,
    /// The outcome of the operation after its record was promoted.
    PromotedOperation,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send a request to a node, and hand its answer to [`Attempt::after`].
    Send {
        /// The node's index in the layout's assignments.
        node: u16,
        /// What to ask it for.
        request: SubRequest,
    },
    /// The operation is done.
    Done(Done),
    /// The operation was not carried out. A new attempt may carry it out.
    StartOver {
        /// What has to come first.
        retry_after: RetryAfter,
        /// Whether the operation must then be sent by itself, since what it was sent with may have
        /// been to blame.
        alone: bool,
    },
    /// The operation was not carried out, and will not be.
    Refused(Refusal),
    /// Whether the write was carried out is not known.
    Unknown,
    /// The node answered something that is no answer to what it was asked, and it was not asked to
    /// write.
    NotUnderstood,
}

/// What a node is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubRequest {
    /// The operation itself.
    Operation,
    /// A GET of the operation's key, at the node that it moves from.
    SourceRead,
    /// A COPY of what the source has, to the node that the key moves to.
    Promotion(Promoted),
}

/// What the source has of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Promoted {
    /// The record's version, or [`ABSENT_VERSION`].
    pub version: Version,
    /// The value, `None` where the source has no record.
    pub value: Option<Vec<u8>>,
}

/// What has to come before a new attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryAfter {
    /// Some time.
    Pause,
    /// Some time, and a look whether there is a newer layout or another address.
    Refresh,
    /// A newer layout, which exists.
    NewerLayout,
    /// The layout that follows this one, which may not exist yet: no node serves the partition now.
    NextLayout,
}

/// What came of asking a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubReply {
    /// The outcome of the operation or of the read at the source; or a refusal of the promotion.
    Outcome(Outcome),
    /// The destination has a record of the key: the promoted one, or one that was there already.
    Copied,
    /// There is no answer.
    Failed(TransportFailure),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportFailure {
    /// The request was certainly not sent.
    NotSent,
    /// It was refused because of something that it was sent with, and certainly not carried out.
    SharedRefusal,
    /// It was sent, and whether it arrived is not known.
    Unanswered,
    /// It was sent, and the answer is not one of the protocol's.
    Invalid,
}

impl Attempt {
    /// Begins to carry out `operation` on a key whose partition has this `assignment`.
    #[must_use]
    pub fn start(assignment: Assignment, operation: &Operation<'_>) -> (Self, Step) {
        let attempt = Self { access: Access::of(operation), assignment, stage: Stage::Operation };
        let step = match assignment {
            Assignment::Frozen(_) => start_over(RetryAfter::NextLayout),
            Assignment::Owned(node) | Assignment::Moving(Move { destination: node, .. }) => {
                Step::Send { node, request: SubRequest::Operation }
            }
        };
        (attempt, step)
    }

    /// What follows from the answer to what was asked last.
    #[must_use]
    pub fn after(&mut self, answer: SubReply) -> Step {
        match self.stage {
            Stage::Operation | Stage::PromotedOperation => self.after_operation(answer),
            Stage::SourceRead => self.after_source_read(answer),
            Stage::Promotion => self.after_promotion(answer),
        }
    }

    fn after_operation(&mut self, answer: SubReply) -> Step {
        let writes = self.access != Access::Read;
        match answer {
            SubReply::Outcome(Ok(done)) => Step::Done(done),
            SubReply::Outcome(Err(refusal)) => match (refusal.code, self.source_to_ask()) {
                (ErrorCode::NotCopied, Some(node)) => {
                    self.stage = Stage::SourceRead;
                    Step::Send { node, request: SubRequest::SourceRead }
                }
                (code, _) if writes && code.leaves_in_doubt() => Step::Unknown,
                _ => refused(refusal),
            },
            SubReply::Failed(TransportFailure::NotSent) => start_over(RetryAfter::Refresh),
            SubReply::Failed(TransportFailure::SharedRefusal) => {
                Step::StartOver { retry_after: RetryAfter::Pause, alone: true }
            }
            SubReply::Failed(TransportFailure::Unanswered | TransportFailure::Invalid)
            | SubReply::Copied
                if writes =>
            {
                Step::Unknown
            }
            SubReply::Failed(failure) => harmless(failure),
            SubReply::Copied => Step::NotUnderstood,
        }
    }

    /// The node that has what the destination says it has not: `None` where the destination cannot
    /// mean it, since there is no source, or it was promoted already, or the write asks for nothing.
    fn source_to_ask(&self) -> Option<u16> {
        match (self.assignment, self.stage) {
            (Assignment::Moving(it), Stage::Operation) if self.access != Access::Overwrite => {
                it.source
            }
            _ => None,
        }
    }

    fn after_source_read(&mut self, answer: SubReply) -> Step {
        match answer {
            SubReply::Outcome(Ok(Done::Read(record))) => match self.access {
                Access::Read => Step::Done(Done::Read(record)),
                Access::Overwrite | Access::Judged => self.promote(record),
            },
            SubReply::Outcome(Ok(_)) | SubReply::Copied => Step::NotUnderstood,
            SubReply::Outcome(Err(refusal)) => refused(refusal),
            // The operation itself has not been sent to where it could take effect.
            SubReply::Failed(failure) => harmless(failure),
        }
    }

    fn promote(&mut self, record: Option<Record>) -> Step {
        let promoted = match record {
            None => Promoted { version: ABSENT_VERSION, value: None },
            Some(Record { value, version: Some(version) }) => {
                Promoted { version, value: Some(value) }
            }
            // Without its version a copy would not be the same record.
            Some(Record { version: None, .. }) => return Step::NotUnderstood,
        };
        self.stage = Stage::Promotion;
        let node = self.assignment.destination();
        Step::Send { node, request: SubRequest::Promotion(promoted) }
    }

    fn after_promotion(&mut self, answer: SubReply) -> Step {
        match answer {
            SubReply::Copied => {
                self.stage = Stage::PromotedOperation;
                Step::Send { node: self.assignment.destination(), request: SubRequest::Operation }
            }
            SubReply::Outcome(Err(refusal)) => refused(refusal),
            SubReply::Outcome(Ok(_)) => Step::NotUnderstood,
            // A copy may arrive twice, or late, or without its operation: it is taken only in its own
            // epoch, and only where there is no record yet.
            SubReply::Failed(failure) => harmless(failure),
        }
    }
}

impl Access {
    fn of(operation: &Operation<'_>) -> Self {
        match operation {
            Operation::Get { .. } => Self::Read,
            Operation::Put { condition: Condition::None, .. } => Self::Overwrite,
            Operation::Put { .. } | Operation::Delete { .. } => Self::Judged,
        }
    }
}

fn start_over(retry_after: RetryAfter) -> Step {
    Step::StartOver { retry_after, alone: false }
}

fn refused(refusal: Refusal) -> Step {
    match retry_after(refusal.code) {
        Some(retry_after) => start_over(retry_after),
        None => Step::Refused(refusal),
    }
}

/// What may help against a refusal, `None` where the same request would be refused again.
#[must_use]
pub fn retry_after(code: ErrorCode) -> Option<RetryAfter> {
    match code {
        _ if !code.is_retryable() => None,
        ErrorCode::Overloaded => Some(RetryAfter::Pause),
        ErrorCode::StaleEpoch | ErrorCode::NotOwner => Some(RetryAfter::NewerLayout),
        _ => Some(RetryAfter::Refresh),
    }
}

/// What follows where a request has no answer, and could not have changed a record.
fn harmless(failure: TransportFailure) -> Step {
    match failure {
        TransportFailure::NotSent => start_over(RetryAfter::Refresh),
        // An answer that cannot be transmitted, for its size, may go through by itself.
        TransportFailure::Unanswered => {
            Step::StartOver { retry_after: RetryAfter::Refresh, alone: true }
        }
        TransportFailure::SharedRefusal => {
            Step::StartOver { retry_after: RetryAfter::Pause, alone: true }
        }
        TransportFailure::Invalid => Step::NotUnderstood,
    }
}

#[cfg(test)]
mod tests;
