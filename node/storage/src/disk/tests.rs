//! The reserve of a real disk.

use super::*;
use crate::limits::{INODES_PER_STEP, RESERVE_INODES};
use crate::reserve::RESERVE_FILE;

const RESERVE_BYTES: u64 = 4 << 20;

fn held(directory: &Path) -> u64 {
    std::fs::metadata(directory.join(RESERVE_FILE)).map_or(0, |it| it.len())
}

#[test]
fn a_reserve_is_held_given_up_in_steps_and_filled_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), RESERVE_BYTES);
    assert_eq!(held(directory.path()), 0);
    disk.tend();
    assert_eq!(held(directory.path()), RESERVE_BYTES);
    // As under a quota: the file system shows room that cannot be had.
    disk.note(&io::ErrorKind::StorageFull.into());
    assert_eq!(disk.room_bytes().unwrap(), 0);
    // Here it can be had again.
    disk.tend();
    assert!(disk.room_bytes().unwrap() > 0);
    assert_eq!(disk.room(1, 1), Room::Free);
}

#[test]
fn what_is_kept_for_the_engine_is_not_given_to_removals() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), RESERVE_BYTES);
    disk.tend();
    // More than any disk has, with its reserve.
    assert!(!disk.make_room(1 << 62, 0));
    assert_eq!(held(directory.path()), RESERVE_BYTES);
    assert!(matches!(disk.room(u64::MAX, 1 << 62), Room::Nothing(_)));
    assert_eq!(held(directory.path()), RESERVE_BYTES);
    assert!(matches!(disk.room(u64::MAX, 1), Room::Removals(_)));
}

#[test]
fn room_is_shown_without_waiting_for_a_thread_that_has_the_reserve() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), RESERVE_BYTES);
    assert!(!disk.shows_room(u64::MAX - RESERVE_BYTES));
    disk.tend();
    assert!(disk.shows_room(1));
    assert!(!disk.shows_room(1 << 62));
    assert_eq!(held(directory.path()), RESERVE_BYTES, "nothing is given up for it");
    let reserve = disk.reserve();
    assert!(!disk.shows_room(1));
    drop(reserve);
    disk.note(&io::ErrorKind::StorageFull.into());
    assert!(!disk.shows_room(1), "a write has found none");
}

#[test]
fn a_reserve_that_no_disk_has_takes_nothing_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), 1 << 62);
    disk.tend();
    assert_eq!(held(directory.path()), 0);
    let Room::Removals(shortage) = disk.room(1, 1) else { panic!("it has room") };
    assert_eq!(shortage.missing, 1 << 62);
    assert_eq!(disk.room_bytes().unwrap(), 0);
}

#[test]
fn an_earlier_runs_reserve_is_taken_up_and_made_shorter() {
    let directory = tempfile::tempdir().unwrap();
    Disk::new(directory.path(), RESERVE_BYTES).tend();
    let disk = Disk::new(directory.path(), RESERVE_BYTES / 2);
    disk.tend();
    assert_eq!(held(directory.path()), RESERVE_BYTES / 2);
    Disk::new(directory.path(), 0).tend();
    assert_eq!(held(directory.path()), 0);
}

#[test]
fn inodes_are_kept_for_what_must_be_possible() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), RESERVE_BYTES);
    let shortage = |free: u64, held: u64| {
        let mut reserve = disk.reserve();
        reserve.give_inodes(u64::MAX);
        reserve.take_inodes(held).unwrap();
        let space = Space {
            total_bytes: 0,
            bytes: 0,
            inodes: Some(free),
            total_inodes: 1 << 20,
            is_read_only: false,
        };
        disk.shortage_of_inodes(&space, &reserve)
    };
    assert_eq!(shortage(INODES_PER_STEP, RESERVE_INODES), None);
    let lacking = shortage(INODES_PER_STEP - 1, RESERVE_INODES).unwrap();
    assert_eq!((lacking.of, lacking.missing), (Resource::Inodes, 0));
    let lacking = shortage(INODES_PER_STEP, RESERVE_INODES - 1).unwrap();
    assert_eq!((lacking.needed, lacking.missing), (INODES_PER_STEP + 1, 1));
    // More than any disk has.
    assert!(!disk.make_inodes(u64::MAX, 0));
    assert!(disk.make_inodes(1, 0));
}
