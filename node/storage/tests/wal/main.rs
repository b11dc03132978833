//! The write-ahead log under attack: its files are cut, damaged, mixed up and made by hand. What was committed
//! is there afterwards, or the store reports the damage.
//!
//! A store that is dropped has not been closed, so that the next one finds what a crash would leave.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

mod damaged;
mod files;
mod model;
mod segments;
mod torn;

use std::path::Path;

use kv_storage::{Fsync, Store, StoreError, StoreOptions, WalError};
use proptest::prelude::*;

use self::files::Frame;
use self::model::{Group, State, commit_all};

fn open(directory: &Path) -> Store {
    Store::open(directory, Fsync::Always).unwrap()
}

/// Commits groups to a new store, each as a frame of the only segment. Returns what it contained
/// before the first and after each, and the segment.
fn written(directory: &Path, fsync: Fsync, groups: &[Group]) -> (Vec<State>, Vec<u8>) {
    let store = Store::open(directory, fsync).unwrap();
    let states = commit_all(&store, groups);
    drop(store);
    let segment = files::read(directory).remove(&1).unwrap();
    assert_eq!(files::frames(&segment).len(), groups.len());
    (states, segment)
}

/// Leaves the store nothing but these bytes, as its first segment.
fn leave(directory: &Path, segment: &[u8]) {
    files::replace(directory, &[(1, segment.to_vec())].into());
}

/// The store has `expected`, takes further changes, and has all of that the next time as well.
#[track_caller]
fn assert_goes_on(directory: &Path, expected: &State) {
    let store = open(directory);
    assert_eq!(State::of(&store), *expected);
    let mut state = expected.clone();
    state.commit(&store, &Group::Changes(vec![(0, model::Mutation::Put(b"later".to_vec()))]));
    assert_eq!(State::of(&store), state);
    drop(store);
    assert_eq!(State::of(&open(directory)), state);
}

/// The store does not open, since a segment is damaged at this place.
#[track_caller]
fn assert_damaged(directory: &Path, segment: u64, at: usize) {
    match Store::open(directory, Fsync::Always).err() {
        Some(StoreError::Wal(WalError::Damaged { path, offset, .. })) => {
            assert_eq!((path, offset), (files::path(directory, segment), at as u64));
        }
        other => panic!("expected damage at byte {at} of segment {segment}, got {other:?}"),
    }
}

fn ends(segment: &[u8]) -> Vec<usize> {
    files::frames(segment).iter().map(Frame::end).collect()
}

/// A thing that a test does to a store.
#[derive(Clone, Debug)]
enum Step {
    Commit(Group),
    Kill,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => model::group().prop_map(Step::Commit),
        2 => Just(Step::Kill),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_was_committed_is_there_wherever_checkpoints_were(
        steps in proptest::collection::vec(step(), 1..40),
        // From a segment per group to one segment for all.
        segment_bytes in prop_oneof![Just(1), 200_u64..3000, Just(1 << 20)],
        is_always: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let fsync = if is_always { Fsync::Always } else { Fsync::EverySecond };
        let open = || Store::open(directory.path(), StoreOptions { segment_bytes, ..fsync.into() }).unwrap();
        let mut store = open();
        let mut state = State::default();
        for step in steps {
            match step {
                Step::Commit(group) => state.commit(&store, &group),
                Step::Kill => {
                    drop(store);
                    store = open();
                }
                Step::Close => {
                    store.close().unwrap();
                    store = open();
                }
            }
            prop_assert_eq!(State::of(&store), state.clone());
        }
        drop(store);
        prop_assert_eq!(State::of(&open()), state);
    }
}

#[test]
fn the_format_is_pinned() {
    let directory = tempfile::tempdir().unwrap();
    let group = |byte| Group::Changes(vec![(byte, model::Mutation::Put(vec![byte; 5]))]);
    let (_, found) = written(directory.path(), Fsync::Always, &[group(1), group(2), group(3)]);
    let contents: Vec<Vec<u8>> = files::frames(&found).into_iter().map(|it| it.content).collect();
    assert_eq!(found, files::segment(1, &contents));
    drop(open(directory.path()));
    // It is gone where the engine has had the time to take it over.
    if let Some(ended) = files::read(directory.path()).remove(&1) {
        assert_eq!(ended, files::sealed(1, found));
    }
}
