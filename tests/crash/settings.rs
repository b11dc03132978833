//! What a run is told by the environment.

use kv_testkit::harness::environment::number;

/// Repeats the choices of an earlier run.
const SEED_VARIABLE: &str = "KV_CRASH_SEED";
/// Says how often nodes are killed.
const KILLS_VARIABLE: &str = "KV_CRASH_KILLS";

/// How often nodes are killed in a run that is part of all tests: at each failpoint in each lane, and
/// as often again at random instants.
const KILLS_SHORT: u64 = 80;

/// How to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// What decides all choices.
    pub(super) seed: u64,
    /// How often nodes are killed.
    pub(super) kills: u64,
}

impl Settings {
    /// What the environment says, and how to repeat it.
    ///
    /// # Panics
    /// A variable has a value that is not understood.
    pub(super) fn from_environment() -> Self {
        let seed = number(SEED_VARIABLE).unwrap_or_else(rand::random);
        println!("to repeat these kills: {SEED_VARIABLE}={seed}");
        Self { seed, kills: number(KILLS_VARIABLE).unwrap_or(KILLS_SHORT) }
    }
}
