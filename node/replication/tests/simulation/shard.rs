//! What a simulated node stores.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;

use kv_core::partition::Partition;
use kv_core::version::Version;
use kv_replication::{Change, Part, Shard};

/// A key. Its partition is what is left of it when it is divided by how many there are.
pub(crate) type Key = u32;

/// The records of a node, by partition and key, and what else it has to remember.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryShard {
    pub(crate) records: BTreeMap<(Partition, Key), Version>,
    pub(crate) sequence: u64,
    held: BTreeMap<u16, u64>,
}

impl MemoryShard {
    /// The records of a partition.
    pub(crate) fn partition(&self, partition: Partition) -> impl Iterator<Item = (Key, Version)> {
        let all = self.records.range((partition, 0)..=(partition, Key::MAX));
        all.map(|((_, key), version)| (*key, *version))
    }
}

impl Shard for MemoryShard {
    type Key = Key;
    type Record = Version;

    fn digest(&self, partition: Partition) -> u128 {
        let digest = |record: (Key, Version)| {
            let mut hasher = DefaultHasher::new();
            record.hash(&mut hasher);
            u128::from(hasher.finish())
        };
        self.partition(partition).map(digest).fold(0, u128::wrapping_add)
    }

    fn newest(&self, partition: Partition) -> Option<Version> {
        self.partition(partition).map(|(_, version)| version).max()
    }

    fn read(
        &self,
        partition: Partition,
        behind: Option<&Key>,
        newer_than: Option<Version>,
        _bytes: usize,
    ) -> Part<Key, Version> {
        /// Few, so that parts are many.
        const KEYS_PER_PART: usize = 3;
        let start =
            behind.map_or(Bound::Included((partition, 0)), |it| Bound::Excluded((partition, *it)));
        let mut rest = self.records.range((start, Bound::Included((partition, Key::MAX))));
        let part: Vec<_> = rest.by_ref().take(KEYS_PER_PART).collect();
        let last = part.last().map(|((_, key), _)| *key);
        let records = part
            .into_iter()
            .filter(|(_, version)| Some(**version) > newer_than)
            .map(|((_, key), version)| Change { key: *key, record: *version })
            .collect();
        Part { records, to: last.filter(|_| rest.next().is_some()) }
    }

    fn length(_: &Change<Key, Version>) -> usize {
        100
    }

    fn apply(&mut self, partition: Partition, Change { key, record }: Change<Key, Version>) {
        self.records.insert((partition, key), record);
    }

    fn replace(
        &mut self,
        partition: Partition,
        behind: Option<Key>,
        to: Option<Key>,
        records: Vec<Change<Key, Version>>,
    ) {
        let is_within =
            |key: Key| behind.is_none_or(|behind| key > behind) && to.is_none_or(|to| key <= to);
        self.records.retain(|(of, key), _| *of != partition || !is_within(*key));
        records.into_iter().for_each(|change| self.apply(partition, change));
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn skip_to(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    fn held(&self, node: u16) -> u64 {
        self.held.get(&node).copied().unwrap_or_default()
    }

    fn note_held(&mut self, node: u16, sequence: u64) {
        let held = self.held.entry(node).or_default();
        *held = sequence.max(*held);
    }
}
