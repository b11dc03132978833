//! Several segments: each is there, in its place and whole, or the store says which is not.

use std::collections::BTreeMap;
use std::path::Path;

use kv_storage::{Fsync, Store, StoreError, WalError};
use tempfile::TempDir;

use super::model::{Group, Mutation, State};
use super::{assert_damaged, assert_goes_on, ends, files, written};

const LAST: u64 = 3;
const GROUPS_OF_SEGMENT: usize = 3;

/// A store whose log has several segments, of which the engine has none. All but the last are sealed.
struct Segmented {
    directory: TempDir,
    /// What it contained before the first group and after each.
    states: Vec<State>,
    segments: BTreeMap<u64, Vec<u8>>,
}

impl Segmented {
    fn new() -> Self {
        let count = LAST as usize * GROUPS_OF_SEGMENT;
        let group = |it: usize| {
            let (key, value) = (it as u8 % 5, format!("value {it}").into_bytes());
            Group::Changes(vec![(key, Mutation::Put(value))])
        };
        let groups: Vec<Group> = (0..count).map(group).collect();
        let directory = tempfile::tempdir().unwrap();
        let (states, segment) = written(directory.path(), Fsync::Always, &groups);
        let contents: Vec<Vec<u8>> =
            files::frames(&segment).into_iter().map(|it| it.content).collect();
        let mut segments: BTreeMap<u64, Vec<u8>> = (1..)
            .zip(contents.chunks(GROUPS_OF_SEGMENT))
            .map(|(number, chunk)| (number, files::sealed(number, files::segment(number, chunk))))
            .collect();
        let last = segments.get_mut(&LAST).unwrap();
        last.truncate(last.len() - files::HEAD_BYTES);
        files::replace(directory.path(), &segments);
        Self { directory, states, segments }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the segments as they have become.
    fn write(&self) {
        files::replace(self.path(), &self.segments);
    }

    fn missing(&self) -> Option<u64> {
        match Store::open(self.path(), Fsync::Always) {
            Err(StoreError::Wal(WalError::Missing(path))) => {
                (1..=LAST).find(|it| files::path(self.path(), *it) == path)
            }
            other => panic!("expected that a segment is missing, got {:?}", other.err()),
        }
    }
}

#[test]
fn all_segments_are_carried_out_in_their_order() {
    let store = Segmented::new();
    assert_goes_on(store.path(), &store.states[9]);
}

#[test]
fn a_missing_segment_is_reported() {
    for missing in [1, 2] {
        let mut store = Segmented::new();
        store.segments.remove(&missing);
        store.write();
        assert_eq!(store.missing(), Some(missing));
    }
}

#[test]
fn a_segment_that_is_missing_after_those_that_the_engine_has_is_reported() {
    let store = Segmented::new();
    super::open(store.path()).close().unwrap();
    let left = files::read(store.path());
    assert_eq!(left.len(), 1, "the engine has all others");
    files::replace(store.path(), &BTreeMap::new());
    let error = Store::open(store.path(), Fsync::Always).err();
    assert!(matches!(error, Some(StoreError::Wal(WalError::Missing(_)))), "{error:?}");
}

/// Without the last segment, the others are as a crash between the end of one segment and the beginning
/// of the next leaves them.
#[test]
fn a_log_without_its_last_segment_ends_with_the_one_before() {
    let mut store = Segmented::new();
    store.segments.remove(&LAST);
    store.write();
    assert_goes_on(store.path(), &store.states[6]);
}

#[test]
fn a_segment_in_the_place_of_another_is_reported() {
    for (place, other) in [(1, 2), (2, 1), (2, 3), (3, 2), (1, 3)] {
        let mut store = Segmented::new();
        let copy = store.segments[&other].clone();
        store.segments.insert(place, copy);
        store.write();
        assert_damaged(store.path(), place, 0);
    }
}

#[test]
fn a_copy_of_a_segment_under_a_further_number_is_reported() {
    let mut store = Segmented::new();
    // The last one has ended, so that there may be one more.
    let last = files::sealed(LAST, store.segments[&LAST].clone());
    store.segments.insert(LAST + 1, last.clone());
    store.segments.insert(LAST, last);
    store.write();
    assert_damaged(store.path(), LAST + 1, 0);
}

#[test]
fn an_empty_segment_is_one_that_was_just_begun_or_damage() {
    let mut store = Segmented::new();
    store.segments.insert(LAST, Vec::new());
    store.write();
    assert_goes_on(store.path(), &store.states[6]);
    for place in [1, 2] {
        let mut store = Segmented::new();
        store.segments.insert(place, Vec::new());
        store.write();
        assert_damaged(store.path(), place, 0);
    }
}

#[test]
fn a_segment_that_has_ended_and_was_cut_is_damage_wherever_it_was_cut() {
    let store = Segmented::new();
    let ended = &store.segments[&2];
    let ends = ends(ended);
    let cuts = [1, 20, ends[0] - 1, ends[0], ends[0] + 40, ends[2], ended.len() - 1];
    for cut in cuts {
        let mut store = Segmented::new();
        store.segments.get_mut(&2).unwrap().truncate(cut);
        store.write();
        let last_whole = ends.iter().rfind(|end| **end <= cut).copied().unwrap_or(0);
        assert_damaged(store.path(), 2, last_whole);
    }
}

#[test]
fn nothing_may_stand_behind_a_seal() {
    for more in [b"more".to_vec(), files::frame(2, 0, 0, b"more")] {
        let mut store = Segmented::new();
        let segment = store.segments.get_mut(&2).unwrap();
        let end = segment.len();
        segment.extend(more);
        store.write();
        assert_damaged(store.path(), 2, end);
    }
}

#[test]
fn files_that_are_no_segments_are_left_alone() {
    let store = Segmented::new();
    let redo = store.path().join("redo");
    let names = ["1.redo", "+000000000000002.redo", "note.txt", "0000000000000002.redo.copy"];
    for name in names {
        std::fs::write(redo.join(name), b"mine").unwrap();
    }
    let state = &store.states[9];
    let opened = super::open(store.path());
    assert_eq!(State::of(&opened), *state);
    opened.close().unwrap();
    for name in names {
        assert_eq!(std::fs::read(redo.join(name)).unwrap(), b"mine", "{name}");
    }
}
