//! The rows of the installed layout.

use kv_core::copies::Row;
use kv_core::copies::session::View;
use kv_core::partition::Partition;

/// Which nodes have copies of which partitions, by the layout that a node has installed. Nodes are numbers that
/// mean the same node for as long as the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The layout's epoch.
    pub epoch: u64,
    /// How many copies have to be in sync for a write.
    pub min_in_sync: usize,
    /// Each partition's row, and the epoch since which it is as it is.
    pub rows: Vec<(Row, u64)>,
}

impl Placement {
    /// What the node knows of a partition; `None` where the layout has no such partition.
    #[must_use]
    pub fn view(&self, partition: Partition) -> Option<View> {
        let (row, since) = *self.rows.get(partition.0 as usize)?;
        Some(View { row, since, installed: self.epoch })
    }

    /// All partitions with their rows.
    pub fn partitions(&self) -> impl Iterator<Item = (Partition, Row)> {
        self.rows.iter().enumerate().map(|(number, (row, _))| (Partition(number as u32), *row))
    }
}
