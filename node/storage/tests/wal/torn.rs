//! Ends of the log as crashes leave them: what had not been acknowledged is dropped, and no more.

use kv_storage::{Fsync, Store};
use proptest::prelude::*;

use super::model::{Group, Mutation, State, groups};
use super::{assert_goes_on, ends, files, leave, written};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_log_that_was_cut_off_has_all_groups_before_the_cut(
        groups in groups(),
        cut: prop::sample::Index,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (states, segment) = written(directory.path(), Fsync::Always, &groups);
        let cut = cut.index(segment.len() + 1);
        leave(directory.path(), &segment[..cut]);
        let whole = ends(&segment).iter().filter(|end| **end <= cut).count();
        assert_goes_on(directory.path(), &states[whole]);
    }

    #[test]
    fn what_a_torn_write_left_behind_the_last_group_is_dropped(
        groups in groups(),
        garbage in garbage(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (states, segment) = written(directory.path(), Fsync::Always, &groups);
        let torn = garbage.after(&segment);
        leave(directory.path(), &[segment, torn].concat());
        assert_goes_on(directory.path(), &states[groups.len()]);
    }
}

/// What may stand behind the last whole frame.
#[derive(Clone, Debug)]
enum Garbage {
    Noise(Vec<u8>),
    Zeros(usize),
    /// A frame of which some bytes are missing at the end.
    Half(Vec<u8>, prop::sample::Index),
    /// A frame whose head is there while the rest has not been written.
    Hollow(Vec<u8>),
    /// Another copy of the first frame, which belongs elsewhere.
    Misplaced,
}

fn garbage() -> impl Strategy<Value = Garbage> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..500);
    prop_oneof![
        bytes().prop_map(Garbage::Noise),
        (1_usize..5000).prop_map(Garbage::Zeros),
        (bytes(), any::<prop::sample::Index>()).prop_map(|(it, at)| Garbage::Half(it, at)),
        bytes().prop_map(Garbage::Hollow),
        Just(Garbage::Misplaced),
    ]
}

impl Garbage {
    fn after(self, segment: &[u8]) -> Vec<u8> {
        let length = segment.len();
        match self {
            Self::Noise(noise) => noise,
            Self::Zeros(count) => vec![0; count],
            Self::Half(content, at) => {
                let mut frame = files::frame(1, length, length, &content);
                frame.truncate(at.index(frame.len()));
                frame
            }
            Self::Hollow(mut content) => {
                content[0] |= 1;
                let mut frame = files::frame(1, length, length, &content);
                frame[files::HEAD_BYTES..].fill(0);
                frame
            }
            Self::Misplaced => segment[..ends(segment)[0]].to_vec(),
        }
    }
}

/// A frame that was the last one and is damaged looks as one that was being written.
#[test]
fn damage_in_the_very_last_group_drops_that_group_alone() {
    let groups: Vec<Group> =
        (0..4).map(|it| Group::Changes(vec![(it, Mutation::Put(vec![it; 20]))])).collect();
    let directory = tempfile::tempdir().unwrap();
    let (states, segment) = written(directory.path(), Fsync::Always, &groups);
    let last = files::frames(&segment).pop().unwrap();
    for at in [last.offset, last.offset + 9, last.offset + 13, last.offset + 40, last.end() - 1] {
        let directory = tempfile::tempdir().unwrap();
        drop(super::open(directory.path()));
        let mut damaged = segment.clone();
        damaged[at] ^= 0x10;
        leave(directory.path(), &damaged);
        assert_goes_on(directory.path(), &states[groups.len() - 1]);
    }
}

/// The system writes what was not synced in any order, so a power loss can leave a hole.
#[test]
fn a_hole_in_what_was_not_synced_drops_what_comes_after_and_nothing_before() {
    let groups: Vec<Group> =
        (0..8).map(|it| Group::Changes(vec![(it, Mutation::Put(vec![it; 20]))])).collect();
    for hole in 0..groups.len() {
        let directory = tempfile::tempdir().unwrap();
        let (states, mut segment) = written(directory.path(), Fsync::EverySecond, &groups);
        let frames = files::frames(&segment);
        if frames.iter().any(|it| it.durable > frames[hole].offset as u64) {
            // The machine is so slow that the log was synced meanwhile; this is damage then.
            continue;
        }
        segment[frames[hole].offset..frames[hole].end()].fill(0);
        leave(directory.path(), &segment);
        let store = Store::open(directory.path(), Fsync::EverySecond).unwrap();
        assert_eq!(State::of(&store), states[hole]);
        drop(store);
        assert_goes_on(directory.path(), &states[hole]);
    }
}

/// What comes after a hole must not come back when something else has been written before it.
#[test]
fn what_was_dropped_behind_a_hole_stays_dropped() {
    let put = |key, value: &[u8]| Group::Changes(vec![(key, Mutation::Put(value.to_vec()))]);
    let directory = tempfile::tempdir().unwrap();
    let groups = [put(1, b"first"), put(2, b"hole"), put(3, b"late")];
    let (states, mut segment) = written(directory.path(), Fsync::EverySecond, &groups);
    let frames = files::frames(&segment);
    if frames[2].durable > 0 {
        return;
    }
    segment[frames[1].offset..frames[1].end()].fill(0);
    leave(directory.path(), &segment);
    for _ in 0..3 {
        assert_eq!(State::of(&super::open(directory.path())), states[1]);
    }
}
