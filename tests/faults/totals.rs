//! What a run has done and found, in figures.

use std::fmt;

/// The figures of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) rounds: u64,
    /// Keys whose whole life was judged.
    pub(super) histories: u64,
    /// Operations in them.
    pub(super) operations: u64,
    /// Those among them whose outcome is unknown.
    pub(super) unknown: u64,
    /// Operations that were certainly not carried out, and are in no history.
    pub(super) unavailable: u64,
    /// Scans of everything, while everything failed, that came to their end.
    pub(super) scans: u64,
    pub(super) node_kills: u64,
    pub(super) mover_kills: u64,
    pub(super) freezes: u64,
    pub(super) traffic_faults: u64,
    pub(super) consul_faults: u64,
    /// Histories that no order of operations explains.
    pub(super) violations: u64,
    /// Histories that a checker gave up.
    pub(super) undecided: u64,
    /// Records that no client removed and that are not there, or not as they were.
    pub(super) lost: u64,
    /// Records that were removed and are there.
    pub(super) resurrected: u64,
    /// Answers that no client may be given, such as errors that say of themselves that they last.
    pub(super) wrong_answers: u64,
    /// Times that the cluster did not come to rest by itself.
    pub(super) wedged: u64,
}

impl Totals {
    /// Whether nothing was found.
    pub(super) fn is_clean(&self) -> bool {
        let Self { violations, undecided, lost, resurrected, wrong_answers, wedged, .. } = *self;
        [violations, undecided, lost, resurrected, wrong_answers, wedged] == [0; 6]
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = [
            ("rounds", self.rounds),
            ("histories", self.histories),
            ("operations", self.operations),
            ("unknown outcomes", self.unknown),
            ("not carried out", self.unavailable),
            ("scans under way", self.scans),
            ("kills of nodes", self.node_kills),
            ("kills of movers", self.mover_kills),
            ("nodes frozen", self.freezes),
            ("traffic faults", self.traffic_faults),
            ("faults of Consul", self.consul_faults),
            ("violations", self.violations),
            ("undecided", self.undecided),
            ("lost", self.lost),
            ("resurrected", self.resurrected),
            ("wrong answers", self.wrong_answers),
            ("wedged", self.wedged),
        ];
        for (name, figure) in figures {
            writeln!(f, "{name:<18} {figure:>10}")?;
        }
        Ok(())
    }
}
