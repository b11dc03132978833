//! What a node may do with a partition under a layout: the rules, without any state.
//!
//! They see roles and epochs only, so that they can be explored by a model checker as they are.
//!
//! # Copies
//!
//! Where a partition has several copies, its row gives each node in it one of three roles: the primary is the
//! [`Role::Owner`], who alone has rights for clients; any other copy in sync is a [`Role::Backup`], and one that
//! is not in sync a [`Role::Learner`]. With one copy there is an owner, and there are no others.
//!
//! | from | to | by |
//! |---|---|---|
//! | owner | learner | its eviction |
//! | owner | backup | the admission of a better one in its row |
//! | backup | owner | the eviction of all better ones: a failover |
//! | backup | learner | its eviction |
//! | learner | backup | its admission |
//! | learner | owner | its admission, where it is the best one of its row |
//! | stranger | learner | joining the row |
//!
//! A node may have missed any layouts in between, so that each of owner, backup and learner may follow each; but
//! *that it was a learner it never misses*. A copy that left the set in sync comes back by a promise, which needs
//! a session that its primary has opened after the eviction; and both open a session only once the copy has
//! installed a layout of that eviction or after it, durably
//! ([`View::is_the_same_as`](crate::copies::session::View::is_the_same_as)). The layout that admits it it may
//! miss, and have the next one make it owner: then it has all that was acknowledged meanwhile all the same, since its
//! primary waits for it from the promise on.
//!
//! For the same reason nothing leads from a stranger to a copy in sync, however many layouts were missed. A
//! directory that was put back to before its node joined the row is found out by that. One that was put back to a
//! role in the row is not, since all of them follow each other: that is for [`lineage`](crate::lineage), and for what
//! a backup remembers of its primary ([`yields`](crate::copies::session::yields)).

use crate::copies::Row;
use crate::layout::{Assignment, Assignments};
use crate::partition::Partition;

/// What a node is to a partition under the layout that it has installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It owns the partition: it has the only copy, or is the primary of its row. Whether a primary serves yet, its
    /// [`Term`](crate::copies::term::Term) says.
    Owner,
    /// It has a copy that is in sync, and another node is the primary.
    Backup,
    /// It has a copy that is not in sync: it was evicted, or it joined the row and was not admitted yet.
    Learner,
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
    /// What `node` is to `partition` by these assignments; `None` where there is no such partition. A `node` that
    /// is `None` is one that the layout does not know.
    #[must_use]
    pub fn of(node: Option<u16>, assignments: &Assignments, partition: Partition) -> Option<Self> {
        let assignment = assignments.get(partition)?;
        let Some(node) = node else { return Some(Self::Stranger) };
        if let Some(row) = assignments.row(partition) {
            return Some(Self::in_row(node, &row));
        }
        Some(match assignment {
            Assignment::Frozen(it) if it.destination == node => Self::FrozenDestination,
            Assignment::Frozen(it) if it.source == Some(node) => Self::FrozenSource,
            Assignment::Moving(it) if it.destination == node => {
                Self::Destination { has_source: it.source.is_some() }
            }
            Assignment::Moving(it) if it.source == Some(node) => Self::Source,
            _ => Self::Stranger,
        })
    }

    /// What `node` is to a partition with this row.
    #[must_use]
    pub fn in_row(node: u16, row: &Row) -> Self {
        match row.position(node) {
            None => Self::Stranger,
            Some(it) if it == row.primary_position() => Self::Owner,
            Some(it) if row.in_sync().contains(it) => Self::Backup,
            Some(_) => Self::Learner,
        }
    }

    /// Whether the node may have records of the partition on its disk.
    #[must_use]
    pub fn may_hold(self) -> bool {
        !matches!(self, Self::Stranger | Self::FrozenDestination)
    }

    /// Whether the partition moves to or from the node.
    #[must_use]
    pub fn is_moving(self) -> bool {
        match self {
            Self::Owner | Self::Backup | Self::Learner | Self::Stranger => false,
            Self::FrozenSource
            | Self::FrozenDestination
            | Self::Source
            | Self::Destination { .. } => true,
        }
    }

    /// Whether a node can come to this role when the layout that it had installed before gave it
    /// `previous`; `None` where it had no layout installed.
    ///
    /// No window is opened before its participants have installed the layout that froze it. A node
    /// that finds itself further than that has lost what it had stored: its data directory has been
    /// put back. It must not serve, since it would deny records that it once acknowledged. One that
    /// has kept what it had ([`Role::keeps`]) follows from there.
    ///
    /// A copy comes into sync as one of a cluster's first layout, or from a learner, whom its primary has
    /// made equal. A learner serves nothing and is made equal from whatever it has, so it follows anything.
    #[must_use]
    pub fn can_follow(self, previous: Option<Self>) -> bool {
        match self {
            Self::Stranger | Self::FrozenDestination | Self::Learner => true,
            Self::Backup => {
                matches!(previous, None | Some(Self::Owner | Self::Backup | Self::Learner))
            }
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
    /// layout was forged, or Consul was put back, or the node was given up. The same goes for all copies of a
    /// row, since no step takes any out of it: by a forged one a learner may have been the last that had them.
    #[must_use]
    pub fn keeps(self, held: Self, is_verified: bool) -> Option<Self> {
        let is_handed_over = match held {
            Self::Stranger | Self::FrozenDestination => true,
            Self::Source => is_verified,
            Self::Owner
            | Self::Backup
            | Self::Learner
            | Self::FrozenSource
            | Self::Destination { .. } => false,
        };
        (!self.may_hold() && !is_handed_over).then_some(held)
    }

    /// Whether a node of this role vouches that it has all records of the partition, durably: those of others that
    /// it handed over, or that it gave them to, can go.
    ///
    /// Of a row's copies the primary alone does, once it serves. Only then it has made the others equal, and
    /// what it has is what counts. A backup has all that was acknowledged, too, as long as it is one; but it
    /// may have been evicted under a layout that it has not installed, and then it lacks what came after. A learner
    /// lacks something at any time.
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
            // A client of an older layout may find the primary in the newest one.
            Self::Stranger | Self::Backup | Self::Learner if is_older_than(installed) => {
                Err(Denied::Stale)
            }
            Self::Stranger | Self::Backup | Self::Learner => Err(Denied::NotOwner),
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
