//! The refusals that more than one part of the node gives.

use kv_protocol::refusal::{ErrorCode, Refusal};

use crate::store::StoreError;

/// What a client is told of the store's failure.
#[must_use]
pub fn from_store(error: &StoreError) -> Refusal {
    match error {
        StoreError::Corrupt(_) => {
            Refusal::new(ErrorCode::Corrupt, format!("{error}; delete the key and store it anew"))
        }
        StoreError::Damaged(_) => Refusal::new(
            ErrorCode::Corrupt,
            format!("{error}, with the page that it is on; restore the node's data from a copy"),
        ),
        _ => Refusal::new(ErrorCode::Storage, error.to_string()),
    }
}

/// The refusal of whatever was in hand when a commit failed.
#[must_use]
pub fn outcome_unknown(error: &StoreError) -> Refusal {
    Refusal::new(
        ErrorCode::Storage,
        format!(
            "{error}; whether the write took effect is unknown: read the key before writing it again"
        ),
    )
}

/// The refusal while the node stops.
#[must_use]
pub fn shutting_down() -> Refusal {
    Refusal::new(ErrorCode::ShuttingDown, "the node is stopping: try again, here or elsewhere")
}
