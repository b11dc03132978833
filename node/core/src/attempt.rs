//! The decisions of a client about one operation on a key: whom to ask for what, and what follows
//! from the answer. It does no I/O and knows no clock, so that every course can be explored.
//!
//! A [`Course`] is one attempt under one layout. It begins with [`Course::start`], which says what to
//! ask first; each [`Answer`] is handed to [`Course::after`], until a step ends it. Where a step says
//! [`Step::StartOver`], nothing was done, and a new course under the newest layout may succeed.
//!
//! | partition | operation | course |
//! |---|---|---|
//! | owned | any | the operation at the owner |
//! | being handed over | any | nobody serves it: start over under the next layout |
//! | moving | PUT without a condition | the operation at the destination |
//! | moving | GET | at the destination, which may say `not_copied`; then at the source, whose answer is the answer |
//! | moving | DELETE, conditional PUT | at the destination, which may say `not_copied`; then the record is *promoted* (read at the source, copied to the destination, all in one epoch), and the destination asked again |
//!
//! A write of which it is not certain that it was not carried out ends as [`Step::Unknown`] and is
//! never sent again.

use crate::layout::{Assignment, Move};
use crate::operation::{Condition, Done, Operation, Outcome, Record};
use crate::refusal::{ErrorCode, Refusal};
use crate::version::Version;

/// The version of a tombstone that is promoted: lower than any that a node gives, since nobody wrote
/// it. It only says that the source has no record.
pub const ABSENT_VERSION: Version = Version { epoch: 0, sequence: 0 };

/// One attempt to carry out an operation under one layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Course {
    kind: Kind,
    assignment: Assignment,
    stage: Stage,
}

/// What matters of an operation for its course.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// A GET.
    Read,
    /// A write that is the same whatever was there.
    Overwrite,
    /// A write that depends on what was there: a DELETE (which says whether there was a record), or
    /// one with a condition.
    Judged,
}

/// What the course waits for.
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
    /// Ask a node, and hand its answer to [`Course::after`].
    Ask {
        /// The node's index in the layout's assignments.
        node: u16,
        /// What to ask it for.
        what: What,
    },
    /// The operation is done.
    Done(Done),
    /// The operation was not carried out. A new course may carry it out.
    StartOver {
        /// What has to come first.
        remedy: Remedy,
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
pub enum What {
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
    /// The value, none where there is no record.
    pub value: Option<Vec<u8>>,
}

/// What has to come before a new course.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Some time.
    Patience,
    /// Some time, and a look whether there is a newer layout or another address.
    Look,
    /// A newer layout, which exists.
    NewerLayout,
    /// The layout that follows this one, which may not exist yet: nobody serves the partition now.
    NextLayout,
}

/// What came of asking a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The outcome of the operation or of the read at the source; or a refusal of the promotion.
    Outcome(Outcome),
    /// The destination has a record of the key: the promoted one, or one that was there already.
    Copied,
    /// There is no answer.
    Trouble(Trouble),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The request was certainly not sent.
    NotSent,
    /// It was refused because of something that it was sent with, and certainly not carried out.
    SharedRefusal,
    /// It was sent, and whether it arrived is not known.
    Unanswered,
    /// It was sent, and the answer is not one of the protocol's.
    Invalid,
}

impl Course {
    /// Begins to carry out `operation` on a key whose partition has this `assignment`.
    #[must_use]
    pub fn start(assignment: Assignment, operation: &Operation<'_>) -> (Self, Step) {
        let course = Self { kind: Kind::of(operation), assignment, stage: Stage::Operation };
        let step = match assignment {
            Assignment::Frozen(_) => start_over(Remedy::NextLayout),
            Assignment::Owned(node) | Assignment::Moving(Move { destination: node, .. }) => {
                Step::Ask { node, what: What::Operation }
            }
        };
        (course, step)
    }

    /// What follows from the answer to what was asked last.
    #[must_use]
    pub fn after(&mut self, answer: Answer) -> Step {
        match self.stage {
            Stage::Operation | Stage::PromotedOperation => self.after_operation(answer),
            Stage::SourceRead => self.after_source_read(answer),
            Stage::Promotion => self.after_promotion(answer),
        }
    }

    fn after_operation(&mut self, answer: Answer) -> Step {
        let writes = self.kind != Kind::Read;
        match answer {
            Answer::Outcome(Ok(done)) => Step::Done(done),
            Answer::Outcome(Err(refusal)) => match (refusal.code, self.source_to_ask()) {
                (ErrorCode::NotCopied, Some(node)) => {
                    self.stage = Stage::SourceRead;
                    Step::Ask { node, what: What::SourceRead }
                }
                (ErrorCode::Storage, _) if writes => Step::Unknown,
                _ => refused(refusal),
            },
            Answer::Trouble(Trouble::NotSent) => start_over(Remedy::Look),
            Answer::Trouble(Trouble::SharedRefusal) => {
                Step::StartOver { remedy: Remedy::Patience, alone: true }
            }
            Answer::Trouble(Trouble::Unanswered | Trouble::Invalid) | Answer::Copied if writes => {
                Step::Unknown
            }
            Answer::Trouble(trouble) => harmless(trouble),
            Answer::Copied => Step::NotUnderstood,
        }
    }

    /// The node that has what the destination says it has not: none where the destination cannot
    /// mean it, since there is no source, or it was promoted already, or the write asks for nothing.
    fn source_to_ask(&self) -> Option<u16> {
        match (self.assignment, self.stage) {
            (Assignment::Moving(it), Stage::Operation) if self.kind != Kind::Overwrite => it.source,
            _ => None,
        }
    }

    fn after_source_read(&mut self, answer: Answer) -> Step {
        match answer {
            Answer::Outcome(Ok(Done::Read(record))) => match self.kind {
                Kind::Read => Step::Done(Done::Read(record)),
                Kind::Overwrite | Kind::Judged => self.promote(record),
            },
            Answer::Outcome(Ok(_)) | Answer::Copied => Step::NotUnderstood,
            Answer::Outcome(Err(refusal)) => refused(refusal),
            // The operation itself has not been sent to where it could take effect.
            Answer::Trouble(trouble) => harmless(trouble),
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
        Step::Ask { node, what: What::Promotion(promoted) }
    }

    fn after_promotion(&mut self, answer: Answer) -> Step {
        match answer {
            Answer::Copied => {
                self.stage = Stage::PromotedOperation;
                Step::Ask { node: self.assignment.destination(), what: What::Operation }
            }
            Answer::Outcome(Err(refusal)) => refused(refusal),
            Answer::Outcome(Ok(_)) => Step::NotUnderstood,
            // A copy may arrive twice, or late, or without its operation: it is taken only in its own
            // epoch, and only where there is no record yet.
            Answer::Trouble(trouble) => harmless(trouble),
        }
    }
}

impl Kind {
    fn of(operation: &Operation<'_>) -> Self {
        match operation {
            Operation::Get { .. } => Self::Read,
            Operation::Put { condition: Condition::None, .. } => Self::Overwrite,
            Operation::Put { .. } | Operation::Delete { .. } => Self::Judged,
        }
    }
}

fn start_over(remedy: Remedy) -> Step {
    Step::StartOver { remedy, alone: false }
}

fn refused(refusal: Refusal) -> Step {
    match remedy(refusal.code) {
        Some(remedy) => start_over(remedy),
        None => Step::Refused(refusal),
    }
}

/// What may help against a refusal, none where the same request would be refused again.
#[must_use]
pub fn remedy(code: ErrorCode) -> Option<Remedy> {
    match code {
        _ if !code.is_retryable() => None,
        ErrorCode::Overloaded => Some(Remedy::Patience),
        ErrorCode::StaleEpoch | ErrorCode::NotOwner => Some(Remedy::NewerLayout),
        _ => Some(Remedy::Look),
    }
}

/// What follows where a request has no answer that could have changed nothing for anybody.
fn harmless(trouble: Trouble) -> Step {
    match trouble {
        Trouble::NotSent => start_over(Remedy::Look),
        // An answer that cannot be transmitted, for its size, may go through by itself.
        Trouble::Unanswered => Step::StartOver { remedy: Remedy::Look, alone: true },
        Trouble::SharedRefusal => Step::StartOver { remedy: Remedy::Patience, alone: true },
        Trouble::Invalid => Step::NotUnderstood,
    }
}

#[cfg(test)]
mod tests;
