//! What a layout costs: computed by the component, and by the same function compiled natively.
//!
//! `cargo bench -p kv-placement --bench strategy`

#![allow(clippy::print_stdout, reason = "what it prints is for people, and ends nothing")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use kv_placement::{
    Cache, CacheOutcome, Strategy, StrategyHost, StrategyNode, StrategySource, limits,
};
use kv_strategy::{Assign, Node};

/// The largest ratio of a component from the cache to the native function that is acceptable.
const RATIO_MAX: f64 = 3.0;

/// How many times everything is measured; the medians are compared.
const ROUNDS: usize = 101;

const PARTITIONS: u32 = 4096;
const NODES: usize = 100;

fn main() {
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let cache = Cache::at(home.path().join("strategies"));
    println!("a layout of {PARTITIONS} partitions x {NODES} nodes, medians of {ROUNDS} rounds\n");
    let native: [(&str, Assign); 5] = [
        ("hrw", hrw::assign),
        ("consistent-hash", consistent_hash::assign),
        ("zone-hrw", zone_hrw::assign),
        ("bounded-hrw", bounded_hrw::assign),
        ("maglev", maglev::assign),
    ];
    for (name, assign) in native {
        compare(name, assign, &cache);
    }
    println!("fuel for the largest question, {} partitions x {} nodes\n", MOST.0, MOST.1);
    for (name, _) in native {
        fuel(name, &cache);
    }
}

fn compare(name: &str, native: Assign, cache: &Cache) {
    let source: StrategySource = name.parse().expect("it is built in");
    let start = Instant::now();
    let compiled = load(&source, cache);
    let first = start.elapsed();
    assert_eq!(compiled.cache_outcome(), CacheOutcome::Stored);

    let nodes = nodes(NODES);
    let own = native_nodes(&nodes);
    let expected = native(&own, PARTITIONS, 1, "").expect("it answers");
    assert_eq!(compiled.assign(&nodes, PARTITIONS, 1, "").expect("it answers"), expected);
    let [from_cache, assign, native] = medians([
        &mut || {
            let strategy = load(&source, cache);
            assert_eq!(strategy.cache_outcome(), CacheOutcome::Hit);
            (strategy.assign(&nodes, PARTITIONS, 1, "").expect("it answers"), Some(strategy))
        },
        &mut || (compiled.assign(&nodes, PARTITIONS, 1, "").expect("it answers"), None),
        &mut || (native(&own, PARTITIONS, 1, "").expect("it answers"), None),
    ]);

    let ratio = |time: Duration| time.as_secs_f64() / native.as_secs_f64();
    println!("{name}");
    println!("  first start: compile, store and describe  {first:>12.2?}");
    println!(
        "  component: start from the cache + assign  {from_cache:>12.2?}  {:.2} x native",
        ratio(from_cache)
    );
    println!(
        "  component: assign alone                   {assign:>12.2?}  {:.2} x native",
        ratio(assign)
    );
    println!("  native function                           {native:>12.2?}");
    let verdict = if ratio(from_cache) <= RATIO_MAX { "within" } else { "ABOVE" };
    println!("  {verdict} the goal of at most {RATIO_MAX} x native\n");
}

/// The largest question there is: partitions, nodes.
const MOST: (u32, usize) = (kv_core::limits::PARTITIONS_MAX, kv_core::limits::MEMBERS_MAX);

fn fuel(name: &str, cache: &Cache) {
    let source: StrategySource = name.parse().expect("it is built in");
    let strategy = load(&source, cache);
    let start = Instant::now();
    let used = strategy.assign_counted(&nodes(MOST.1), MOST.0, 1, "").expect("it answers").1.fuel;
    let budget = limits::fuel_for(MOST.1, MOST.0, 1);
    let pairs = u64::from(MOST.0) * MOST.1 as u64;
    println!(
        "{name}: {used} of {budget} ({:.1} %), {:.1} for each pair, in {:.2?}",
        used as f64 / budget as f64 * 100.0,
        used as f64 / pairs as f64,
        start.elapsed()
    );
}

/// A start of a program: a new engine, and the component from the cache.
fn load(source: &StrategySource, cache: &Cache) -> Strategy {
    StrategyHost::new(cache.clone())
        .and_then(|host| host.load(source))
        .expect("the built-in strategies load")
}

fn nodes(count: usize) -> Vec<StrategyNode> {
    (0..count)
        .map(|n| StrategyNode { id: format!("node-{n}"), weight: 1, zone: String::new() })
        .collect()
}

fn native_nodes(nodes: &[StrategyNode]) -> Vec<Node> {
    nodes
        .iter()
        .map(|node| Node { id: node.id.clone(), weight: node.weight, zone: node.zone.clone() })
        .collect()
}

/// The median time of each kind of work until its result is there. All take turns, so that a busy moment of the machine meets
/// all of them.
fn medians<T, const N: usize>(mut work: [&mut dyn FnMut() -> T; N]) -> [Duration; N] {
    let mut times = [(); N].map(|()| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for (times, work) in times.iter_mut().zip(&mut work) {
            let start = Instant::now();
            let result = black_box(work());
            times.push(start.elapsed());
            drop(result);
        }
    }
    times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2]
    })
}
