//! The rows of the table of one number of keys, and what each is to be.

use kv_bench::comparison::{Comparison, Goal};
use kv_bench::journal::{Journal, Unit};

const REDIS: &str = "Redis, AOF always";
/// How many times its budget the node's memory may be.
const BUDGET_TIMES_MAX: f64 = 1.3;
/// How many bytes of the disk a byte of data may take, once the node is settled.
const DISK_TIMES_MAX: f64 = 2.0;
/// How long a stop, and a start after a kill, may take.
const STOP_SECONDS_MAX: f64 = 5.0;

/// Everything that is measured with one number of keys.
pub(crate) struct Rows {
    /// Before the caches are warm.
    pub(crate) cold: Comparison,
    pub(crate) uniform: Comparison,
    pub(crate) zipfian: Comparison,
    pub(crate) put: Comparison,
    /// Against the PUTs with the first number of keys.
    pub(crate) put_by_first: Comparison,
    /// Against the mean second.
    pub(crate) slowest_second: Comparison,
    /// By phase.
    pub(crate) memory: [Comparison; 5],
    /// The highest, against the budget.
    pub(crate) peak: Comparison,
    pub(crate) disk: Comparison,
    pub(crate) stop: Comparison,
    pub(crate) stop_within: Comparison,
    pub(crate) start: Comparison,
    pub(crate) start_within: Comparison,
}

/// A phase after which the memory is looked at; the place of its row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    Stored,
    Uniform,
    Zipfian,
    Put,
    Settled,
}

impl Rows {
    /// Those of so many keys. `first` is the number of keys that others are compared with.
    pub(crate) fn new(keys: usize, first: usize) -> Self {
        let goal = |goals: &[(usize, Goal)]| {
            goals.iter().find(|(of, _)| *of == keys).map_or(Goal::None, |(_, goal)| *goal)
        };
        let rate = |what: &str, peer, goal| Comparison::new(what, peer, goal, Unit::PerSecond);
        let bytes = |what: &str, peer, goal| Comparison::new(what, peer, goal, Unit::Bytes);
        let seconds = |what: &str, peer, goal| Comparison::new(what, peer, goal, Unit::Seconds);
        let uniform = [(1_000_000, Goal::AtLeast(0.9)), (10_000_000, Goal::AtLeast(0.6))];
        let put = [(100_000, Goal::AtLeast(1.0))];
        let by_first = match first {
            100_000 => goal(&[(1_000_000, Goal::AtLeast(0.9)), (10_000_000, Goal::AtLeast(0.5))]),
            _ => Goal::None,
        };
        let memory = goal(&[(1_000_000, Goal::AtMost(1.5))]);
        let as_redis = goal(&[(10_000_000, Goal::AtMost(1.0))]);
        let within = Goal::AtMost(1.0);
        Self {
            cold: rate("GET uniform, just stored", "-", Goal::None),
            uniform: rate("GET uniform", REDIS, goal(&uniform)),
            // Redis's load generator draws uniformly only.
            zipfian: rate("GET zipfian", "Redis, uniform", Goal::None),
            put: rate("PUT durable", REDIS, goal(&put)),
            put_by_first: rate("PUT durable", "the first number of keys", by_first),
            slowest_second: rate("PUT durable, slowest second", "the mean", Goal::MoreThan(0.0)),
            memory: [
                bytes("memory, stored", REDIS, Goal::None),
                bytes("memory, after GET uniform", REDIS, memory),
                bytes("memory, after GET zipfian", REDIS, Goal::None),
                bytes("memory, after PUT", REDIS, Goal::None),
                bytes("memory, settled", REDIS, Goal::None),
            ],
            peak: bytes("memory, highest", "the budget", Goal::AtMost(BUDGET_TIMES_MAX)),
            disk: bytes("disk, settled", "keys + values", Goal::AtMost(DISK_TIMES_MAX)),
            stop: seconds("SIGTERM to end", REDIS, as_redis),
            stop_within: seconds("SIGTERM to end", "5 s", within),
            start: seconds("start after kill -9", REDIS, as_redis),
            start_within: seconds("start after kill -9", "5 s", within),
        }
    }

    /// The row of the operations of a phase.
    pub(crate) fn operations(&mut self, phase: Phase) -> &mut Comparison {
        match phase {
            Phase::Uniform => &mut self.uniform,
            Phase::Zipfian => &mut self.zipfian,
            Phase::Stored | Phase::Put | Phase::Settled => &mut self.put,
        }
    }

    /// Takes note of a time of ours from SIGTERM to the end.
    pub(crate) fn stopped(&mut self, journal: &mut Journal, seconds: f64) -> anyhow::Result<()> {
        self.stop_within.ours_as_told(seconds);
        self.stop_within.theirs_as_told(STOP_SECONDS_MAX);
        self.stop.ours(journal, seconds)
    }

    /// Takes note of a time of ours from a start after `kill -9` to an answer.
    pub(crate) fn started(&mut self, journal: &mut Journal, seconds: f64) -> anyhow::Result<()> {
        self.start_within.ours_as_told(seconds);
        self.start_within.theirs_as_told(STOP_SECONDS_MAX);
        self.start.ours(journal, seconds)
    }

    /// The rows that were measured, in the order of the table.
    pub(crate) fn all(&self) -> Vec<&Comparison> {
        let mut all = vec![
            &self.cold,
            &self.uniform,
            &self.zipfian,
            &self.put,
            &self.put_by_first,
            &self.slowest_second,
        ];
        all.extend(&self.memory);
        all.extend([&self.peak, &self.disk]);
        all.extend([&self.stop, &self.stop_within, &self.start, &self.start_within]);
        all.retain(|it| it.is_measured());
        all
    }
}
