//! An operation on one key, and what may become of it.

use std::borrow::Cow;

use crate::refusal::Refusal;
use crate::version::Version;

/// An operation on one key.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation<'a> {
    /// Stores a value.
    Put {
        /// The key.
        key: Cow<'a, str>,
        /// The value's bytes.
        value: Cow<'a, [u8]>,
        /// What must hold for the write to happen.
        condition: Condition,
    },
    /// Reads a value.
    Get {
        /// The key.
        key: Cow<'a, str>,
    },
    /// Removes a record.
    Delete {
        /// The key.
        key: Cow<'a, str>,
        /// What must hold for the removal to happen.
        condition: Condition,
    },
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// The operation is carried out in any case.
    #[default]
    None,
    /// There is no record of the key.
    Absent,
    /// The record has this version.
    Version(Version),
}

/// What became of one operation.
pub type Outcome = Result<Done, Refusal>;

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The value is stored, durably.
    Stored {
        /// The version that the record has now.
        version: Version,
    },
    /// The record is gone, durably.
    Deleted {
        /// Whether there was one.
        existed: bool,
    },
    /// The record that a GET found, `None` where the key has no value.
    Read(Option<Record>),
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value's bytes.
    pub value: Vec<u8>,
    /// The record's version. A reply carries it where the request's style asks for it.
    pub version: Option<Version>,
}

impl Operation<'_> {
    /// The key that the operation is on.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Get { key } | Self::Delete { key, .. } => key,
        }
    }

    /// Whether the operation can change something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Get { .. })
    }

    /// The same operation, borrowing what this one speaks of.
    #[must_use]
    pub fn borrowed(&self) -> Operation<'_> {
        match self {
            Self::Put { key, value, condition } => Operation::Put {
                key: Cow::Borrowed(key),
                value: Cow::Borrowed(value),
                condition: *condition,
            },
            Self::Get { key } => Operation::Get { key: Cow::Borrowed(key) },
            Self::Delete { key, condition } => {
                Operation::Delete { key: Cow::Borrowed(key), condition: *condition }
            }
        }
    }

    /// The same operation, owning what it speaks of.
    #[must_use]
    pub fn into_owned(self) -> Operation<'static> {
        match self {
            Self::Put { key, value, condition } => {
                Operation::Put { key: owned(key), value: Cow::Owned(value.into_owned()), condition }
            }
            Self::Get { key } => Operation::Get { key: owned(key) },
            Self::Delete { key, condition } => Operation::Delete { key: owned(key), condition },
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}
