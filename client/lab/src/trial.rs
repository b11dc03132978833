//! What a strategy answered, measured.

use std::time::{Duration, Instant};

use kv_core::digest::Digest;
use kv_placement::measure::{Balance, Movement, Spread};
use kv_placement::{CacheOutcome, Strategy, StrategyError, StrategyHost};
use kv_strategy::Assign;

use super::candidate::Candidate;
use super::native;

/// A candidate's turn in the lab.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trial {
    /// What a person calls the candidate.
    pub name: String,
    /// The candidate's own settings.
    pub config: String,
    /// What the strategy says of itself; `None` if it could not even be loaded.
    pub described: Option<Described>,
    /// Its figures, or why there are none.
    pub outcome: Result<Figures, Problem>,
}

/// What a strategy is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Described {
    /// What it calls itself.
    pub name: String,
    /// The version that it gives itself.
    pub version: String,
    /// One sentence of its own on how it places.
    pub summary: String,
    /// The digest of its component.
    pub sha256: Digest,
}

/// What a strategy's tables are worth and cost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Figures {
    /// The table of the scenario's nodes: the owners of each partition in turn.
    pub owners: Vec<u32>,
    /// The table after the join; `None` if no node joins.
    pub owners_after_join: Option<Vec<u32>>,
    /// The table after the leave; `None` if no node leaves.
    pub owners_after_leave: Option<Vec<u32>>,
    /// The load of nodes in partitions.
    pub partitions: Balance,
    /// The load of nodes in keys, where there are any.
    pub keys: Option<Balance>,
    /// How far apart replicas are.
    pub spread: Spread,
    /// What the join moves.
    pub join: Option<Movement>,
    /// What the leave moves.
    pub leave: Option<Movement>,
    /// What moves where a cluster adopts this strategy, where a cluster's table is known.
    pub migrate: Option<Movement>,
    /// What the table takes.
    pub cost: Cost,
}

/// What a strategy costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// To compile its component and ask what it is, once.
    pub compile: Duration,
    /// To load it compiled from the cache instead; `None` without a cache.
    pub load: Option<Duration>,
    /// One table of the scenario's nodes by the component in a fresh instance, checked: the median.
    pub wasm: Duration,
    /// The same by the same function compiled natively, where it is known: the median.
    pub native: Option<Duration>,
    /// How many times each was timed.
    pub rounds: usize,
    /// The fuel that the table took.
    pub fuel: u64,
    /// The fuel that it may take.
    pub fuel_limit: u64,
}

impl Cost {
    /// How many times the native time the component takes.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        Some(self.wasm.as_secs_f64() / self.native?.as_secs_f64())
    }

    /// The part of the fuel that it may take.
    #[must_use]
    pub fn fuel_share(&self) -> f64 {
        self.fuel as f64 / self.fuel_limit as f64
    }
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The strategy could not be loaded, broke a limit, refused, or answered wrongly.
    #[error("{}", .0.fault())]
    Strategy(#[from] StrategyError),
    /// The same question got two answers.
    #[error("it was asked the same twice, and gave partition {partition} to another owner")]
    Unstable {
        /// The first partition where they differ.
        partition: usize,
    },
    /// The component does not answer what its source does natively.
    #[error(
        "the component and the same function compiled natively give partition {partition} to \
         different owners: rebuild it with `cargo strategies`"
    )]
    NativeDiffers {
        /// The first partition where they differ.
        partition: usize,
    },
    /// The component answers what its source natively refuses.
    #[error("the component answers, and the same function compiled natively refuses: {0}")]
    NativeRefuses(String),
}

impl Problem {
    /// The problem, as a stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Strategy(error) => error.code(),
            Self::Unstable { .. } => "strategy-unstable",
            Self::NativeDiffers { .. } | Self::NativeRefuses(_) => "strategy-not-its-source",
        }
    }
}

/// A candidate's strategy, loaded.
pub(super) struct Loaded {
    pub(super) strategy: Strategy,
    pub(super) compile: Duration,
    pub(super) load: Option<Duration>,
    pub(super) native: Option<Assign>,
}

impl Loaded {
    /// Loads it by the host `fresh`, which has no cache, and then by `cached`. Nothing else may run
    /// meanwhile, since it is timed.
    pub(super) fn new(
        candidate: &Candidate,
        fresh: &StrategyHost,
        cached: &StrategyHost,
    ) -> Result<Self, Problem> {
        let start = Instant::now();
        let strategy = candidate.load(fresh)?;
        let compile = start.elapsed();
        // The first time only puts it into the cache, unless it is there.
        candidate.load(cached)?;
        let start = Instant::now();
        let outcome = candidate.load(cached)?.cache_outcome();
        let load = (outcome == CacheOutcome::Hit).then(|| start.elapsed());
        let native = native::of(&strategy, cached);
        Ok(Self { strategy, compile, load, native })
    }

    pub(super) fn described(&self) -> Described {
        let info = self.strategy.info();
        Described {
            name: info.name.clone(),
            version: info.version.clone(),
            summary: info.summary.clone(),
            sha256: self.strategy.digest(),
        }
    }
}
