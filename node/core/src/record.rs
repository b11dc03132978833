//! What an operation does to one key: the state machine of a record, without values or I/O.
//!
//! Everything that decides is here: the node's right, the stored record, and the operation. Values do
//! not matter for it, so that a model checker can explore these very rules.

use crate::operation::Condition;
use crate::version::Version;

use crate::ownership::Right;

/// The stored record of a key, as far as it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Current {
    /// Nothing.
    Absent,
    /// A value of this version.
    Value(Version),
    /// The certainty that there is no value, of this version.
    Tombstone(Version),
}

/// An operation, as far as it matters which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOperation {
    /// Reads the value.
    Get,
    /// Stores a value.
    Put(Condition),
    /// Removes the value.
    Delete(Condition),
    /// Stores what the partition's source has, unless there is something already.
    Copy {
        /// The version that the record comes with.
        version: Version,
        /// Whether it says that there is no value.
        is_tombstone: bool,
    },
}

/// The answer to the client or, after a copy, to the mover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordReply {
    /// The version of the value that is stored, `None` where the key has no value.
    Read(Option<Version>),
    /// The value is stored, under this version.
    Stored(Version),
    /// There is no value any more.
    Deleted {
        /// Whether there was one.
        existed: bool,
    },
    /// The record is there.
    Copied {
        /// Whether it is the one that was copied now.
        is_new: bool,
    },
}

/// What the store must do for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordChange {
    /// Nothing.
    Keep,
    /// Store the operation's value under this version.
    Store(Version),
    /// Store a tombstone of this version.
    Bury(Version),
    /// Remove the record.
    Remove,
}

/// Why an operation does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The condition does not hold: this is the version of the stored value.
    Conflict(Option<Version>),
    /// The source knows what the key is; here is no record of it.
    NotCopied,
    /// A source does not change what it hands over.
    ReadOnly,
    /// The partition is not moving here, so there is nothing to copy.
    NotMoving,
}

/// Carries `step` out on a key of which `current` is stored. A write gets the version `next`, which
/// must be above all that the node has given before.
///
/// # Errors
/// Why nothing is done.
pub fn transition(
    right: Right,
    current: Current,
    step: RecordOperation,
    next: Version,
) -> Result<(RecordReply, RecordChange), Refused> {
    match step {
        RecordOperation::Copy { version, is_tombstone } => {
            copy(right, current, version, is_tombstone)
        }
        RecordOperation::Get => Ok((RecordReply::Read(known(right, current)?), RecordChange::Keep)),
        RecordOperation::Put(_) | RecordOperation::Delete(_) if right == Right::Source => {
            Err(Refused::ReadOnly)
        }
        // It makes no difference to this one what there was.
        RecordOperation::Put(Condition::None) => {
            Ok((RecordReply::Stored(next), RecordChange::Store(next)))
        }
        RecordOperation::Put(condition) => {
            check(condition, known(right, current)?)?;
            Ok((RecordReply::Stored(next), RecordChange::Store(next)))
        }
        RecordOperation::Delete(condition) => {
            let stored = known(right, current)?;
            check(condition, stored)?;
            let change = match (stored, right) {
                (None, _) => RecordChange::Keep,
                (Some(_), Right::Destination { .. }) => RecordChange::Bury(next),
                (Some(_), _) => RecordChange::Remove,
            };
            Ok((RecordReply::Deleted { existed: stored.is_some() }, change))
        }
    }
}

/// What a removal does to a record that is damaged, so that its version and value are unknown. A condition
/// cannot be judged then.
///
/// # Errors
/// Why nothing is done.
pub fn remove_damaged(right: Right, next: Version) -> Result<RecordChange, Refused> {
    match right {
        Right::Owner => Ok(RecordChange::Remove),
        // Without a tombstone the source's record would count again.
        Right::Destination { .. } => Ok(RecordChange::Bury(next)),
        Right::Source => Err(Refused::ReadOnly),
    }
}

/// The version of the key's value, where it can be told here whether there is one.
fn known(right: Right, current: Current) -> Result<Option<Version>, Refused> {
    match (current, right) {
        (Current::Value(version), _) => Ok(Some(version)),
        (Current::Absent, Right::Destination { has_source: true }) => Err(Refused::NotCopied),
        (Current::Absent | Current::Tombstone(_), _) => Ok(None),
    }
}

fn check(condition: Condition, stored: Option<Version>) -> Result<(), Refused> {
    let holds = match condition {
        Condition::None => true,
        Condition::Absent => stored.is_none(),
        Condition::Version(wanted) => stored == Some(wanted),
    };
    if holds { Ok(()) } else { Err(Refused::Conflict(stored)) }
}

fn copy(
    right: Right,
    current: Current,
    version: Version,
    is_tombstone: bool,
) -> Result<(RecordReply, RecordChange), Refused> {
    match (right, current) {
        (Right::Owner | Right::Source, _) => Err(Refused::NotMoving),
        (Right::Destination { .. }, Current::Absent) if is_tombstone => {
            Ok((RecordReply::Copied { is_new: true }, RecordChange::Bury(version)))
        }
        (Right::Destination { .. }, Current::Absent) => {
            Ok((RecordReply::Copied { is_new: true }, RecordChange::Store(version)))
        }
        // The record that is here is newer, or is this one.
        (Right::Destination { .. }, _) => {
            Ok((RecordReply::Copied { is_new: false }, RecordChange::Keep))
        }
    }
}
