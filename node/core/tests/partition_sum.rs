//! The digests of records against values recorded from the reference implementation, and how they add up.

use kv_core::partition::key_hash;
use kv_core::partition_sum::{PartitionSum, RecordSize, record_digest};
use kv_core::version::Version;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    key: String,
    epoch: String,
    sequence: String,
    xxh3_128: String,
}

#[test]
fn records_have_the_digests_that_were_recorded() {
    let recorded = include_str!("../../../tests/vectors/record_digest.json");
    let Vectors { vectors } = serde_json::from_str(recorded).unwrap();
    assert!(vectors.len() > 50, "{} vectors", vectors.len());
    for Vector { key, epoch, sequence, xxh3_128 } in vectors {
        let version =
            Version { epoch: epoch.parse().unwrap(), sequence: sequence.parse().unwrap() };
        let digest = record_digest(key_hash(&key), version);
        assert_eq!(format!("{digest:032x}"), xxh3_128, "{key:?} {version}");
    }
}

/// A record, and the hash and the length of its key.
type Record = ((u64, usize), RecordSize);

fn record() -> impl Strategy<Value = Record> {
    let numbers = (any::<u64>(), 1_usize..1024, 0_u64..5, any::<u64>());
    (numbers, any::<Option<u32>>()).prop_map(|((hash, length, epoch, sequence), value)| {
        let version = Version { epoch, sequence };
        ((hash, length), RecordSize { version, value_bytes: value.map(u64::from) })
    })
}

fn sum_of<'a>(records: impl IntoIterator<Item = &'a Record>) -> PartitionSum {
    let mut sum = PartitionSum::default();
    records.into_iter().for_each(|(key, record)| sum.add(*key, *record));
    sum
}

proptest! {
    #[test]
    fn the_order_of_records_does_not_matter(
        (records, shuffled) in proptest::collection::vec(record(), 0..20)
            .prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
        at: prop::sample::Index,
    ) {
        let sum = sum_of(&records);
        prop_assert_eq!(sum_of(&shuffled), sum);
        let (some, others) = shuffled.split_at(at.index(records.len() + 1));
        prop_assert_eq!(sum_of(some).plus(sum_of(others)), sum);
        let values = records.iter().filter(|(_, it)| it.value_bytes.is_some()).count();
        prop_assert_eq!(sum.keys, values as u64);
        prop_assert_eq!(sum.keys + sum.tombstones, records.len() as u64);
        let bytes = |((_, length), it): &Record| it.value_bytes.map(|it| it + *length as u64);
        prop_assert_eq!(sum.bytes, records.iter().filter_map(bytes).sum::<u64>());
    }

    #[test]
    fn what_is_taken_out_was_never_there_whenever_it_is(
        records in proptest::collection::vec(record(), 0..20),
        others in proptest::collection::vec(record(), 0..20),
    ) {
        let mut sum = PartitionSum::default();
        others.iter().for_each(|(key, record)| sum.subtract(*key, *record));
        records.iter().chain(&others).for_each(|(key, record)| sum.add(*key, *record));
        prop_assert_eq!(sum, sum_of(&records));
    }

    #[test]
    fn any_other_record_makes_another_digest(
        records in proptest::collection::vec(record(), 1..20),
        (key, other) in record(),
        at: prop::sample::Index,
        bit in 0_u32..64,
    ) {
        let digest = sum_of(&records).digest;
        let mut changed = records.clone();
        changed.push((key, other));
        prop_assert_ne!(sum_of(&changed).digest, digest);
        for part in 0..3 {
            let mut changed = records.clone();
            let ((hash, _), record) = &mut changed[at.index(records.len())];
            let number = match part {
                0 => hash,
                1 => &mut record.version.epoch,
                _ => &mut record.version.sequence,
            };
            *number ^= 1 << bit;
            prop_assert_ne!(sum_of(&changed).digest, digest);
        }
    }
}
