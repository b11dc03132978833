//! The shard on disk: what it keeps, what damage does, and carrying out operations on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kv_core::partition::{Partition, PartitionCount};
use kv_core::version::Version;
use kv_storage::{
    Batch, Before, Counters, Fsync, ScanStart, StorageKey, Store, StoreError, Stored, Visit,
};

use kv_storage::gc::{self, CHUNK_RECORDS_MAX, Removal};
use proptest::prelude::*;

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
        batch.put(
            StorageKey::new(&key(number)),
            version(number),
            Some(&value(number)),
            Before::Unknown,
        );
    }
    store.commit(batch, Counters { keys: KEYS, ..Counters::default() }).unwrap();
}

fn get(store: &Store, number: u64) -> Result<Option<Stored<Vec<u8>>>, StoreError> {
    store.get(&StorageKey::new(&key(number)))
}

#[test]
fn what_is_committed_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    assert_eq!(store.counters(), Counters::default());
    assert_eq!(store.layout().unwrap(), None);
    fill(&store);
    store.put_layout(b"layout").unwrap();
    let mut batch = Batch::default();
    batch.remove(StorageKey::new(&key(0)), Before::Unknown);
    let counters = Counters { keys: KEYS - 1, bytes: 5, sequence: u64::MAX, tombstones: 7 };
    store.commit(batch, counters).unwrap();
    drop(store);

    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    assert_eq!(store.counters(), counters);
    assert_eq!(store.layout().unwrap().as_deref(), Some(&b"layout"[..]));
    assert_eq!(get(&store, 0).unwrap(), None);
    for number in 1..KEYS {
        let record = get(&store, number).unwrap().unwrap();
        assert_eq!(record, Stored { value: Some(value(number)), version: version(number) });
    }
}

/// What a crash leaves after the engine has written its snapshot and before it began a log.
fn leave_only_the_snapshot(store: &Path) {
    let mut logs = 0;
    for entry in std::fs::read_dir(store.join("metadata")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("log_") {
            assert_eq!(path.metadata().unwrap().len(), 0, "nothing has been written since");
            std::fs::remove_file(path).unwrap();
            logs += 1;
        }
    }
    assert_eq!(logs, 1);
}

#[test]
fn crashes_in_the_midst_of_two_starts_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    fill(&store);
    store.put_layout(b"layout").unwrap();
    store.close().unwrap();
    for _ in 0..3 {
        drop(Store::open(directory.path(), Fsync::Always).unwrap());
        leave_only_the_snapshot(directory.path());
        drop(Store::open(directory.path(), Fsync::Always).unwrap());
        let store = Store::open(directory.path(), Fsync::Always).unwrap();
        assert_eq!(store.layout().unwrap().as_deref(), Some(&b"layout"[..]));
        for number in 0..KEYS {
            assert_eq!(get(&store, number).unwrap().unwrap().value, Some(value(number)));
        }
    }
}

#[test]
fn a_scan_goes_through_all_keys_once_in_the_order_of_their_hashes() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
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
    expected.sort_by_key(|key| (kv_core::partition::key_hash(key), key.clone()));
    assert_eq!(seen, expected);
}

#[test]
fn two_stores_cannot_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _store = Store::open(directory.path(), Fsync::Always).unwrap();
    assert!(Store::open(directory.path(), Fsync::Always).is_err());
}

#[test]
fn a_damaged_page_takes_only_its_own_records_along() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    fill(&store);
    store.close().unwrap();
    crate::support::damage(directory.path());

    let store = Store::open(directory.path(), Fsync::Always).unwrap();
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
                Err(StoreError::PageCorrupt(_)) => store.reopen().unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    for number in looked_at() {
        damaged += usize::from(matches!(get(&reader, number), Err(StoreError::PageCorrupt(_))));
    }
    let all = looked_at().count();
    assert_eq!(sound + damaged, all);
    assert!((1..all / 2).contains(&damaged), "{damaged} of {all} records are damaged");

    // A key on a sound page can still be written.
    let number = (0..KEYS).find(|number| get(&store, *number).is_ok()).unwrap();
    let mut batch = Batch::default();
    batch.put(StorageKey::new(&key(number)), version(KEYS), Some(b"new"), Before::Unknown);
    store.commit(batch, Counters::default()).unwrap();
    assert_eq!(get(&reader, number).unwrap().unwrap().value.unwrap(), b"new");
}

/// What a test does to a store.
#[derive(Clone, Debug)]
enum Action {
    /// Stores values and tombstones: of each key its number, and how long its value is.
    Write(Vec<(u64, Option<usize>)>),
    /// Clears partitions.
    Clear(BTreeSet<u32>),
    /// Purges partitions of tombstones.
    Purge(BTreeSet<u32>),
}

fn action() -> impl Strategy<Value = Action> {
    let record = (0..KEYS, proptest::option::weighted(0.7, 0_usize..40));
    let partitions = || proptest::collection::btree_set(0..16_u32, 0..16);
    prop_oneof![
        3 => proptest::collection::vec(record, 0..900).prop_map(Action::Write),
        1 => partitions().prop_map(Action::Clear),
        1 => partitions().prop_map(Action::Purge),
    ]
}

/// A store, and what it must be like.
struct Checked {
    store: Store,
    counters: Counters,
    model: BTreeMap<String, Option<usize>>,
    partitions: PartitionCount,
}

impl Checked {
    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Write(records) => self.write(records),
            Action::Clear(partitions) => {
                let unwanted = partitions.iter().copied().map(Partition).collect();
                self.clear(unwanted);
                let count = self.partitions;
                self.model.retain(|key, _| !partitions.contains(&count.partition_of(key).0));
            }
            Action::Purge(partitions) => {
                let owned = partitions.iter().copied().map(Partition).collect();
                self.purge(&owned);
                let count = self.partitions;
                self.model.retain(|key, value| {
                    value.is_some() || !owned.contains(&count.partition_of(key))
                });
            }
        }
    }

    fn write(&mut self, records: &[(u64, Option<usize>)]) {
        let mut batch = Batch::default();
        for (number, length) in records {
            let text = key(*number);
            let storage_key = StorageKey::new(&text);
            let value = length.map(|length| vec![7; length]);
            batch.put(storage_key, version(*number), value.as_deref(), Before::Unknown);
            if let Some(before) = self.model.insert(text.clone(), *length) {
                self.counters.subtract(text.len(), before.map(|it| it as u64));
            }
            self.counters.add(text.len(), length.map(|it| it as u64));
        }
        self.store.commit(batch, self.counters).unwrap();
    }

    fn clear(&mut self, mut unwanted: BTreeSet<Partition>) {
        loop {
            let mut removal = Removal::new(self.counters);
            let rest = gc::clear(&self.store, self.partitions, &unwanted, &mut removal).unwrap();
            self.remove(removal);
            let Some(rest) = rest else { return };
            unwanted = unwanted.split_off(&rest);
        }
    }

    fn purge(&mut self, owned: &BTreeSet<Partition>) {
        let mut after: Option<String> = None;
        loop {
            let mut removal = Removal::new(self.counters);
            let (count, from) = (self.partitions, after.as_deref());
            after = gc::purge(&self.store, count, owned, from, &mut removal).unwrap();
            self.remove(removal);
            if after.is_none() {
                return;
            }
        }
    }

    fn remove(&mut self, removal: Removal) {
        assert!(removal.records <= CHUNK_RECORDS_MAX);
        self.counters = removal.counters;
        self.store.commit(removal.batch, removal.counters).unwrap();
    }

    fn check(&self) {
        let mut stored = BTreeMap::new();
        self.store
            .scan(ScanStart::Hash(0), |entry| {
                let value = entry.decode()?.value.map(<[u8]>::len);
                assert_eq!(entry.value_bytes(), value.map(|it| it as u64));
                stored.insert(entry.key.to_owned(), value);
                Ok(Visit::Next)
            })
            .unwrap();
        assert_eq!(stored, self.model);
        let values = self.model.iter().filter_map(|(key, value)| Some((key.len(), (*value)?)));
        let bytes: usize = values.clone().map(|(key, value)| key + value).sum();
        let expected = Counters {
            keys: values.count() as u64,
            bytes: bytes as u64,
            tombstones: self.model.values().filter(|it| it.is_none()).count() as u64,
            sequence: 0,
        };
        assert_eq!(self.store.counters(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn counters_follow_whatever_is_written_cleared_and_purged(
        actions in proptest::collection::vec(action(), 1..8),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut checked = Checked {
            store: Store::open(directory.path(), Fsync::Always).unwrap(),
            counters: Counters::default(),
            model: BTreeMap::new(),
            partitions: PartitionCount::new(16).unwrap(),
        };
        for action in &actions {
            checked.carry_out(action);
            checked.check();
        }
    }
}

#[test]
fn a_scan_can_jump() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Fsync::Always).unwrap();
    fill(&store);
    let partitions = PartitionCount::new(16).unwrap();
    let mut seen = BTreeSet::new();
    store
        .scan(ScanStart::Hash(0), |entry| {
            let partition = partitions.partition(entry.hash);
            assert!(seen.insert(partition), "only the first record of each is looked at");
            let next = Partition(partition.0 + 2);
            Ok(if next.0 < 16 { Visit::Jump(partitions.hash_range(next).0) } else { Visit::Stop })
        })
        .unwrap();
    assert_eq!(seen.len(), 8);
}
