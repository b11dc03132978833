//! The host against strategies that misbehave: each is refused by name, and the host goes on.
//!
//! | module | what the component is |
//! |---|---|
//! | `contracts` | no strategy at all, or one of another contract |
//! | `limits` | one that crashes, never ends, or takes too much |
//! | `answers` | one that answers, and wrongly |
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

macro_rules! assert_fault {
    ($error:expr, $pattern:pat $(if $guard:expr)?) => {
        let error = $error;
        assert!(matches!(error.fault(), $pattern $(if $guard)?), "{error:?}");
    };
}

mod answers;
mod contracts;
mod limits;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use kv_core::limits::{MEMBERS_MAX, NAME_BYTES_MAX, ZONE_BYTES_MAX};
use kv_placement::{Cache, Strategy, StrategyError, StrategyHost, StrategyNode, StrategySource};
use kv_testkit::guests;

/// How long a bad strategy may take to be refused: for ever it must not, and how fast this machine is, no
/// test decides.
const PATIENCE: Duration = Duration::from_secs(120);

const PARTITIONS: u32 = 64;

fn nodes() -> Vec<StrategyNode> {
    ["node-2", "node-0", "node-1"]
        .map(|id| StrategyNode { id: id.to_owned(), weight: 1, zone: String::new() })
        .to_vec()
}

/// The one host of all tests, as a program has one.
fn host() -> &'static StrategyHost {
    static HOST: LazyLock<StrategyHost> =
        LazyLock::new(|| StrategyHost::new(Cache::disabled()).unwrap());
    &HOST
}

fn good() -> &'static Strategy {
    static GOOD: LazyLock<Strategy> =
        LazyLock::new(|| host().load(&StrategySource::default()).unwrap());
    &GOOD
}

/// As many nodes as there may be, with as much said of each as there may be.
fn most_nodes(weight: u32) -> Vec<StrategyNode> {
    (0..MEMBERS_MAX)
        .map(|n| StrategyNode {
            id: format!("{n:0>NAME_BYTES_MAX$}"),
            weight,
            zone: "z".repeat(ZONE_BYTES_MAX),
        })
        .collect()
}

fn ask(strategy: &Strategy, replicas: u32) -> Result<Vec<u32>, StrategyError> {
    strategy.assign(&nodes(), PARTITIONS, replicas, "")
}

/// Loads a guest and asks it, and expects to be told its fault within [`PATIENCE`].
/// Afterwards the same host must answer as if nothing had been.
fn refused(guest: &str) -> StrategyError {
    refused_bytes(guest, &guests::component(guest))
}

fn refused_bytes(label: &str, bytes: &[u8]) -> StrategyError {
    refusal(label, bytes, |strategy| ask(strategy, 1))
}

fn refusal<T>(
    label: &str,
    bytes: &[u8],
    question: impl Fn(&Strategy) -> Result<T, StrategyError>,
) -> StrategyError {
    let before = ask(good(), 1).unwrap();

    let start = Instant::now();
    let result = host().load_bytes(label, bytes).and_then(|strategy| question(&strategy));
    let waited = start.elapsed();
    let Err(error) = result else { panic!("{label} was accepted") };
    assert!(waited < PATIENCE, "{label} was refused after {waited:?}: {error}");
    assert!(error.to_string().starts_with(&format!("strategy {label}: ")), "{error}");
    assert!(error.code().starts_with("strategy-"), "{}", error.code());

    assert_eq!(ask(good(), 1).unwrap(), before, "after {label}");
    error
}
