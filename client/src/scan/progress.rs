//! Which partitions a scan has read how far, and what it reads next. Pure.

use std::collections::BTreeMap;

use kv_core::layout::{Assignment, Assignments, Move};
use kv_core::operation::Record;
use kv_core::partition::{Partition, PartitionCount, key_hash};
use kv_protocol::reply::Page;

/// How far a scan is. It knows nothing of nodes, so it stays right when partitions move.
#[derive(Debug)]
pub(super) struct Progress {
    count: PartitionCount,
    /// By partition: whether it was read to its end.
    done: Vec<bool>,
    /// The last key that was passed, of the partitions that were read in part.
    passed: BTreeMap<Partition, String>,
    pages: u64,
}

/// The parts that are left to read under one layout.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) parts: Vec<Part>,
    /// A partition that no node serves yet, where there is one.
    pub(super) frozen: Option<Partition>,
}

/// Something that is read page after page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What a node owns.
    Node {
        /// The node's index in the assignments.
        node: u16,
        /// The partitions that are left to read, in ascending order.
        partitions: Vec<Partition>,
    },
    /// A partition that is moving.
    Moving {
        /// The partition.
        partition: Partition,
        /// The nodes at both ends.
        ends: Move,
    },
}

impl Progress {
    /// Nothing has been read.
    pub(super) fn new(count: PartitionCount) -> Self {
        let done = vec![false; count.get() as usize];
        Self { count, done, passed: BTreeMap::new(), pages: 0 }
    }

    /// How many pages were noted.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    /// The parts that are left to read. Whole nodes come first, since what moves may have arrived until then.
    pub(super) fn plan(&self, assignments: &Assignments) -> Plan {
        let mut of_nodes: BTreeMap<u16, Vec<Partition>> = BTreeMap::new();
        let (mut moving, mut frozen) = (Vec::new(), None);
        for (partition, assignment) in assignments.iter().filter(|(it, _)| !self.is_done(*it)) {
            match assignment {
                Assignment::Owned(node) => of_nodes.entry(node).or_default().push(partition),
                Assignment::Moving(ends) => moving.push(Part::Moving { partition, ends }),
                Assignment::Frozen(_) => frozen = frozen.or(Some(partition)),
            }
        }
        let nodes = of_nodes.into_iter().map(|(node, partitions)| Part::Node { node, partitions });
        Plan { parts: nodes.chain(moving).collect(), frozen }
    }

    /// The first of `partitions` that was not read to its end, and the key after which to go on.
    pub(super) fn first_of(&self, partitions: &[Partition]) -> Option<(Partition, Option<String>)> {
        let first = *partitions.iter().find(|partition| !self.is_done(**partition))?;
        Some((first, self.passed.get(&first).cloned()))
    }

    /// Notes a page of what a node owns, read from `first` on, and gives the records that are new in it. Of
    /// `partitions`, which the node owns, some may have been read before; of others that it owns, all
    /// were.
    pub(super) fn note_of_node(
        &mut self,
        partitions: &[Partition],
        first: Partition,
        page: Page,
    ) -> Vec<(String, Record)> {
        let Page { mut items, next, .. } = page;
        items.retain(|(key, _)| self.is_new(key));
        let end = next.as_deref().map(|next| self.count.partition_of(next));
        for &partition in partitions.iter().filter(|it| **it >= first) {
            match end {
                Some(end) if partition > end => break,
                Some(end) if partition == end => self.pass(partition, next.as_deref()),
                _ => self.finish(partition),
            }
        }
        self.pages += 1;
        items
    }

    /// Notes that a partition was read up to `next`, or to its end.
    pub(super) fn note_of_partition(&mut self, partition: Partition, next: Option<String>) {
        match next {
            Some(next) => self.pass(partition, Some(&next)),
            None => self.finish(partition),
        }
        self.pages += 1;
    }

    fn is_done(&self, partition: Partition) -> bool {
        self.done.get(partition.0 as usize).is_none_or(|done| *done)
    }

    fn is_new(&self, key: &str) -> bool {
        let partition = self.count.partition_of(key);
        let passed = self.passed.get(&partition);
        !self.is_done(partition) && passed.is_none_or(|passed| place(passed) < place(key))
    }

    fn pass(&mut self, partition: Partition, next: Option<&str>) {
        let Some(next) = next.filter(|next| self.is_new(next)) else { return };
        self.passed.insert(partition, next.to_owned());
    }

    fn finish(&mut self, partition: Partition) {
        self.passed.remove(&partition);
        if let Some(done) = self.done.get_mut(partition.0 as usize) {
            *done = true;
        }
    }
}

/// Where a key stands in the order of a scan.
pub(super) fn place(key: &str) -> (u64, &str) {
    (key_hash(key), key)
}
