//! Why the nodes do not run.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// A node that is not ready within this time is given up.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(60);

/// Why the nodes do not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodesError {
    /// A process cannot be started.
    #[error("{id} cannot be started: {source}")]
    Start { id: String, source: io::Error },
    /// A node ended instead of becoming ready.
    #[error("{id} ended before it was ready ({status}); its last words are above")]
    Ended {
        id: String,
        status: ExitStatus,
        /// Its exit code, where it has one.
        code: Option<u8>,
    },
    /// A node did not become ready.
    #[error("{id} was not ready within {READY_WITHIN:?}")]
    Late { id: String },
    /// The data directory cannot be read.
    #[error("{path} cannot be used: {source}")]
    Directory { path: PathBuf, source: io::Error },
}
