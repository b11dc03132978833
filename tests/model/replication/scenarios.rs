//! The runs that are explored.

use super::state::Budget;
use super::{Event, HELD, Model, READS};
use crate::explore::{dead_ends, explore};

const NOTHING: Budget =
    Budget { writes: 1, crashes: 0, breaks: 0, false_evictions: 0, losses: 0, put_backs: 0 };

fn two_copies(name: &'static str, budget: Budget) -> Model {
    Model { name, copies: 2, min_in_sync: 1, budget, without: None }
}

/// One node is killed and comes back, before or after it is missed.
pub(super) fn a_crash() -> Model {
    two_copies("two copies, a crash", Budget { crashes: 1, ..NOTHING })
}

/// Each evicts the other while both run.
pub(super) fn evictions() -> Model {
    two_copies("two copies, evictions", Budget { false_evictions: 2, ..NOTHING })
}

/// A node is evicted and killed, in either order, and its session breaks.
pub(super) fn an_eviction_and_a_crash() -> Model {
    let budget = Budget { crashes: 1, breaks: 1, false_evictions: 1, ..NOTHING };
    two_copies("two copies, an eviction, a crash and a break", budget)
}

/// A node is killed twice, or both are.
pub(super) fn two_crashes() -> Model {
    two_copies("two copies, two crashes", Budget { crashes: 2, ..NOTHING })
}

/// A directory is put back to how it was at first.
pub(super) fn put_back() -> Model {
    two_copies("two copies, one put back", Budget { put_backs: 1, ..NOTHING })
}

/// One dies for good.
pub(super) fn a_loss() -> Model {
    Model { copies: 3, ..two_copies("three copies, one lost", Budget { losses: 1, ..NOTHING }) }
}

/// Three copies, of which two are enough.
pub(super) fn three() -> Model {
    let budget = Budget { writes: 2, crashes: 1, false_evictions: 1, ..NOTHING };
    Model {
        copies: 3,
        min_in_sync: 2,
        ..two_copies("three copies, a crash and an eviction", budget)
    }
}

/// Two of three are evicted while they run, and a primary is killed while it makes the others equal.
pub(super) fn everything() -> Model {
    let budget = Budget { writes: 2, crashes: 2, breaks: 1, false_evictions: 2, ..NOTHING };
    Model { copies: 3, ..two_copies("three copies, everything at once", budget) }
}

/// How often a state is come to before it is enough: `KV_MODEL_STATES` says it, or so many.
fn states_max() -> usize {
    let wanted = std::env::var("KV_MODEL_STATES").ok().and_then(|it| it.parse().ok());
    wanted.unwrap_or(200_000)
}

fn holds(model: Model, states_max: usize) {
    let explored = explore(model, &[READS, HELD], states_max);
    if let Some((property, events)) = explored.violation {
        panic!("it does not hold that {property}: {events:#?}");
    }
}

macro_rules! hold {
    ($($name:ident: $scenario:ident $(up to $states:expr)?;)+) => {
        $(#[test]
        fn $name() {
            let states = [usize::MAX $(, $states)?];
            holds($scenario(), states[states.len() - 1]);
        })+
    };
}

hold! {
    a_node_is_killed: a_crash;
    each_evicts_the_other: evictions up to states_max();
    a_node_is_evicted_and_killed: an_eviction_and_a_crash up to states_max();
    nodes_are_killed_twice: two_crashes up to states_max();
    a_directory_is_put_back: put_back;
    a_node_is_lost: a_loss up to states_max();
    of_three_copies_two_are_enough: three up to states_max();
    all_at_once: everything up to states_max();
}

fn is_no_fault(event: &Event) -> bool {
    !matches!(event, Event::Crash(..) | Event::Lose(_) | Event::PutBack(_))
}

#[test]
fn whatever_went_wrong_the_copies_become_whole_again() {
    for model in [a_crash(), put_back()] {
        let (states, dead) = dead_ends(&model, is_no_fault);
        assert_eq!(dead, 0, "of {states} states of {}", model.name);
    }
}
