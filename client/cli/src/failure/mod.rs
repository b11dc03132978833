//! Why a command did not do what was asked.
//!
//! - here: the failures, their texts and their words for programs; `exit_code`: the process's exit codes.

mod exit_code;
#[cfg(test)]
mod tests;

use std::io;

use kv_consul::ConsulError;
use kv_placement::StrategyError;
use kv_rebalance::RebalanceError;
use kvclient::ClientError;

pub(crate) use self::exit_code::{DONE, USAGE};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The store did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The rebalance was not planned, begun or finished.
    #[error(transparent)]
    Rebalance(#[from] RebalanceError),
    /// Another command has paused the rebalance.
    #[error(
        "not finished: {what} waits, since another command has paused the rebalance (epoch {epoch}). Everything \
         is served; go on with `kvclient rebalance resume`, or undo it with `kvclient rebalance abort`"
    )]
    Paused { what: String, epoch: u64 },
    /// Another command has turned the rebalance back.
    #[error(
        "undone: {what} was turned back by another command, and the layout of epoch {epoch} is as it was \
         before"
    )]
    Undone { what: String, epoch: u64 },
    /// Another command has ended the rebalance, or changed the layout again.
    #[error(
        "not done: {what} was ended by another command before it was finished, or taken back since; \
         `kvclient status` shows the layout, of epoch {epoch}"
    )]
    Ended { what: String, epoch: u64 },
    /// Keys lie where they should not.
    #[error(
        "{strays} keys lie where they do not belong: they are listed above; please report this"
    )]
    Strays { strays: u64 },
    /// Nodes say that they have more or less than they have.
    #[error(
        "of {partitions} partitions, their nodes do not know how much they have: they are listed above; please report this"
    )]
    Miscounted { partitions: usize },
    /// Nodes have records that no client is served.
    #[error(
        "records are kept and not served by {nodes}: `kvclient status` says of which partitions, why, and what to do"
    )]
    Kept {
        /// The nodes' ids.
        nodes: String,
    },
    /// A strategy lacks what it is to have.
    #[error("strategy {strategy} lacks: {lacked}; the smallest counterexamples are listed above")]
    LacksProperties {
        strategy: String,
        /// The names of the properties.
        lacked: String,
    },
    /// Some strategies of the lab have an error for figures.
    #[error("{failed} of {of} strategies failed: their errors are beside the others' figures")]
    Lab { failed: usize, of: usize },
    /// There is no such record.
    #[error("there is no value of the key {key:?}")]
    NotFound { key: String },
    /// An argument or input cannot be used, such as a file that cannot be read.
    #[error("{0}")]
    Usage(String),
    /// An import ended early.
    #[error("{place}{cause} (the import ended early; records stored: {stored}{})", further(cause, *unknown))]
    Import {
        /// Which line it is about, for a person.
        place: String,
        cause: Box<Failure>,
        stored: u64,
        /// How many records were under way, and were given up.
        unknown: u64,
    },
    /// The process was asked to end, by Ctrl-C or another signal.
    #[error("interrupted")]
    Interrupted,
    /// The process was asked to end while it changed something.
    #[error("interrupted: {open}")]
    InterruptedChange {
        /// What may have been done or not, and how to find out.
        open: String,
    },
    /// This machine does not give what a program needs to run.
    #[error("cannot start: {0}")]
    Scarce(io::Error),
    /// The reader of standard output has gone, so that there is nothing to tell it.
    #[error("standard output is closed")]
    OutputClosed,
}

impl From<StrategyError> for Failure {
    fn from(error: StrategyError) -> Self {
        Self::Client(error.into())
    }
}

impl From<ConsulError> for Failure {
    fn from(error: ConsulError) -> Self {
        Self::Client(error.into())
    }
}

impl Failure {
    /// A failure of this machine's files or streams. `what` says what was attempted.
    pub(crate) fn local(what: impl std::fmt::Display, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Usage(format!("{what}: {}", explained(&error)))
    }

    /// What went wrong, as a stable word for programs.
    pub(crate) fn code(&self) -> String {
        match self {
            Self::Client(error) => error.code(),
            Self::Rebalance(error) => error.code(),
            Self::Strays { .. } => "strays".into(),
            Self::Miscounted { .. } => "miscounted".into(),
            Self::Kept { .. } => "kept".into(),
            Self::LacksProperties { .. } => "strategy_lacks_properties".into(),
            Self::Lab { .. } => "strategies_failed".into(),
            Self::Paused { .. } => "paused".into(),
            Self::Undone { .. } => "undone".into(),
            Self::Ended { .. } => "ended".into(),
            Self::NotFound { .. } => "not_found".into(),
            Self::Usage(_) => "usage".into(),
            Self::Scarce(_) => "local".into(),
            Self::Import { cause, .. } => cause.code(),
            Self::Interrupted | Self::InterruptedChange { .. } => "interrupted".into(),
            Self::OutputClosed => "output_closed".into(),
        }
    }
}

/// An error of this machine's files, with what to do about it where that is not plain.
pub(crate) fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::FileTooLarge => format!(
            "{error}: this process may make no longer files; raise the limit with `ulimit -f`"
        ),
        _ => error.to_string(),
    }
}

/// What there is to know further of an import that ended early.
fn further(cause: &Failure, unknown: u64) -> String {
    let mut text = String::new();
    if unknown > 0 {
        text.push_str(&format!("; {unknown} more were under way, and may be stored or not"));
    }
    if unknown > 0 || matches!(cause, Failure::Interrupted) {
        text.push_str("; to go on, run it again: to store a record twice does no harm");
    }
    text
}
