//! Damage to what had been acknowledged: it is reported, and never passed over.

use kv_storage::{Fsync, Store, StoreError};
use proptest::prelude::*;

use super::model::{Group, Mutation, State, commit_all, groups};
use super::{assert_damaged, files, leave, written};

/// What happens to bytes on a bad disk, or by a bad hand.
#[derive(Clone, Debug)]
enum Harm {
    Flip(prop::sample::Index, u8),
    Zero(prop::sample::Index, usize),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    /// The bytes of one place are also at another.
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 0_u8..8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        (at(), 1_usize..200).prop_map(|(at, count)| Harm::Zero(at, count)),
        (at(), 1_usize..200).prop_map(|(at, count)| Harm::Remove(at, count)),
        (at(), proptest::collection::vec(any::<u8>(), 1..100))
            .prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        (at(), at(), 1_usize..200).prop_map(|(from, to, count)| Harm::Copy(from, to, count)),
    ]
}

impl Harm {
    fn happen(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        let range = |at: &prop::sample::Index, count: usize| {
            let at = at.index(length);
            at..length.min(at + count)
        };
        match self {
            Self::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Self::Zero(at, count) => bytes[range(at, *count)].fill(0),
            Self::Remove(at, count) => drop(bytes.drain(range(at, *count))),
            Self::Insert(at, more) => {
                let at = at.index(length);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Copy(from, to, count) => {
                let copied = bytes[range(from, *count)].to_vec();
                for (byte, copied) in bytes.iter_mut().skip(to.index(length)).zip(copied) {
                    *byte = copied;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_flipped_bit_before_an_acknowledged_group_is_reported_with_its_place(
        groups in proptest::collection::vec(super::model::group(), 2..12),
        at: prop::sample::Index,
        bit in 0_u8..8,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut segment) = written(directory.path(), Fsync::Always, &groups);
        let frames = files::frames(&segment);
        let at = at.index(frames[frames.len() - 1].offset);
        segment[at] ^= 1 << bit;
        leave(directory.path(), &segment);
        let hit = frames.iter().rfind(|it| it.offset <= at).unwrap();
        assert_damaged(directory.path(), 1, hit.offset);
        prop_assert_eq!(&files::read(directory.path())[&1], &segment, "it is left for a repair");
    }

    #[test]
    fn whatever_is_done_to_the_bytes_the_outcome_is_an_error_or_a_beginning_of_what_was(
        groups in groups(),
        harms in proptest::collection::vec(harm(), 1..4),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (states, sound) = written(directory.path(), Fsync::Always, &groups);
        let mut segment = sound.clone();
        harms.iter().for_each(|harm| harm.happen(&mut segment));
        leave(directory.path(), &segment);
        match Store::open(directory.path(), Fsync::Always) {
            Ok(store) => {
                let found = State::of(&store);
                let frames = files::frames(&sound);
                let is_sound = |it: &&files::Frame| {
                    segment.get(it.offset..it.end()) == Some(&sound[it.offset..it.end()])
                };
                let last_sound = frames.iter().rposition(|it| is_sound(&it));
                // Where a group can still be read, none before it is missing.
                let least = last_sound.map_or(0, |it| it + 1);
                prop_assert!(states[least..].contains(&found), "{:?}", found);
            }
            Err(error) => prop_assert!(matches!(error, StoreError::Wal(_)), "{error}"),
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_reason_to_panic(bytes: Vec<u8>, is_framed: bool, is_last: bool) {
        let directory = tempfile::tempdir().unwrap();
        drop(super::open(directory.path()));
        // In a frame, they are content that passes for intact, and may even make sense.
        let mut segment = if is_framed { files::frame(1, 0, 0, &bytes) } else { bytes };
        if !is_last {
            segment = files::sealed(1, segment);
        }
        leave(directory.path(), &segment);
        let opened = Store::open(directory.path(), Fsync::Always);
        if let (Ok(store), false) = (opened, is_framed) {
            prop_assert_eq!(State::of(&store), State::default());
        }
    }
}

#[test]
fn intact_frames_whose_content_makes_no_sense_are_damage() {
    let counters = [0; 32];
    let whole = |change: &[u8]| [&counters[..], change].concat();
    let change = |kind: u8, key: &[u8], rest: &[u8]| {
        let lengths = [key, rest].map(|it| (it.len() as u32).to_le_bytes()).concat();
        whole(&[&[kind][..], &lengths, key, rest].concat())
    };
    let contents = [
        change(0x13, b"", b"layout"),
        change(0x21, b"", b""),
        change(4, b"", b"abc"),
        change(4, b"", &[3, 0, 0, 0]),
        counters[..31].to_vec(),
        whole(b"x"),
        change(9, b"key", b"rest"),
        change(1, b"\xff", b"rest"),
        whole(&[&[1][..], &u32::MAX.to_le_bytes(), &u32::MAX.to_le_bytes()].concat()),
    ];
    for content in contents {
        let directory = tempfile::tempdir().unwrap();
        drop(super::open(directory.path()));
        let sound = change(2, b"key", b"");
        let offset = files::HEAD_BYTES + sound.len();
        leave(directory.path(), &files::segment(1, &[sound, content]));
        assert_damaged(directory.path(), 1, offset);
    }
}

#[test]
fn a_damaged_record_in_an_intact_frame_is_corrupt_and_harms_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let put = |key, value: &[u8]| Group::Changes(vec![(key, Mutation::Put(value.to_vec()))]);
    let (_, segment) = written(directory.path(), Fsync::Always, &[put(1, b"one"), put(2, b"two")]);
    let mut contents: Vec<Vec<u8>> =
        files::frames(&segment).into_iter().map(|it| it.content).collect();
    *contents[0].last_mut().unwrap() ^= 1;
    leave(directory.path(), &files::segment(1, &contents));
    let store = super::open(directory.path());
    let get = |key: &str| store.get(&kv_storage::StorageKey::new(key));
    assert!(matches!(get("key-1"), Err(StoreError::RecordCorrupt(_))));
    assert_eq!(get("key-2").unwrap().unwrap().value.unwrap(), b"two");
    drop(store);
    // The rest of the store is of use as well.
    assert!(commit_all(&super::open(directory.path()), &[put(3, b"three")]).len() == 2);
}

/// Several threads read such a segment, and none of them may pass over what another one has found.
#[test]
fn damage_anywhere_in_a_long_segment_is_reported_with_its_place() {
    const GROUPS: u8 = 12;
    let directory = tempfile::tempdir().unwrap();
    let group = |byte| Group::Changes(vec![(byte, Mutation::Put(vec![byte; 1 << 20]))]);
    let groups: Vec<Group> = (0..GROUPS).map(group).collect();
    let (states, segment) = written(directory.path(), Fsync::Always, &groups);
    let frames = files::frames(&segment);
    let (last, others) = frames.split_last().unwrap();
    let left = |bytes: &[u8]| {
        let directory = tempfile::tempdir().unwrap();
        drop(super::open(directory.path()));
        leave(directory.path(), bytes);
        directory
    };
    for frame in others {
        let mut damaged = segment.clone();
        damaged[frame.end() - 1] ^= 1;
        assert_damaged(left(&damaged).path(), 1, frame.offset);
    }
    let mut torn = segment.clone();
    torn[last.offset] ^= 1;
    assert_eq!(State::of(&super::open(left(&torn).path())), states[states.len() - 2]);
    // What is wrong behind it changes nothing.
    torn[others[1].offset] ^= 1;
    assert_damaged(left(&torn).path(), 1, others[1].offset);
}
