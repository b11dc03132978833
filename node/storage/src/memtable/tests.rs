//! Keys with one hash, what is counted and what is given up, and what scans rely on.

use super::*;
use crate::{Batch, Before};
use kv_core::version::Version;

const HASH: u64 = 7;

fn key(hash: u64, text: &str) -> StorageKey {
    StorageKey::of_parts((hash, text))
}

fn record(bytes: &'static [u8]) -> Option<Bytes> {
    Some(Bytes::from_static(bytes))
}

/// An attacker can have many keys with one hash.
#[test]
fn keys_with_one_hash_are_kept_apart_and_in_order() {
    let memtable = Memtable::default();
    let texts = ["m", "z", "a", "ab", ""];
    for (number, text) in texts.iter().enumerate() {
        memtable.write().set(&key(HASH, text), record(&b"12345"[..number]));
    }
    memtable.write().set(&key(HASH - 1, "x"), None);
    memtable.write().set(&key(HASH + 1, "b"), record(b"last"));
    memtable.write().set(&key(HASH, "a"), None);
    assert_eq!(memtable.keys(), 7);
    assert_eq!(memtable.get(&key(HASH, "z")), Some(record(b"1")));
    assert_eq!(memtable.get(&key(HASH, "a")), Some(None));
    assert_eq!(memtable.get(&key(HASH, "none")), None);
    assert_eq!(memtable.get(&key(HASH + 2, "m")), None);
    let ordered = [
        key(HASH - 1, "x"),
        key(HASH, ""),
        key(HASH, "a"),
        key(HASH, "ab"),
        key(HASH, "m"),
        key(HASH, "z"),
        key(HASH + 1, "b"),
    ];
    for (at, first) in ordered.iter().enumerate() {
        for (start, from) in [(Bound::Included(first), at), (Bound::Excluded(first), at + 1)] {
            for count in [1, 3, 10] {
                let found = memtable.range(start, count);
                let found: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
                assert_eq!(found, &ordered[from..ordered.len().min(from + count)]);
            }
        }
    }
}

#[test]
fn what_others_have_taken_the_place_of_is_not_counted() {
    let memtable = Memtable::default();
    let mut sizes = Vec::new();
    for bytes in [0, 100, 100, 3, 100_000, 5] {
        let mut batch = Batch::default();
        let value = vec![b'v'; bytes];
        batch.put(
            StorageKey::new("key"),
            Version { epoch: 1, sequence: 1 },
            Some(&value),
            Before::Unknown,
        );
        let (frame, changes) = batch.finish(Counters::default());
        memtable.insert(&frame.into(), changes, Counters::default());
        let record = memtable.get(&StorageKey::new("key")).flatten().unwrap_or_default();
        assert!(record.ends_with(&value));
        assert_eq!(memtable.bytes(), (3 + record.len()) as u64);
        sizes.push(memtable.memory_bytes());
    }
    assert_eq!(sizes[1], sizes[2]);
    assert!(sizes[5] < 200, "{sizes:?}");
}

#[test]
fn what_the_engine_has_is_given_up_and_nothing_that_a_scan_relies_on() {
    let memtable = Memtable::default();
    let before = memtable.memory_bytes();
    let fill = || {
        let mut content = memtable.write();
        for hash in 0..1000 {
            content.set(&key(hash, "a"), record(b"12345"));
            content.set(&key(hash, "b"), None);
        }
    };
    fill();
    let all = memtable.range(Bound::Unbounded, usize::MAX);
    assert_eq!(all.len(), 2000);
    memtable.begin_scan();
    memtable.forget_below(&key(700, "b"));
    assert_eq!(memtable.range(Bound::Unbounded, usize::MAX), all, "a scan goes on");
    memtable.end_scan();
    memtable.forget_below(&key(700, "b"));
    assert_eq!(memtable.range(Bound::Unbounded, usize::MAX), all[1400..]);
    assert_eq!((memtable.keys(), memtable.get(&key(699, "b"))), (600, None));
    assert_eq!(memtable.get(&key(700, "a")), Some(record(b"12345")));
    memtable.forget_below(&key(1000, ""));
    assert_eq!((memtable.keys(), memtable.bytes()), (0, 0));
    assert_eq!(memtable.memory_bytes(), before);
}

#[test]
fn keys_that_come_while_others_are_put_in_order_are_found_too() {
    let memtable = Memtable::default();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..50_000_u64 {
                let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                memtable.write().set(&key(hash, "k"), record(b"1"));
            }
        });
        while !writer.is_finished() {
            let found = memtable.range(Bound::Unbounded, usize::MAX);
            assert!(found.is_sorted_by(|(one, _), (next, _)| one < next));
            assert!(found.len() <= memtable.keys());
        }
    });
    assert_eq!(memtable.range(Bound::Unbounded, usize::MAX).len(), 50_000);
}
