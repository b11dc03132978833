//! The model as the checker sees it: the states, what can happen in each, and what must hold.

use kv_core::ownership::Role;
use kv_core::version::Version;
use stateright::{Model as Checked, Property};

use crate::catalogue::{Catalogue, LayoutId, Step};
use crate::explore::Explorable;
use crate::rules::Rule;
use crate::scenario::{Op, Scenario};
use crate::state::{Client, Flaw, KEYS, MOVERS, Mover, NODES, Node, Record, State, Value};

pub(crate) const READS: &str = "reads return what the key was meanwhile";
pub(crate) const JUDGES: &str = "conditions and deletes are judged by what the key is";
pub(crate) const ONCE: &str = "no write takes effect twice";
pub(crate) const CURRENT: &str = "requests are carried out under the assignment they were made for";
pub(crate) const ANSWERS: &str = "clients understand what they are answered";
pub(crate) const KEPT: &str = "what was written last is what counts";
pub(crate) const ONE_WRITER: &str = "one node takes the writes of a key";
pub(crate) const STORED: &str = "what was written last is stored somewhere";

pub(crate) const ALL: [&str; 8] = [READS, JUDGES, ONCE, CURRENT, ANSWERS, KEPT, ONE_WRITER, STORED];

/// A scenario, in a world where all rules are kept but perhaps one.
pub(crate) struct Model {
    pub(crate) scenario: Scenario,
    pub(crate) catalogue: Catalogue,
    /// For each key of the scenario a name in the partition that it wants.
    pub(crate) names: Vec<String>,
    /// The rule that is left out.
    pub(crate) without: Option<Rule>,
    /// Whether it makes no difference which mover is which.
    pub(crate) movers_are_alike: bool,
}

/// Something that happens, to the node, mover, client, key or placement of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Record(usize),
    ActOnRecord(usize),
    Wipe(usize),
    Collect(usize, usize),
    Crash(usize),
    Restart(usize),
    Flush(usize),
    Look(usize),
    /// Of a mover whose next window has so many partitions.
    Turn(usize, u32),
    /// A mover fetches a key: their numbers.
    Fetch(usize, usize),
    Deliver(usize),
    Lose(usize),
    Begin(usize),
    TurnBack,
    Retract,
    /// A client begins an operation, after looking at the layout or without.
    Start(usize, bool),
    Exchange(usize),
    GiveUp(usize),
    ArriveLate(usize),
    Help,
    LoseConsul(usize),
    Restore(usize),
    PutBack(usize),
    /// A process that can write to Consul publishes a layout that no step led to, of this placement.
    Forge(usize),
    /// ... or one that gives all members out as lost.
    ForgeLost(usize),
    /// An operator publishes the placement again that was there at first.
    Correct,
}

impl Model {
    pub(crate) fn new(scenario: Scenario, without: Option<Rule>) -> Self {
        let (catalogue, names) = (Catalogue::new(&scenario.placements), scenario.key_names());
        Self { scenario, catalogue, names, without, movers_are_alike: true }
    }

    /// Whether a rule is kept.
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn first_document(&self) -> LayoutId {
        let begun = self.scenario.is_begun.then(|| self.catalogue.step(0, Step::Begin(1)));
        begun.flatten().unwrap_or(0)
    }

    /// A node as it is at the beginning.
    pub(crate) fn first_node(&self, number: usize) -> Node {
        let first = self.catalogue.install(number, None, 0);
        let next = match self.first_document() {
            0 => None,
            document => self.catalogue.install(number, first, document),
        };
        let guard = next.or(first).expect("nothing has moved");
        let record = |key: usize| {
            if self.scenario.leftovers.contains(&(number, key)) {
                let version = Version { epoch: 0, sequence: 1 };
                return Record::Value(Value { value: 4 + key as u8, version });
            }
            let is_stored = self.scenario.stored.get(key) == Some(&true);
            if is_stored && self.role(guard, key) == Role::Owner {
                return Record::Value(first_value(key));
            }
            Record::Absent
        };
        Node {
            is_up: true,
            recorded: guard,
            guard,
            shows_epoch: true,
            records: std::array::from_fn(record),
            sequences: [1; KEYS],
            undurable: None,
        }
    }

    fn happen(&self, state: &mut State, event: Event) -> Option<()> {
        let is_step = matches!(
            event,
            Event::Turn(..) | Event::Begin(_) | Event::TurnBack | Event::Retract | Event::Help
        );
        if is_step && self.scenario.budget.losses > 0 && !self.may_step(state) {
            return None;
        }
        match event {
            Event::Record(node) => self.record(state, node),
            Event::ActOnRecord(node) => self.act_on_record(state, node),
            Event::Wipe(node) => self.wipe(state, node),
            Event::Collect(node, key) => self.collect(state, node, key),
            Event::Crash(node) => self.crash(state, node),
            Event::Restart(node) => self.restart(state, node),
            Event::Flush(node) => self.flush(state, node),
            Event::Look(mover) => self.look(state, mover),
            Event::Turn(mover, size) => self.turn(state, mover, size),
            Event::Fetch(mover, key) => self.fetch_next(state, mover, key),
            Event::Deliver(mover) => self.deliver(state, mover),
            Event::Lose(mover) => self.lose(state, mover),
            Event::Begin(placement) => self.begin(state, placement),
            Event::TurnBack => self.turn_back(state),
            Event::Retract => self.retract(state),
            Event::Start(client, looks) => self.start(state, client, looks),
            Event::Exchange(client) => self.exchange(state, client),
            Event::GiveUp(client) => self.give_up(state, client),
            Event::ArriveLate(index) => self.arrive_late(state, index),
            Event::Help => self.help(state),
            Event::LoseConsul(node) => self.lose_consul(state, node),
            Event::Restore(node) => self.restore(state, node),
            Event::PutBack(node) => self.put_back(state, node),
            Event::Forge(placement) => self.forge(state, Step::Forge(placement as u8)),
            Event::ForgeLost(placement) => self.forge(state, Step::ForgeLost(placement as u8)),
            Event::Correct => self.correct(state),
        }
    }

    fn events_of_node(&self, state: &State, number: usize, events: &mut Vec<Event>) {
        let node = &state.nodes[number];
        if !node.is_up {
            return events.push(Event::Restart(number));
        }
        if node.recorded != node.guard {
            events.push(Event::ActOnRecord(number));
        } else if self.catalogue.layout_of(node.guard) != state.document {
            events.push(Event::Record(number));
        }
        if !node.shows_epoch || !self.keeps(Rule::WipesBeforeAcknowledging) {
            events.push(Event::Wipe(number));
        }
        for key in (0..self.scenario.keys.len()).filter(|key| node.records[*key] != Record::Absent)
        {
            events.push(Event::Collect(number, key));
        }
        if state.budget.crashes > 0 {
            events.push(Event::Crash(number));
        }
        if node.undurable.is_some() {
            events.push(Event::Flush(number));
        }
        if state.budget.losses > 0 && self.catalogue.layout_of(node.guard) != state.document {
            events.push(Event::LoseConsul(number));
        }
        if self.scenario.budget.losses > 0 {
            events.push(Event::Restore(number));
        }
        if state.budget.put_backs > 0 {
            events.push(Event::PutBack(number));
        }
    }

    fn events_of_mover(&self, state: &State, number: usize, events: &mut Vec<Event>) {
        let mover = &state.movers[number];
        if mover.seen != state.document && !self.keeps(Rule::ComparesAndSets) {
            events.push(Event::Look(number));
        }
        events.extend(self.scenario.windows.iter().map(|size| Event::Turn(number, *size)));
        if mover.copy.is_some() {
            events.extend([Event::Deliver(number), Event::Lose(number)]);
        } else {
            events.extend((0..self.scenario.keys.len()).map(|key| Event::Fetch(number, key)));
        }
    }

    fn events_of_client(&self, state: &State, number: usize, events: &mut Vec<Event>) {
        let client = &state.clients[number];
        if client.waits.is_some() {
            events.push(Event::Exchange(number));
            if state.budget.timeouts > 0 {
                events.push(Event::GiveUp(number));
            }
        } else if usize::from(client.at) < self.scenario.programs[number].len() {
            events.push(Event::Start(number, true));
            // A write by an old layout is the same as one that is delayed.
            let reads =
                matches!(self.scenario.programs[number][usize::from(client.at)], Op::Get(_));
            if reads && client.view != state.document {
                events.push(Event::Start(number, false));
            }
        }
    }
}

impl Explorable for Model {
    fn name(&self) -> String {
        let what = self.without.map_or("all rules".to_owned(), |rule| format!("without {rule:?}"));
        format!("{}, {what}", self.scenario.name)
    }

    fn is_over(&self, state: &State) -> bool {
        self.is_done(state)
    }
}

impl Checked for Model {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let document = self.first_document();
        let client = Client { view: document, at: 0, read: None, waits: None, effective: 0 };
        let mut truth = [None; KEYS];
        for key in (0..self.scenario.keys.len()).filter(|key| self.scenario.stored[*key]) {
            truth[key] = Some(first_value(key));
        }
        vec![State {
            document,
            nodes: std::array::from_fn::<_, NODES, _>(|number| self.first_node(number)),
            movers: [Mover { copy: None, seen: document, verified: false }; MOVERS],
            clients: vec![client; self.scenario.programs.len()],
            late: Vec::new(),
            truth,
            budget: self.scenario.budget,
            flaws: 0,
        }]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        (0..self.scenario.nodes).for_each(|node| self.events_of_node(state, node, events));
        (0..state.clients.len()).for_each(|client| self.events_of_client(state, client, events));
        events.extend((0..state.late.len()).map(Event::ArriveLate));
        (0..self.scenario.movers).for_each(|mover| self.events_of_mover(state, mover, events));
        if self.is_frozen(state.document) {
            events.push(Event::Help);
        }
        if state.budget.begins > 0 {
            events.extend((0..self.scenario.placements.len()).map(Event::Begin));
        }
        if state.budget.forgeries > 0 {
            events.extend((0..self.scenario.placements.len()).map(Event::Forge));
            events.extend((0..self.scenario.placements.len()).map(Event::ForgeLost));
        }
        events.extend((state.budget.corrections > 0).then_some(Event::Correct));
        events.extend((state.budget.turns > 0).then_some(Event::TurnBack));
        events.extend((state.budget.retracts > 0).then_some(Event::Retract));
    }

    fn next_state(&self, state: &State, event: Event) -> Option<State> {
        let mut next = state.clone();
        self.happen(&mut next, event)?;
        if self.movers_are_alike {
            next.movers[..self.scenario.movers].sort_unstable();
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(READS, |_, state: &State| state.is_without(Flaw::Read)),
            Property::always(JUDGES, |_, state: &State| state.is_without(Flaw::Judgement)),
            Property::always(ONCE, |_, state: &State| state.is_without(Flaw::Twice)),
            Property::always(CURRENT, |_, state: &State| state.is_without(Flaw::Outdated)),
            Property::always(ANSWERS, |_, state: &State| state.is_without(Flaw::Answer)),
            Property::always(KEPT, Self::is_kept),
            Property::always(ONE_WRITER, Self::has_one_writer),
            Property::always(STORED, Self::is_stored),
        ]
    }
}

fn first_value(key: usize) -> Value {
    Value { value: 1 + key as u8, version: Version { epoch: 1, sequence: 1 } }
}
