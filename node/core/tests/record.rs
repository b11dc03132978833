//! What an operation does to a key: every case, as a table.

use kv_core::operation::Condition;
use kv_core::ownership::Right;
use kv_core::record::{
    Current, RecordChange, RecordOperation, RecordReply, Refused, remove_damaged, transition,
};
use kv_core::version::Version;

const STORED: Version = Version { epoch: 3, sequence: 30 };
const OTHER: Version = Version { epoch: 3, sequence: 31 };
const NEXT: Version = Version { epoch: 7, sequence: 70 };
const COPIED: Version = Version { epoch: 2, sequence: 20 };

const RIGHTS: [Right; 4] = [
    Right::Owner,
    Right::Destination { has_source: true },
    Right::Destination { has_source: false },
    Right::Source,
];
const CURRENTS: [Current; 3] =
    [Current::Absent, Current::Value(STORED), Current::Tombstone(STORED)];

/// For each step a row, with a column for each of [`RIGHTS`] and in it one for each of [`CURRENTS`].
const TABLE: [(RecordOperation, [[&str; 3]; 4]); 11] = {
    const READ: [&str; 3] = ["none", "value", "none"];
    const READ_COPIED: [&str; 3] = ["not copied", "value", "none"];
    const STORE: [&str; 3] = ["store", "store", "store"];
    const READ_ONLY: [&str; 3] = ["read only", "read only", "read only"];
    const NOT_MOVING: [&str; 3] = ["not moving", "not moving", "not moving"];
    [
        (RecordOperation::Get, [READ, READ_COPIED, READ, READ]),
        (RecordOperation::Put(Condition::None), [STORE, STORE, STORE, READ_ONLY]),
        (
            RecordOperation::Put(Condition::Absent),
            [
                ["store", "conflict", "store"],
                ["not copied", "conflict", "store"],
                ["store", "conflict", "store"],
                READ_ONLY,
            ],
        ),
        (
            RecordOperation::Put(Condition::Version(STORED)),
            [
                ["conflict none", "store", "conflict none"],
                ["not copied", "store", "conflict none"],
                ["conflict none", "store", "conflict none"],
                READ_ONLY,
            ],
        ),
        (
            RecordOperation::Put(Condition::Version(OTHER)),
            [
                ["conflict none", "conflict", "conflict none"],
                ["not copied", "conflict", "conflict none"],
                ["conflict none", "conflict", "conflict none"],
                READ_ONLY,
            ],
        ),
        (
            RecordOperation::Delete(Condition::None),
            [
                ["was none", "remove", "was none"],
                ["not copied", "bury", "was none"],
                ["was none", "bury", "was none"],
                READ_ONLY,
            ],
        ),
        (
            RecordOperation::Delete(Condition::Absent),
            [
                ["was none", "conflict", "was none"],
                ["not copied", "conflict", "was none"],
                ["was none", "conflict", "was none"],
                READ_ONLY,
            ],
        ),
        (
            RecordOperation::Delete(Condition::Version(STORED)),
            [
                ["conflict none", "remove", "conflict none"],
                ["not copied", "bury", "conflict none"],
                ["conflict none", "bury", "conflict none"],
                READ_ONLY,
            ],
        ),
        (
            RecordOperation::Delete(Condition::Version(OTHER)),
            [
                ["conflict none", "conflict", "conflict none"],
                ["not copied", "conflict", "conflict none"],
                ["conflict none", "conflict", "conflict none"],
                READ_ONLY,
            ],
        ),
        (
            RecordOperation::Copy { version: COPIED, is_tombstone: false },
            [NOT_MOVING, ["copy", "there", "there"], ["copy", "there", "there"], NOT_MOVING],
        ),
        (
            RecordOperation::Copy { version: COPIED, is_tombstone: true },
            [
                NOT_MOVING,
                ["copy tombstone", "there", "there"],
                ["copy tombstone", "there", "there"],
                NOT_MOVING,
            ],
        ),
    ]
};

fn describe(outcome: Result<(RecordReply, RecordChange), Refused>) -> &'static str {
    match outcome {
        Ok((RecordReply::Read(None), RecordChange::Keep)) => "none",
        Ok((RecordReply::Read(Some(STORED)), RecordChange::Keep)) => "value",
        Ok((RecordReply::Stored(NEXT), RecordChange::Store(NEXT))) => "store",
        Ok((RecordReply::Deleted { existed: false }, RecordChange::Keep)) => "was none",
        Ok((RecordReply::Deleted { existed: true }, RecordChange::Remove)) => "remove",
        Ok((RecordReply::Deleted { existed: true }, RecordChange::Bury(NEXT))) => "bury",
        Ok((RecordReply::Copied { is_new: true }, RecordChange::Store(COPIED))) => "copy",
        Ok((RecordReply::Copied { is_new: true }, RecordChange::Bury(COPIED))) => "copy tombstone",
        Ok((RecordReply::Copied { is_new: false }, RecordChange::Keep)) => "there",
        Err(Refused::Conflict(Some(STORED))) => "conflict",
        Err(Refused::Conflict(None)) => "conflict none",
        Err(Refused::NotCopied) => "not copied",
        Err(Refused::ReadOnly) => "read only",
        Err(Refused::NotMoving) => "not moving",
        other => panic!("{other:?} makes no sense"),
    }
}

#[test]
fn every_case_is_as_the_table_says() {
    for (step, columns) in TABLE {
        for (right, expected) in RIGHTS.into_iter().zip(columns) {
            for (current, expected) in CURRENTS.into_iter().zip(expected) {
                let outcome = describe(transition(right, current, step, NEXT));
                assert_eq!(outcome, expected, "{step:?} of {current:?} as {right:?}");
            }
        }
    }
}

#[test]
fn what_is_damaged_can_be_removed_but_not_brought_back() {
    assert_eq!(remove_damaged(Right::Owner, NEXT), Ok(RecordChange::Remove));
    for has_source in [true, false] {
        let right = Right::Destination { has_source };
        assert_eq!(remove_damaged(right, NEXT), Ok(RecordChange::Bury(NEXT)));
    }
    assert_eq!(remove_damaged(Right::Source, NEXT), Err(Refused::ReadOnly));
}
