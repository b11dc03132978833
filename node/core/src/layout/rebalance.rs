//! A rebalance: the way from one placement to another, in windows of partitions.
//!
//! Partitions move by the steps in this file and by no others. Each raises the epoch by one:
//!
//! | step | from | to |
//! |---|---|---|
//! | [`Layout::begin`] | at rest | a rebalance that has moved nothing yet |
//! | [`Layout::prepare`] | no window | the sources of a window freeze its partitions |
//! | [`Layout::open`] | all participants have frozen | the destinations take writes, data is copied |
//! | [`Layout::settle`] | all data was copied and verified | the destinations own the window |
//! | [`Layout::retract`] | a window that was not opened | no window; nothing has moved |
//! | [`Layout::turn_back`] | forward | back: what was settled is moved back, window by window |
//! | [`Layout::give_up`] | nodes are gone for good | at rest, with everything where it is just then |
//! | [`Layout::pause`] | running | no new window is begun, and the reverse |
//! | [`Layout::upgrade`] | at rest, in the format before | the same in the present one |
//!
//! The moving partitions are taken in ascending order, so that how far a rebalance is, is one
//! number. A rebalance that is turned back takes them in descending order.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{LAYOUT_FORMAT, Layout, Origin, Placement};
use crate::digest::Digest;
use crate::partition::PartitionCount;

pub(super) const COPIES_DO_NOT_MOVE: &str = "has, or is to have, more than one copy of each partition, and programs of this version move none that have others";

/// A rebalance that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebalance {
    /// Where the data goes.
    pub to: Placement,
    /// Whether it is to be finished or undone.
    pub goal: Goal,
    /// Partitions below this one are where `to` says, the others where the layout's placement says;
    /// except those in the window.
    pub settled: u32,
    /// The partitions that are being moved now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Whether an operator asked that no further window be begun.
    pub paused: bool,
    /// The data directories that were given up: no mover waits for them, and what only they stored is
    /// lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Uuid>,
}

/// What a rebalance is to end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// All partitions where it was meant to bring them.
    Finish,
    /// All partitions where they were before.
    Undo,
}

/// The partitions that are being moved: from [`Rebalance::settled`] up to `until`, which is not one
/// of them; or, backward, from `until` up to [`Rebalance::settled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// What [`Rebalance::settled`] becomes when the window is settled.
    pub until: u32,
    /// How far the move is.
    pub phase: Phase,
}

/// How far the move of a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The sources freeze: no node serves the moving partitions.
    Preparing,
    /// The destinations serve, and the sources answer for what was not copied yet.
    Migrating,
}

/// A step that a layout cannot take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the layout of epoch {epoch} {problem}")]
pub struct StepError {
    epoch: u64,
    problem: &'static str,
}

impl Layout {
    /// Begins the rebalance to `to`. The data directories in `lost` are given up.
    ///
    /// # Errors
    /// A rebalance is under way, or one of the placements has more than one copy of each partition.
    pub fn begin(&self, to: Placement, lost: Vec<Uuid>) -> Result<Self, StepError> {
        if self.rebalance.is_some() {
            return Err(self.cannot("is being rebalanced already"));
        }
        if self.placement.replicas > 1 || to.replicas > 1 {
            return Err(self.cannot(COPIES_DO_NOT_MOVE));
        }
        let (goal, settled, window, paused) = (Goal::Finish, 0, None, false);
        self.with(Some(Rebalance { to, goal, settled, window, paused, lost }))
    }

    /// Begins the window that ends at `until`.
    ///
    /// # Errors
    /// There is a window already, or `until` is not on the way to the goal.
    pub fn prepare(&self, until: u32) -> Result<Self, StepError> {
        let rebalance = self.under_way()?;
        if rebalance.window.is_some() {
            return Err(self.cannot("has an unfinished window"));
        }
        if rebalance.paused {
            return Err(self.cannot("is paused"));
        }
        let window = self.window(rebalance, until)?;
        self.with(Some(Rebalance { window: Some(window), ..rebalance.clone() }))
    }

    /// Opens the window: every participant must have installed this layout.
    ///
    /// # Errors
    /// There is no window, or it is open.
    pub fn open(&self) -> Result<Self, StepError> {
        let (rebalance, until) = self.window_in(Phase::Preparing)?;
        let window = Some(Window { until, phase: Phase::Migrating });
        self.with(Some(Rebalance { window, ..rebalance.clone() }))
    }

    /// Settles the window, whose data must have been copied and verified. Where there is a `next`
    /// window, it is begun at once; where the goal is reached, the layout is at rest.
    ///
    /// # Errors
    /// There is no open window, or `next` is not on the way to the goal.
    pub fn settle(&self, next: Option<u32>) -> Result<Self, StepError> {
        let (rebalance, settled) = self.window_in(Phase::Migrating)?;
        let rebalance = Rebalance { settled, window: None, ..rebalance.clone() };
        if rebalance.is_finished(self.partitions) {
            return self.at_rest(rebalance);
        }
        let window = match next {
            Some(until) if !rebalance.paused => Some(self.window(&rebalance, until)?),
            _ => None,
        };
        self.with(Some(Rebalance { window, ..rebalance }))
    }

    /// Takes back a window that was not opened.
    ///
    /// # Errors
    /// There is no window, or it is open, so that its destinations may have taken writes.
    pub fn retract(&self) -> Result<Self, StepError> {
        let (rebalance, _) = self.window_in(Phase::Preparing)?;
        self.with(Some(Rebalance { window: None, ..rebalance.clone() }))
    }

    /// Turns the rebalance back. A window that is open must still be settled first, one that was not
    /// opened is taken back; where nothing has moved the layout is at rest again.
    ///
    /// # Errors
    /// There is no rebalance, or it is on its way back, or it gives nodes up, which cannot be undone.
    pub fn turn_back(&self) -> Result<Self, StepError> {
        let rebalance = self.under_way()?;
        if rebalance.goal == Goal::Undo {
            return Err(self.cannot("is on its way back already"));
        }
        if !rebalance.lost.is_empty() {
            return Err(self.cannot("gives up nodes, which cannot be undone"));
        }
        let window = rebalance.window.filter(|window| window.phase == Phase::Migrating);
        let rebalance = Rebalance { goal: Goal::Undo, window, paused: false, ..rebalance.clone() };
        if window.is_none() && rebalance.is_finished(self.partitions) {
            return self.at_rest(rebalance);
        }
        self.with(Some(rebalance))
    }

    /// Ends a rebalance that nodes which are gone for good hold up: every partition stays where it is
    /// served now, by `table`, which is [`Assignments::survivors`](super::Assignments::survivors) for those nodes. What moves between
    /// other nodes must have been copied and verified.
    ///
    /// # Errors
    /// There is no rebalance.
    pub fn give_up(&self, table: Digest) -> Result<Self, StepError> {
        self.under_way()?;
        let placement = Placement {
            strategy: self.placement.strategy.clone(),
            members: self.members().into_iter().cloned().collect(),
            table,
            origin: Origin::Interrupted,
            replicas: self.placement.replicas,
        };
        Ok(Self { placement, ..self.with(None)? })
    }

    /// Asks that no further window be begun, or takes that back.
    ///
    /// # Errors
    /// There is no rebalance, or it is (not) paused already.
    pub fn pause(&self, paused: bool) -> Result<Self, StepError> {
        let rebalance = self.under_way()?;
        match (rebalance.paused, paused) {
            (true, true) => Err(self.cannot("is paused already")),
            (false, false) => Err(self.cannot("is not paused")),
            _ => self.with(Some(Rebalance { paused, ..rebalance.clone() })),
        }
    }

    /// Takes a layout over whose document has the format before; it is the only step from there. Programs that
    /// do not read the new format take no part in the cluster any more.
    ///
    /// # Errors
    /// Its document has the present format, or data is moving.
    pub fn upgrade(&self) -> Result<Self, StepError> {
        if self.format == LAYOUT_FORMAT {
            return Err(self.cannot("has the present format already"));
        }
        if self.rebalance.is_some() {
            return Err(self.cannot(
                "is being rebalanced: finish or abort that with the programs that began it",
            ));
        }
        Ok(Self { epoch: self.next_epoch()?, format: LAYOUT_FORMAT, ..self.clone() })
    }

    /// The layout of the next epoch, with this rebalance.
    pub(super) fn with(&self, rebalance: Option<Rebalance>) -> Result<Self, StepError> {
        if self.format != LAYOUT_FORMAT {
            return Err(self.cannot(
                "has a document of the format before: take it over with \"kvclient upgrade-layout\" first, once all programs are of this version",
            ));
        }
        Ok(Self { epoch: self.next_epoch()?, rebalance, ..self.clone() })
    }

    fn next_epoch(&self) -> Result<u64, StepError> {
        // Only a layout that was made up comes there: each step adds 1.
        let last = "has the last epoch that there is, so that none can follow";
        self.epoch.checked_add(1).ok_or_else(|| self.cannot(last))
    }

    fn at_rest(&self, rebalance: Rebalance) -> Result<Self, StepError> {
        let placement = match rebalance.goal {
            Goal::Finish => rebalance.to,
            Goal::Undo => self.placement.clone(),
        };
        Ok(Self { placement, ..self.with(None)? })
    }

    fn under_way(&self) -> Result<&Rebalance, StepError> {
        self.rebalance.as_ref().ok_or_else(|| self.cannot("is not being rebalanced"))
    }

    fn window_in(&self, phase: Phase) -> Result<(&Rebalance, u32), StepError> {
        let rebalance = self.under_way()?;
        match rebalance.window {
            Some(window) if window.phase == phase => Ok((rebalance, window.until)),
            Some(_) if phase == Phase::Preparing => Err(self.cannot("has an open window")),
            _ => Err(self.cannot("has no open window")),
        }
    }

    fn window(&self, rebalance: &Rebalance, until: u32) -> Result<Window, StepError> {
        let is_ahead = match rebalance.goal {
            Goal::Finish => until > rebalance.settled && until <= self.partitions.get(),
            Goal::Undo => until < rebalance.settled,
        };
        if is_ahead {
            Ok(Window { until, phase: Phase::Preparing })
        } else {
            Err(self.cannot("cannot have a window that ends there"))
        }
    }

    pub(super) fn cannot(&self, problem: &'static str) -> StepError {
        StepError { epoch: self.epoch, problem }
    }
}

impl Rebalance {
    /// Whether all partitions have passed.
    #[must_use]
    pub fn is_finished(&self, partitions: PartitionCount) -> bool {
        match self.goal {
            Goal::Finish => self.settled == partitions.get(),
            Goal::Undo => self.settled == 0,
        }
    }

    pub(super) fn check(&self, partitions: PartitionCount) -> Result<(), String> {
        let partitions = partitions.get();
        let until = self.window.map(|window| window.until);
        if self.settled > partitions || until.is_some_and(|until| until > partitions) {
            return Err(format!("its rebalance is beyond its {partitions} partitions"));
        }
        if until == Some(self.settled) {
            return Err("its window is empty".into());
        }
        Ok(())
    }
}
