//! The layout: the cluster's one source of truth about who owns what.
//!
//! It is a document in Consul that only ever changes by compare-and-set, and every change raises its
//! epoch. Beside it, under their digests and never changed, lie the tables that it names, the
//! strategies that computed them, the lists of members, and which copies are in sync.
//!
//! - [`Layout`]: what the document says, with the members and the standing that it names; [`Document`]: how it lies
//!   in Consul, and what [`Blob`]s it names; [`Placement`]: who owns what once data is at rest; [`Table`].
//! - [`Standing`]: which copies are in sync, and since when.
//! - [`Rebalance`] and [`Window`]: the way from one placement to another. A layout takes the steps by which that
//!   goes on (`Layout::begin` and those beside it), and those by which copies leave the set in sync and come
//!   back ([`Layout::evict`], [`Layout::admit`], [`Layout::fence`]); there are no others ([`Layout::leads_to`]).
//! - [`Assignments`]: what document, standing and tables together say of each partition.

mod assignment;
mod blob;
mod document;
mod rebalance;
mod standing;
mod standing_steps;
mod steps;
mod table;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use assignment::{Assignment, Assignments, Move, Side};
pub use blob::Blob;
pub use document::{Document, LAYOUT_FORMAT, LAYOUT_FORMAT_BEFORE};
pub use rebalance::{Goal, Phase, Rebalance, StepError, Window};
pub use standing::{RowStanding, Standing};
pub use table::Table;

use crate::digest::Digest;
use crate::limits::{
    MEMBERS_MAX, REPLICAS_MAX, STRATEGY_CONFIG_BYTES_MAX, TABLE_ENTRIES_MAX, WEIGHT_MAX,
    ZONE_BYTES_MAX,
};
use crate::name::Name;
use crate::partition::PartitionCount;

/// The cluster's layout under one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The format of its document: [`LAYOUT_FORMAT`], or [`LAYOUT_FORMAT_BEFORE`].
    pub format: u32,
    /// The cluster's identity, drawn when the layout was created.
    pub cluster: Uuid,
    /// The layout's version number, from 1. It only grows.
    pub epoch: u64,
    /// How many partitions keys are hashed to. It never changes.
    pub partitions: PartitionCount,
    /// How many copies of each partition are wanted. A placement has as many, or as it has members. It is 1 today.
    pub replicas: u32,
    /// How many copies must be in sync for a write to be acknowledged, at least 1 and no more than are wanted.
    pub min_in_sync: u32,
    /// Where the data is or, during a rebalance, where it comes from.
    pub placement: Placement,
    /// The rebalance that is under way; `None` where every partition is where `placement` says.
    pub rebalance: Option<Rebalance>,
    /// Which copies are in sync, and since when.
    pub standing: Standing,
}

/// Who owns what once data is at rest: a strategy, the members that it was asked about, and the
/// digest of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// The strategy that computed the table.
    pub strategy: StrategyPin,
    /// The nodes that the table speaks of, by ascending id. Its entries are indexes into this list.
    pub members: Vec<Member>,
    /// The digest of the table's bytes.
    pub table: Digest,
    /// How the table came about.
    #[serde(skip_serializing_if = "Origin::is_strategy")]
    pub origin: Origin,
    /// How many copies of each partition the table places.
    pub replicas: u32,
}

/// How a table came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The strategy computed it, and any process that has the strategy can compute it again.
    #[default]
    Strategy,
    /// It is what there was when nodes were given up in the middle of a rebalance. It has to be
    /// fetched, and lasts until the next rebalance.
    Interrupted,
}

impl Origin {
    fn is_strategy(&self) -> bool {
        *self == Self::Strategy
    }
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
    /// The node's failure domain, empty for a node without a zone.
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
        "the layout document has format {found}, this program reads formats {LAYOUT_FORMAT_BEFORE} and {LAYOUT_FORMAT}: use programs of one version"
    )]
    Format {
        /// The format that was found.
        found: u64,
    },
    /// The document is a layout's JSON, but no possible layout.
    #[error("the layout document is invalid: {0}")]
    Invalid(String),
    /// A list of members is not the one that the layout names, or is not understood.
    #[error("the members are invalid: {0}")]
    Members(String),
    /// A standing is not the one that the layout names, or is not understood.
    #[error("the standing is invalid: {0}")]
    Standing(String),
    /// The table is not the one that the layout names, or no possible table.
    #[error("the table is invalid: {0}")]
    Table(String),
}

impl LayoutError {
    /// Whether the document is a layout's, and what is wrong is a [`Blob`] that it names.
    #[must_use]
    pub fn is_of_a_blob(&self) -> bool {
        matches!(self, Self::Members(_) | Self::Standing(_))
    }
}

impl Layout {
    /// The bytes of its [`Document`].
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        Document::of(self).to_json()
    }

    /// The digest of its [`Document`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        Document::of(self).digest()
    }

    /// All placements that the document names: the one that data is at, and the one that it is
    /// being moved to.
    pub fn placements(&self) -> impl Iterator<Item = &Placement> {
        std::iter::once(&self.placement).chain(self.rebalance.iter().map(|it| &it.to))
    }

    /// The members of all placements, each data directory once, by ascending id.
    #[must_use]
    pub fn members(&self) -> Vec<&Member> {
        let mut members: Vec<&Member> = self.placements().flat_map(|it| &it.members).collect();
        // The sort is stable, so that of a member with two descriptions the first one stays.
        members.sort_by(|a, b| a.id.cmp(&b.id));
        members.dedup_by_key(|member| member.uuid);
        members
    }

    /// The member whose data directory is `uuid`, in either placement.
    #[must_use]
    pub fn member_by_uuid(&self, uuid: Uuid) -> Option<&Member> {
        self.placements().flat_map(|it| &it.members).find(|member| member.uuid == uuid)
    }

    fn check(&self) -> Result<(), String> {
        if self.epoch == 0 {
            return Err("its epoch is 0, expected at least 1".into());
        }
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return Err(format!(
                "it wants {} replicas, expected 1 to {REPLICAS_MAX}",
                self.replicas
            ));
        }
        if !(1..=self.replicas).contains(&self.min_in_sync) {
            return Err(format!(
                "it wants {} copies in sync, expected 1 to {}, its replicas",
                self.min_in_sync, self.replicas
            ));
        }
        for placement in self.placements() {
            placement.check(self.replicas)?;
            if placement.replicas * self.partitions.get() > TABLE_ENTRIES_MAX {
                return Err(format!(
                    "it has {} copies of each of {} partitions, and a table has at most {TABLE_ENTRIES_MAX} entries",
                    placement.replicas,
                    self.partitions.get()
                ));
            }
        }
        if self.format == LAYOUT_FORMAT_BEFORE && !self.standing.is_silent() {
            return Err(format!("it has format {}, and a standing", self.format));
        }
        self.standing.check(self.epoch, self.partitions, self.placement.replicas)?;
        let Some(rebalance) = &self.rebalance else { return Ok(()) };
        if self.placements().any(|it| it.replicas > 1) {
            return Err(format!("it {}", rebalance::COPIES_DO_NOT_MOVE));
        }
        for (ours, theirs) in self
            .placement
            .members
            .iter()
            .flat_map(|ours| rebalance.to.members.iter().map(move |theirs| (ours, theirs)))
        {
            if (ours.id == theirs.id) != (ours.uuid == theirs.uuid) {
                return Err(format!(
                    "its placements disagree about which data directory is {} or {}",
                    ours.id, theirs.id
                ));
            }
        }
        rebalance.check(self.partitions)
    }
}

impl Placement {
    fn check(&self, wanted: u32) -> Result<(), String> {
        if !(1..=MEMBERS_MAX).contains(&self.members.len()) {
            return Err(format!(
                "it has {} members, expected 1 to {MEMBERS_MAX}",
                self.members.len()
            ));
        }
        let (replicas, members) = (self.replicas, self.members.len());
        if !(1..=wanted).contains(&replicas) || replicas as usize > members {
            return Err(format!(
                "it has {replicas} replicas for {members} members, expected 1 to {wanted}, as many as are wanted, and no more than members"
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
