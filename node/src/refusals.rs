//! The refusals that more than one part of the node gives.

use kv_core::guard::Admitted;
use kv_core::operation::Condition;
use kv_core::ownership::Denied;
use kv_core::partition::Partition;
use kv_core::record::Refused;
use kv_core::refusal::{ErrorCode, Refusal, shutting_down};
use kv_storage::disk::{Resource, Room, Shortage};
use kv_storage::{StoreError, WalError};
use kv_system::transient::write_advice;

/// What a client is told of the store's failure.
#[must_use]
pub fn from_store(error: &StoreError) -> Refusal {
    match error {
        StoreError::RecordCorrupt(_) => {
            Refusal::new(ErrorCode::Corrupt, format!("{error}; delete the key and store it anew"))
        }
        StoreError::PageCorrupt(_) => Refusal::new(
            ErrorCode::Corrupt,
            format!(
                "{error}, with the page that it is on; what is on that page is lost, unless a copy of the node's data directory from before has it, which kvnode --serve-older-copy serves without all that was written since"
            ),
        ),
        // Nothing was done, and the client can try again.
        StoreError::Waits(_) => Refusal::new(ErrorCode::Overloaded, format!("{error}: try again")),
        StoreError::StartsAnew => shutting_down(),
        _ => Refusal::new(ErrorCode::Storage, error.to_string()),
    }
}

/// What a client is told for whose write the disk has no room.
#[must_use]
pub fn no_room(room: Room) -> Refusal {
    let message = match room {
        Room::Free => return from_store(&StoreError::Waits("there is room again".into())),
        Room::Removals(Shortage { of: Resource::Bytes, free, needed, reserve, missing }) => {
            format!(
                "the node's disk has {free} bytes free and {needed} are needed, for this, for what the engine has still to take over, and {missing} to fill the reserve of {reserve} up: free some space there; reads and deletes go on"
            )
        }
        Room::Removals(Shortage { of: Resource::Inodes, free, needed, reserve, missing }) => {
            format!(
                "the node's disk has {free} inodes free (df -i) and {needed} are needed, {missing} of them to fill the reserve of {reserve} up: remove some files there; reads and deletes go on"
            )
        }
        Room::Removals(Shortage { of: Resource::FileBytes, free, .. }) => format!(
            "the node may make no file longer than {free} bytes, which the engine would have to: start it with a higher limit (ulimit -f); reads and deletes go on"
        ),
        Room::Nothing(Shortage { free, needed, reserve, .. }) => format!(
            "the node's disk has {free} bytes free, and also a delete needs {needed}; what is left of the reserve of {reserve} is for the engine: free some space there; reads go on"
        ),
        Room::ReadOnly => "the node's disk is read-only: see why, and remount it; nothing was written, and reads go on".to_owned(),
        Room::Lost => "the node's data directory, or a part of it, was removed or moved, or another is in its place (the node's log names it): what is written now would be lost, and was not written; reads go on, so export what the node has, or remove the node from the cluster, which moves that away, before it is stopped".to_owned(),
    };
    Refusal::new(ErrorCode::DiskFull, message)
}

/// What a client is told whose operation on a key of `partition` does nothing.
#[must_use]
pub fn from_refused(
    refused: Refused,
    condition: Condition,
    admitted: Admitted<'_>,
    partition: Partition,
) -> Refusal {
    match refused {
        Refused::Conflict(stored) => {
            let expected = match condition {
                Condition::Version(wanted) => format!("version {wanted}"),
                Condition::None | Condition::Absent => "no record".to_owned(),
            };
            let found = stored.map_or("there is none".to_owned(), |it| format!("found {it}"));
            let message = format!("the condition does not hold: expected {expected}, {found}");
            Refusal { version: stored, ..Refusal::new(ErrorCode::Conflict, message) }
        }
        Refused::NotCopied => Refusal::new(
            ErrorCode::NotCopied,
            format!(
                "partition {partition} is moving here and there is no record of the key yet: the node that it comes from knows; or try again later"
            ),
        )
        .at_epoch(admitted.epoch()),
        Refused::ReadOnly => admitted.refuse(Denied::NotOwner, Some(partition)),
        Refused::NotMoving => Refusal::new(
            ErrorCode::NotOwner,
            format!("partition {partition} is not moving here in epoch {}", admitted.epoch()),
        )
        .at_epoch(admitted.epoch()),
    }
}

/// The refusal of all requests in hand when a commit failed.
#[must_use]
pub fn from_commit(error: &StoreError) -> Refusal {
    match error {
        StoreError::Wal(WalError::NotWritten { source, .. })
            if let Some(advice) = write_advice(source) =>
        {
            Refusal::new(ErrorCode::DiskFull, format!("{error}: {advice}; reads go on"))
        }
        StoreError::Wal(WalError::Unusable) => {
            Refusal::new(ErrorCode::DiskFull, format!("{error}; reads go on"))
        }
        StoreError::Wal(WalError::Removed(_)) => no_room(Room::Lost),
        error if error.is_undone() => {
            Refusal::new(ErrorCode::Overloaded, format!("{error}: try again"))
        }
        // The store had failed before, and took nothing.
        StoreError::Broken | StoreError::StartsAnew => shutting_down(),
        error => outcome_unknown(error),
    }
}

fn outcome_unknown(error: &StoreError) -> Refusal {
    Refusal::new(
        ErrorCode::Storage,
        format!(
            "{error}; whether the write took effect is unknown: read the key before writing it again"
        ),
    )
}

/// The refusal of long reads while so many bytes of replies have not been read.
#[must_use]
pub fn replies_unread(bytes: u64) -> Refusal {
    Refusal::new(
        ErrorCode::Overloaded,
        format!(
            "{} MiB of this node's replies have not been read by those who asked: try again later",
            bytes >> 20
        ),
    )
}
