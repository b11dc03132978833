//! The time that an answer takes: by component, and natively where that is possible.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::native;
use super::scenario::Scenario;
use super::trial::{Cost, Loaded, Problem};

/// The fewest rounds that a median is taken of.
const ROUNDS_MIN: usize = 3;
/// The most rounds; more would tell no more.
const ROUNDS_MAX: usize = 15;
/// Further rounds begin until one strategy has taken this long.
const ROUNDS_TIME: Duration = Duration::from_millis(1500);

/// The loaded strategy's table of the scenario's nodes, and what it costs. Nothing else may run
/// meanwhile.
///
/// # Errors
/// It does not answer, or not always the same, or another thing than it does natively.
pub(super) fn table(
    loaded: &Loaded,
    scenario: &Scenario,
    config: &str,
) -> Result<(Vec<u32>, Cost), Problem> {
    let (nodes, native_nodes) = (scenario.nodes(), native::nodes(scenario.nodes()));
    let (partitions, replicas) = (scenario.partitions().get(), scenario.replicas());
    let (mut wasm, mut native) = (Vec::new(), Vec::new());
    let mut first = None;
    let began = Instant::now();
    // The two take turns, so that a busy moment of the machine meets both.
    while wasm.len() < ROUNDS_MIN || (wasm.len() < ROUNDS_MAX && began.elapsed() < ROUNDS_TIME) {
        let start = Instant::now();
        let (answer, cost) = loaded.strategy.assign_counted(nodes, partitions, replicas, config)?;
        wasm.push(start.elapsed());
        let (owners, _) = first.get_or_insert_with(|| (answer.clone(), cost));
        if let Some(partition) = first_difference(owners, &answer, replicas) {
            return Err(Problem::Unstable { partition });
        }
        if let Some(assign) = loaded.native {
            let start = Instant::now();
            let answer = black_box(assign(&native_nodes, partitions, replicas, config));
            native.push(start.elapsed());
            let answer = answer.map_err(|error| Problem::NativeRefuses(error.to_string()))?;
            if let Some(partition) = first_difference(owners, &answer, replicas) {
                return Err(Problem::NativeDiffers { partition });
            }
        }
    }
    let rounds = wasm.len();
    let (owners, counted) = first.expect("there is a first round");
    let cost = Cost {
        compile: loaded.compile,
        load: loaded.load,
        wasm: median(wasm).unwrap_or_default(),
        native: median(native),
        rounds,
        fuel: counted.fuel,
        fuel_limit: counted.fuel_max,
    };
    Ok((owners, cost))
}

/// The first partition that two tables give to different owners.
fn first_difference(one: &[u32], other: &[u32], replicas: u32) -> Option<usize> {
    if one.len() != other.len() {
        return Some(one.len().min(other.len()) / replicas as usize);
    }
    one.iter().zip(other).position(|(one, other)| one != other).map(|at| at / replicas as usize)
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use kv_core::partition::PartitionCount;

    use super::*;
    use crate::{Candidate, scenario};
    use kv_placement::{Cache, StrategyHost};

    #[test]
    fn a_component_that_is_not_its_source_is_found_out() {
        let scenario = scenario::nodes(0..5);
        let partitions = PartitionCount::new(64).unwrap();
        let scenario = Scenario::new(scenario, Vec::new(), Vec::new(), partitions, 1).unwrap();
        let host = StrategyHost::new(Cache::disabled()).unwrap();
        let candidate = Candidate::built_in("hrw").unwrap();
        let mut loaded = Loaded::new(&candidate, &host, &host).unwrap();
        let (owners, cost) = table(&loaded, &scenario, "").unwrap();
        assert_eq!(owners, hrw::assign(&native::nodes(scenario.nodes()), 64, 1, "").unwrap());
        assert!(cost.native.is_some() && cost.rounds >= ROUNDS_MIN);
        assert!(cost.load.is_none(), "there is no cache");
        loaded.native = Some(consistent_hash::assign);
        assert!(matches!(table(&loaded, &scenario, ""), Err(Problem::NativeDiffers { .. })));
        loaded.native = Some(|_, _, _, _| Err(kv_strategy::Error::Unsupported("no".into())));
        assert!(matches!(table(&loaded, &scenario, ""), Err(Problem::NativeRefuses(_))));
    }

    #[test]
    fn tables_differ_at_a_partition() {
        assert_eq!(first_difference(&[1, 2, 3, 4], &[1, 2, 3, 4], 2), None);
        assert_eq!(first_difference(&[1, 2, 3, 4], &[1, 2, 3, 5], 2), Some(1));
        assert_eq!(first_difference(&[1, 2, 3, 4], &[1, 2], 2), Some(1));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let times = [5, 1, 9].map(Duration::from_millis);
        assert_eq!(median(times.to_vec()), Some(times[0]));
        assert_eq!(median(Vec::new()), None);
    }
}
