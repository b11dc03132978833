//! The protocol of moving data, explored state by state.
mod catalogue;
mod clients;
mod cluster;
mod explore;
mod movers;
mod mutants;
mod nodes;
mod rules;
mod scenario;
mod scenarios;
mod serving;
mod state;
mod truth;

use cluster::{ALL, CURRENT, Event, JUDGES, Model, READS};
use explore::{dead_ends, explore};
use scenario::Scenario;

fn holds(scenario: Scenario) {
    these_hold(scenario, &ALL);
}

fn these_hold(scenario: Scenario, properties: &[&'static str]) {
    let explored = explore(Model::new(scenario, None), properties);
    if let Some((property, events)) = explored.violation {
        panic!("{property}: {events:#?}");
    }
}

#[test]
fn one_key_moves_while_it_is_read_and_written() {
    holds(scenarios::one_key());
}

#[test]
fn one_key_moves_and_is_moved_back() {
    holds(scenarios::abort());
}

#[test]
fn two_keys_move_between_three_nodes() {
    holds(scenarios::two_windows());
}

#[test]
fn nodes_are_killed() {
    holds(scenarios::crashes());
}

#[test]
fn writes_depend_on_what_was_there() {
    holds(scenarios::conditions());
}

#[test]
fn a_key_goes_there_and_back_and_there_again() {
    holds(scenarios::there_again());
}

#[test]
fn consul_loses_everything() {
    holds(scenarios::lost_consul());
}

/// What was written there is lost, but nobody is told anything wrong.
#[test]
fn a_data_directory_is_put_back() {
    these_hold(scenarios::put_back(), &[READS, JUDGES, CURRENT]);
}

#[test]
#[ignore = "explores for long: run it optimised"]
fn everything_at_once() {
    holds(scenarios::everything());
}

#[test]
fn whoever_dies_somebody_brings_it_to_an_end() {
    let model = Model { movers_are_alike: false, ..Model::new(scenarios::ending(), None) };
    let is_not_by_the_first_mover = |event: &Event| {
        !matches!(
            event,
            Event::Turn(0, _) | Event::Fetch(0, _) | Event::Deliver(0) | Event::Lose(0)
        )
    };
    let (states, dead) = dead_ends(&model, is_not_by_the_first_mover);
    assert_eq!(dead, 0, "of {states} states");
}
