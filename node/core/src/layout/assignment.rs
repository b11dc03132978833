//! What a layout and its tables say of each partition.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rebalance::COPIES_DO_NOT_MOVE;
use super::{Layout, LayoutError, Member, Phase, Standing, Table};
use crate::copies::Row;
use crate::copies::session::View;
use crate::partition::Partition;

/// Who serves a partition. Nodes are indexes into [`Assignments::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Assignment {
    /// One node owns it: the primary of its row.
    Owned(u16),
    /// It is being handed over, and no node serves it: its source freezes, its destination clears
    /// the place.
    Frozen(Move),
    /// Its destination serves it, and its source answers for keys that were not copied yet.
    Moving(Move),
}

/// The move of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    /// Where it comes from; `None` where that node was given up, so that there is nothing to copy.
    pub source: Option<u16>,
    /// Where it goes.
    pub destination: u16,
}

/// An end of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Where the records come from.
    Source,
    /// Where they go.
    Destination,
}

/// Who serves each partition under one layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignments {
    epoch: u64,
    nodes: Vec<Member>,
    partitions: Vec<Assignment>,
    /// The nodes of all rows, partition by partition; empty where each row has one.
    copies: Vec<u16>,
    standing: Standing,
}

impl Assignments {
    /// Puts a layout together with its tables, one for each of [`Layout::placements`].
    ///
    /// # Errors
    /// [`LayoutError::Table`] where there is not one table for each placement, or one is of another
    /// shape.
    pub fn new(layout: &Layout, tables: &[Table]) -> Result<Self, LayoutError> {
        let nodes: Vec<Member> = layout.members().into_iter().cloned().collect();
        if tables.len() != layout.placements().count() {
            return Err(LayoutError::Table(format!("{} tables were given", tables.len())));
        }
        let rows: Vec<Vec<u16>> = layout
            .placements()
            .zip(tables)
            .map(|(placement, table)| {
                let index_of = |member: &Member| nodes.iter().position(|it| it.uuid == member.uuid);
                let indexes: Option<Vec<u16>> = placement
                    .members
                    .iter()
                    .map(|member| u16::try_from(index_of(member)?).ok())
                    .collect();
                let node = |member: u16| indexes.as_ref()?.get(usize::from(member)).copied();
                let row = |partition| {
                    let owners = table.owners(Partition(partition));
                    (owners.len() == placement.replicas as usize).then_some(owners)
                };
                let rows = (0..layout.partitions.get()).map(row).collect::<Option<Vec<_>>>()?;
                rows.into_iter().flatten().map(|it| node(*it)).collect()
            })
            .collect::<Option<_>>()
            .ok_or_else(|| LayoutError::Table("it does not fit its placement".into()))?;
        let has_copies = layout.placements().any(|it| it.replicas > 1);
        if has_copies && layout.rebalance.is_some() {
            return Err(LayoutError::Invalid(format!("it {COPIES_DO_NOT_MOVE}")));
        }
        let replicas = layout.placement.replicas as usize;
        let assign = |index: usize| {
            let [from, to] =
                [rows.first(), rows.last()].map(|it| it.map_or(0, |it| it[index * replicas]));
            layout.assign(&nodes, index as u32, from, to)
        };
        let partitions = (0..layout.partitions.get() as usize).map(assign).collect();
        let copies = rows.into_iter().next().filter(|_| has_copies).unwrap_or_default();
        let (epoch, standing) = (layout.epoch, layout.standing.clone());
        Self { epoch, nodes, partitions, copies, standing }.led_by_primaries()
    }

    /// The same with the primary as owner of each row that is not whole; until then that is the first node.
    fn led_by_primaries(mut self) -> Result<Self, LayoutError> {
        let learning = self.standing.listed().filter(|(_, it)| !it.is_whole());
        let primary = |(partition, _)| Some((partition, self.row(partition)?.primary()));
        let primaries: Option<Vec<(Partition, u16)>> = learning.map(primary).collect();
        let unfit = || LayoutError::Standing("it does not fit the layout".into());
        for (partition, primary) in primaries.ok_or_else(unfit)? {
            self.partitions[partition.0 as usize] = Assignment::Owned(primary);
        }
        Ok(self)
    }

    /// The epoch of the layout.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The nodes that have the copies of `partition`, and which of these are in sync; `None` where there is no such
    /// partition, or it is in the window of a rebalance.
    #[must_use]
    pub fn row(&self, partition: Partition) -> Option<Row> {
        let Assignment::Owned(owner) = self.get(partition)? else { return None };
        if self.copies.is_empty() {
            return Row::whole(&[owner]);
        }
        let (index, replicas) = (partition.0 as usize, self.copies.len() / self.partitions.len());
        let row = Row::whole(self.copies.get(index * replicas..(index + 1) * replicas)?)?;
        let learners = self.standing.row(partition).learners();
        row.with_in_sync(row.in_sync().minus(learners)).filter(|it| it.learners() == learners)
    }

    /// What a node that has the layout installed knows of `partition`; `None` as [`Assignments::row`].
    #[must_use]
    pub fn view(&self, partition: Partition) -> Option<View> {
        let since = self.standing.row(partition).since();
        Some(View { row: self.row(partition)?, since, installed: self.epoch })
    }

    /// Which copies are in sync, and since when.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The members of all placements, by ascending id.
    #[must_use]
    pub fn nodes(&self) -> &[Member] {
        &self.nodes
    }

    /// The index of the node whose data directory is `uuid`.
    #[must_use]
    pub fn index_of(&self, uuid: Uuid) -> Option<u16> {
        (0..).zip(&self.nodes).find(|(_, member)| member.uuid == uuid).map(|(index, _)| index)
    }

    /// Who serves `partition`, where there is such a partition.
    #[must_use]
    pub fn get(&self, partition: Partition) -> Option<Assignment> {
        self.partitions.get(partition.0 as usize).copied()
    }

    /// All partitions with who serves them, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (Partition, Assignment)> + '_ {
        (0..).map(Partition).zip(self.partitions.iter().copied())
    }

    /// The moves of the window, frozen or open, in ascending order.
    pub fn moves(&self) -> impl Iterator<Item = (Partition, Move)> + '_ {
        self.iter().filter_map(|(partition, assignment)| match assignment {
            Assignment::Owned(_) => None,
            Assignment::Frozen(it) | Assignment::Moving(it) => Some((partition, it)),
        })
    }

    /// The nodes that take part in the window: each must have installed the layout that prepares it
    /// before it is opened. In ascending order.
    #[must_use]
    pub fn participants(&self) -> Vec<u16> {
        let mut nodes: Vec<u16> = self
            .moves()
            .flat_map(|(_, it)| it.source.into_iter().chain([it.destination]))
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

impl Assignments {
    /// Who has each partition where the nodes in `lost` are gone, as indexes into
    /// [`Assignments::nodes`]: its owner; of a move that was not opened, the source; of an open one
    /// the destination, unless that is gone and the source is not.
    #[must_use]
    pub fn survivors(&self, lost: &[Uuid]) -> Vec<u32> {
        let is_lost = |node: u16| lost.contains(&self.nodes[usize::from(node)].uuid);
        let survivor = |assignment: &Assignment| match *assignment {
            Assignment::Owned(owner) => owner,
            Assignment::Frozen(it) => it.source.unwrap_or(it.destination),
            Assignment::Moving(it) => match it.source {
                Some(source) if is_lost(it.destination) && !is_lost(source) => source,
                _ => it.destination,
            },
        };
        self.partitions.iter().map(|it| u32::from(survivor(it))).collect()
    }
}

impl Assignment {
    /// The partition's owner, or who owns it once it has moved.
    #[must_use]
    pub fn destination(self) -> u16 {
        match self {
            Self::Owned(owner) => owner,
            Self::Frozen(it) | Self::Moving(it) => it.destination,
        }
    }
}

impl Layout {
    /// Who serves the partition of this number, which `from` owns in the layout's placement and `to`
    /// in the one that it is being moved to.
    fn assign(&self, nodes: &[Member], partition: u32, from: u16, to: u16) -> Assignment {
        let Some(rebalance) = self.rebalance.as_ref().filter(|_| from != to) else {
            return Assignment::Owned(from);
        };
        let is_settled = partition < rebalance.settled;
        let window = rebalance.window.filter(|window| {
            let (low, high) =
                (rebalance.settled.min(window.until), rebalance.settled.max(window.until));
            (low..high).contains(&partition)
        });
        let (source, destination) = if is_settled { (to, from) } else { (from, to) };
        let Some(window) = window else { return Assignment::Owned(source) };
        let is_lost = |node: u16| rebalance.lost.contains(&nodes[usize::from(node)].uuid);
        let it = Move { source: Some(source).filter(|it| !is_lost(*it)), destination };
        match window.phase {
            Phase::Preparing => Assignment::Frozen(it),
            Phase::Migrating => Assignment::Moving(it),
        }
    }
}
