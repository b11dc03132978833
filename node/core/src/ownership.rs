//! What a node may do with a partition under a layout: the rules, without any state.
//!
//! They see roles and epochs only, so that they can be explored by a model checker as they are.

use crate::layout::Assignment;

/// What a node is to a partition under the layout that it has installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It owns the partition.
    Owner,
    /// It has nothing to do with it.
    Stranger,
    /// It hands the partition over, and does not serve it while that is prepared.
    FrozenSource,
    /// It is about to get the partition, and has cleared the place for it.
    FrozenDestination,
    /// It handed the partition over, and answers for keys that were not copied yet.
    Source,
    /// It serves the partition, whose records are being copied to it.
    Destination {
        /// Whether there is a node that has the records; where that was given up, there is nothing
        /// to copy, and a key without a record here has no value.
        has_source: bool,
    },
}

/// How a node may deal with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// The records here are all there are.
    Owner,
    /// The record here is the key's from before the move; nothing may change.
    Source,
    /// A record here counts. Where there is none yet, the source has it.
    Destination {
        /// As in [`Role::Destination`].
        has_source: bool,
    },
}

/// Why a node may not deal with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denied {
    /// The request was made under a newer layout than the one that is installed.
    Newer,
    /// The request was made under a layout in which the partition was another node's, or in another
    /// state.
    Stale,
    /// The partition is being handed over and no node serves it at this moment.
    Frozen,
    /// The partition is moving away, and the request does not say that its sender knows.
    Moving,
    /// Another node owns the partition, or serves it.
    NotOwner,
}

impl Role {
    /// What `node` is to a partition that is assigned like this; `None` is a node that the layout does
    /// not know.
    #[must_use]
    pub fn of(node: Option<u16>, assignment: Assignment) -> Self {
        let Some(node) = node else { return Self::Stranger };
        match assignment {
            Assignment::Owned(owner) if owner == node => Self::Owner,
            Assignment::Frozen(it) if it.destination == node => Self::FrozenDestination,
            Assignment::Frozen(it) if it.source == Some(node) => Self::FrozenSource,
            Assignment::Moving(it) if it.destination == node => {
                Self::Destination { has_source: it.source.is_some() }
            }
            Assignment::Moving(it) if it.source == Some(node) => Self::Source,
            _ => Self::Stranger,
        }
    }

    /// Whether the node may have records of the partition on its disk.
    #[must_use]
    pub fn may_hold(self) -> bool {
        !matches!(self, Self::Stranger | Self::FrozenDestination)
    }

    /// Whether a node can come to this role when the layout that it had installed before gave it
    /// `previous`; `None` where it had no layout installed.
    ///
    /// No window is opened before its participants have installed the layout that froze it. A node
    /// that finds itself further than that has lost what it had stored: its data directory has been
    /// put back. It must not serve, since it would deny records that it once acknowledged. One that
    /// has kept what it had ([`Role::keeps`]) follows from there.
    #[must_use]
    pub fn can_follow(self, previous: Option<Self>) -> bool {
        match self {
            Self::Stranger | Self::FrozenDestination => true,
            Self::Owner | Self::FrozenSource => previous != Some(Self::Stranger),
            Self::Source => matches!(previous, Some(Self::FrozenSource | Self::Source)),
            Self::Destination { .. } => {
                matches!(previous, Some(Self::FrozenDestination | Self::Destination { .. }))
            }
        }
    }

    /// The role in which a node keeps its records when it comes to this role, after it held them as `held`;
    /// `None` where it does not keep them. `is_verified` says whether it was asked, as their source, for the
    /// digest of all of them, by which its sum is compared with the destination's.
    ///
    /// No mover copies from an owner, and none settles a move that was not verified. So a node that
    /// does not hold a partition any more, without this, has records that no other node need have: the
    /// layout was forged, or Consul was put back, or the node was given up.
    #[must_use]
    pub fn keeps(self, held: Self, is_verified: bool) -> Option<Self> {
        let is_handed_over = match held {
            Self::Stranger | Self::FrozenDestination => true,
            Self::Source => is_verified,
            Self::Owner | Self::FrozenSource | Self::Destination { .. } => false,
        };
        (!self.may_hold() && !is_handed_over).then_some(held)
    }

    /// Whether a node of this role has all records of the partition, durably: those of others that
    /// it handed over, or that it gave them to, can go.
    #[must_use]
    pub fn holds(self) -> bool {
        matches!(self, Self::Owner | Self::FrozenSource | Self::Source)
    }

    /// The right that the role gives to a request that was made under `epoch`; `None` is that of a plain
    /// client, which does not know of layouts. `installed` is the epoch that the node has installed,
    /// `since` the one in which the partition came to be assigned as it is.
    ///
    /// # Errors
    /// Why the role gives no right.
    pub fn right(self, installed: u64, since: u64, epoch: Option<u64>) -> Result<Right, Denied> {
        if epoch.is_some_and(|epoch| epoch > installed) {
            return Err(Denied::Newer);
        }
        let is_older_than = |wanted: u64| epoch.is_some_and(|epoch| epoch < wanted);
        match self {
            // Layouts that do not touch a partition leave its clients alone.
            Self::Owner if is_older_than(since) => Err(Denied::Stale),
            Self::Owner => Ok(Right::Owner),
            Self::Stranger if is_older_than(installed) => Err(Denied::Stale),
            Self::Stranger => Err(Denied::NotOwner),
            Self::FrozenSource | Self::FrozenDestination if is_older_than(since) => {
                Err(Denied::Stale)
            }
            Self::FrozenSource | Self::FrozenDestination => Err(Denied::Frozen),
            // While a partition moves, the epoch must be this very one: a copy that was delayed must
            // not come after the move has been verified.
            Self::Source | Self::Destination { .. } if is_older_than(installed) => {
                Err(Denied::Stale)
            }
            Self::Source if epoch.is_none() => Err(Denied::Moving),
            Self::Source => Ok(Right::Source),
            Self::Destination { has_source } => Ok(Right::Destination { has_source }),
        }
    }
}
