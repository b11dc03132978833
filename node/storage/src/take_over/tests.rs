//! Memtables that a real engine takes over.

use std::path::Path;

use kv_core::version::Version;

use super::*;
use crate::batch::Batch;
use crate::memtable::Memtable;
use crate::{Before, Counters};

const KEYS: u32 = 500;

fn key(number: u32) -> StorageKey {
    StorageKey::new(&format!("key-{number}"))
}

/// A memtable in which keys have values that `value` gives, or are removed.
fn memtable(value: impl Fn(u32) -> Option<Vec<u8>>) -> Memtable {
    let mut batch = Batch::default();
    for number in 0..KEYS {
        let version = Version { epoch: 1, sequence: u64::from(number) };
        match value(number) {
            Some(value) => batch.put(key(number), version, Some(&value), Before::Unknown),
            None => batch.remove(key(number), Before::Unknown),
        }
    }
    let counters = Counters { keys: 1, ..Counters::default() };
    let (frame, changes) = batch.finish(counters);
    let memtable = Memtable::default();
    memtable.insert(&frame.into(), changes, counters);
    memtable
}

fn taking<'a>(
    engine: &'a Engine,
    memtable: &'a Memtable,
    disk: &'a Disk,
    directory: &'a Path,
) -> Taking<'a> {
    static IS_CLOSED: AtomicBool = AtomicBool::new(false);
    let needs = memtable.needs();
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    Taking {
        engine,
        memtable,
        segment: 1,
        disk,
        directory,
        stored: (0, 0),
        needs,
        flush_bytes_max: u64::MAX,
        is_closed: &IS_CLOSED,
        has_met_damage: false,
        written_bytes_max: u64::MAX,
        written_bytes: &WRITTEN,
        after: None,
    }
}

#[test]
fn pieces_give_the_engine_what_one_flush_gives() {
    let value = |number: u32| vec![number as u8; 20_000 + number as usize];
    let content = |in_pieces: bool| {
        let rounds = [
            memtable(|number| Some(value(number))),
            memtable(|number| (number % 3 > 0).then(|| value(number / 2))),
        ];
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path(), 0);
        let engine = Engine::open(directory.path(), &disk, 1 << 20).unwrap();
        for round in &rounds {
            let taking = taking(&engine, round, &disk, directory.path());
            match in_pieces {
                true => taking.in_pieces(0).unwrap(),
                false => assert_eq!(taking.with_room().unwrap(), None),
            }
        }
        assert_eq!(engine.checkpointed().unwrap(), 1);
        (0..KEYS).map(|it| engine.get(&key(it)).unwrap()).collect::<Vec<_>>()
    };
    let expected = content(false);
    assert_eq!(expected.iter().flatten().count(), (KEYS - KEYS.div_ceil(3)) as usize);
    assert!(content(true) == expected);
}

#[test]
fn an_engine_that_keeps_too_much_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), 0);
    let memtable = memtable(|_| Some(vec![1; 50_000]));
    let (written, mut after, mut engines) = (AtomicU64::new(0), None, 0);
    loop {
        engines += 1;
        let engine = Engine::open(directory.path(), &disk, 1 << 20).unwrap();
        let taking = Taking {
            written_bytes: &written,
            written_bytes_max: 1,
            flush_bytes_max: 1 << 20,
            after: after.take(),
            ..taking(&engine, &memtable, &disk, directory.path())
        };
        match taking.with_room().unwrap() {
            Some(last) => {
                assert_eq!(engine.checkpointed().unwrap(), 0, "it has not got everything");
                after = Some(last);
            }
            None => {
                assert_eq!(engine.checkpointed().unwrap(), 1);
                assert!((0..KEYS).all(|it| engine.get(&key(it)).unwrap().is_some()));
                break;
            }
        }
    }
    assert!(engines > 1, "it was to be done in several goes");
}

#[test]
fn pieces_of_long_values_are_no_longer_than_the_engine_may_keep() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), 0);
    let engine = Engine::open(directory.path(), &disk, 1 << 20).unwrap();
    let memtable = memtable(|_| Some(vec![1; 10]));
    for (value_bytes, written_bytes_max, expected) in [
        (100, 8 << 20, CHANGES_PER_BATCH as u64),
        (128 << 10, 8 << 20, 2),
        (8 << 20, 8 << 20, 1),
        (128 << 10, 1 << 30, CHANGES_PER_BATCH as u64),
    ] {
        let stored = (value_bytes * 1000, 1000);
        let taking = taking(&engine, &memtable, &disk, directory.path());
        let taking = Taking { stored, written_bytes_max, ..taking };
        assert_eq!(taking.piece_changes_min(), expected, "{value_bytes}");
    }
}

#[test]
fn nothing_more_is_begun_once_the_store_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), 0);
    let engine = Engine::open(directory.path(), &disk, 1 << 20).unwrap();
    let memtable = memtable(|_| Some(vec![1; 1000]));
    let is_closed = AtomicBool::new(true);
    let closed =
        Taking { is_closed: &is_closed, ..taking(&engine, &memtable, &disk, directory.path()) };
    assert!(matches!(closed.with_room(), Err(Untaken::Waits(_))));
    assert!(matches!(closed.in_pieces(0), Err(Untaken::Waits(_))));
    assert_eq!(engine.get(&key(0)).unwrap(), None);
    is_closed.store(false, Ordering::Release);
    assert_eq!(closed.with_room().unwrap(), None);
    assert!(engine.get(&key(0)).unwrap().is_some());
}

#[test]
fn leaves_are_measured_with_what_lies_around_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), 0);
    let engine = Engine::open(directory.path(), &disk, 1 << 20).unwrap();
    let memtable = memtable(|_| Some(vec![1; 1000]));
    taking(&engine, &memtable, &disk, directory.path()).with_room().unwrap();
    let mut leaves = Leaves::default();
    leaves.add(&engine, &key(7), None).unwrap();
    let one = leaves.bytes;
    // Its leaf has at most so many records, on either side.
    let around = placed(2 * LEAF_FANOUT as u64 * 1000);
    assert!(one >= around, "{one} of {around}");
    assert!(one <= around * 2, "{one} of {around}");
    leaves.add(&engine, &key(7), None).unwrap();
    assert!(leaves.bytes < one * 2, "what is counted is counted once");
    let mut behind = Leaves::default();
    for number in 0..KEYS {
        let key = StorageKey::first_of_hash(u64::MAX - u64::from(KEYS - number));
        behind.add(&engine, &key, None).unwrap();
    }
    let overhead = LEAF_OVERHEAD_BYTES * u64::from(KEYS) * 2;
    assert!(behind.bytes < overhead + around, "{} is too much", behind.bytes);
    for number in 0..KEYS {
        leaves.add(&engine, &key(number), None).unwrap();
    }
    assert!(leaves.bytes >= placed(u64::from(KEYS) * 1000));
}

#[test]
fn what_the_disk_has_no_room_for_is_not_begun() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), 0);
    let engine = Engine::open(directory.path(), &disk, 1 << 20).unwrap();
    let memtable = memtable(|_| Some(vec![1; 1000]));
    let taking = taking(&engine, &memtable, &disk, directory.path());
    // More than any disk has.
    assert!(matches!(taking.in_pieces(1 << 62), Err(Untaken::Waits(_))));
    assert_eq!(engine.get(&key(0)).unwrap(), None);
    taking.in_pieces(0).unwrap();
    assert!(engine.get(&key(0)).unwrap().is_some());
}

/// A new store takes over more than its engine's cache has room for, before it takes over the first layout.
#[test]
fn an_engine_that_has_no_layout_yet_does_not_look_for_it_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), 0);
    let (sender, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let engine = Engine::open(directory.path(), &disk, 1 << 20).unwrap();
        // The cache knows a page once it was looked at often.
        (0..10_000).for_each(|_| assert_eq!(engine.layout().unwrap(), None));
        let record = Some(Bytes::from(vec![1; 1000]));
        for number in 0..30_000 {
            engine.change(&[(key(number), record.clone())]).unwrap();
        }
        engine.flush().unwrap();
        assert_eq!(engine.layout().unwrap(), None);
        sender.send(()).unwrap();
    });
    done.recv_timeout(std::time::Duration::from_secs(120)).expect("it hangs");
}
