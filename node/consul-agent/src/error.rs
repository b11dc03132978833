//! Why the agent cannot start or keep its state.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The address cannot be listened on.
    #[error(
        "the embedded Consul agent cannot listen on {address}: {source}. Is another Consul running \
         there? Choose another port, or stop it"
    )]
    Listen {
        /// The address that was wanted.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },

    /// Another process works with the same directory.
    #[error(
        "{} is in use by another process; stop it, or choose another data directory",
        path.display()
    )]
    Held {
        /// The agent's directory.
        path: PathBuf,
    },

    /// The directory or a file in it cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The state of the last run is not what was written.
    #[error(
        "{} is damaged: {problem}. Restore it from a backup, or move it away to begin with an empty \
         Consul: the nodes bring their layout back from their own copies",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },
}
