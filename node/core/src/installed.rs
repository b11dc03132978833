//! A layout with what belongs to it, seen from one node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::digest::Digest;
use crate::incarnation::Incarnation;
use crate::layout::{Assignment, Assignments, Layout, LayoutError, Member, Move, Side, Table};
use crate::ownership::Role;
use crate::partition::{Partition, key_hash};

/// Why a layout cannot be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The layout and its parts do not fit together.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The node has no layout, and so no data, of those that must have come before.
    #[error(
        "in epoch {epoch} this node already has partition {partition}, but what it has stored is from before it was given it: its data directory has been put back, and what was acknowledged since is not in it. Start the node on the directory that it used last; where that is gone for good, so is what it had: give the node up with \"kvclient remove-node --dead\""
    )]
    PutBack {
        /// The layout's epoch.
        epoch: u64,
        /// The first such partition.
        partition: Partition,
    },
    /// No step leads to the layout from the one that the node has. Either document may be the one that is
    /// out of place.
    #[error(
        "the layout of epoch {epoch} gives this node partition {partition}, which it does not have by that of epoch {installed}, its own, and which nobody has handed to it. Where somebody has forged that layout, or put it in the place of another, `kvclient restore-layout {installed}` publishes this node's again. Where the layout is right, this node's data directory has been put back, and what was acknowledged since is not in it: start the node on the one that it used last; where that is gone for good, give the node up with `kvclient remove-node --dead`"
    )]
    Unreachable {
        /// The layout's epoch.
        epoch: u64,
        /// The first such partition.
        partition: Partition,
        /// The epoch of the layout that the node has.
        installed: u64,
    },
}

/// The layout that a node has installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledLayout {
    /// The cluster's identity.
    pub cluster: Uuid,
    /// The layout's epoch. It is shown once the node has done all that must be done before others may
    /// go by this layout.
    pub epoch: u64,
    /// The digest of the layout document. After a Consul that lost everything, there can be two
    /// documents of one epoch.
    pub document: Digest,
    /// How many partitions the node owns, as the primary where they have several copies; 0 where it is not a
    /// member.
    pub partitions_owned: u32,
}

/// A layout with its tables and strategies, and what this node is under it.
#[derive(Debug)]
pub struct Installed {
    /// The layout.
    pub layout: Layout,
    /// The table of each of the layout's placements.
    pub tables: Vec<Table>,
    /// The bytes of the strategies that the layout names, each once, in the order of
    /// [`strategy_digests`]. The node does not run them; it keeps them so that a Consul that lost
    /// everything can be given them back.
    pub strategies: Vec<Vec<u8>>,
    document: Digest,
    assignments: Assignments,
    roles: Vec<Role>,
    since: Vec<u64>,
    /// The role in which the node last held each partition that it keeps.
    kept: BTreeMap<Partition, Role>,
    /// The last run of the node that had it; `None` where an older program did.
    begun: Option<Incarnation>,
    /// The data directories that records are moved to from here, and for which this node was asked for
    /// the digest of all of these.
    digested: Mutex<BTreeSet<Uuid>>,
}

/// The digests of the strategies that `layout` names, each once.
#[must_use]
pub fn strategy_digests(layout: &Layout) -> Vec<Digest> {
    let mut digests: Vec<Digest> = layout.placements().map(|it| it.strategy.sha256).collect();
    digests.dedup();
    digests
}

impl Installed {
    /// Puts a layout together with its parts, for the node with this `uuid` that has `previous`
    /// installed: a table for each of [`Layout::placements`], and the strategies in the order of
    /// [`strategy_digests`].
    ///
    /// # Errors
    /// [`InstallError`] where the parts are not those that the layout names, or the layout cannot
    /// come after the previous one.
    pub fn new(
        layout: Layout,
        tables: &[Vec<u8>],
        strategies: Vec<Vec<u8>>,
        uuid: Uuid,
        previous: Option<&Self>,
    ) -> Result<Self, InstallError> {
        let mut installed = Self::assemble(layout, tables, strategies, uuid)?;
        if let Some(previous) = previous
            && previous.layout.partitions != installed.layout.partitions
        {
            return Err(InstallError::Layout(LayoutError::Invalid(format!(
                "it has {} partitions, and the cluster was created with {}, which never changes",
                installed.layout.partitions.get(),
                previous.layout.partitions.get()
            ))));
        }
        let can_follow = |partition, role: Role| {
            let before = previous.and_then(|it| it.role(partition));
            let kept = previous.and_then(|it| it.kept.get(&partition).copied());
            role.can_follow(before) || kept.is_some_and(|kept| role.can_follow(Some(kept)))
        };
        if let Some((partition, _)) =
            installed.roles().find(|(partition, role)| !can_follow(*partition, *role))
        {
            let epoch = installed.layout.epoch;
            return Err(match previous {
                None => InstallError::PutBack { epoch, partition },
                Some(Self { layout: Layout { epoch: installed, .. }, .. }) => {
                    InstallError::Unreachable { epoch, partition, installed: *installed }
                }
            });
        }
        if let Some(previous) = previous {
            installed.since = installed.assigned_since(previous);
            installed.kept = installed.kept_after(previous);
            installed.begun = previous.begun;
        }
        Ok(installed)
    }

    /// Puts a layout that was installed before together again. `since` is what [`Self::since`] gave
    /// for each partition, `kept` what [`Self::kept`] gave,
    /// and `digested` what [`Self::digested`] gave.
    ///
    /// # Errors
    /// [`LayoutError`] where the parts are not those that the layout names.
    pub fn restored(
        layout: Layout,
        tables: &[Vec<u8>],
        strategies: Vec<Vec<u8>>,
        uuid: Uuid,
        since: Vec<u64>,
        kept: BTreeMap<Partition, Role>,
        digested: BTreeSet<Uuid>,
    ) -> Result<Self, LayoutError> {
        let installed = Self::assemble(layout, tables, strategies, uuid)?;
        if since.len() != installed.since.len() {
            return Err(LayoutError::Invalid("it has another number of partitions".into()));
        }
        Ok(Self { since, kept, digested: Mutex::new(digested), ..installed })
    }

    fn assemble(
        layout: Layout,
        tables: &[Vec<u8>],
        strategies: Vec<Vec<u8>>,
        uuid: Uuid,
    ) -> Result<Self, LayoutError> {
        let placements: Vec<_> = layout.placements().collect();
        if tables.len() != placements.len() {
            let (found, wanted) = (tables.len(), placements.len());
            return Err(LayoutError::Table(format!("there are {found}, expected {wanted}")));
        }
        let parsed = placements.iter().zip(tables);
        let tables: Vec<Table> =
            parsed.map(|(it, bytes)| Table::parse(bytes, &layout, it)).collect::<Result<_, _>>()?;
        let found: Vec<Digest> = strategies.iter().map(|it| Digest::of(it)).collect();
        let named = strategy_digests(&layout);
        if found != named {
            return Err(LayoutError::Invalid(format!(
                "the strategies have the digests {found:?}, it names {named:?}"
            )));
        }
        let assignments = Assignments::new(&layout, &tables)?;
        let node = assignments.index_of(uuid);
        let role = |(partition, _)| Role::of(node, &assignments, partition);
        let roles: Vec<Role> = assignments.iter().filter_map(role).collect();
        let since = vec![layout.epoch; roles.len()];
        let document = layout.digest();
        Ok(Self {
            layout,
            tables,
            strategies,
            document,
            assignments,
            roles,
            since,
            kept: BTreeMap::new(),
            begun: None,
            digested: Mutex::default(),
        })
    }

    /// What the node keeps that had `previous` installed before.
    fn kept_after(&self, previous: &Self) -> BTreeMap<Partition, Role> {
        let kept = |(partition, role): (Partition, Role)| {
            let held = previous.kept.get(&partition).copied().or(previous.role(partition))?;
            let is_verified = previous
                .open_move(partition)
                .is_some_and(|(side, peer)| side == Side::Source && previous.was_digested(peer));
            Some((partition, role.keeps(held, is_verified)?))
        };
        self.roles().filter_map(kept).collect()
    }

    /// For each partition the epoch since which it has been assigned as it is, as far as this node,
    /// which had `previous` installed before, can know. Of a row that is who its primary is: a client is
    /// routed by that alone, and need not fetch a layout in which another copy was evicted or admitted.
    fn assigned_since(&self, previous: &Self) -> Vec<u64> {
        let index_now = |member: &Member| self.assignments.index_of(member.uuid);
        let now: Vec<Option<u16>> = previous.assignments.nodes().iter().map(index_now).collect();
        let now = |node: u16| now[usize::from(node)];
        let now_move = |it: Move| {
            let source = match it.source {
                Some(source) => Some(now(source)?),
                None => None,
            };
            Some(Move { source, destination: now(it.destination)? })
        };
        // The earlier assignment in today's indexes; `None` where a node of it is no member any more.
        let translated = |it: Assignment| match it {
            Assignment::Owned(owner) => Some(Assignment::Owned(now(owner)?)),
            Assignment::Frozen(it) => Some(Assignment::Frozen(now_move(it)?)),
            Assignment::Moving(it) => Some(Assignment::Moving(now_move(it)?)),
        };
        let pairs = previous.assignments.iter().zip(self.assignments.iter()).zip(&previous.since);
        pairs
            .map(
                |(((_, before), (_, after)), since)| {
                    if translated(before) == Some(after) { *since } else { self.layout.epoch }
                },
            )
            .collect()
    }

    /// What the node says of it in its status, once it has done all that the layout asks of it.
    #[must_use]
    pub fn summary(&self) -> InstalledLayout {
        let owned = self.roles.iter().filter(|role| **role == Role::Owner).count();
        InstalledLayout {
            cluster: self.layout.cluster,
            epoch: self.layout.epoch,
            document: self.document,
            partitions_owned: u32::try_from(owned).unwrap_or(u32::MAX),
        }
    }

    /// What this node is to `partition`, where there is such a partition.
    #[must_use]
    pub fn role(&self, partition: Partition) -> Option<Role> {
        self.roles.get(partition.0 as usize).copied()
    }

    /// The partitions that are not the node's by this layout, and that it held under an earlier one
    /// and never handed over; each with its last role. All records of them are kept.
    #[must_use]
    pub fn kept(&self) -> &BTreeMap<Partition, Role> {
        &self.kept
    }

    /// The last run of the node that had the layout; `None` where an older program did.
    #[must_use]
    pub fn begun(&self) -> Option<Incarnation> {
        self.begun
    }

    /// The same layout, in the run `begun` of the node.
    #[must_use]
    pub fn begun_by(self, begun: Option<Incarnation>) -> Self {
        Self { begun, ..self }
    }

    /// Takes note that this node was asked for the digest of all that moves from it to `peer`.
    pub fn note_digested(&self, peer: Uuid) {
        self.digested_locked().insert(peer);
    }

    /// Whether it was.
    #[must_use]
    pub fn was_digested(&self, peer: Uuid) -> bool {
        self.digested_locked().contains(&peer)
    }

    /// All of whom it was.
    #[must_use]
    pub fn digested(&self) -> BTreeSet<Uuid> {
        self.digested_locked().clone()
    }

    fn digested_locked(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        self.digested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same layout for a node that keeps nothing.
    #[must_use]
    pub fn without_kept(self) -> Self {
        Self { kept: BTreeMap::new(), ..self }
    }

    /// The data directory of the node that holds all records of `partition`, of several copies the primary's;
    /// `None` where it was given up.
    #[must_use]
    pub fn holder(&self, partition: Partition) -> Option<&Member> {
        let holder = match self.assignments.get(partition)? {
            Assignment::Owned(owner) => owner,
            Assignment::Frozen(it) | Assignment::Moving(it) => it.source?,
        };
        self.assignments.nodes().get(usize::from(holder))
    }

    /// All partitions with what this node is to them, in ascending order.
    pub fn roles(&self) -> impl Iterator<Item = (Partition, Role)> + '_ {
        (0..).map(Partition).zip(self.roles.iter().copied())
    }

    /// The epoch since which `partition` has been assigned as it is, which judges requests of clients; the
    /// layout's own where there is no such partition. Since when its copies are in sync as they are, which judges
    /// what they say to each other, is in [`Assignments::view`].
    #[must_use]
    pub fn since(&self, partition: Partition) -> u64 {
        self.since.get(partition.0 as usize).copied().unwrap_or(self.layout.epoch)
    }

    /// Since when each partition has been assigned as it is, in ascending order of the partitions.
    #[must_use]
    pub fn all_since(&self) -> &[u64] {
        &self.since
    }

    /// Who serves each partition.
    #[must_use]
    pub fn assignments(&self) -> &Assignments {
        &self.assignments
    }

    /// Whether any partition is moving to or from this node.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.roles.iter().any(|role| role.is_moving())
    }

    /// The partition of `key`.
    #[must_use]
    pub fn partition_of(&self, key: &str) -> Partition {
        self.layout.partitions.partition(key_hash(key))
    }

    /// The smallest and the largest hash in `partition`.
    #[must_use]
    pub fn hash_range(&self, partition: Partition) -> (u64, u64) {
        self.layout.partitions.hash_range(partition)
    }

    /// At which end of the open move of `partition` this node is, and the data directory at the
    /// other one; `None` where it is not part of a move that has two ends.
    #[must_use]
    pub fn open_move(&self, partition: Partition) -> Option<(Side, Uuid)> {
        let Assignment::Moving(it) = self.assignments.get(partition)? else { return None };
        let (side, peer) = match self.role(partition)? {
            Role::Source => (Side::Source, it.destination),
            Role::Destination { .. } => (Side::Destination, it.source?),
            _ => return None,
        };
        Some((side, self.assignments.nodes().get(usize::from(peer))?.uuid))
    }

    /// The id of the node that serves `partition`, or that will once it has moved.
    #[must_use]
    pub fn server_of(&self, partition: Partition) -> &str {
        let node = self.assignments.get(partition).map(Assignment::destination);
        let member = node.and_then(|it| self.assignments.nodes().get(usize::from(it)));
        member.map_or("?", |it| it.id.as_str())
    }
}
