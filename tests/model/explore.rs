//! Exploring: every state that can be reached, by stateright; and from every one of them a way to the
//! end, which needs all states with all ways between them.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model as Checked};

/// A model that can be explored.
pub(crate) trait Explorable: Checked {
    /// What it is, for people.
    fn name(&self) -> String;
    /// Whether all is done.
    fn is_over(&self, state: &Self::State) -> bool;
}

/// The result of an exploration.
pub(crate) struct Explored<Event> {
    pub(crate) states: usize,
    /// The property that does not hold, with the events that lead to where it does not.
    pub(crate) violation: Option<(&'static str, Vec<Event>)>,
}

/// Explores all states of a model, the nearest first, until one of the properties is found not to hold
/// or so many states have been come to.
pub(crate) fn explore<M>(
    model: M,
    properties: &[&'static str],
    states_max: usize,
) -> Explored<M::Action>
where
    M: Explorable + Send + Sync + 'static,
    M::State: Hash + PartialEq + Clone + std::fmt::Debug + Send + Sync + 'static,
    M::Action: Clone + PartialEq + std::fmt::Debug,
{
    let began = Instant::now();
    let name = model.name();
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
    let found = violation.as_ref().map_or("no violation".to_owned(), |(property, events)| {
        format!("after {} events not \"{property}\"", events.len())
    });
    let took = began.elapsed();
    println!("{name}: {states} states, {depth} events deep, in {took:.1?}: {found}");
    Explored { states, violation }
}

/// Expects that a model, in which a rule is left out, breaks a property within so many states.
pub(crate) fn is_caught<M>(model: M, expected: &'static str, states_max: usize)
where
    M: Explorable + Send + Sync + 'static,
    M::State: Hash + PartialEq + Clone + std::fmt::Debug + Send + Sync + 'static,
    M::Action: Clone + PartialEq + std::fmt::Debug,
{
    let name = model.name();
    let Explored { states, violation } = explore(model, &[expected], states_max);
    assert!(violation.is_some(), "{expected} in {states} states of {name}");
}

/// A test for each rule: left out of a scenario, a property breaks. Where it stands, `caught` does that.
macro_rules! mutants {
    ($($name:ident: $rule:ident in $scenario:ident breaks $property:ident;)+) => {
        $(#[test]
        fn $name() {
            caught(Rule::$rule, $scenario, $property);
        })+
    };
}
pub(crate) use mutants;

/// How many states there are, and how many from which the end cannot be reached by `permitted` events.
pub(crate) fn dead_ends<M>(model: &M, permitted: fn(&M::Action) -> bool) -> (usize, usize)
where
    M: Explorable,
    M::State: Hash,
    M::Action: std::fmt::Debug,
{
    let began = Instant::now();
    let mut numbers: HashMap<u64, u32> = HashMap::new();
    let mut ways: Vec<(u32, u32)> = Vec::new();
    let mut ends: Vec<bool> = Vec::new();
    // The state from which each was come to first.
    let mut parents: Vec<u32> = vec![0];
    let mut queue: VecDeque<(u32, M::State)> = VecDeque::new();
    for state in model.init_states() {
        numbers.insert(fingerprint(&state), 0);
        ends.push(model.is_over(&state));
        queue.push_back((0, state));
    }
    let mut events = Vec::new();
    while let Some((from, state)) = queue.pop_front() {
        model.actions(&state, &mut events);
        for event in events.drain(..) {
            let is_permitted = permitted(&event);
            let Some(next) = model.next_state(&state, event) else { continue };
            let fresh = ends.len() as u32;
            let to = *numbers.entry(fingerprint(&next)).or_insert(fresh);
            if is_permitted {
                ways.push((to, from));
            }
            if to == fresh {
                ends.push(model.is_over(&next));
                parents.push(from);
                queue.push_back((to, next));
            }
        }
    }
    let (name, states) = (model.name(), ends.len());
    let reached = reach(&mut ways, ends);
    let dead = reached.iter().filter(|it| !**it).count();
    println!("{name}: {states} states in {:.1?}: {dead} dead ends", began.elapsed());
    if let Some(first) = reached.iter().position(|it| !it) {
        println!("the first of them: {:#?}", events_to(model, first as u32, &parents, &numbers));
    }
    (states, dead)
}

/// The events that lead to the state of a number.
fn events_to<M>(model: &M, number: u32, parents: &[u32], numbers: &HashMap<u64, u32>) -> Vec<String>
where
    M: Explorable,
    M::State: Hash,
    M::Action: std::fmt::Debug,
{
    let way = std::iter::successors(Some(number), |it| (*it > 0).then(|| parents[*it as usize]));
    let mut way: Vec<u32> = way.collect();
    way.pop();
    let mut state = model.init_states().into_iter().next();
    let mut names = Vec::new();
    while let (Some(from), Some(to)) = (state.take(), way.pop()) {
        let mut events = Vec::new();
        model.actions(&from, &mut events);
        for event in events {
            let name = format!("{event:?}");
            let next = model.next_state(&from, event);
            let is_it = |it: &M::State| numbers.get(&fingerprint(it)) == Some(&to);
            if let Some(next) = next.filter(is_it) {
                names.push(name);
                state = Some(next);
                break;
            }
        }
    }
    names
}

/// The states that are reached from the `reached` ones along `ways`.
fn reach(ways: &mut [(u32, u32)], mut reached: Vec<bool>) -> Vec<bool> {
    ways.sort_unstable();
    let mut queue: Vec<u32> =
        (0..reached.len() as u32).filter(|it| reached[*it as usize]).collect();
    while let Some(state) = queue.pop() {
        let first = ways.partition_point(|(from, _)| *from < state);
        for (_, to) in ways[first..].iter().take_while(|(from, _)| *from == state) {
            if !std::mem::replace(&mut reached[*to as usize], true) {
                queue.push(*to);
            }
        }
    }
    reached
}

fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
