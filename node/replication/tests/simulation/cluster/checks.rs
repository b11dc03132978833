//! What has to hold when something is acknowledged, and once all is quiet.

use kv_core::partition::Partition;
use kv_core::version::Version;
use kv_replication::Shard as _;

use super::{Cluster, KEYS};
use crate::node::Node;
use crate::shard::Key;

impl Cluster {
    /// Checks that as many disks have a version of a key that was acknowledged, or a later one, as have to.
    pub(super) fn check_copies(&self, key: Key, version: Version) -> Result<(), String> {
        let at = (Partition(key % u32::from(self.shape.partitions)), key);
        let has = |node: &&Node| node.disk.records.get(&at) >= Some(&version);
        let copies = self.nodes.iter().filter(has).count();
        match copies >= self.shape.min_in_sync {
            true => Ok(()),
            false => Err(format!("key {key}: {version} is acknowledged with {copies} copies")),
        }
    }

    /// Checks that all copies are in sync and equal, and that all is there.
    pub(super) fn check_quiet(&mut self) -> Result<(), String> {
        let placement = self.registry.placement.clone();
        for (partition, row) in placement.partitions() {
            let lives = |node: &u16| !self.nodes[usize::from(*node)].is_dead;
            for node in row.nodes().iter().filter(|node| lives(node)) {
                if !row.is_in_sync(*node) {
                    return Err(format!(
                        "node {node} does not come back: {partition:?} is {row:?}"
                    ));
                }
                let shard = |node: u16| &self.nodes[usize::from(node)].written;
                if shard(*node).digest(partition) != shard(row.primary()).digest(partition) {
                    return Err(format!("{partition:?} differs at node {node}"));
                }
            }
            let primary = &self.nodes[usize::from(row.primary())];
            for key in (0..KEYS).filter(|key| key % u32::from(self.shape.partitions) == partition.0)
            {
                self.history.check(key, primary.written.records.get(&(partition, key)).copied())?;
            }
            let process = primary.process.as_ref().ok_or("a primary is down")?;
            if !process.hidden.is_empty() {
                return Err(format!("jobs are never settled: {:?}", process.hidden));
            }
            let clock = primary.clock(self.now);
            if !process.replicator.may_read(clock, partition) {
                return Err(format!("{partition:?} is not served"));
            }
            if row.in_sync().count() >= self.shape.min_in_sync {
                let written = process.replicator.may_write(clock, partition);
                written.map_err(|error| format!("{partition:?} is not written to: {error:?}"))?;
            }
        }
        Ok(())
    }
}
