//! The sums of partitions: whatever is done to a store, they are what its records come to.
//!
//! A store that is dropped has not been closed, so that the next one finds what a crash would leave.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

mod condensed;
mod counting;
#[expect(dead_code, reason = "the log's own tests use more of it")]
#[path = "../wal/files.rs"]
mod files;
mod model;

use std::path::Path;

use kv_core::partition::PartitionCount;
use kv_storage::{Fsync, Store, StoreOptions};
use proptest::prelude::*;

use self::model::{Change, Records, assert_all_right, assert_right, change, wait_until_known};

const KEYS: u16 = 60;

fn partitions() -> impl Strategy<Value = PartitionCount> {
    prop_oneof![Just(1), Just(2), Just(256), Just(4096)]
        .prop_map(|count| PartitionCount::new(count).unwrap())
}

/// A thing that a test does to a store.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Change>),
    Checkpoint,
    Close,
    Kill,
    /// The process dies, and of what the log's last segment has only so much is on the disk.
    Tear(prop::sample::Index),
}

fn step(untold: Option<u32>) -> impl Strategy<Value = Step> {
    let changes = proptest::collection::vec(change(KEYS, untold), 1..8);
    prop_oneof![
        16 => changes.prop_map(Step::Commit),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Close),
        2 => Just(Step::Kill),
        2 => any::<prop::sample::Index>().prop_map(Step::Tear),
    ]
}

/// A store whose sums are kept.
fn open(directory: &Path, options: StoreOptions, partitions: PartitionCount) -> Store {
    let store = Store::open(directory, options).unwrap();
    store.keep_sums(partitions).unwrap();
    store
}

/// Cuts the log's last segment off, behind its first `kept` bytes at a write that was not synced.
fn tear(directory: &Path, at: &prop::sample::Index) {
    let mut segments = files::read(directory);
    let Some(mut last) = segments.last_entry() else { return };
    let length = last.get().len();
    last.get_mut().truncate(at.index(length + 1));
    files::replace(directory, &segments);
}

/// Carries steps out. `check` is asked after each.
fn carry_out(
    steps: &[Step],
    segment_bytes: u64,
    partitions: PartitionCount,
    check: impl Fn(&Store, PartitionCount),
) {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { segment_bytes, ..Fsync::Always.into() };
    let reopen = || open(directory.path(), options, partitions);
    let mut store = reopen();
    let mut records = Records::default();
    for step in steps {
        match step {
            Step::Commit(changes) => records.commit(&store, changes),
            Step::Checkpoint => store.checkpoint_soon().unwrap(),
            Step::Close => {
                store.close().unwrap();
                store = reopen();
            }
            Step::Kill => {
                drop(store);
                store = reopen();
            }
            Step::Tear(at) => {
                drop(store);
                tear(directory.path(), at);
                store = reopen();
                records = Records::of(&store);
            }
        }
        check(&store, partitions);
    }
    drop(store);
    check(&reopen(), partitions);
}

fn segment_bytes() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1), 200_u64..3000, Just(1 << 20)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn where_each_change_says_what_there_was_all_sums_are_known_at_all_times(
        steps in proptest::collection::vec(step(None), 1..40),
        segment_bytes in segment_bytes(),
        partitions in partitions(),
    ) {
        carry_out(&steps, segment_bytes, partitions, assert_all_right);
    }

    #[test]
    fn where_some_changes_do_not_say_it_what_is_known_is_right(
        steps in proptest::collection::vec(step(Some(10)), 1..40),
        segment_bytes in segment_bytes(),
        partitions in partitions(),
    ) {
        carry_out(&steps, segment_bytes, partitions, assert_right);
    }
}

#[test]
fn what_is_not_known_is_so_after_a_restart_too_until_it_was_counted() {
    let directory = tempfile::tempdir().unwrap();
    let partitions = PartitionCount::new(256).unwrap();
    let reopen = || Store::open(directory.path(), Fsync::Always).unwrap();
    let store = reopen();
    store.keep_sums(partitions).unwrap();
    let mut records = Records::default();
    let all: Vec<_> = (0..1000).map(|key| value(key, true)).collect();
    records.commit(&store, &all);
    store.close().unwrap();
    let store = reopen();
    assert_all_right(&store, partitions);
    records.commit(&store, &[value(7, false)]);
    drop(store);
    let store = reopen();
    assert_eq!(model::known(&store, partitions).len(), 255);
    assert_right(&store, partitions);
    wait_until_known(&store, partitions, 256);
    assert_all_right(&store, partitions);
    store.close().unwrap();
    assert_all_right(&reopen(), partitions);
}

fn value(key: u16, tells: bool) -> Change {
    Change { key, becomes: model::Becomes::Value(9), tells }
}

#[test]
fn a_change_says_in_few_bytes_what_there_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    let mut records = Records::default();
    let (told, untold) = (value(1, true), value(1, false));
    let changes = [told, told, untold];
    changes.iter().for_each(|change| records.commit(&store, std::slice::from_ref(change)));
    drop(store);
    let segment = files::read(directory.path()).remove(&1).unwrap();
    let frames = files::frames(&segment);
    // The epoch takes two bytes, the sequence number and the length one each.
    assert_eq!(frames[1].content.len(), frames[2].content.len() + 4);
    assert_eq!(frames[0].content.len(), frames[2].content.len());
    let kinds: Vec<u8> = frames.iter().map(|it| it.content[32]).collect();
    assert_eq!(kinds, [0x11, 0x21, 0x01]);
    let head = [&[0x21][..], &5_u32.to_le_bytes(), &31_u32.to_le_bytes()].concat();
    let expected = [&head[..], &[0xf4, 0x03, 1, 9], b"key-1"].concat();
    assert_eq!(frames[1].content[32..][..expected.len()], expected);
}
