//! A damaged page of the engine while the engine takes over what is in the write-ahead log: neither is in the
//! other's way for long, and nothing that was acknowledged is lost.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]
#![allow(clippy::print_stdout, reason = "how often it happened is for people")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kv_core::version::Version;
use kv_storage::{Batch, Before, Counters, Failure, Fsync, StorageKey, Store, StoreError};
use tempfile::TempDir;

/// Enough for the engine to have several leaves.
const KEYS: u64 = 700;
const VALUE_BYTES: usize = 1000;
const VICTIM: u64 = 300;
/// How often a read meets the damage, a little later after the start each time.
const ROUNDS: u32 = 40;
const ROUND_DELAY: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_secs(60);

fn key(number: u64) -> StorageKey {
    StorageKey::new(&format!("key-{number}"))
}

/// A value that no compression makes shorter.
fn value(number: u64, round: u64) -> Vec<u8> {
    let mut state = (number + 1) * 1_000_003 + round;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..VALUE_BYTES).map(|_| byte()).collect()
}

fn put(store: &Store, numbers: &[u64], round: u64) {
    let mut batch = Batch::default();
    for number in numbers {
        let version = Version { epoch: 1, sequence: round * KEYS + number };
        batch.put(key(*number), version, Some(&value(*number, round)), Before::Unknown);
    }
    let bytes = KEYS * VALUE_BYTES as u64;
    store.commit(batch, Counters { keys: KEYS, bytes, ..Counters::default() }).unwrap();
}

/// A closed store with a damaged page, and the keys that are on others.
fn damaged() -> (TempDir, Vec<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    put(&store, &(0..KEYS).collect::<Vec<_>>(), 0);
    store.close().unwrap();
    let flipped = fs::read_dir(directory.path().join("slabs"))
        .unwrap()
        .filter(|file| flip_in(&file.as_ref().unwrap().path(), &value(VICTIM, 0)))
        .count();
    assert_eq!(flipped, 1, "the value stands in a file as it is");
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    let is_sound = |number: &u64| match store.measure(&key(*number)) {
        Ok(found) => found.is_some(),
        Err(_) => {
            store.reopen().unwrap();
            false
        }
    };
    let sound: Vec<u64> = (0..KEYS).filter(is_sound).collect();
    assert!(sound.len() > KEYS as usize / 2 && !sound.contains(&VICTIM));
    store.close().unwrap();
    (directory, sound)
}

/// Flips one bit where `content` stands in the file. Returns whether it does.
fn flip_in(file: &Path, content: &[u8]) -> bool {
    let mut bytes = fs::read(file).unwrap();
    let Some(at) = bytes.windows(content.len()).position(|it| it == content) else { return false };
    bytes[at + content.len() / 2] ^= 1;
    fs::write(file, bytes).unwrap();
    true
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Waits until the engine has everything. Returns why nothing can be written any more, where that is so.
#[track_caller]
fn taken_over(store: &Store) -> Option<Failure> {
    let started = Instant::now();
    while store.headroom_bytes(0) > 0 && store.failure().is_none() {
        assert!(started.elapsed() < PATIENCE, "the engine does not take over what is in the log");
        std::thread::sleep(Duration::from_millis(1));
    }
    store.failure()
}

#[track_caller]
fn assert_has(store: &Store, numbers: &[u64], round: u64) {
    for number in numbers {
        let stored = store.get(&key(*number)).unwrap().unwrap();
        assert_eq!(stored.value, Some(value(*number, round)), "key-{number}");
    }
}

#[test]
fn an_engine_that_a_read_has_stopped_takes_over_the_log_without_another_request() {
    let (directory, sound) = damaged();
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    assert!(matches!(store.get(&key(VICTIM)), Err(StoreError::PageCorrupt(_))));
    assert!(store.has_stopped());
    put(&store, &sound, 1);
    store.checkpoint_soon().unwrap();
    assert_eq!(taken_over(&store), None);
    assert_has(&store, &sound, 1);
    assert!(matches!(store.get(&key(VICTIM)), Err(StoreError::PageCorrupt(_))));
}

#[test]
fn reads_that_meet_damage_again_and_again_do_not_keep_the_engine_from_the_log() {
    let (directory, sound) = damaged();
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    let reader = store.reader();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    assert!(reader.measure(&key(VICTIM)).is_err());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(order) {
                // It remembers no key, as a scan does not.
                assert!(reader.measure(&key(VICTIM)).is_err());
                let _ = reader.reopen();
            }
        });
        let failures: Vec<_> = (1..=20)
            .map(|round| {
                put(&store, &sound, round);
                store.checkpoint_soon().unwrap();
                taken_over(&store)
            })
            .collect();
        is_over.store(true, order);
        assert_eq!(failures, [None; 20]);
    });
    store.reopen().unwrap();
    assert_has(&store, &sound, 20);
}

/// The first read of a damaged page that a process makes can come while its engine has unflushed changes.
#[test]
fn a_read_that_meets_damage_while_the_engine_takes_over_the_log_costs_at_most_a_start() {
    let (directory, sound) = damaged();
    let crashed = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    put(&store, &sound, 1);
    copy(directory.path(), crashed.path());
    drop(store);
    let mut starts = 0;
    for round in 0..ROUNDS {
        let scene = tempfile::tempdir().unwrap();
        copy(crashed.path(), scene.path());
        let store = Store::open(scene.path(), Fsync::Always).unwrap();
        std::thread::sleep(ROUND_DELAY * round);
        assert!(store.measure(&key(VICTIM)).is_err());
        let _ = store.reopen();
        match taken_over(&store) {
            None => assert_has(&store, &sound, 1),
            Some(Failure::Passing) => {
                starts += 1;
                // As a new process finds it.
                let after = tempfile::tempdir().unwrap();
                copy(scene.path(), after.path());
                store.abandon();
                let store = Store::open(after.path(), Fsync::Always).unwrap();
                assert_eq!(taken_over(&store), None);
                assert_has(&store, &sound, 1);
            }
            Some(Failure::Lasting) => panic!("a damaged record ends the node"),
        }
    }
    println!("{starts} of {ROUNDS} reads made a new start necessary");
}
