//! The layout: the cluster's one source of truth about who owns what.
//!
//! It is a document in Consul that only ever changes by compare-and-set. Beside it, under their
//! digests and never changed, lie the table that it names and the strategy that computed the table.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::digest::Digest;
use crate::limits::{
    MEMBERS_MAX, REPLICAS_MAX, STRATEGY_CONFIG_BYTES_MAX, WEIGHT_MAX, ZONE_BYTES_MAX,
};
use crate::name::Name;
use crate::partition::{Partition, PartitionCount};

/// The version of the document's own shape. A program refuses one that it was not written for.
pub const LAYOUT_FORMAT: u32 = 1;

/// The cluster's layout under one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// [`LAYOUT_FORMAT`].
    pub format: u32,
    /// The cluster's identity, drawn when the layout was created.
    pub cluster: Uuid,
    /// The layout's version number, from 1. It only grows.
    pub epoch: u64,
    /// What the cluster is doing.
    pub phase: Phase,
    /// How many partitions keys are hashed to. It never changes.
    pub partitions: PartitionCount,
    /// How many owners each partition has. It is 1 today.
    pub replicas: u32,
    /// The strategy that computed the table.
    pub strategy: StrategyPin,
    /// The nodes that the table speaks of, by ascending id. Its entries are indexes into this list.
    pub members: Vec<Member>,
    /// The digest of the table's bytes.
    pub table: Digest,
}

/// What the cluster is doing with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Every partition is where the table says.
    Stable,
}

/// A node that is part of a layout. Where it is reached, Consul's catalog says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The node's id.
    pub id: Name,
    /// The identity of the node's data directory.
    pub uuid: Uuid,
    /// The node's relative capacity, from 1.
    pub weight: u32,
    /// The node's failure domain, empty where none is named.
    pub zone: String,
}

/// The strategy that a cluster has adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyPin {
    /// What the strategy calls itself, for people.
    pub name: String,
    /// The digest of the component's bytes.
    pub sha256: Digest,
    /// The configuration text that it is called with.
    pub config: String,
}

/// A layout or table that breaks its own rules.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The document is not the JSON of a layout.
    #[error("the layout document is not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// The document was written by a newer or older program.
    #[error(
        "the layout document has format {found}, this program reads format {LAYOUT_FORMAT}: use programs of one version"
    )]
    Format {
        /// The format that was found.
        found: u64,
    },
    /// The document is a layout's JSON, but no possible layout.
    #[error("the layout document is invalid: {0}")]
    Invalid(String),
    /// The table is not the one that the layout names, or no possible table.
    #[error("the table is invalid: {0}")]
    Table(String),
}

impl Layout {
    /// Reads a layout document and checks it.
    ///
    /// # Errors
    /// [`LayoutError`] where it is not a valid layout of this format.
    pub fn parse(json: &[u8]) -> Result<Self, LayoutError> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let Format { format } = serde_json::from_slice(json)?;
        if format != u64::from(LAYOUT_FORMAT) {
            return Err(LayoutError::Format { found: format });
        }
        let layout: Self = serde_json::from_slice(json)?;
        layout.check().map_err(LayoutError::Invalid)?;
        Ok(layout)
    }

    /// The document's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a layout holds only what JSON can say")
    }

    /// The member whose data directory is `uuid`, with its index.
    #[must_use]
    pub fn member_by_uuid(&self, uuid: Uuid) -> Option<(u16, &Member)> {
        (0_u16..).zip(&self.members).find(|(_, member)| member.uuid == uuid)
    }

    fn check(&self) -> Result<(), String> {
        if self.epoch == 0 {
            return Err("its epoch is 0, expected at least 1".into());
        }
        if !(1..=MEMBERS_MAX).contains(&self.members.len()) {
            return Err(format!(
                "it has {} members, expected 1 to {MEMBERS_MAX}",
                self.members.len()
            ));
        }
        if !(1..=REPLICAS_MAX).contains(&self.replicas)
            || self.replicas as usize > self.members.len()
        {
            return Err(format!(
                "it has {} replicas for {} members, expected 1 to {REPLICAS_MAX} and no more than members",
                self.replicas,
                self.members.len()
            ));
        }
        if self.strategy.config.len() > STRATEGY_CONFIG_BYTES_MAX {
            return Err(format!(
                "the strategy's configuration is longer than {STRATEGY_CONFIG_BYTES_MAX} bytes"
            ));
        }
        if !self.members.is_sorted_by(|a, b| a.id < b.id) {
            return Err("its members are not sorted by distinct ids".into());
        }
        let uuids: BTreeSet<_> = self.members.iter().map(|member| member.uuid).collect();
        if uuids.len() != self.members.len() {
            return Err("two of its members have the same uuid".into());
        }
        self.members.iter().try_for_each(Member::check)
    }
}

impl Member {
    fn check(&self) -> Result<(), String> {
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return Err(format!(
                "member {} has weight {}, expected 1 to {WEIGHT_MAX}",
                self.id, self.weight
            ));
        }
        if self.zone.len() > ZONE_BYTES_MAX {
            return Err(format!(
                "member {} has a zone longer than {ZONE_BYTES_MAX} bytes",
                self.id
            ));
        }
        Ok(())
    }
}

/// The owners of every partition, as indexes into a layout's members, best owner first.
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

    /// Reads the table that `layout` names from its bytes.
    ///
    /// # Errors
    /// [`LayoutError::Table`] where the bytes have another digest or are no table of that shape.
    pub fn parse(bytes: &[u8], layout: &Layout) -> Result<Self, LayoutError> {
        let digest = Digest::of(bytes);
        if digest != layout.table {
            return Err(LayoutError::Table(format!(
                "its digest is {digest}, the layout of epoch {} names {}",
                layout.epoch, layout.table
            )));
        }
        if !bytes.len().is_multiple_of(2) {
            return Err(LayoutError::Table("it has an odd number of bytes".into()));
        }
        let owners: Vec<u32> = bytes
            .chunks_exact(2)
            .map(|entry| u32::from(u16::from_le_bytes([entry[0], entry[1]])))
            .collect();
        Self::new(&owners, layout.partitions, layout.replicas, layout.members.len())
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
        self.owners.get(partition.0 as usize * self.replicas).copied()
    }

    /// The partitions that member `index` owns, in ascending order.
    pub fn owned_by(&self, index: u16) -> impl Iterator<Item = Partition> + '_ {
        let firsts = self.owners.iter().step_by(self.replicas);
        (0..).map(Partition).zip(firsts).filter(move |(_, owner)| **owner == index).map(|(p, _)| p)
    }
}
