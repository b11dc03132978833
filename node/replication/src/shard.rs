//! What replication asks of the store.

use std::fmt::Debug;

use kv_core::partition::Partition;
use kv_core::version::Version;

/// A record of a key, or that it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<K, R> {
    /// The key.
    pub key: K,
    /// Its record.
    pub record: R,
}

/// Some of the records of a partition, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<K, R> {
    /// The records.
    pub records: Vec<Change<K, R>>,
    /// The last key that was looked at, where there are more behind it.
    pub to: Option<K>,
}

/// A node's copies, as its writer has them: what was applied is there at once, and durable once the
/// [`Replicator`](crate::Replicator) is told so.
pub trait Shard {
    /// A key. Its order is that in which parts are read.
    type Key: Clone + Ord + Debug;
    /// A record, deleted ones among them, as it lies in the store.
    type Record: Clone + Debug;

    /// What all records of a partition come to.
    fn digest(&self, partition: Partition) -> u128;

    /// The newest version of a partition's records.
    fn newest(&self, partition: Partition) -> Option<Version>;

    /// The next records of a partition behind a key, those alone that are newer than a version: some `bytes` of
    /// them.
    fn read(
        &self,
        partition: Partition,
        behind: Option<&Self::Key>,
        newer_than: Option<Version>,
        bytes: usize,
    ) -> Part<Self::Key, Self::Record>;

    /// How long a record is with its key, in bytes.
    fn length(change: &Change<Self::Key, Self::Record>) -> usize;

    /// Stores a record as another node has it.
    fn apply(&mut self, partition: Partition, change: Change<Self::Key, Self::Record>);

    /// Has a partition have exactly these records from behind one key up to another one, which is among them; where
    /// there is none, from the start or to the end.
    fn replace(
        &mut self,
        partition: Partition,
        behind: Option<Self::Key>,
        to: Option<Self::Key>,
        records: Vec<Change<Self::Key, Self::Record>>,
    );

    /// The number of the last write that this node has numbered.
    fn sequence(&self) -> u64;

    /// Numbers the next write of this node above `sequence`.
    fn skip_to(&mut self, sequence: u64);

    /// The highest number of a write that `node` has numbered and that this one has heard of.
    fn held(&self, node: u16) -> u64;

    /// Remembers that `node` has numbered a write so, with what is applied next.
    fn note_held(&mut self, node: u16, sequence: u64);
}
