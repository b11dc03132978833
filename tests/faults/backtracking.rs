//! The second checker: the search of Wing, Gong and Lowe, with backtracking, from `todc-utils`.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use todc_utils::Action::{Call, Response};
use todc_utils::linearizability::WGLChecker;
use todc_utils::{History, Specification};

use super::check::Verdict;
use super::events::Event;
use super::model::{State, Step};

/// The most steps to try in one search.
const STEPS_MAX: u32 = 300_000;

thread_local! {
    /// How many steps the search on this thread may still try.
    static STEPS_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// What a search is ended with when its steps are used up: the crate knows no other way.
struct OutOfSteps;

/// The model, as the crate wants it.
struct Key;

impl Specification for Key {
    type State = State;
    type Operation = Step;

    fn init() -> State {
        State::default()
    }

    fn apply(step: &Step, state: &State) -> (bool, State) {
        let left = STEPS_LEFT.get();
        if left == 0 {
            // Unlike `panic!`, this says nothing on standard error.
            resume_unwind(Box::new(OutOfSteps));
        }
        STEPS_LEFT.set(left - 1);
        state.after(step).map_or((false, *state), |state| (true, state))
    }
}

/// Looks for an order that explains the events.
pub(super) fn check(events: &[Event]) -> Verdict {
    // The crate tries operations of unknown outcome again and again. Nearly always they explain
    // nothing that was seen: an order without them is one in which they come after everything.
    let answered: Vec<Event> =
        events.iter().filter(|it| it.response_ns.is_some()).copied().collect();
    let verdict = search(&answered);
    if verdict == Verdict::Linearizable || answered.len() == events.len() {
        return verdict;
    }
    search(events)
}

fn search(events: &[Event]) -> Verdict {
    if events.is_empty() {
        return Verdict::Linearizable;
    }
    let calls = (0..).zip(events).map(|(n, it)| (it.call_ns, false, n, it.step));
    let responses =
        (0..).zip(events).map(|(n, it)| (it.response_ns.unwrap_or(u64::MAX), true, n, it.step));
    let mut times: Vec<(u64, bool, usize, Step)> = calls.chain(responses).collect();
    times.sort_by_key(|(at, is_response, n, _)| (*at, *is_response, *n));
    // Each operation is a process of its own, since clients may have many under way.
    let actions = times.into_iter().map(|(_, is_response, process, step)| {
        (process, if is_response { Response(step) } else { Call(step) })
    });
    let history = History::from_actions(actions.collect());
    STEPS_LEFT.set(STEPS_MAX);
    match catch_unwind(AssertUnwindSafe(|| WGLChecker::<Key>::is_linearizable(history))) {
        Ok(true) => Verdict::Linearizable,
        Ok(false) => Verdict::Violation(None),
        Err(reason) if reason.is::<OutOfSteps>() => {
            Verdict::Undecided(format!("more than {STEPS_MAX} steps"))
        }
        Err(panic) => resume_unwind(panic),
    }
}
