//! Which operations a workload consists of.

use clap::ValueEnum;
use rand::{Rng, RngExt};
use serde::Serialize;

/// A workload by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Workload {
    /// Overwrites only
    Put,
    /// Reads only
    Get,
    /// YCSB A: half reads, half updates
    A,
    /// YCSB B: 95% reads, 5% updates
    B,
    /// YCSB C: reads only
    C,
    /// YCSB D: 95% reads of the latest records, 5% inserts
    D,
    /// YCSB F: half reads, half reads followed by a write of the same record
    F,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperationKind {
    Read,
    Update,
    Insert,
    ReadModifyWrite,
}

impl OperationKind {
    pub(crate) const ALL: [Self; 4] =
        [Self::Read, Self::Update, Self::Insert, Self::ReadModifyWrite];

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::ReadModifyWrite => "read_modify_write",
        }
    }
}

impl Workload {
    /// How many of a hundred operations are reads, and what the others are.
    fn mix(self) -> (u32, OperationKind) {
        match self {
            Self::Put => (0, OperationKind::Update),
            Self::Get | Self::C => (100, OperationKind::Update),
            Self::A => (50, OperationKind::Update),
            Self::B => (95, OperationKind::Update),
            Self::D => (95, OperationKind::Insert),
            Self::F => (50, OperationKind::ReadModifyWrite),
        }
    }

    /// Draws what the next operation does.
    pub(crate) fn draw(self, dice: &mut impl Rng) -> OperationKind {
        let (reads, other) = self.mix();
        if dice.random_range(0..100) < reads { OperationKind::Read } else { other }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::D => "d",
            Self::F => "f",
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn operations_come_in_their_shares() {
        for (workload, shares) in [
            (Workload::Put, [0.0, 1.0, 0.0, 0.0]),
            (Workload::Get, [1.0, 0.0, 0.0, 0.0]),
            (Workload::A, [0.5, 0.5, 0.0, 0.0]),
            (Workload::B, [0.95, 0.05, 0.0, 0.0]),
            (Workload::C, [1.0, 0.0, 0.0, 0.0]),
            (Workload::D, [0.95, 0.0, 0.05, 0.0]),
            (Workload::F, [0.5, 0.0, 0.0, 0.5]),
        ] {
            let mut dice = Xoshiro256PlusPlus::seed_from_u64(1);
            let drawn: Vec<OperationKind> =
                (0..100_000).map(|_| workload.draw(&mut dice)).collect();
            for (kind, share) in OperationKind::ALL.into_iter().zip(shares) {
                let count = drawn.iter().filter(|it| **it == kind).count() as f64;
                let error = (count / 100_000.0 - share).abs();
                assert!(error < 0.01, "{workload:?} {kind:?}: {count}");
                assert!(share != 0.0 || count == 0.0, "{workload:?} {kind:?}: {count}");
            }
        }
    }
}
