//! The process's exit codes. That of a command that was asked to end is [`interrupt::exit_code`].

use kv_consul::ConsulError;
use kv_placement::admission::NotAdmitted;
use kv_placement::{StrategyError, StrategyFault};
use kv_rebalance::RebalanceError;
use kvclient::ClientError;

use super::Failure;
use crate::interrupt;

pub(crate) const DONE: i32 = 0;
pub(crate) const NOT_FOUND: i32 = 1;
pub(crate) const USAGE: i32 = 2;
pub(crate) const UNAVAILABLE: i32 = 3;
pub(crate) const REFUSED: i32 = 4;
pub(crate) const UNFINISHED: i32 = 5;
pub(crate) const UNDONE: i32 = 6;

impl Failure {
    /// The exit code that says it.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Client(error) => of_client(error),
            Self::Rebalance(error) => of_rebalance(error),
            Self::Strays { .. }
            | Self::Miscounted { .. }
            | Self::Kept { .. }
            | Self::LacksProperties { .. }
            | Self::Lab { .. } => REFUSED,
            Self::Paused { .. } => UNFINISHED,
            Self::Undone { .. } | Self::Ended { .. } => UNDONE,
            Self::NotFound { .. } => NOT_FOUND,
            Self::Usage(_) => USAGE,
            Self::Scarce(_) => UNAVAILABLE,
            Self::Import { cause, .. } => cause.exit_code(),
            Self::Interrupted | Self::InterruptedChange { .. } => interrupt::exit_code(),
            Self::OutputClosed => DONE,
        }
    }
}

fn of_client(error: &ClientError) -> i32 {
    match error {
        ClientError::Consul(error) => of_consul(error),
        ClientError::Strategy(error) => of_strategy(error),
        ClientError::InvalidKey(_) | ClientError::UnknownEpoch { .. } => USAGE,
        ClientError::NotAdmitted(NotAdmitted::Lacks { .. })
        | ClientError::StrategyMismatch { .. }
        | ClientError::TableMismatch { .. }
        | ClientError::Layout(_)
        | ClientError::LayoutUnreadable { .. }
        | ClientError::AlreadyCreated { .. }
        | ClientError::OtherCluster { .. }
        | ClientError::NodesHidden { .. }
        | ClientError::ValueTooLarge(_)
        | ClientError::Refused { .. } => REFUSED,
        // What remains is about who cannot be reached or does not answer properly.
        _ => UNAVAILABLE,
    }
}

fn of_rebalance(error: &RebalanceError) -> i32 {
    match error {
        RebalanceError::Client(error) => of_client(error),
        RebalanceError::UnknownNode { .. } => USAGE,
        RebalanceError::NodeDown { .. }
        | RebalanceError::NodeBehind { .. }
        | RebalanceError::ConsulWentBack { .. } => UNAVAILABLE,
        _ => REFUSED,
    }
}

fn of_consul(error: &ConsulError) -> i32 {
    match error {
        ConsulError::InvalidConfig { .. } => USAGE,
        ConsulError::PermissionDenied { .. } | ConsulError::ValueTooLarge { .. } => REFUSED,
        _ => UNAVAILABLE,
    }
}

fn of_strategy(error: &StrategyError) -> i32 {
    match error.fault() {
        StrategyFault::UnknownName { .. }
        | StrategyFault::NotFound { .. }
        | StrategyFault::NotAFile { .. }
        | StrategyFault::Unreadable(_) => USAGE,
        // What the clock stopped may go well elsewhere, or later.
        StrategyFault::OutOfTime { .. } | StrategyFault::CompileTime { .. } => UNAVAILABLE,
        _ => REFUSED,
    }
}
