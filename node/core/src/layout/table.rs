//! The table: which member owns which partition.

use crate::digest::Digest;
use crate::layout::{Layout, LayoutError, Placement};
use crate::partition::{Partition, PartitionCount};

/// The owners of every partition, as indexes into a placement's members, best owner first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    owners: Vec<u16>,
    replicas: usize,
}

impl Table {
    /// Makes a table of a strategy's answer for `layout`'s shape: partition-major member indexes.
    ///
    /// # Errors
    /// [`LayoutError::Table`] where the answer has another length, names a member that is not
    /// there, or repeats an owner within a partition.
    pub fn new(
        owners: &[u32],
        partitions: PartitionCount,
        replicas: u32,
        members: usize,
    ) -> Result<Self, LayoutError> {
        let wanted = partitions.get() as usize * replicas as usize;
        if owners.len() != wanted || replicas == 0 {
            return Err(LayoutError::Table(format!(
                "it has {} entries, expected {wanted}",
                owners.len()
            )));
        }
        let replicas = replicas as usize;
        for (partition, owners) in owners.chunks_exact(replicas).enumerate() {
            if let Some(stranger) = owners.iter().find(|owner| **owner as usize >= members) {
                return Err(LayoutError::Table(format!(
                    "partition {partition} is given to member {stranger} of {members}"
                )));
            }
            if (1..replicas).any(|i| owners[..i].contains(&owners[i])) {
                return Err(LayoutError::Table(format!(
                    "partition {partition} is given to the same member twice"
                )));
            }
        }
        let owners = owners
            .iter()
            .map(|owner| u16::try_from(*owner))
            .collect::<Result<_, _>>()
            .map_err(|_| LayoutError::Table("it has more members than 16 bits count".into()))?;
        Ok(Self { owners, replicas })
    }

    /// Reads the table that one of `layout`'s placements names from its bytes.
    ///
    /// # Errors
    /// [`LayoutError::Table`] where the bytes have another digest or are no table of that shape.
    pub fn parse(
        bytes: &[u8],
        layout: &Layout,
        placement: &Placement,
    ) -> Result<Self, LayoutError> {
        let digest = Digest::of(bytes);
        if digest != placement.table {
            return Err(LayoutError::Table(format!(
                "its digest is {digest}, the layout of epoch {} names {}",
                layout.epoch, placement.table
            )));
        }
        if !bytes.len().is_multiple_of(2) {
            return Err(LayoutError::Table("it has an odd number of bytes".into()));
        }
        let owners: Vec<u32> = bytes
            .chunks_exact(2)
            .map(|entry| u32::from(u16::from_le_bytes([entry[0], entry[1]])))
            .collect();
        Self::new(&owners, layout.partitions, placement.replicas, placement.members.len())
    }

    /// The table's bytes: each owner as 16 bits, little-endian, partition by partition.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.owners.iter().flat_map(|owner| owner.to_le_bytes()).collect()
    }

    /// The digest of the table's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// The index of the member that owns `partition`, where there is such a partition.
    #[must_use]
    pub fn owner(&self, partition: Partition) -> Option<u16> {
        self.owners(partition).first().copied()
    }

    /// The indexes of the members that own `partition`, the best first; empty where the
    /// partition is beyond the table.
    #[must_use]
    pub fn owners(&self, partition: Partition) -> &[u16] {
        let first = partition.0 as usize * self.replicas;
        self.owners.get(first..first + self.replicas).unwrap_or_default()
    }

    /// The partitions that member `index` owns, in ascending order.
    pub fn owned_by(&self, index: u16) -> impl Iterator<Item = Partition> + '_ {
        let firsts = self.owners.iter().step_by(self.replicas);
        (0..).map(Partition).zip(firsts).filter(move |(_, owner)| **owner == index).map(|(p, _)| p)
    }
}
