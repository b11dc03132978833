//! What a mover does next. Pure: it sees a layout and what the mover has found out under it.
//!
//! Any number of movers may decide at the same time, each from what it saw last, however long ago:
//! every step is a compare-and-set of the layout, and nodes refuse copies that were sent under
//! another epoch than theirs.

use crate::layout::{Goal, Layout, Phase};

/// What a mover has found out under the epoch of the layout that it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Every participant of the window has installed the layout.
    pub acknowledged: bool,
    /// All that the sources of the window have was copied, and source and destination agree on it.
    pub verified: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing: the layout is at rest.
    Rest,
    /// Nothing, since an operator has paused the rebalance between two windows.
    Pause,
    /// Begin the window that ends here: [`Layout::prepare`].
    Prepare {
        /// Where the window ends.
        until: u32,
    },
    /// Wait until every participant has installed the layout.
    Await,
    /// [`Layout::open`].
    Open,
    /// Copy and verify what moves in the window.
    Transfer,
    /// [`Layout::settle`].
    Settle {
        /// Where the window after it ends.
        next: Option<u32>,
    },
}

/// Decides what to do about `layout`. `window` says where the next window ends, from the number of
/// settled partitions and the goal.
pub fn decide(layout: &Layout, facts: Facts, window: impl FnOnce(u32, Goal) -> u32) -> Action {
    let Some(rebalance) = &layout.rebalance else { return Action::Rest };
    let Some(current) = rebalance.window else {
        if rebalance.paused {
            return Action::Pause;
        }
        return Action::Prepare { until: window(rebalance.settled, rebalance.goal) };
    };
    match current.phase {
        // A frozen window is opened even where the rebalance is paused: no node serves it until then.
        Phase::Preparing if facts.acknowledged => Action::Open,
        Phase::Preparing => Action::Await,
        Phase::Migrating if !facts.verified => Action::Transfer,
        Phase::Migrating => {
            let end = match rebalance.goal {
                Goal::Finish => layout.partitions.get(),
                Goal::Undo => 0,
            };
            let goes_on = !rebalance.paused && current.until != end;
            Action::Settle { next: goes_on.then(|| window(current.until, rebalance.goal)) }
        }
    }
}
