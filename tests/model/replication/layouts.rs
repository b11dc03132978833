//! The layout: how nodes install it, and what they and the process that drives a return propose.

use kv_core::copies::Row;
use kv_core::copies::session::View;
use kv_core::copies::term::Term;
use kv_core::ownership::Role;

use super::state::{Document, Power, State, pop, push};
use super::{Model, Rule};

impl Model {
    pub(super) fn install(&self, state: &mut State, number: usize) -> Option<()> {
        let Document { epoch, row } = state.document;
        let node = &mut state.nodes[number];
        if node.power != Power::On || epoch <= node.view.installed {
            return None;
        }
        let [before, role] = [node.view.row, row].map(|it| Role::in_row(number as u16, &it));
        if !role.can_follow(Some(before)) {
            return None;
        }
        let since = if node.view.row == row { node.view.since } else { epoch };
        node.view_before = node.view;
        let had = node.view.row.primary();
        node.view = View { row, since, installed: epoch };
        if had != row.primary() {
            node.held = 0;
        }
        if role == Role::Owner {
            let Some(before) = node.term else {
                node.term = Some(Term::begin(row, None));
                return Some(());
            };
            let term = before.install(row, epoch);
            node.term = Some(term);
            let evicted = before.equal().iter().filter(|it| !term.equal().contains(*it));
            evicted.for_each(|copy| state.end_session(number, copy));
        } else {
            node.term = None;
            // The outcome of what is pending is unknown.
            node.pending = None;
            state.end_sessions_of(number);
        }
        Some(())
    }

    /// A node sends a compare-and-set that evicts another one, or itself.
    pub(super) fn evict(&self, state: &mut State, reporter: usize, number: usize) -> Option<()> {
        let is_false = state.nodes[number].power == Power::On && reporter != number;
        let gives_up = reporter != number || self.has_lost_writes(state, reporter);
        let document = state.document;
        let node = &state.nodes[reporter];
        let is_current = node.power == Power::On && node.view.installed == document.epoch;
        if !is_current || !gives_up || (is_false && state.budget.false_evictions == 0) {
            return None;
        }
        let row = document.row.evict(number as u16, reporter as u16)?;
        state.budget.false_evictions -= u8::from(is_false);
        if !self.keeps(Rule::ConfirmsByWhatIsInstalled)
            && let Some(term) = &mut state.nodes[reporter].term
        {
            *term = term.install(row, document.epoch);
        }
        propose(state, row)
    }

    /// A primary that may have promised something before it was started sets a fence.
    pub(super) fn fence(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &state.nodes[number];
        let needs_it = node.term.is_some_and(|it| it.needs_fence());
        let is_current = node.power == Power::On && node.view.installed == state.document.epoch;
        (needs_it && is_current).then(|| propose(state, state.document.row))?
    }

    /// The process that drives a return reads the document, collects the primary's promises, and sends a
    /// compare-and-set.
    pub(super) fn admit(&self, state: &mut State) -> Option<()> {
        let Document { epoch, row } = state.document;
        let primary = usize::from(row.primary());
        let node = &state.nodes[primary];
        if node.power != Power::On || node.view.installed != epoch {
            return None;
        }
        let has_caught_up = |it: &usize| state.links[primary][*it].is_open;
        let promised = match self.keeps(Rule::AsksForPromises) {
            true => node.term?.promised(),
            false => row.learners().iter().filter(has_caught_up).collect(),
        };
        propose(state, row.admit(promised)?)
    }

    pub(super) fn decide(&self, state: &mut State) -> Option<()> {
        let proposed = pop(&mut state.proposals)?;
        if proposed.epoch == state.document.epoch + 1 {
            state.document = proposed;
        } else if !self.keeps(Rule::ComparesAndSets) {
            state.document = Document { epoch: state.document.epoch + 1, row: proposed.row };
        }
        let epoch = state.document.epoch;
        // The other one changes nothing any more, whenever it arrives.
        if self.keeps(Rule::ComparesAndSets)
            && state.proposals[0].is_some_and(|it| it.epoch <= epoch)
        {
            state.proposals[0] = None;
        }
        Some(())
    }
}

/// Sends a compare-and-set on the present document.
fn propose(state: &mut State, row: Row) -> Option<()> {
    let proposed = Document { epoch: state.document.epoch + 1, row };
    let is_new = !state.proposals.contains(&Some(proposed));
    let is_sent = is_new && push(&mut state.proposals, proposed);
    is_sent.then_some(())
}
