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

    /// Adds a measurement of the other's.
    pub fn theirs(&mut self, journal: &mut Journal, value: f64) -> anyhow::Result<()> {
        self.theirs.push(value);
        journal.tell(&self.work, self.peer, value, self.unit)
    }

    /// The row of a table: the medians, and how they relate.
    pub fn row(&self) -> Vec<String> {
        let (ours, theirs) = (median(&self.ours), median(&self.theirs));
        let ratio = ours / theirs;
        let (goal, is_met) = match self.goal {
            Goal::AtLeast(goal) => (format!(">= {goal}"), Some(ratio >= goal)),
            Goal::AtMost(goal) => (format!("<= {goal}"), Some(ratio <= goal)),
            Goal::None => ("-".to_owned(), None),
        };
        let is_met = is_met.map_or("-", |is_met| if is_met { "yes" } else { "NO" });
        vec![
            self.work.clone(),
            self.peer.to_owned(),
            goal,
            self.unit.show(ours),
            self.unit.show(theirs),
            format!("{ratio:.2}"),
            is_met.to_owned(),
        ]
    }
}
