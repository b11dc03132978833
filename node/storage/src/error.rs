//! Why the store does not do what it is asked.

use std::io;

use kv_system::transient::{is_read_only, passes};

use crate::wal::WalError;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// One record does not match its checksum; the engine works, and storing the key anew mends it.
    #[error("the record is damaged on disk: {0}")]
    RecordCorrupt(String),
    /// The engine's page that the record is on cannot be read; the engine has stopped, and starts anew.
    #[error("the record is damaged on disk: {0}")]
    PageCorrupt(String),
    /// The engine failed.
    #[error("the storage engine failed: {0}")]
    Engine(#[from] io::Error),
    /// The write-ahead log cannot be used.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The system lacks something that it will have again. Nothing was done, and it can be tried again.
    #[error("the storage engine waits: {0}")]
    Waits(String),
    /// The engine failed to write while it was opened, and holds its files until this process ends.
    #[error("the storage engine failed to write: {0}")]
    Spoiled(io::Error),
    /// The engine failed for want of something that passes, and the node starts anew.
    #[error(
        "the storage engine lacked something that the system will have again: the node starts anew"
    )]
    StartsAnew,
    /// The engine failed and could not be started anew: the store refuses everything.
    #[error("the storage engine is out of order; see the node's log")]
    Broken,
}

impl StoreError {
    /// Whether the cause passes by itself.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Engine(error) | Self::Wal(WalError::File { source: error, .. }) => passes(error),
            other => other.is_undone(),
        }
    }

    /// Whether a new process can go on where this one cannot.
    #[must_use]
    pub fn passes_with_the_process(&self) -> bool {
        matches!(self, Self::StartsAnew) || matches!(self, Self::Spoiled(error) if passes(error))
    }

    /// Whether nothing was done, and everything goes on as before.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        use WalError::{NotWritten, Removed, Unusable};
        matches!(self, Self::Waits(_) | Self::Wal(NotWritten { .. } | Removed(_) | Unusable))
    }

    /// Whether nothing can be written any more, and all that is stored can be read on: the disk has become
    /// read-only, and what it has of the last write is not known.
    #[must_use]
    pub fn ends_writing(&self) -> bool {
        matches!(self, Self::Wal(WalError::File { source, .. }) if is_read_only(source))
    }
}

/// Why nothing can be written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// For want of something that the system will have again: a new process can go on at once.
    Passing,
    /// The files are not to be trusted, or cannot be used.
    Lasting,
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Passing => Self::StartsAnew,
            Failure::Lasting => Self::Broken,
        }
    }
}
