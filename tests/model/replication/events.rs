//! What happens in a replicated partition, each event one step of one process. The rules are the product's.

use kv_core::copies::Positions;
use kv_core::copies::lease::{self, Granted};
use kv_core::copies::session::{Acceptance, View, yields};

use super::faults::lose;
use super::state::{Message, Pending, Power, State, pop, push};
use super::{Event, Model, Rule};

impl Model {
    /// What becomes of a state; `None` where the event cannot happen in it, or changes nothing.
    pub(super) fn happen(&self, state: &mut State, event: Event) -> Option<()> {
        match event {
            Event::Start(node) => self.start(state, node),
            Event::Crash(node, keeps) => self.crash(state, node, keeps),
            Event::Lose(node) => lose(state, node),
            Event::PutBack(node) => self.put_back(state, node),
            Event::Install(node) => self.install(state, node),
            Event::Evict { reporter, node } => self.evict(state, reporter, node),
            Event::Fence(node) => self.fence(state, node),
            Event::Admit => self.admit(state),
            Event::Decide => self.decide(state),
            Event::Open(primary, copy) => self.open(state, primary, copy),
            Event::Deliver(primary, copy) => self.deliver(state, primary, copy),
            Event::Acknowledge(primary, copy) => acknowledge(state, primary, copy),
            Event::Break(primary, copy) => self.break_session(state, primary, copy),
            Event::Grant(primary, copy) => self.grant(state, primary, copy),
            Event::EndLease(primary, copy) => state.links[primary][copy].lease.take().map(drop),
            Event::WaitOut { granter, of } => wait_out(state, granter, of),
            Event::Serve(node) => self.serve(state, node),
            Event::Promise(primary, copy) => self.promise(state, primary, copy),
            Event::Write(node) => self.write(state, node),
            Event::Confirm(node) => self.confirm(state, node),
            Event::Read(node) => self.read(state, node),
        }
    }

    /// A primary opens a session, in which it sends all that it has.
    fn open(&self, state: &mut State, primary: usize, copy: usize) -> Option<()> {
        let (from, to) = (state.nodes[primary], state.nodes[copy]);
        let View { since, installed, .. } = to.view;
        let means_the_same = from.view.is_the_same_as(since, installed)
            && to.view.row.primary() == from.view.row.primary();
        let is_possible = from.term.is_some()
            && [from.power, to.power] == [Power::On; 2]
            && !state.links[primary][copy].is_open
            && means_the_same
            && !self.has_lost_writes(state, primary);
        if !is_possible || primary == copy {
            return None;
        }
        let epoch = from.view.installed;
        let everything = Message { is_everything: true, value: from.value, epoch };
        let mut messages = [Some(everything), None];
        if let Some(pending) = from.pending {
            push(&mut messages, Message { is_everything: false, value: pending.value, epoch });
        }
        state.end_session(primary, copy);
        let link = &mut state.links[primary][copy];
        link.is_open = true;
        link.is_taken = true;
        link.messages = messages;
        link.owed = messages.iter().flatten().count() as u8;
        if !self.keeps(Rule::ReplacesInPlace) {
            state.nodes[copy].value = 0;
        }
        Some(())
    }

    /// Whether a primary finds that a copy in sync holds a write of its own that it does not have.
    pub(super) fn has_lost_writes(&self, state: &State, primary: usize) -> bool {
        let node = &state.nodes[primary];
        let holds_more = |it: usize| {
            let copy = &state.nodes[it];
            copy.power == Power::On
                && copy.view.row.primary() == primary as u16
                && copy.view.row.is_in_sync(it as u16)
                && yields(u64::from(node.value), u64::from(copy.held))
        };
        let others = node.view.row.in_sync().without(primary);
        self.keeps(Rule::Yields) && others.iter().any(holds_more)
    }

    fn deliver(&self, state: &mut State, primary: usize, copy: usize) -> Option<()> {
        let to = &state.nodes[copy];
        let link = &state.links[primary][copy];
        let message = link.messages[0]?;
        if to.power != Power::On || !link.is_taken {
            return None;
        }
        match to.view.accept(copy as u16, primary as u16, message.epoch) {
            Acceptance::Wait => return None,
            Acceptance::Refuse if self.keeps(Rule::RefusesOldPrimaries) => {
                let link = &mut state.links[primary][copy];
                link.is_taken = false;
                link.messages = [None; 2];
                return Some(());
            }
            Acceptance::Refuse | Acceptance::Take => {}
        }
        let node = &mut state.nodes[copy];
        node.value = message.value;
        node.held = node.held.max(message.value);
        let link = &mut state.links[primary][copy];
        pop(&mut link.messages);
        if link.is_open {
            push(&mut link.acknowledgements, message);
        }
        Some(())
    }

    fn break_session(&self, state: &mut State, primary: usize, copy: usize) -> Option<()> {
        let link = &state.links[primary][copy];
        // The copy may have ended it, or have been started since.
        let breaks = u8::from(link.is_taken);
        if !link.is_open || state.budget.breaks < breaks {
            return None;
        }
        state.budget.breaks -= breaks;
        state.end_session(primary, copy);
        if let Some(term) = &mut state.nodes[primary].term {
            term.note_end(copy);
            if !self.keeps(Rule::KeepsPromises) {
                *term = term.install(term.row(), state.nodes[primary].view.installed);
            }
        }
        Some(())
    }

    /// A copy answers a beacon. The other node need not be the primary of this row: it may be that of others.
    fn grant(&self, state: &mut State, primary: usize, copy: usize) -> Option<()> {
        let epoch = state.nodes[copy].view.installed;
        let is_news = state.links[primary][copy].lease != Some(epoch);
        if primary == copy || !state.is_on(copy) || !state.is_on(primary) || !is_news {
            return None;
        }
        state.links[primary][copy].lease = Some(epoch);
        let granted = &mut state.nodes[copy].granted[primary];
        *granted = granted.and(epoch);
        Some(())
    }

    fn serve(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &state.nodes[number];
        let mut term = node.term.filter(|it| !it.serves() && node.power == Power::On)?;
        let said = |it: usize| state.is_on(it).then(|| state.nodes[it].view.installed);
        let is_in_the_way = |it: &usize| {
            self.keeps(Rule::WaitsForLeases)
                && node.granted[*it].is_in_the_way(node.view.since, said(*it))
        };
        let others = (0..self.copies).filter(|it| *it != number);
        let a_lease = others.clone().any(|it| is_in_the_way(&it));
        if !self.keeps(Rule::Reconciles) {
            others.for_each(|it| term.note_equal(it));
        }
        term.serve(a_lease).then(|| state.nodes[number].term = Some(term))
    }

    fn promise(&self, state: &mut State, primary: usize, copy: usize) -> Option<()> {
        let link = state.links[primary][copy];
        let owes_nothing = link.owed == 0 || !self.keeps(Rule::PromisesWhoOwesNothing);
        let term = state.nodes[primary].term.as_mut()?;
        if term.promised().contains(copy) || !link.is_open {
            return None;
        }
        term.promise(copy, owes_nothing).then_some(())
    }

    fn write(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &mut state.nodes[number];
        let serves = node.term.is_some_and(|it| it.serves() && it.has_enough(self.min_in_sync));
        if !serves || node.pending.is_some() || state.budget.writes == 0 {
            return None;
        }
        let (value, before) = (state.next, node.value);
        node.value = value;
        node.pending = Some(Pending { value, before, acknowledged: Positions::default() });
        state.next += 1;
        state.budget.writes -= 1;
        let message = Message { is_everything: false, value, epoch: node.view.installed };
        for link in state.links[number].iter_mut().filter(|it| it.is_open) {
            // A primary whose messages are not taken waits with the next write.
            if !push(&mut link.messages, message) {
                return None;
            }
            link.owed += 1;
        }
        Some(())
    }

    /// All copies that the primary needs have what it has written last. It is acknowledged where enough are in
    /// sync; else its outcome is unknown, and it is shown.
    fn confirm(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &mut state.nodes[number];
        let (term, pending) = (node.term?, node.pending?);
        let mut needed = term.needed();
        if !self.keeps(Rule::WaitsForWhomItPromised) {
            needed = term.row().in_sync().without(number);
        }
        if !self.keeps(Rule::WaitsForAcknowledgements) {
            needed = Positions::default();
        }
        if !needed.are_among(pending.acknowledged) {
            return None;
        }
        node.pending = None;
        if term.has_enough(self.min_in_sync) {
            state.acknowledged = state.acknowledged.max(pending.value);
            state.seen = state.seen.max(pending.value);
        }
        Some(())
    }

    fn read(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &state.nodes[number];
        let term = node.term.filter(|it| it.serves() && node.power == Power::On)?;
        let counts = |copy: usize| {
            let held = state.links[number][copy].lease;
            let by_row = self.keeps(Rule::CountsLeasesOfThisRow);
            held.is_some_and(|epoch| !by_row || lease::counts(epoch, &node.view))
        };
        let has_leases = term.needed().iter().all(counts) || !self.keeps(Rule::ReadsWithLeases);
        let is_shown = node.pending.is_none() || !self.keeps(Rule::HidesWhatIsNotConfirmed);
        let value = node.value;
        if !has_leases || !is_shown || value == state.seen {
            return None;
        }
        state.has_gone_back |= value < state.seen;
        state.seen = state.seen.max(value);
        Some(())
    }
}

/// So much time has passed since the granter's older grants that none of these counts any more; what the holder
/// has now is newer.
fn wait_out(state: &mut State, granter: usize, of: usize) -> Option<()> {
    let lease = state.links[of][granter].lease;
    let node = &mut state.nodes[granter];
    let left = lease.map_or(Granted::Nothing, Granted::Since);
    if node.power != Power::On || node.granted[of] == left {
        return None;
    }
    node.granted[of] = left;
    Some(())
}

fn acknowledge(state: &mut State, primary: usize, copy: usize) -> Option<()> {
    let link = &mut state.links[primary][copy];
    let message = pop(&mut link.acknowledgements)?;
    link.owed -= 1;
    let node = &mut state.nodes[primary];
    match (message.is_everything, &mut node.term, &mut node.pending) {
        (true, Some(term), _) => term.note_equal(copy),
        (false, _, Some(pending)) if pending.value == message.value => {
            pending.acknowledged = pending.acknowledged.with(copy);
        }
        _ => {}
    }
    Some(())
}
