//! How a node's life ends.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// Where in the code a node can die.
pub(super) const FAILPOINTS: [&str; 10] = [
    "node::commit::before",
    "node::commit::after",
    "node::wal::before-write",
    "node::wal::torn-write",
    "node::wal::before-sync",
    "node::wal::after-sync",
    "node::wal::after-seal",
    "node::checkpoint::before-flush",
    "node::checkpoint::after-flush",
    "node::checkpoint::after-remove",
];

/// A node is killed at most so long after it was started, where that is to be while it starts.
const STARTING_MS_MAX: u64 = 120;
/// A node is killed at most so long after it was ready.
const WORKING_MS_MAX: u64 = 120;
/// How long a node may take until it comes to a failpoint, before it is killed anyhow.
const FAILPOINT_WITHIN: Duration = Duration::from_secs(2);
/// How often a node passes a failpoint at most that comes with every group, or with every segment.
const GROUPS_MAX: u64 = 50;
const SEGMENTS_MAX: u64 = 4;

/// How a node's life ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    /// Killed so long after it was started, ready or not.
    Starting(Duration),
    /// Killed so long after it was ready.
    Working(Duration),
    /// By itself at this failpoint, after it has passed it so often.
    At(&'static str, u64),
}

impl Death {
    /// The one that comes as `number` of a node's lives: each failpoint once, then anything.
    pub(super) fn draw(random: &mut StdRng, number: usize) -> Self {
        let micros = |random: &mut StdRng, ms_max: u64| {
            Duration::from_micros(random.random_range(0..ms_max * 1000))
        };
        if let Some(name) = FAILPOINTS.get(number) {
            return Self::at(random, name);
        }
        match random.random_range(0..10) {
            0 | 1 => Self::Starting(micros(random, STARTING_MS_MAX)),
            2..7 => Self::Working(micros(random, WORKING_MS_MAX)),
            _ => {
                let name = FAILPOINTS[random.random_range(0..FAILPOINTS.len())];
                Self::at(random, name)
            }
        }
    }

    fn at(random: &mut StdRng, name: &'static str) -> Self {
        let is_of_segments = name.contains("checkpoint") || name.contains("seal");
        let most = if is_of_segments { SEGMENTS_MAX } else { GROUPS_MAX };
        Self::At(name, random.random_range(0..most))
    }

    /// The failpoint, and what the node is told of it.
    pub(super) fn failpoint(self) -> Option<(&'static str, String)> {
        match self {
            Self::At(name, 0) => Some((name, format!("{name}=return"))),
            Self::At(name, passes) => Some((name, format!("{name}={passes}*off->return"))),
            _ => None,
        }
    }

    /// How long after it is ready a node is killed that has not died by itself.
    pub(super) fn working(self) -> Duration {
        match self {
            Self::Working(time) => time,
            Self::Starting(_) => Duration::ZERO,
            Self::At(..) => FAILPOINT_WITHIN,
        }
    }
}
