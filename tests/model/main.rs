//! The protocol of moving data, explored state by state.
mod catalogue;
mod clients;
mod cluster;
mod explore;
mod movers;
mod nodes;
mod rules;
mod scenario;
mod serving;
mod state;
mod truth;

use cluster::Model;
use explore::{dead_ends, explore};
use scenario::{Op, Scenario};
use state::Budget;

fn one_key() -> Scenario {
    Scenario {
        name: "one key",
        placements: vec![vec![0], vec![1]],
        window: 1,
        keys: vec![0],
        stored: vec![true],
        leftovers: vec![(1, 0)],
        programs: vec![vec![Op::Put(0)], vec![Op::Delete(0)], vec![Op::Get(0)]],
        movers: 2,
        nodes: 2,
        is_begun: true,
        budget: Budget { turns: 1, ..Budget::default() },
    }
}

#[test]
fn the_rules_hold() {
    let explored = explore(Model::new(one_key(), None));
    if let Some((property, events)) = explored.violation {
        panic!("{property}: {events:#?}");
    }
}
