//! Exploring: every state that can be reached, by stateright; and from every one of them a way to the
//! end, which needs all states with all ways between them.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model as Checked};

use crate::cluster::{Event, Model};
use crate::state::State;

/// The result of an exploration.
pub(crate) struct Explored {
    pub(crate) states: usize,
    /// The property that does not hold, with the events that lead to where it does not.
    pub(crate) violation: Option<(&'static str, Vec<Event>)>,
}

/// Explores all states of a model, the nearest first, until one of the properties is found not to hold
/// or so many states have been come to.
pub(crate) fn explore(model: Model, properties: &[&'static str], states_max: usize) -> Explored {
    let began = Instant::now();
    let (name, without) = (model.scenario.name, model.without);
    let until = HasDiscoveries::AnyOf(properties.iter().copied().collect());
    let checker =
        model.checker().finish_when(until).target_state_count(states_max).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let violation = checker
        .discoveries()
        .into_iter()
        .filter(|(property, _)| properties.contains(property))
        .map(|(property, path)| (property, path.into_actions()))
        .min_by_key(|(_, events)| events.len());
    let what = without.map_or("all rules".to_owned(), |rule| format!("without {rule:?}"));
    let found = violation.as_ref().map_or("no violation".to_owned(), |(property, events)| {
        format!("after {} events not \"{property}\"", events.len())
    });
    let took = began.elapsed();
    println!("{name}, {what}: {states} states, {depth} events deep, in {took:.1?}: {found}");
    Explored { states, violation }
}

/// How many states there are, and how many from which the end cannot be reached by `permitted` events.
pub(crate) fn dead_ends(model: &Model, permitted: fn(&Event) -> bool) -> (usize, usize) {
    let began = Instant::now();
    let mut numbers: HashMap<u64, u32> = HashMap::new();
    let mut ways: Vec<(u32, u32)> = Vec::new();
    let mut ends: Vec<bool> = Vec::new();
    let mut queue: VecDeque<(u32, State)> = VecDeque::new();
    for state in model.init_states() {
        numbers.insert(fingerprint(&state), 0);
        ends.push(model.is_over(&state));
        queue.push_back((0, state));
    }
    let mut events = Vec::new();
    while let Some((from, state)) = queue.pop_front() {
        model.actions(&state, &mut events);
        for event in events.drain(..) {
            let Some(next) = model.next_state(&state, event) else { continue };
            let fresh = ends.len() as u32;
            let to = *numbers.entry(fingerprint(&next)).or_insert(fresh);
            if permitted(&event) {
                ways.push((to, from));
            }
            if to == fresh {
                ends.push(model.is_over(&next));
                queue.push_back((to, next));
            }
        }
    }
    let dead = ends.len() - reach(&mut ways, ends.clone());
    let (name, states) = (model.scenario.name, ends.len());
    println!("{name}: {states} states in {:.1?}: {dead} dead ends", began.elapsed());
    (states, dead)
}

/// How many states are reached from the `reached` ones along `ways`.
fn reach(ways: &mut [(u32, u32)], mut reached: Vec<bool>) -> usize {
    ways.sort_unstable();
    let mut queue: Vec<u32> =
        (0..reached.len() as u32).filter(|it| reached[*it as usize]).collect();
    let mut count = queue.len();
    while let Some(state) = queue.pop() {
        let first = ways.partition_point(|(from, _)| *from < state);
        for (_, to) in ways[first..].iter().take_while(|(from, _)| *from == state) {
            if !std::mem::replace(&mut reached[*to as usize], true) {
                count += 1;
                queue.push(*to);
            }
        }
    }
    count
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
