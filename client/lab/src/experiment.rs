//! All candidates: first they are timed, each alone; the rest runs in parallel.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kv_placement::measure::{Balance, Movement, Placed, Spread};
use kv_placement::{Cache, StrategyError, StrategyHost, StrategyNode};

use super::candidate::Candidate;
use super::keys::Keys;
use super::scenario::Scenario;
use super::timing;
use super::trial::{Figures, Loaded, Problem, Trial};
use kv_system::lock::{forgive, lock};

/// What every candidate is tried by.
#[derive(Clone, Debug)]
pub struct Experiment {
    scenario: Scenario,
    keys: Option<Keys>,
    current: Option<Vec<u32>>,
}

/// A table after a change; `None` if the scenario has no such change.
type Changed = Result<Option<Vec<u32>>, StrategyError>;

/// The tables after the join and after the leave.
#[derive(Default)]
struct Changes {
    join: Option<Changed>,
    leave: Option<Changed>,
}

impl Experiment {
    /// An experiment on partitions alone.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        Self { scenario, keys: None, current: None }
    }

    /// Has the load of keys measured too. They must have been counted with the scenario's number of
    /// partitions.
    #[must_use]
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// Has measured too what would move from the table `owners` of the scenario's nodes.
    #[must_use]
    pub fn with_current(self, owners: Vec<u32>) -> Self {
        Self { current: Some(owners), ..self }
    }

    /// The nodes and changes for which the candidates are asked for tables.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The keys, where there are any.
    #[must_use]
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Tries every candidate, in their order. It blocks, for seconds where there are many nodes and
    /// partitions. Compiled strategies are kept in `cache`.
    ///
    /// # Errors
    /// The WebAssembly engine does not support this machine. A candidate's faults are its outcome.
    pub fn run(
        &self,
        candidates: &[Candidate],
        cache: &Cache,
    ) -> Result<Vec<Trial>, StrategyError> {
        let fresh = StrategyHost::new(Cache::disabled())?;
        let cached = StrategyHost::new(cache.clone())?;
        let loaded: Vec<Result<Loaded, Problem>> =
            candidates.iter().map(|it| Loaded::new(it, &fresh, &cached)).collect();
        let changes = self.changes(candidates, &loaded);
        let trials = candidates.iter().zip(loaded).zip(changes);
        Ok(trials
            .map(|((candidate, loaded), changes)| self.trial(candidate, loaded, changes))
            .collect())
    }

    /// The tables after the changes, computed by as many threads as the machine runs at once.
    fn changes(
        &self,
        candidates: &[Candidate],
        loaded: &[Result<Loaded, Problem>],
    ) -> Vec<Changes> {
        let (join, leave) = (self.scenario.after_join(), self.scenario.after_leave());
        let changes: Vec<Mutex<Changes>> = loaded.iter().map(|_| Mutex::default()).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                let (index, is_join) = (job / 2, job.is_multiple_of(2));
                let Some(loaded) = loaded.get(index) else { return };
                let Ok(loaded) = loaded else { continue };
                let nodes = if is_join { &join } else { &leave };
                let table = self.table(loaded, candidates[index].config(), nodes.as_deref());
                let mut changes = lock(&changes[index]);
                *(if is_join { &mut changes.join } else { &mut changes.leave }) = Some(table);
            }
        };
        thread::scope(|scope| {
            let helpers = thread::available_parallelism().map_or(1, NonZero::get) - 1;
            for _ in 0..helpers.min(2 * loaded.len()) {
                // Without helpers it only takes longer.
                let _ = thread::Builder::new().name("lab".into()).spawn_scoped(scope, work);
            }
            work();
        });
        changes.into_iter().map(|it| forgive(it.into_inner())).collect()
    }

    fn table(&self, loaded: &Loaded, config: &str, nodes: Option<&[StrategyNode]>) -> Changed {
        let (partitions, replicas) = (self.scenario.partitions().get(), self.scenario.replicas());
        nodes.map(|nodes| loaded.strategy.assign(nodes, partitions, replicas, config)).transpose()
    }

    fn trial(
        &self,
        candidate: &Candidate,
        loaded: Result<Loaded, Problem>,
        changes: Changes,
    ) -> Trial {
        let described = loaded.as_ref().ok().map(Loaded::described);
        Trial {
            name: candidate.name(),
            config: candidate.config().to_owned(),
            described,
            outcome: loaded.and_then(|loaded| self.figures(candidate, &loaded, changes)),
        }
    }

    fn figures(
        &self,
        candidate: &Candidate,
        loaded: &Loaded,
        changes: Changes,
    ) -> Result<Figures, Problem> {
        let (owners, cost) = timing::table(loaded, &self.scenario, candidate.config())?;
        let owners_after_join = changes.join.transpose()?.flatten();
        let owners_after_leave = changes.leave.transpose()?.flatten();
        let replicas = self.scenario.replicas();
        let before = placed(self.scenario.nodes(), &owners, replicas);
        let moved = |nodes: Option<Vec<StrategyNode>>, owners: &Option<Vec<u32>>| {
            let (nodes, owners) = (nodes?, owners.as_ref()?);
            Movement::between(before, placed(&nodes, owners, replicas))
        };
        let current = self.current.as_ref();
        let current =
            current.and_then(|owners| Placed::new(self.scenario.nodes(), owners, replicas));
        Ok(Figures {
            partitions: Balance::of_partitions(before),
            keys: self.keys.as_ref().map(|it| Balance::of_loads(before, it.by_partition())),
            spread: Spread::of(before),
            join: moved(self.scenario.after_join(), &owners_after_join),
            leave: moved(self.scenario.after_leave(), &owners_after_leave),
            migrate: current.and_then(|current| Movement::between(current, before)),
            cost,
            owners,
            owners_after_join,
            owners_after_leave,
        })
    }
}

fn placed<'a>(nodes: &'a [StrategyNode], owners: &'a [u32], replicas: u32) -> Placed<'a> {
    Placed::new(nodes, owners, replicas).expect("the host has checked the answer")
}
