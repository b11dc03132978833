//! What clients do: they carry their operations out by the real `Attempt`, help to open windows, and
//! at times wait no more.

use kv_core::attempt::{Attempt, Step, SubReply, SubRequest, TransportFailure};
use kv_core::operation::Done;

use crate::catalogue;
use crate::cluster::Model;
use crate::rules::Rule;
use crate::scenario::Op;
use crate::state::{Ask, Flaw, Request, State, Value, Waiting};
use crate::truth::possible;

impl Model {
    /// A client begins its operation, under the layout that it knows or the newest.
    pub(crate) fn start(&self, state: &mut State, number: usize, looks: bool) -> Option<()> {
        let document = state.document;
        let client = &mut state.clients[number];
        let op = *self.scenario.programs[number].get(usize::from(client.at))?;
        if client.waits.is_some() {
            return None;
        }
        let layout = if looks { document } else { client.view };
        let known = self.catalogue.layout(layout);
        let (client_number, at) = (number as u8, client.at);
        let mut request = Request {
            client: client_number,
            at,
            node: 0,
            layout,
            read: client.read,
            ask: Ask::Operation,
        };
        let assignment = known.assignment(self.partition(op.key()));
        let (attempt, step) = Attempt::start(assignment, &self.operation(&request, op));
        let Step::Send { node, .. } = step else { return None };
        request.node = known.node(node) as u8;
        let is_read = matches!(op, Op::Get(_));
        let possible = if is_read { possible(state.truth[op.key()]) } else { 0 };
        client.view = if self.reads_from(number, client.at) { layout } else { 0 };
        client.waits = Some(Waiting { attempt, request, possible, admitted: None });
        Some(())
    }

    /// The request of a client arrives, and is answered.
    pub(crate) fn exchange(&self, state: &mut State, number: usize) -> Option<()> {
        let mut waiting = state.clients[number].waits.clone()?;
        let reads = waiting.request.ask == Ask::SourceRead
            || matches!(self.op(&waiting.request), Op::Get(_));
        if reads && !self.keeps(Rule::LooksAgainAfterReading) && waiting.admitted.is_none() {
            let node = &state.nodes[usize::from(waiting.request.node)];
            waiting.admitted = node.is_up.then_some(node.guard);
            waiting.admitted?;
            state.clients[number].waits = Some(waiting);
            return Some(());
        }
        let answer = self.serve(state, &waiting.request, waiting.admitted.take())?;
        // Its own write may have changed which values are possible.
        waiting.possible = state.clients[number].waits.as_ref()?.possible;
        self.go_on(state, number, waiting, answer);
        Some(())
    }

    /// A client waits no more; its request may arrive all the same.
    pub(crate) fn give_up(&self, state: &mut State, number: usize) -> Option<()> {
        let waiting = state.clients[number].waits.clone()?;
        if state.budget.timeouts == 0 {
            return None;
        }
        state.budget.timeouts -= 1;
        let is_read = waiting.request.ask == Ask::SourceRead
            || matches!(self.op(&waiting.request), Op::Get(_));
        if !is_read {
            state.late.push(waiting.request);
            state.late.sort_unstable();
        }
        self.go_on(state, number, waiting, SubReply::Failed(TransportFailure::Unanswered));
        Some(())
    }

    /// A request arrives whose client waits no more.
    pub(crate) fn arrive_late(&self, state: &mut State, index: usize) -> Option<()> {
        let request = *state.late.get(index)?;
        self.serve(state, &request, None)?;
        state.late.remove(index);
        self.forget_effects(state, usize::from(request.client));
        Some(())
    }

    /// A client, tired of waiting for a frozen partition, opens the window.
    pub(crate) fn help(&self, state: &mut State) -> Option<()> {
        let waits = |(program, client): (&Vec<Op>, &crate::state::Client)| {
            usize::from(client.at) < program.len()
        };
        let anybody = self.scenario.programs.iter().zip(&state.clients).any(waits);
        if !anybody || !self.keeps(Rule::AnyMoverGoesOn) || !self.may_open(state, state.document) {
            return None;
        }
        state.document = self.catalogue.step(state.document, catalogue::Step::Open)?;
        Some(())
    }

    fn go_on(&self, state: &mut State, number: usize, mut waiting: Waiting, answer: SubReply) {
        let step = waiting.attempt.after(answer);
        let client = &mut state.clients[number];
        client.waits = None;
        match step {
            Step::Send { node, request } => {
                let known = self.catalogue.layout(waiting.request.layout);
                waiting.request.node = known.node(node) as u8;
                waiting.request.ask = match request {
                    SubRequest::Operation => Ask::Operation,
                    SubRequest::SourceRead => Ask::SourceRead,
                    SubRequest::Promotion(it) => {
                        Ask::Promotion(it.version, it.value.map(|value| value[0]))
                    }
                };
                client.waits = Some(waiting);
            }
            Step::Done(done) => {
                self.next_operation(state, number);
                let client = &mut state.clients[number];
                if let Done::Read(record) = done {
                    let read = record.and_then(|it| {
                        Some(Value { value: *it.value.first()?, version: it.version? })
                    });
                    if self.compares_from(number, client.at) {
                        client.read = read;
                    }
                    if waiting.possible & possible(read) == 0 {
                        state.blame(Flaw::Read);
                    }
                }
            }
            Step::StartOver { .. } => {}
            Step::Refused(_) => self.next_operation(state, number),
            Step::Unknown if self.keeps(Rule::SendsWritesOnce) => {
                self.next_operation(state, number);
            }
            Step::Unknown => {}
            Step::NotUnderstood => state.blame(Flaw::Answer),
        }
    }

    /// A client is done with its operation. What cannot matter any more is forgotten.
    fn next_operation(&self, state: &mut State, number: usize) {
        let client = &mut state.clients[number];
        client.at += 1;
        if !self.reads_from(number, client.at) {
            client.view = 0;
        }
        if !self.compares_from(number, client.at) {
            client.read = None;
        }
        self.forget_effects(state, number);
    }

    fn forget_effects(&self, state: &mut State, number: usize) {
        let client = &mut state.clients[number];
        let late = state.late.iter().filter(|it| usize::from(it.client) == number);
        client.effective &= late.fold(1 << client.at, |bits, it| bits | 1 << it.at);
    }

    fn reads_from(&self, client: usize, at: u8) -> bool {
        self.scenario.programs[client][usize::from(at)..].iter().any(|it| matches!(it, Op::Get(_)))
    }

    fn compares_from(&self, client: usize, at: u8) -> bool {
        let program = &self.scenario.programs[client][usize::from(at)..];
        program.iter().any(|it| matches!(it, Op::Replace(_)))
    }
}
