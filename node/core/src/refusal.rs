//! What a node answers when it does not do what was asked.

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::partition::Partition;
use crate::version::Version;

/// Why a request was refused. The set is closed: a client can match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message is not one of the protocol's: frames, JSON, members or their types.
    BadRequest,
    /// The operation is not one that this node knows.
    UnknownOp,
    /// A key, value, batch or message is longer than the node's limit.
    TooLarge,
    /// The key's partition belongs to another node in the layout that this node has installed.
    NotOwner,
    /// The request was made under an older layout than the one that this node has installed.
    StaleEpoch,
    /// The request was made under a newer layout than this node has installed, which it is fetching;
    /// or the partition is being handed over to another node just now.
    Retry,
    /// The partition is moving to this node, which has no record of the key yet: the node that it
    /// comes from has it, if any node has.
    NotCopied,
    /// The request is for another cluster than the one that this node belongs to.
    WrongCluster,
    /// The request is for another node (another data directory), or another run of it, than the one
    /// that answers here.
    WrongNode,
    /// The node is not part of a layout yet, so it owns nothing.
    NoLayout,
    /// The condition of a conditional write does not hold. `version` is that of the record now.
    Conflict,
    /// The stored record is damaged. Its value is not returned, and it is not overwritten silently.
    Corrupt,
    /// The node's disk takes no writes, and nothing was written: it is full, or read-only, or the data
    /// directory is not in its place; the message says which. Reads go on, and deletes where it says so.
    DiskFull,
    /// The storage engine failed, and whether a write took effect is unknown.
    Storage,
    /// Fewer copies of the key's partition are in sync than a write needs, and nothing was written. Reads go on.
    TooFewReplicas,
    /// The node has carried a write out, and not all copies that it needs have confirmed it: whether it took
    /// effect is unknown.
    Unconfirmed,
    /// The node has more requests in hand than it can queue, or waits for something that the system lacks.
    Overloaded,
    /// The node is stopping.
    ShuttingDown,
}

impl ErrorCode {
    /// Whether the same request may succeed soon, here or at another node, and was certainly not
    /// carried out. A client refreshes its layout and tries again.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        use ErrorCode::{
            NoLayout, NotCopied, NotOwner, Overloaded, Retry, ShuttingDown, StaleEpoch,
            TooFewReplicas, WrongNode,
        };
        matches!(
            self,
            NotOwner
                | StaleEpoch
                | Retry
                | NotCopied
                | NoLayout
                | WrongNode
                | Overloaded
                | ShuttingDown
                | TooFewReplicas
        )
    }

    /// Whether a write that was refused like this may have taken effect, or may do so later. A client never
    /// sends it again.
    #[must_use]
    pub fn leaves_in_doubt(self) -> bool {
        matches!(self, Self::Storage | Self::Unconfirmed)
    }
}

/// A refused request: `{"error":{"code":"...","message":"..."}}` on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal it is.
    pub code: ErrorCode,
    /// What was wrong, what was expected and what to do, for a person. A reader cuts it off at
    /// [`REPLY_TEXT_BYTES_MAX`](crate::limits::REPLY_TEXT_BYTES_MAX).
    #[serde(deserialize_with = "bounded::text")]
    pub message: String,
    /// The epoch that the node has installed, where the refusal is about the layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The version that is stored, where a condition did not hold and there is a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

impl Refusal {
    /// A refusal without further members.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), epoch: None, version: None }
    }

    /// The same refusal with the epoch that the node has installed.
    #[must_use]
    pub fn at_epoch(self, epoch: u64) -> Self {
        Self { epoch: Some(epoch), ..self }
    }
}

/// An [`ErrorCode::BadRequest`] refusal.
pub fn bad_request(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
}

/// An [`ErrorCode::TooLarge`] refusal of `what`, in bytes unless `what` says otherwise.
#[must_use]
pub fn too_large(what: &str, size: usize, size_max: usize) -> Refusal {
    Refusal::new(ErrorCode::TooLarge, format!("{what} is {size}, the limit is {size_max}"))
}

/// The refusal while the node stops.
#[must_use]
pub fn shutting_down() -> Refusal {
    Refusal::new(ErrorCode::ShuttingDown, "the node is stopping: try again, here or elsewhere")
}

/// The refusal of a write, before anything is done, to a partition of which fewer copies are in sync than
/// `min_in_sync`.
#[must_use]
pub fn too_few_replicas(partition: Partition, in_sync: usize, min_in_sync: u32) -> Refusal {
    Refusal::new(
        ErrorCode::TooFewReplicas,
        format!(
            "nothing was written: {in_sync} of the copies of partition {partition} are in sync, and a write needs {min_in_sync}. Try again once nodes that were away are back, which `kvclient status` names; reads go on"
        ),
    )
}

/// The refusal of a write that was carried out here and is not confirmed by all copies that it needs, because of
/// `problem`.
#[must_use]
pub fn unconfirmed(partition: Partition, problem: &str) -> Refusal {
    Refusal::new(
        ErrorCode::Unconfirmed,
        format!(
            "{problem}, so not all copies of partition {partition} that a write needs have confirmed this one; whether it took effect is unknown: read the key before writing it again"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_for_want_of_copies_say_what_was_done_and_what_helps() {
        let few = too_few_replicas(Partition(7), 1, 2);
        assert!(few.code.is_retryable() && !few.code.leaves_in_doubt());
        let said = serde_json::to_value(&few).expect("it is JSON");
        assert_eq!(said["code"], "too_few_replicas");
        let says = ["nothing was written", "partition 7", "1 of", "needs 2", "Try again"];
        assert!(says.iter().all(|it| few.message.contains(it)), "{few}");
        let unconfirmed = unconfirmed(Partition(7), "the node ceased to be the primary");
        assert!(unconfirmed.code.leaves_in_doubt() && !unconfirmed.code.is_retryable());
        let said = serde_json::to_value(&unconfirmed).expect("it is JSON");
        assert_eq!(said["code"], "unconfirmed");
        let says = ["ceased", "partition 7", "is unknown", "read the key before"];
        assert!(says.iter().all(|it| unconfirmed.message.contains(it)), "{unconfirmed}");
    }
}
