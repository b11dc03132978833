//! The partition hash against values recorded from the reference implementation.

use std::collections::BTreeMap;

use kv_core::partition::{PartitionCount, key_hash};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    key: String,
    xxh3_64: String,
    partition: BTreeMap<String, u32>,
}

#[test]
fn keys_are_placed_as_recorded() {
    let recorded = include_str!("../../../tests/vectors/partition.json");
    let Vectors { vectors } = serde_json::from_str(recorded).unwrap();
    assert!(vectors.len() > 50, "{} vectors", vectors.len());
    for Vector { key, xxh3_64, partition } in vectors {
        assert_eq!(format!("{:016x}", key_hash(&key)), xxh3_64, "{key:?}");
        assert_eq!(partition.len(), 3, "{key:?}");
        for (count, expected) in partition {
            let count = PartitionCount::new(count.parse().unwrap()).unwrap();
            assert_eq!(count.partition_of(&key).0, expected, "{key:?} of {count:?}");
        }
    }
}
