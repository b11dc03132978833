//! The findings of an examination.

use std::collections::BTreeSet;
use std::fmt;

use super::property::Property;

/// A number that tells how good or bad something is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// What it is the number of, and in which unit.
    pub what: &'static str,
    /// The worst value that was seen.
    pub value: f64,
    /// What it may be.
    pub limit: Option<f64>,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: f64| match value.fract() == 0.0 {
            true => format!("{value:.0}"),
            false => format!("{value:.3}"),
        };
        write!(f, "{} {}", number(self.value), self.what)?;
        match self.limit {
            Some(limit) => write!(f, " (at most {})", number(limit)),
            None => Ok(()),
        }
    }
}

/// How a property was found to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// No question showed otherwise.
    Pass,
    /// The smallest of the questions that showed otherwise, and what the answer was.
    Fail(String),
    /// Nothing could be found out, for this reason.
    Unknown(String),
}

/// The finding about one property.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The property.
    pub property: Property,
    /// How it is.
    pub verdict: Judgement,
    /// The figure behind it.
    pub figure: Option<Figure>,
    /// Whether it is wanted of a strategy for as many replicas as clusters have.
    pub is_required: bool,
}

/// The findings about a strategy, and the course of its examination.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// A finding for every property, in the order of [`Property::ALL`].
    pub findings: Vec<Finding>,
    /// How many questions were put.
    pub questions: usize,
    /// Why the clock ended the questions, where it did: what had not been found out by then is unknown.
    pub stopped: Option<String>,
}

impl Report {
    /// The required properties that it lacks, except those that are `accepted`.
    pub fn lacking<'a>(
        &'a self,
        accepted: &'a BTreeSet<Property>,
    ) -> impl Iterator<Item = &'a Finding> {
        self.findings.iter().filter(|finding| {
            let is_accepted =
                finding.property.is_optional() && accepted.contains(&finding.property);
            finding.is_required && !is_accepted && !matches!(finding.verdict, Judgement::Pass)
        })
    }

    /// Whether it lacks nothing that is required.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.lacking(&BTreeSet::new()).next().is_none()
    }
}
