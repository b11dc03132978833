//! What happens in one run: who owns what, who wants what, and how much goes wrong.

use kv_core::layout::Goal;
use kv_core::partition::PartitionCount;

use crate::state::Budget;

/// An operation of a client on the key of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Get(u8),
    Put(u8),
    /// Stores where there is nothing.
    Create(u8),
    /// Stores where there is what the client read last; or where it read nothing, nothing.
    Replace(u8),
    Delete(u8),
}

/// What there is at the beginning, who wants what, and how much goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// For each placement the owner of each partition. The data is at the first.
    pub(crate) placements: Vec<Vec<usize>>,
    /// How many partitions a window can have.
    pub(crate) windows: Vec<u32>,
    /// The partitions of the keys.
    pub(crate) keys: Vec<u32>,
    /// Which of the keys are stored at the beginning.
    pub(crate) stored: Vec<bool>,
    /// Leftovers of an earlier move: the node, and the key of which it has an old value.
    pub(crate) leftovers: Vec<(usize, usize)>,
    pub(crate) programs: Vec<Vec<Op>>,
    pub(crate) movers: usize,
    /// How many nodes take part.
    pub(crate) nodes: usize,
    /// Whether the rebalance to the second placement is begun already.
    pub(crate) is_begun: bool,
    /// Whether a data directory is put back only where what it had is still elsewhere.
    pub(crate) puts_back_in_time: bool,
    pub(crate) budget: Budget,
}

impl Op {
    /// The number of the operation's key.
    pub(crate) fn key(self) -> usize {
        let (Self::Get(key)
        | Self::Put(key)
        | Self::Create(key)
        | Self::Replace(key)
        | Self::Delete(key)) = self;
        usize::from(key)
    }
}

impl Scenario {
    /// Where the window ends that begins at `settled` and has this size.
    pub(crate) fn window_end(&self, settled: u32, goal: Goal, size: u32) -> u32 {
        let partitions = self.placements[0].len() as u32;
        match goal {
            Goal::Finish => (settled + size).min(partitions),
            Goal::Undo => settled.saturating_sub(size),
        }
    }

    /// A name for each key that is in its partition.
    pub(crate) fn key_names(&self) -> Vec<String> {
        let count = PartitionCount::new(self.placements[0].len() as u32).expect("a power of two");
        let names = |(number, partition): (usize, &u32)| {
            let mut candidates = (0..).map(|it| format!("key-{number}-{it}"));
            candidates.find(|name| count.partition_of(name).0 == *partition).expect("one fits")
        };
        self.keys.iter().enumerate().map(names).collect()
    }
}
