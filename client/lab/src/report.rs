//! The result as a document of JSON. Its fields only ever get more; all figures are numbers.

use std::time::Duration;

use kv_core::digest::Digest;
use kv_placement::{StrategyNode, measure};
use serde::Serialize;
use uuid::Uuid;

use super::trial::{Cost, Figures, Trial};
use super::{Experiment, Scenario};

/// The document.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The scenario of all strategies.
    pub scenario: Asked,
    /// What each strategy answered, in the order in which they were named.
    pub strategies: Vec<Row>,
}

/// What every strategy was asked.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Asked {
    /// How many partitions there are.
    pub partitions: u32,
    /// How many owners each partition has.
    pub replicas: u32,
    /// The nodes that there are at first.
    pub nodes: Vec<Node>,
    /// The nodes that join.
    pub joining: Vec<Node>,
    /// The ids of the nodes that leave.
    pub leaving: Vec<String>,
    /// How many keys were counted; null where none were given.
    pub keys: Option<u64>,
    /// The cluster that the nodes are of; null where they are of none.
    pub cluster: Option<Cluster>,
    /// Whether this program is optimised: times of one that is not are worth little.
    pub optimized: bool,
}

/// A node of the scenario.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Node {
    /// The node's id.
    pub id: String,
    /// Its weight.
    pub weight: u32,
    /// Its zone, empty where it names none.
    pub zone: String,
}

/// A cluster as it was found.
#[derive(Debug, Serialize)]
pub struct Cluster {
    /// The name that `--cluster` gives.
    pub name: String,
    /// Its identity.
    pub uuid: Uuid,
    /// The epoch of its layout.
    pub epoch: u64,
}

/// A strategy with its figures, or with its error and without them.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The strategy as it was named, with its settings.
    pub name: String,
    /// Its own settings.
    pub config: String,
    /// What it calls itself; null where it could not be loaded, as the next three.
    pub strategy: Option<String>,
    /// The version that it gives itself.
    pub version: Option<String>,
    /// How it says that it places.
    pub summary: Option<String>,
    /// The digest of its component.
    pub sha256: Option<Digest>,
    /// Why there are no figures; null where there are.
    pub error: Option<Fault>,
    /// The load of nodes in partitions, each replica counting; null where there is an error.
    pub partitions: Option<Load>,
    /// The load of nodes in keys; null where no keys were given.
    pub keys: Option<Load>,
    /// In how many zones replicas are; null where there is an error.
    pub zones: Option<Zones>,
    /// What the join moves; null where no node joins.
    pub join: Option<MembershipChange>,
    /// What the leave moves; null where no node leaves.
    pub leave: Option<MembershipChange>,
    /// What adopting this strategy would move in the cluster; null where there is no cluster.
    pub migrate: Option<Moved>,
    /// What the table takes; null where there is an error.
    pub cost: Option<Price>,
}

/// Why a strategy has no figures.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Fault {
    /// A stable word for programs.
    pub code: String,
    /// The same for a person.
    pub message: String,
}

/// How evenly load is spread. A ratio is a node's load over the due of its weight.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Load {
    /// The highest of the ratios.
    pub max_over_mean: f64,
    /// The lowest of the ratios.
    pub min_over_mean: f64,
    /// The standard deviation of the ratios.
    pub standard_deviation: f64,
    /// Each node's load, in the order of the scenario's nodes.
    pub loads: Vec<u64>,
    /// Each node's ratio.
    pub ratios: Vec<f64>,
}

/// In how many zones partitions have replicas. A node without a zone is one of its own.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Zones {
    /// In how many they can be: as many as there are zones, or replicas.
    pub possible: usize,
    /// The fewest that any partition is in.
    pub fewest: usize,
    /// How many partitions are in fewer than they could be.
    pub partitions_short: usize,
}

/// What moves, in replicas of partitions.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Moved {
    /// How many there are.
    pub total: u64,
    /// How many of them move.
    pub moved: u64,
    /// The part of them that moves.
    pub share: f64,
}

/// What a change of the nodes moves.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct MembershipChange {
    /// What moves.
    #[serde(flatten)]
    pub moved: Moved,
    /// The part that has to move, whatever the strategy.
    pub minimum_share: f64,
    /// How many times the minimum moves.
    pub times_minimum: Option<f64>,
    /// How many of them move between nodes that were there and stay: no change asks for that.
    pub needless: u64,
}

/// What a table takes. Times are in milliseconds, medians but for `compile_ms` and `load_ms`.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Price {
    /// To compile the component.
    pub compile_ms: f64,
    /// To load it compiled from the cache; null where there is no cache.
    pub load_ms: Option<f64>,
    /// To compute the table by component.
    pub wasm_ms: f64,
    /// The same natively; null where the strategy is not linked into this program.
    pub native_ms: Option<f64>,
    /// How many times the native time the component takes.
    pub wasm_over_native: Option<f64>,
    /// How many times each was timed.
    pub rounds: usize,
    /// The fuel that the table took.
    pub fuel: u64,
    /// The fuel that it may take.
    pub fuel_limit: u64,
    /// The part of it that it took.
    pub fuel_share: f64,
}

impl Report {
    /// The document of an experiment, whose nodes are those of `cluster` where there is one.
    #[must_use]
    pub fn new(experiment: &Experiment, cluster: Option<Cluster>, trials: &[Trial]) -> Self {
        let scenario = experiment.scenario();
        let keys = experiment.keys().map(super::Keys::count);
        Self {
            scenario: Asked::new(scenario, keys, cluster),
            strategies: trials.iter().map(Row::new).collect(),
        }
    }
}

impl Asked {
    fn new(scenario: &Scenario, keys: Option<u64>, cluster: Option<Cluster>) -> Self {
        let node = |node: &StrategyNode| Node {
            id: node.id.clone(),
            weight: node.weight,
            zone: node.zone.clone(),
        };
        Self {
            partitions: scenario.partitions().get(),
            replicas: scenario.replicas(),
            nodes: scenario.nodes().iter().map(node).collect(),
            joining: scenario.joining().iter().map(node).collect(),
            leaving: scenario.leaving().to_vec(),
            keys,
            cluster,
            optimized: !cfg!(debug_assertions),
        }
    }
}

impl Row {
    fn new(trial: &Trial) -> Self {
        let described = trial.described.as_ref();
        let figures = trial.outcome.as_ref().ok();
        let change = |of: fn(&Figures) -> &Option<measure::Movement>| {
            figures.and_then(|it| of(it).as_ref()).map(MembershipChange::new)
        };
        Self {
            name: trial.name.clone(),
            config: trial.config.clone(),
            strategy: described.map(|it| it.name.clone()),
            version: described.map(|it| it.version.clone()),
            summary: described.map(|it| it.summary.clone()),
            sha256: described.map(|it| it.sha256),
            error: trial.outcome.as_ref().err().map(|problem| Fault {
                code: problem.code().replace('-', "_"),
                message: problem.to_string(),
            }),
            partitions: figures.map(|it| Load::new(&it.partitions)),
            keys: figures.and_then(|it| it.keys.as_ref()).map(Load::new),
            zones: figures.map(|it| Zones {
                possible: it.spread.possible,
                fewest: it.spread.fewest,
                partitions_short: it.spread.short,
            }),
            join: change(|it| &it.join),
            leave: change(|it| &it.leave),
            migrate: figures.and_then(|it| it.migrate.as_ref()).map(Moved::new),
            cost: figures.map(|it| Price::new(&it.cost)),
        }
    }
}

impl Load {
    fn new(balance: &measure::Balance) -> Self {
        Self {
            max_over_mean: balance.max,
            min_over_mean: balance.min,
            standard_deviation: balance.deviation,
            loads: balance.loads.clone(),
            ratios: balance.ratios.clone(),
        }
    }
}

impl Moved {
    fn new(movement: &measure::Movement) -> Self {
        let measure::Movement { total, moved, .. } = *movement;
        Self { total, moved, share: movement.share() }
    }
}

impl MembershipChange {
    fn new(movement: &measure::Movement) -> Self {
        Self {
            moved: Moved::new(movement),
            minimum_share: movement.minimum,
            times_minimum: movement.ratio(),
            needless: movement.needless,
        }
    }
}

impl Price {
    fn new(cost: &Cost) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            compile_ms: ms(cost.compile),
            load_ms: cost.load.map(ms),
            wasm_ms: ms(cost.wasm),
            native_ms: cost.native.map(ms),
            wasm_over_native: cost.ratio(),
            rounds: cost.rounds,
            fuel: cost.fuel,
            fuel_limit: cost.fuel_limit,
            fuel_share: cost.fuel_share(),
        }
    }
}
