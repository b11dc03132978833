//! What the store costs: laying out and verifying a record, reading a key, committing a group.
//!
//! `cargo bench -p kvnode --bench store`

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use kv_core::partition::PartitionCount;
use kv_core::partition_sum::RecordSize;
use kv_core::version::Version;
use kv_storage::{Batch, Before, Counters, Fsync, StorageKey, Store, record};
use tempfile::TempDir;

const VALUE_BYTES: usize = 100;
/// How many keys there are in the stores.
const KEYS: usize = 100_000;
/// A step through the keys that reaches all of them and has no pattern that a cache could follow.
const STRIDE: usize = 61_803;
/// A key with its hash.
const KEY: (u64, &str) = (0x5bd1_e995_9e37_79b9, "user000000012345");
const VERSION: Version = Version { epoch: 1, sequence: 1 };

fn main() {
    divan::main();
}

#[divan::bench(args = [16, VALUE_BYTES, 1024, 65_536])]
fn record_append(bencher: Bencher<'_, '_>, value_bytes: usize) {
    let value = vec![b'v'; value_bytes];
    let mut bytes = Vec::new();
    bencher.counter(BytesCount::new(value_bytes)).bench_local(|| {
        bytes.clear();
        record::append(&mut bytes, black_box(KEY), VERSION, Some(black_box(&value)));
    });
}

#[divan::bench(args = [16, VALUE_BYTES, 1024, 65_536])]
fn record_decode(bencher: Bencher<'_, '_>, value_bytes: usize) {
    let mut bytes = Vec::new();
    record::append(&mut bytes, KEY, VERSION, Some(&vec![b'v'; value_bytes]));
    bencher
        .counter(BytesCount::new(value_bytes))
        .bench(|| record::decode(black_box(KEY), black_box(&bytes)).map(drop));
}

#[divan::bench]
fn storage_key(bencher: Bencher<'_, '_>) {
    bencher.bench(|| StorageKey::new(black_box("user000000012345")));
}

#[divan::bench(sample_count = 1000, sample_size = 10)]
fn get(bencher: Bencher<'_, '_>) {
    let (_directory, store) = filled();
    let mut number = 0;
    bencher
        .with_inputs(|| key(next(&mut number)))
        .bench_local_refs(|key| store.get(key).expect("the store works"));
}

#[divan::bench(sample_count = 1000, sample_size = 10)]
fn get_of_no_key(bencher: Bencher<'_, '_>) {
    let (_directory, store) = filled();
    let mut number = 0;
    bencher
        .with_inputs(|| key(KEYS + next(&mut number)))
        .bench_local_refs(|key| store.get(key).expect("the store works"));
}

/// A commit returns once it is durable, so this is the disk's time as much as the store's.
#[divan::bench(args = [1, 16, 128, 1024], sample_count = 50, sample_size = 1)]
fn commit(bencher: Bencher<'_, '_>, puts: usize) {
    let (_directory, store) = filled();
    let mut number = 0;
    bencher
        .counter(ItemsCount::new(puts))
        .with_inputs(|| batch((0..puts).map(|_| next(&mut number))))
        .bench_local_values(|batch| store.commit(batch, Counters::default()));
}

/// A group of 1,024 changes that does not wait for the disk, from its records to the end of its commit: with sums kept
/// of so many partitions, or none.
#[divan::bench(args = [0, 4096, 65_536], sample_count = 100, sample_size = 4)]
fn commit_of_1024_unsynced(bencher: Bencher<'_, '_>, partitions: u32) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let store = Store::open(directory.path(), Fsync::EverySecond).expect("the directory is new");
    let mut before = Before::Unknown;
    if let Ok(partitions) = PartitionCount::new(partitions) {
        store.keep_sums(partitions).expect("the disk has room");
        let value_bytes = Some(VALUE_BYTES as u64);
        before = Before::Record(RecordSize { version: VERSION, value_bytes });
    }
    let mut number = 0;
    let value = [b'v'; VALUE_BYTES];
    bencher
        .counter(ItemsCount::new(1024_usize))
        .with_inputs(|| (0..1024).map(|_| key(next(&mut number))).collect::<Vec<_>>())
        .bench_local_values(|keys| {
            let mut batch = Batch::default();
            keys.into_iter().for_each(|key| batch.put(key, VERSION, Some(&value), before));
            store.commit(batch, Counters::default())
        });
}

/// A store of [`KEYS`] keys. Its directory is removed with it.
fn filled() -> (TempDir, Store) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let store = Store::open(directory.path(), Fsync::Always).expect("the directory is new");
    store.commit(batch(0..KEYS), Counters::default()).expect("the disk has room");
    (directory, store)
}

fn batch(numbers: impl Iterator<Item = usize>) -> Batch {
    let mut batch = Batch::default();
    for number in numbers {
        batch.put(key(number), VERSION, Some(&[b'v'; VALUE_BYTES]), Before::Unknown);
    }
    batch
}

fn next(number: &mut usize) -> usize {
    *number = (*number + STRIDE) % KEYS;
    *number
}

fn key(number: usize) -> StorageKey {
    StorageKey::new(&format!("user{number:012}"))
}
