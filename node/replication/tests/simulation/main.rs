//! Clusters of replicators, simulated: real ones, over a network, disks, clocks and a registry that are made up, and
//! that fail in every way and order that a seed gives. A run of some seconds of simulated time takes milliseconds.
//!
//! - `cluster`: what happens, one event after the other; `node`: one node with its disk and its clock; `shard`: what
//!   it stores; `network`: messages under way; `registry`: the layout and its steps;
//! - `pair`: two nodes without chance: what catching up costs, and what is bounded;
//! - `history`: what clients saw, and what they must never see; `faults`: what goes wrong.
//!
//! `KV_SIMULATION_SEEDS` sets how many clusters there are for each test, `KV_SIMULATION_SEED` runs one.

#![allow(clippy::print_stdout, reason = "what a test prints is for people, and ends nothing")]

mod cluster;
mod faults;
mod history;
mod network;
mod node;
mod pair;
mod registry;
mod shard;

use self::cluster::{Cluster, Shape};

/// How many clusters a test runs.
const SEEDS: u64 = 150;

/// Runs clusters of this shape. Prints what they did.
fn run(name: &str, shape: Shape) {
    let number = |name| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let seeds: Vec<u64> = match number("KV_SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("KV_SIMULATION_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let mut sums = [0; 5];
    for seed in &seeds {
        let mut cluster = Cluster::new(shape, *seed);
        if let Err(error) = cluster.run() {
            panic!("{name}, seed {seed}: {error}\n{}", cluster.log());
        }
        sums.iter_mut().zip(cluster.figures()).for_each(|(sum, it)| *sum += it);
    }
    let [acknowledged, unknown, reads, epochs, faults] = sums;
    println!(
        "{name}: {} clusters, {acknowledged} writes acknowledged, {unknown} of unknown outcome, {reads} reads, \
         {epochs} epochs, {faults} faults",
        seeds.len()
    );
    assert!(acknowledged > 100 * seeds.len(), "nothing happens");
}

#[test]
fn nothing_is_lost_with_two_copies() {
    run("two copies", Shape { nodes: 3, replicas: 2, min_in_sync: 1, partitions: 4 });
}

#[test]
fn nothing_is_lost_with_three_copies() {
    run("three copies", Shape { nodes: 3, replicas: 3, min_in_sync: 2, partitions: 4 });
}

#[test]
fn nothing_is_lost_with_three_copies_on_five_nodes() {
    run("five nodes", Shape { nodes: 5, replicas: 3, min_in_sync: 2, partitions: 8 });
}

#[test]
fn a_node_alone_serves_at_once() {
    run("one copy", Shape { nodes: 1, replicas: 1, min_in_sync: 1, partitions: 2 });
}
