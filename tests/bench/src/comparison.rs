//! Our figures beside another program's, and their goals.

use crate::figures::median;
use crate::journal::{Journal, Unit};

/// What ours is to be, in relation to the other's.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At least this many times the other's.
    AtLeast(f64),
    /// At most this many times the other's.
    AtMost(f64),
    /// More than this many times the other's.
    MoreThan(f64),
    /// There is none: the figure is for information.
    None,
}

/// One kind of work, done by two.
#[derive(Debug)]
pub struct Comparison {
    work: String,
    peer: &'static str,
    goal: Goal,
    unit: Unit,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// The columns of [`Comparison::row`].
pub const HEADER: [&str; 7] = ["", "against", "goal", "ours", "theirs", "ratio", "met"];

impl Comparison {
    /// Nothing measured yet.
    pub fn new(work: impl Into<String>, peer: &'static str, goal: Goal, unit: Unit) -> Self {
        Self { work: work.into(), peer, goal, unit, ours: Vec::new(), theirs: Vec::new() }
    }

    /// Adds a measurement of ours.
    pub fn ours(&mut self, journal: &mut Journal, value: f64) -> anyhow::Result<()> {
        self.ours.push(value);
        journal.tell(&self.work, "ours", value, self.unit)
    }

    /// Adds a measurement of ours that another comparison has told already.
    pub fn ours_as_told(&mut self, value: f64) {
        self.ours.push(value);
    }

    /// Adds what ours is compared with where that is a limit, or another comparison has told it already.
    pub fn theirs_as_told(&mut self, value: f64) {
        self.theirs.push(value);
    }

    /// Whether there is a measurement of ours.
    pub fn is_measured(&self) -> bool {
        !self.ours.is_empty()
    }

    /// The median of ours.
    pub fn our_median(&self) -> f64 {
        median(&self.ours)
    }

    /// Adds a measurement of the other's.
    pub fn theirs(&mut self, journal: &mut Journal, value: f64) -> anyhow::Result<()> {
        self.theirs.push(value);
        journal.tell(&self.work, self.peer, value, self.unit)
    }

    /// The row of a table: the medians, and how they relate where the other was measured.
    pub fn row(&self) -> Vec<String> {
        let (ours, theirs) = (median(&self.ours), median(&self.theirs));
        let ratio = ours / theirs;
        let (goal, is_met) = match self.goal {
            Goal::AtLeast(goal) => (format!(">= {goal}"), Some(ratio >= goal)),
            Goal::AtMost(goal) => (format!("<= {goal}"), Some(ratio <= goal)),
            Goal::MoreThan(goal) => (format!("> {goal}"), Some(ratio > goal)),
            Goal::None => ("-".to_owned(), None),
        };
        let is_met = is_met.map_or("-", |is_met| if is_met { "yes" } else { "NO" });
        let [theirs, ratio, is_met] = match self.theirs.is_empty() {
            true => ["-"; 3].map(str::to_owned),
            false => [self.unit.show(theirs), format!("{ratio:.2}"), is_met.to_owned()],
        };
        let ours = self.unit.show(ours);
        vec![self.work.clone(), self.peer.to_owned(), goal, ours, theirs, ratio, is_met]
    }
}
