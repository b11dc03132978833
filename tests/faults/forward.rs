//! The project's own linearizability checker: forward through time.
//!
//! It keeps every situation that the key can be in, and at each response only those in which that
//! operation has been carried out (just-in-time linearization, Lowe 2017). It never goes back in
//! time, so that its work grows with a history's length and not with its possible orders.
//!
//! Operations of unknown outcome stay possible to the end. Of two situations with the same record,
//! the one that has used fewer of them can do all that the other can, so the other is dropped.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use super::check::Verdict;
use super::events::Event;
use super::model::State;

/// The most operations that are under way at the same time, those of unknown outcome included.
const SLOTS: usize = 128;

/// The most situations to look at for one response.
const SITUATIONS_MAX: usize = 100_000;

/// What the key holds, and which of the operations that are under way are carried out, by slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Situation {
    state: State,
    answered: u128,
    unknown: u128,
}

struct Search<'a> {
    /// The operations under way, by slots.
    slots: [Option<&'a Event>; SLOTS],
    situations: Vec<Situation>,
}

/// Looks for an order that explains the events. `Verdict::Violation` names the record after whose response
/// there is no such order.
pub(super) fn check(events: &[Event]) -> Verdict {
    let calls = events.iter().map(|it| (it.call_ns, false, it));
    let responses = events.iter().filter_map(|it| Some((it.response_ns?, true, it)));
    let mut times: Vec<(u64, bool, &Event)> = calls.chain(responses).collect();
    // Of what happens at the same time, calls come first: so it is concurrent.
    times.sort_by_key(|(at, is_response, event)| (*at, *is_response, event.record));
    let start = Situation { state: State::default(), answered: 0, unknown: 0 };
    let mut search = Search { slots: [None; SLOTS], situations: vec![start] };
    for (_, is_response, event) in times {
        let slot = search.slots.iter().position(|slot| match slot {
            Some(other) => is_response && other.record == event.record,
            None => !is_response,
        });
        let Some(slot) = slot else {
            return Verdict::Undecided(format!("more than {SLOTS} operations are under way"));
        };
        if !is_response {
            search.slots[slot] = Some(event);
        } else if !search.respond(slot) {
            return Verdict::Undecided(format!("more than {SITUATIONS_MAX} situations"));
        } else if search.situations.is_empty() {
            return Verdict::Violation(Some(event.record));
        }
    }
    Verdict::Linearizable
}

impl Search<'_> {
    /// Carries out the operation in `slot` in every situation, after any others that allow it, and
    /// ends it. Returns false where that is too much.
    fn respond(&mut self, slot: usize) -> bool {
        let bit = 1_u128 << slot;
        let mut seen = Minimal::default();
        let mut done = Minimal::default();
        let mut next: VecDeque<Situation> = self.situations.drain(..).collect();
        // Those that have used the fewest come first, so that the others are known to be needless.
        next.make_contiguous().sort_by_key(|it| it.unknown.count_ones());
        let mut looked = 0;
        while let Some(situation) = next.pop_front() {
            if situation.answered & bit != 0 {
                done.add(Situation { answered: situation.answered & !bit, ..situation });
                continue;
            }
            looked += 1;
            if looked > SITUATIONS_MAX {
                return false;
            }
            let used = situation.answered | situation.unknown;
            for (other, event) in self.slots.iter().enumerate() {
                let Some(event) = event.filter(|_| used & (1 << other) == 0) else { continue };
                let Some(state) = situation.state.after(&event.step) else { continue };
                let mut following = Situation { state, ..situation };
                match event.response_ns {
                    Some(_) => following.answered |= 1 << other,
                    None => following.unknown |= 1 << other,
                }
                if seen.add(following) {
                    next.push_back(following);
                }
            }
        }
        self.situations = done.situations();
        self.slots[slot] = None;
        true
    }
}

/// Situations without those that another one makes needless.
#[derive(Default)]
struct Minimal(HashMap<(State, u128), Vec<u128>>);

impl Minimal {
    /// Returns whether it was worth keeping.
    fn add(&mut self, situation: Situation) -> bool {
        match self.0.entry((situation.state, situation.answered)) {
            Entry::Vacant(vacant) => {
                vacant.insert(vec![situation.unknown]);
                true
            }
            Entry::Occupied(mut kept) => {
                let kept = kept.get_mut();
                if kept.iter().any(|used| used & !situation.unknown == 0) {
                    return false;
                }
                kept.retain(|used| situation.unknown & !used != 0);
                kept.push(situation.unknown);
                true
            }
        }
    }

    fn situations(self) -> Vec<Situation> {
        let of = |((state, answered), unknown): ((State, u128), Vec<u128>)| {
            unknown.into_iter().map(move |unknown| Situation { state, answered, unknown })
        };
        self.0.into_iter().flat_map(of).collect()
    }
}
