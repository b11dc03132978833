//! What a run has done and found, in figures.

use std::collections::BTreeMap;
use std::fmt;

use super::death::FAILPOINTS;

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) kills: u64,
    /// Those among them that came while the node was starting.
    pub(super) kills_at_start: u64,
    /// Those among them at a failpoint, by its name.
    pub(super) kills_at: BTreeMap<&'static str, u64>,
    /// Writes that were acknowledged.
    pub(super) acknowledged: u64,
    /// Reads that were answered while others wrote.
    pub(super) reads: u64,
    /// Conditional writes whose condition did not hold, and that were refused.
    pub(super) refused: u64,
    /// Writes whose outcome the kill has left unknown.
    pub(super) unknown: u64,
    /// Those among them that were found to have been carried out, as the last ones of their keys.
    pub(super) unknown_found: u64,
    /// Keys that were looked at after a start.
    pub(super) looked_at: u64,
    /// Keys that hold less than was acknowledged.
    pub(super) lost: u64,
    /// Keys that hold a value that was removed.
    pub(super) resurrected: u64,
    /// Whatever else must not be: values and versions that no client wrote, counters that do not fit,
    /// answers that are not true, nodes that end by themselves.
    pub(super) wrong: u64,
}

impl Totals {
    /// Whether nothing was found.
    pub(super) fn is_clean(&self) -> bool {
        [self.lost, self.resurrected, self.wrong] == [0; 3]
    }

    /// The failpoints at which no node died.
    pub(super) fn failpoints_not_met(&self) -> Vec<&'static str> {
        FAILPOINTS.into_iter().filter(|it| !self.kills_at.contains_key(it)).collect()
    }

    /// Adds the figures of another part of the run.
    pub(super) fn add(&mut self, other: &Self) {
        for (mine, more) in self.figures_mut().into_iter().zip(other.figures()) {
            *mine += more.1;
        }
        for (name, kills) in &other.kills_at {
            *self.kills_at.entry(name).or_default() += kills;
        }
    }

    fn figures(&self) -> [(&'static str, u64); 11] {
        [
            ("kills", self.kills),
            ("  while starting", self.kills_at_start),
            ("acknowledged writes", self.acknowledged),
            ("reads meanwhile", self.reads),
            ("conditions refused", self.refused),
            ("unknown outcomes", self.unknown),
            ("  found as last", self.unknown_found),
            ("keys looked at", self.looked_at),
            ("lost", self.lost),
            ("resurrected", self.resurrected),
            ("wrong", self.wrong),
        ]
    }

    fn figures_mut(&mut self) -> [&mut u64; 11] {
        [
            &mut self.kills,
            &mut self.kills_at_start,
            &mut self.acknowledged,
            &mut self.reads,
            &mut self.refused,
            &mut self.unknown,
            &mut self.unknown_found,
            &mut self.looked_at,
            &mut self.lost,
            &mut self.resurrected,
            &mut self.wrong,
        ]
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, kills) in &self.kills_at {
            writeln!(f, "{name:<32} {kills:>10}")?;
        }
        for (name, figure) in self.figures() {
            writeln!(f, "{name:<32} {figure:>10}")?;
        }
        Ok(())
    }
}
