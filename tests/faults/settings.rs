//! What a run is told by the environment.

use std::time::Duration;

use kv_testkit::harness::environment::number;

use super::nemesis::FaultKind;

/// Repeats the nemesis's choices of an earlier run.
const SEED_VARIABLE: &str = "KV_FAULTS_SEED";
/// Makes the run a long one.
const MINUTES_VARIABLE: &str = "KV_FAULTS_MINUTES";
/// Names the kinds of faults to use, separated by commas.
const FAULTS_VARIABLE: &str = "KV_FAULTS_KINDS";

/// How long faults go on in a run that is part of all tests.
const SHORT: Duration = Duration::from_secs(15);

/// How to run.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// What decides the nemesis's choices.
    pub(super) seed: u64,
    /// How long to begin new rounds.
    pub(super) duration: Duration,
    /// What the nemesis may do.
    pub(super) kinds: Vec<FaultKind>,
}

impl Settings {
    /// What the environment says, and how to repeat it.
    ///
    /// # Panics
    /// A variable has a value that is not understood.
    pub(super) fn from_environment() -> Self {
        let kinds = match std::env::var(FAULTS_VARIABLE) {
            Ok(names) => names.split(',').map(kind).collect(),
            Err(_) => FaultKind::DEFAULT.to_vec(),
        };
        let seed = number(SEED_VARIABLE).unwrap_or_else(rand::random);
        let duration =
            number(MINUTES_VARIABLE).map_or(SHORT, |minutes| Duration::from_secs(60 * minutes));
        println!("to repeat these faults: {SEED_VARIABLE}={seed}");
        Self { seed, duration, kinds }
    }
}

fn kind(name: &str) -> FaultKind {
    let known = || FaultKind::ALL.map(FaultKind::name).join(", ");
    let found = FaultKind::ALL.into_iter().find(|kind| kind.name() == name.trim());
    found.unwrap_or_else(|| {
        panic!("{FAULTS_VARIABLE} names {name:?}, expected some of: {}", known())
    })
}
