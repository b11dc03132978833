//! What goes wrong with nodes: they are killed, come back, with all, with less, or not at all.

use kv_core::copies::lease::Granted;
use kv_core::copies::session::View;
use kv_core::copies::term::Term;

use super::state::{NODES, Node, Power, State};
use super::{Model, Rule};

impl Model {
    pub(super) fn start(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &mut state.nodes[number];
        if node.power != Power::Off {
            return None;
        }
        node.power = Power::On;
        // It cannot know what it granted before.
        let forgets = self.keeps(Rule::WaitsAfterAStart);
        node.granted = [if forgets { Granted::Since(0) } else { Granted::Nothing }; NODES];
        node.term = self.first_term(number, &node.view);
        Some(())
    }

    /// The term of a node that was just started.
    fn first_term(&self, number: usize, view: &View) -> Option<Term> {
        let started_in = self.keeps(Rule::SetsAFence).then_some(view.installed);
        (usize::from(view.row.primary()) == number).then(|| Term::begin(view.row, started_in))
    }

    /// A node is killed, or its machine loses power, and with it what was not synced.
    pub(super) fn crash(&self, state: &mut State, number: usize, keeps: bool) -> Option<()> {
        let node = &mut state.nodes[number];
        let pending = node.pending;
        if node.power != Power::On || state.budget.crashes == 0 || (!keeps && pending.is_none()) {
            return None;
        }
        state.budget.crashes -= 1;
        if let Some(pending) = pending.filter(|_| !keeps) {
            node.value = pending.before;
        }
        if !self.keeps(Rule::RecordsBeforeActing) {
            node.view = node.view_before;
        }
        turn_off(state, number, Power::Off);
        Some(())
    }

    /// A data directory is put back, where another copy is in sync and nothing else goes wrong meanwhile.
    pub(super) fn put_back(&self, state: &mut State, number: usize) -> Option<()> {
        let row = state.document.row;
        let is_spare = row.in_sync().without(number).iter().any(|it| state.is_on(it));
        let is_quiet = state.proposals == [None; 2];
        if state.budget.put_backs == 0 || !is_spare || !is_quiet || !state.is_on(number) {
            return None;
        }
        state.budget.put_backs -= 1;
        let first = State::first(self.copies, self.budget).nodes[number];
        state.nodes[number] = Node { power: Power::Off, ..first };
        turn_off(state, number, Power::Off);
        Some(())
    }
}

pub(super) fn lose(state: &mut State, number: usize) -> Option<()> {
    if !state.is_on(number) || state.budget.losses == 0 {
        return None;
    }
    state.budget.losses -= 1;
    turn_off(state, number, Power::Lost);
    state.nodes[number].value = 0;
    Some(())
}

fn turn_off(state: &mut State, number: usize, power: Power) {
    let node = &mut state.nodes[number];
    node.power = power;
    node.term = None;
    node.pending = None;
    node.granted = [Granted::Nothing; NODES];
    state.end_sessions_of(number);
    for other in 0..NODES {
        state.links[number][other].lease = None;
        state.links[other][number].is_taken = false;
        state.links[other][number].messages = [None; 2];
    }
}
