//! What movers do: as the real `decide` says about the layout that they saw last, however long ago.
//! And what people do: begin a rebalance, or turn it back.

use kv_core::layout::Assignment;
use kv_core::mover::{Action, Facts, decide};
use kv_core::version::Version;

use crate::catalogue::{LayoutId, Step};
use crate::cluster::Model;
use crate::rules::Rule;
use crate::state::{Copied, Record, State};

impl Model {
    /// Whether a layout's window may be opened as far as its participants show.
    pub(crate) fn may_open(&self, state: &State, layout: LayoutId) -> bool {
        let known = self.catalogue.layout(layout);
        known.participants().all(|it| self.acknowledges(&state.nodes[it], layout))
    }

    /// A mover looks at the layout; where it compares and sets, it always has.
    pub(crate) fn look(&self, state: &mut State, number: usize) -> Option<()> {
        state.movers[number].seen = state.document;
        Some(())
    }

    /// A mover takes the layout's next step. To copy takes events of its own.
    /// Its next window has so many partitions.
    pub(crate) fn turn(&self, state: &mut State, number: usize, size: u32) -> Option<()> {
        if number > 0 && !self.keeps(Rule::AnyMoverGoesOn) {
            return None;
        }
        let mover = &mut state.movers[number];
        let seen = if self.keeps(Rule::ComparesAndSets) { state.document } else { mover.seen };
        let known = self.catalogue.layout(seen);
        let verified = self.compare(state, seen) == Some(true);
        let mover = &mut state.movers[number];
        mover.verified |= verified && !self.keeps(Rule::ForgetsFactsWithEpoch);
        let facts = Facts {
            acknowledged: self.may_open(state, seen)
                || !self.keeps(Rule::OpensAfterAcknowledgements),
            verified: verified
                || state.movers[number].verified
                || !self.keeps(Rule::SettlesAfterVerification),
        };
        let window = |settled, goal| self.scenario.window_end(settled, goal, size);
        let step = match decide(&known.layout, facts, window) {
            Action::Rest | Action::Pause | Action::Await | Action::Transfer => return None,
            Action::Prepare { until } => Step::Prepare(until),
            Action::Open => Step::Open,
            Action::Settle { next } => Step::Settle(next),
        };
        if verified && matches!(step, Step::Settle(_)) {
            self.note_digests(state, seen);
        }
        state.document = self.catalogue.step(seen, step)?;
        Some(())
    }

    /// The sources of a window that was verified have been asked for the digests of all that they hand
    /// over, and have noted that durably.
    fn note_digests(&self, state: &mut State, layout: LayoutId) {
        let sources: Vec<usize> = self.moving(layout).map(|(_, source, _)| source).collect();
        for source in sources {
            let node = &mut state.nodes[source];
            node.guard = self.catalogue.digested(node.guard);
            node.recorded = node.guard;
        }
    }

    /// A mover fetches a record that moves.
    pub(crate) fn fetch_next(&self, state: &mut State, number: usize, key: usize) -> Option<()> {
        let (layout, mover) = (state.document, state.movers[number]);
        let (_, source, _) = self.moving(layout).find(|it| it.0 == key)?;
        if mover.copy.is_some() {
            return None;
        }
        let it = self.fetch(state, source, layout, key)?.value()?;
        let copy = Copied { key: key as u8, layout, version: it.version, value: Some(it.value) };
        state.movers[number].copy = Some(copy);
        Some(())
    }

    /// The keys that move in a layout's open window, each with the nodes that it moves between.
    fn moving(&self, layout: LayoutId) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let known = self.catalogue.layout(layout);
        (0..self.scenario.keys.len()).filter_map(move |key| {
            match known.numbered(self.partition(key)) {
                Assignment::Moving(it) => {
                    Some((key, usize::from(it.source?), usize::from(it.destination)))
                }
                _ => None,
            }
        })
    }

    /// The COPY of a mover arrives.
    pub(crate) fn deliver(&self, state: &mut State, number: usize) -> Option<()> {
        let copied = state.movers[number].copy?;
        let key = usize::from(copied.key);
        let (_, source, destination) = self.moving(copied.layout).find(|it| it.0 == key)?;
        self.copy(state, destination, copied)?;
        if !self.keeps(Rule::RetainsSource) {
            state.nodes[source].records[key] = Record::Absent;
        }
        state.movers[number].copy = None;
        Some(())
    }

    /// The COPY of a mover gets lost, or its mover is killed before it is sent.
    pub(crate) fn lose(&self, state: &mut State, number: usize) -> Option<()> {
        state.movers[number].copy.take().map(|_| ())
    }

    /// Whether the destinations have all that the sources have, of what they know to move; `None` if a node
    /// does not say.
    fn compare(&self, state: &State, layout: LayoutId) -> Option<bool> {
        let mut is_same = true;
        for (key, source, destination) in self.moving(layout) {
            let theirs = self.digested(state, source, layout, key)?;
            let ours = self.digested(state, destination, layout, key)?;
            let guard = self.catalogue.installed(state.nodes[destination].guard);
            let opened = guard.since(self.partition(key));
            let was_copied = |version: Version| version.epoch < opened;
            is_same &= match (theirs.value(), ours) {
                (None, Record::Value(it)) => !was_copied(it.version),
                (None, _) | (Some(_), Record::Tombstone(_)) => true,
                (Some(_), Record::Absent) => false,
                (Some(it), Record::Value(ours)) => it == ours || !was_copied(ours.version),
            };
        }
        Some(is_same)
    }

    /// What a node has of a key, where by its own knowledge the key moves as `layout` says. It only
    /// compares epochs.
    fn digested(&self, state: &State, node: usize, layout: LayoutId, key: usize) -> Option<Record> {
        let node = &state.nodes[node];
        let own = self.catalogue.layout(self.catalogue.layout_of(node.guard));
        let meant = self.catalogue.layout(layout);
        if !node.is_up || own.layout.epoch != meant.layout.epoch {
            return None;
        }
        let partition = self.partition(key);
        let moves = own.numbered(partition) == meant.numbered(partition);
        Some(if moves { node.records[key] } else { Record::Absent })
    }

    /// An operator begins a rebalance to another placement.
    pub(crate) fn begin(&self, state: &mut State, placement: usize) -> Option<()> {
        if state.budget.begins == 0 {
            return None;
        }
        state.document = self.catalogue.step(state.document, Step::Begin(placement as u8))?;
        state.budget.begins -= 1;
        Some(())
    }

    /// An operator aborts the rebalance.
    pub(crate) fn turn_back(&self, state: &mut State) -> Option<()> {
        if state.budget.turns == 0 || !self.may_go_back(state) {
            return None;
        }
        state.document = self.catalogue.step(state.document, Step::TurnBack)?;
        state.budget.turns -= 1;
        Some(())
    }

    /// A mover takes a window back.
    pub(crate) fn retract(&self, state: &mut State) -> Option<()> {
        if state.budget.retracts == 0 || !self.may_go_back(state) {
            return None;
        }
        let step =
            if self.keeps(Rule::KeepsOpenWindows) { Step::Retract } else { Step::RetractOpen };
        state.document = self.catalogue.step(state.document, step)?;
        state.budget.retracts -= 1;
        Some(())
    }

    /// A frozen window is taken back only where every participant answers and none is further.
    fn may_go_back(&self, state: &State) -> bool {
        let known = self.catalogue.layout(state.document);
        !self.is_frozen(state.document)
            || known.participants().all(|it| {
                let node = &state.nodes[it];
                let installed = self.catalogue.installed(node.guard).layout.epoch;
                node.is_up && installed <= known.layout.epoch
            })
    }
}
