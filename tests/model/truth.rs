//! What must hold: what a key truly is, and whether that is what nodes store and clients are told.
//!
//! A write takes effect at the moment at which a node makes it durable. So every key has one value at
//! every moment, and it is enough to compare with that: a write or a refused condition at this moment,
//! a read with all that the key was from when it was begun. Where this holds, the history of each key
//! is linearizable.

use kv_core::layout::Assignment;
use kv_core::operation::{Condition, Operation};
use kv_core::ownership::Role;
use kv_core::record::{RecordReply, Refused};

use crate::catalogue::{InstalledId, LayoutId};
use crate::cluster::Model;
use crate::scenario::Op;
use crate::serving::Outcome;
use crate::state::{Flaw, Record, Request, State, Value};

/// The bit of a key's value among those that a read may return.
pub(crate) fn possible(value: Option<Value>) -> u32 {
    1 << value.map_or(0, |it| it.value)
}

impl Model {
    /// A request must be carried out under the assignment of its key for which it was made.
    pub(crate) fn check_assignment(
        &self,
        state: &mut State,
        guard: InstalledId,
        key: usize,
        layout: LayoutId,
    ) {
        let assigned = |layout| self.catalogue.layout(layout).numbered(self.partition(key));
        if assigned(layout) != assigned(self.catalogue.layout_of(guard)) {
            state.blame(Flaw::Outdated);
        }
    }

    /// Compares what became of an operation with what the key truly was, and notes what it is now.
    pub(crate) fn check_outcome(
        &self,
        state: &mut State,
        request: &Request,
        outcome: Outcome,
        value: u8,
    ) {
        let op = self.op(request);
        let truth = state.truth[op.key()];
        let stored = truth.map(|it| it.version);
        let condition = match self.operation(request, op) {
            Operation::Get { .. } => return,
            Operation::Put { condition, .. } | Operation::Delete { condition, .. } => condition,
        };
        let holds = match condition {
            Condition::None => true,
            Condition::Absent => stored.is_none(),
            // Two values of the same version would be the same to the client.
            Condition::Version(_) => truth == request.read,
        };
        let now = match outcome.map(|(answer, _)| answer) {
            Ok(RecordReply::Stored(version)) if holds => Some(Value { value, version }),
            Ok(RecordReply::Deleted { existed }) if holds && existed == truth.is_some() => None,
            Err(Refused::Conflict(found)) if !holds && found == stored => return,
            Ok(_) | Err(Refused::Conflict(_)) => return state.blame(Flaw::Judgement),
            Err(_) => return,
        };
        if now == truth {
            return;
        }
        let bit = 1 << request.at;
        let effective = &mut state.clients[usize::from(request.client)].effective;
        if *effective & bit != 0 {
            return state.blame(Flaw::Twice);
        }
        *effective |= bit;
        state.truth[op.key()] = now;
        self.tell_readers(state, op.key());
    }

    fn tell_readers(&self, state: &mut State, key: usize) {
        let bit = possible(state.truth[key]);
        for waiting in state.clients.iter_mut().filter_map(|it| it.waits.as_mut()) {
            if self.op(&waiting.request) == Op::Get(key as u8) {
                waiting.possible |= bit;
            }
        }
    }

    /// Whether what counts of every key, by the newest layout, is what the key truly is.
    pub(crate) fn is_kept(&self, state: &State) -> bool {
        let newest = self.newest(state);
        (0..self.scenario.keys.len()).all(|key| {
            let assignment = self.catalogue.layout(newest).numbered(self.partition(key));
            let record = |node: u16| state.nodes[usize::from(node)].records[key];
            let counts = match assignment {
                Assignment::Owned(owner) => record(owner),
                Assignment::Frozen(it) => it.source.map_or(Record::Absent, record),
                Assignment::Moving(it) => match (record(it.destination), it.source) {
                    (Record::Absent, Some(source)) => record(source),
                    (found, _) => found,
                },
            };
            counts.value() == state.truth[key]
        })
    }

    /// Whether what every key truly is lies on the disk of some node, whichever node serves it.
    pub(crate) fn is_stored(&self, state: &State) -> bool {
        (0..self.scenario.keys.len()).all(|key| {
            let mut nodes = state.nodes.iter();
            state.truth[key].is_none()
                || nodes.any(|it| it.records[key].value() == state.truth[key])
        })
    }

    /// The newest layout that Consul or a node has: a Consul that lost it will get it back.
    fn newest(&self, state: &State) -> LayoutId {
        let epoch = |layout: &LayoutId| self.catalogue.layout(*layout).layout.epoch;
        if self.scenario.budget.losses == 0 {
            return state.document;
        }
        let recorded = state.nodes.iter().map(|it| self.catalogue.layout_of(it.recorded));
        let newest = recorded.max_by_key(epoch).unwrap_or_default();
        if epoch(&newest) > epoch(&state.document) { newest } else { state.document }
    }

    /// Whether at most one node takes writes of each key.
    pub(crate) fn has_one_writer(&self, state: &State) -> bool {
        (0..self.scenario.keys.len()).all(|key| {
            let writes = |number: &usize| {
                let node = &state.nodes[*number];
                matches!(self.role(node.guard, key), Role::Owner | Role::Destination { .. })
            };
            (0..self.scenario.nodes).filter(writes).count() <= 1
        })
    }

    /// Whether all is done: the clients have their answers, no data is to be moved, the nodes know
    /// that, and there is nothing anywhere that should not be there.
    pub(crate) fn is_done(&self, state: &State) -> bool {
        let at_rest = self.catalogue.layout(state.document).layout.rebalance.is_none();
        let programs = self.scenario.programs.iter().zip(&state.clients);
        at_rest
            && programs.into_iter().all(|(program, it)| usize::from(it.at) == program.len())
            && state.nodes[..self.scenario.nodes].iter().all(|node| {
                let is_clean = |key: usize| match self.role(node.guard, key) {
                    Role::Owner => !matches!(node.records[key], Record::Tombstone(_)),
                    _ => node.records[key] == Record::Absent,
                };
                node.is_up
                    && node.shows_epoch
                    && self.catalogue.layout_of(node.guard) == state.document
                    && (0..self.scenario.keys.len()).all(is_clean)
            })
    }
}
