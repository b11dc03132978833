//! Why the log cannot be used.

use std::io;
use std::path::{Path, PathBuf};

/// Why the write-ahead log cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// Acknowledged changes cannot be read.
    #[error(
        "the write-ahead log is damaged: {path} has no valid frame at byte {offset}, and what stood there had been acknowledged ({reason}); a copy of the whole data directory from before can be served with --serve-older-copy, without what was written since; or remove the node as dead and start it with an empty data directory"
    )]
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// Where the first damaged frame begins.
        offset: u64,
        /// How it is known that there was a frame.
        reason: String,
    },
    /// A segment is not there.
    #[error(
        "the write-ahead log is incomplete: {0} is missing; put this very file back, or serve a copy of the whole data directory from before with --serve-older-copy, without what was written since; or remove the node as dead and start it with an empty data directory"
    )]
    Missing(PathBuf),
    /// It failed before, and the content of its end is unknown.
    #[error(
        "the write-ahead log failed before, and nothing was written: start the node again, which finds out what is in it"
    )]
    Unusable,
    /// The system lacks something that it will have again. Nothing was written, and it can be tried again.
    #[error("{path}: {source}; nothing was written")]
    NotWritten {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Another process has removed the file, whose content is gone when this one ends.
    #[error("{0} was removed while it was written to: nothing counts that is written there now")]
    Removed(PathBuf),
    /// A file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

pub(super) fn file_error(path: &Path, source: io::Error) -> WalError {
    WalError::File { path: path.to_owned(), source }
}
