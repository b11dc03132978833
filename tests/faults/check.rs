//! Whether a history is linearizable, by two checkers that share the model and nothing else.

use super::events::{Event, events};
use super::history::History;
use super::{backtracking, forward};

/// What a checker says of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is an order that explains everything.
    Linearizable,
    /// There is no such order; if the checker knows, the record after which there is none.
    Violation(Option<usize>),
    /// It was given up, and why.
    Undecided(String),
}

/// A history that is not what it should be.
#[derive(Debug)]
pub(super) struct Finding {
    /// Whether it is certain.
    pub(super) is_violation: bool,
    /// The violation in words, with the history.
    pub(super) report: String,
}

/// Judges a history.
///
/// # Errors
/// A [`Finding`] where it is not certain that it is linearizable.
pub(super) fn check(history: &History) -> Result<(), Finding> {
    let events = match events(history) {
        Ok(events) => events,
        Err(problem) => return Err(finding(history, true, &problem)),
    };
    match both(&events) {
        [Verdict::Linearizable, Verdict::Linearizable] => Ok(()),
        [Verdict::Violation(at), Verdict::Violation(_) | Verdict::Undecided(_)] => {
            let last = at.map(|at| history.records[at].to_string()).unwrap_or_default();
            let problem =
                format!("no order of operations explains it, up to the response of\n{last}");
            Err(finding(history, true, &problem))
        }
        [forward, backtracking] => {
            let problem = format!("forward says {forward:?}, backtracking {backtracking:?}");
            Err(finding(history, false, &problem))
        }
    }
}

/// What the two checkers say.
pub(super) fn both(events: &[Event]) -> [Verdict; 2] {
    [forward::check(events), backtracking::check(events)]
}

fn finding(history: &History, is_violation: bool, problem: &str) -> Finding {
    let kind = if is_violation { "violation" } else { "undecided" };
    Finding { is_violation, report: format!("{kind}: {problem}\n{}", history.lines()) }
}
