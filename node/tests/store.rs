//! The shard on disk: what is kept, what damage does, and carrying out operations on it.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use kv_protocol::version::Version;
use kvnode::store::{Batch, Counters, ScanStart, StorageKey, Store, StoreError, Stored, Visit};

const KEYS: u64 = 1500;

fn version(sequence: u64) -> Version {
    Version { epoch: 1, sequence }
}

fn key(number: u64) -> String {
    format!("key-{number}")
}

/// Values that do not compress, so that they fill the engine's pages.
fn value(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..200)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect()
}

fn fill(store: &Store) {
    let mut batch = Batch::default();
    for number in 0..KEYS {
        batch.put(&StorageKey::new(&key(number)), version(number), Some(&value(number)));
    }
    store.commit(batch, Counters { keys: KEYS, ..Counters::default() }).unwrap();
}

fn get(store: &Store, number: u64) -> Result<Option<Stored<Vec<u8>>>, StoreError> {
    store.get(&StorageKey::new(&key(number)))
}

#[test]
fn what_is_committed_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.counters().unwrap(), Counters::default());
    assert_eq!(store.layout().unwrap(), None);
    fill(&store);
    store.put_layout(b"layout").unwrap();
    let mut batch = Batch::default();
    batch.remove(&StorageKey::new(&key(0)));
    let counters = Counters { keys: KEYS - 1, bytes: 5, sequence: u64::MAX, tombstones: 7 };
    store.commit(batch, counters).unwrap();
    drop(store);

    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.counters().unwrap(), counters);
    assert_eq!(store.layout().unwrap().as_deref(), Some(&b"layout"[..]));
    assert_eq!(get(&store, 0).unwrap(), None);
    for number in 1..KEYS {
        let record = get(&store, number).unwrap().unwrap();
        assert_eq!(record, Stored { value: Some(value(number)), version: version(number) });
    }
}

#[test]
fn a_scan_goes_through_all_keys_once_in_the_order_of_their_hashes() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    fill(&store);
    let mut seen = Vec::new();
    let mut start = ScanStart::Hash(0);
    loop {
        let mut page = Vec::new();
        store
            .reader()
            .scan(start, |entry| {
                page.push(entry.key.to_owned());
                Ok(if page.len() == 7 { Visit::Stop } else { Visit::Next })
            })
            .unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
        start = ScanStart::After(seen.last().unwrap());
    }
    let mut expected: Vec<String> = (0..KEYS).map(key).collect();
    expected.sort_by_key(|key| (kv_protocol::partition::key_hash(key), key.clone()));
    assert_eq!(seen, expected);
}

#[test]
fn two_stores_cannot_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _store = Store::open(directory.path()).unwrap();
    assert!(Store::open(directory.path()).is_err());
}

#[test]
fn a_damaged_page_takes_only_its_own_records_along() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    fill(&store);
    drop(store);
    damage(directory.path());

    let store = Store::open(directory.path()).unwrap();
    let reader = store.reader();
    let (mut sound, mut damaged) = (0, 0);
    // Starting the engine anew takes a moment, so only some keys of each page are looked at.
    let looked_at = || (0..KEYS).step_by(9);
    for number in looked_at() {
        // A damaged page is told apart from the rest on the second try.
        for _ in 0..2 {
            match get(&reader, number) {
                Ok(record) => {
                    assert_eq!(record.unwrap().value, Some(value(number)));
                    sound += 1;
                    break;
                }
                Err(StoreError::Damaged(_)) => assert!(store.reopen().is_ok()),
                Err(error) => panic!("{error}"),
            }
        }
    }
    for number in looked_at() {
        damaged += usize::from(matches!(get(&reader, number), Err(StoreError::Damaged(_))));
    }
    let all = looked_at().count();
    assert_eq!(sound + damaged, all);
    assert!((1..all / 2).contains(&damaged), "{damaged} of {all} records are damaged");

    // What is sound can still be written.
    let number = (0..KEYS).find(|number| get(&store, *number).is_ok()).unwrap();
    let mut batch = Batch::default();
    batch.put(&StorageKey::new(&key(number)), version(KEYS), Some(b"new"));
    store.commit(batch, Counters::default()).unwrap();
    assert_eq!(get(&reader, number).unwrap().unwrap().value.unwrap(), b"new");
}

/// Flips a byte in the middle of the fullest of the engine's page files.
fn damage(store: &Path) {
    let files = fs::read_dir(store.join("slabs")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[!byte[0]]).unwrap();
}
