//! Copies of a partition on several nodes, explored: nodes die in any step, are evicted while they run, come
//! back with all, with less or with nothing, and sessions break, while one key is written and read.
//!
//! All that decides is `kv_core::copies`, the code that nodes are to run. The model is what stands around it:
//!
//! | file | what |
//! |---|---|
//! | `state` | the row in Consul, nodes, sessions between them, compare-and-sets under way |
//! | `faults` | what goes wrong with nodes |
//! | `layouts` | how nodes install a layout, and propose the next one |
//! | `events` | what happens, each a step of one process: sessions, leases, terms, writes and reads |
//! | `scenarios` | with how many copies, and how much goes wrong |
//! | `mutants` | each rule left out once |
//!
//! # What must hold
//!
//! A read gives what was written last, or later: a write's value is its number, its author is one client that goes
//! on after an acknowledgement or after it has lost sight of a write, and no read gives a smaller one than was
//! acknowledged or read before (`READS`). What was acknowledged is at every copy that is in sync by the newest
//! layout (`HELD`). And from every state there is a way, without any further fault, to where all copies that are
//! left are in sync and equal, and served.
//!
//! # Left out
//!
//! - A read is one moment: the value, then the clock. So is a durable append. A lease that arrives late is none, since
//!   it counts from when it was asked for: it ends at its holder before its granter has waited.
//! - Several keys: a session's stream is in order, so that one key stands for all.
//! - How long one waits before one evicts. Here it is at any moment.
//! - Removal of records, since no copy moves here.

mod events;
mod faults;
mod layouts;
mod mutants;
mod scenarios;
mod state;

use stateright::{Model as Checked, Property};

use self::state::{Budget, NODES, Power, State};
use crate::explore::Explorable;

pub(super) const READS: &str = "reads do not go back";
pub(super) const HELD: &str = "what was acknowledged is at every copy that is in sync";

/// A rule, which a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A write is acknowledged once all that are needed have it.
    WaitsForAcknowledgements,
    /// Whom a primary has promised to wait for, it waits for.
    WaitsForWhomItPromised,
    /// Also where the session is over.
    KeepsPromises,
    /// Only a learner that has acknowledged everything is promised.
    PromisesWhoOwesNothing,
    /// A learner is admitted only where its primary has promised, at this very epoch.
    AsksForPromises,
    /// A primary that was started sets a fence where there are learners.
    SetsAFence,
    /// A primary goes by the layout that it has installed, not by the one that it has proposed.
    ConfirmsByWhatIsInstalled,
    /// A new primary makes all in sync equal before it serves.
    Reconciles,
    /// What a copy has is replaced, not dropped ahead.
    ReplacesInPlace,
    /// A copy takes nothing from a primary that is none any more.
    RefusesOldPrimaries,
    /// A primary that has less than it has sent gives its place up.
    Yields,
    /// A write is not shown before it is confirmed.
    HidesWhatIsNotConfirmed,
    /// A primary reads with a lease from each that it needs.
    ReadsWithLeases,
    /// A lease that was granted before the row changed does not count for it.
    CountsLeasesOfThisRow,
    /// A new primary waits until leases that it granted have run out.
    WaitsForLeases,
    /// After a start, too.
    WaitsAfterAStart,
    /// A layout is durable before a node acts by it.
    RecordsBeforeActing,
    /// The layout changes by compare-and-set only.
    ComparesAndSets,
}

/// Something that happens, to the nodes of those numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Start(usize),
    /// With or without what was not synced.
    Crash(usize, bool),
    Lose(usize),
    PutBack(usize),
    Install(usize),
    Evict {
        reporter: usize,
        node: usize,
    },
    Fence(usize),
    Admit,
    /// Consul decides on a compare-and-set.
    Decide,
    Open(usize, usize),
    Deliver(usize, usize),
    /// An acknowledgement arrives at the primary.
    Acknowledge(usize, usize),
    Break(usize, usize),
    /// The second grants the first a lease.
    Grant(usize, usize),
    EndLease(usize, usize),
    WaitOut {
        granter: usize,
        of: usize,
    },
    Serve(usize),
    Promise(usize, usize),
    Write(usize),
    Confirm(usize),
    Read(usize),
}

pub(crate) struct Model {
    pub(super) name: &'static str,
    pub(super) copies: usize,
    pub(super) min_in_sync: usize,
    pub(super) budget: Budget,
    /// The rule that is left out.
    pub(super) without: Option<Rule>,
}

impl Model {
    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Whether every copy that is in sync has what was acknowledged. One whose directory is lost or was put back
    /// has less, until it is evicted.
    fn is_held(&self, state: &State) -> bool {
        let has_it = |it: usize| {
            let node = &state.nodes[it];
            let was_put_back = state.budget.put_backs < self.budget.put_backs;
            node.power == Power::Lost || was_put_back || node.value >= state.acknowledged
        };
        state.document.row.in_sync().iter().all(has_it)
    }
}

impl Explorable for Model {
    fn name(&self) -> String {
        let what = self.without.map_or("all rules".to_owned(), |rule| format!("without {rule:?}"));
        format!("{}, {what}", self.name)
    }

    fn is_over(&self, state: &State) -> bool {
        let row = state.document.row;
        let primary = &state.nodes[usize::from(row.primary())];
        let is_whole = |it: usize| {
            let node = &state.nodes[it];
            let is_equal = row.in_sync().contains(it) && node.value == primary.value;
            let knows = node.view.installed == state.document.epoch;
            node.power == Power::Lost || (node.power == Power::On && knows && is_equal)
        };
        let is_left = (0..self.copies)
            .any(|it| row.in_sync().contains(it) && state.nodes[it].power != Power::Lost);
        // Where the last that was in sync is lost, an operator has to decide.
        !is_left
            || (primary.term.is_some_and(|it| it.serves())
                && primary.pending.is_none()
                && (0..self.copies).all(is_whole))
    }
}

impl Checked for Model {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(self.copies, self.budget)]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        for node in (0..self.copies).filter(|it| state.nodes[*it].power != Power::Lost) {
            events.extend([
                Event::Start(node),
                Event::Crash(node, true),
                Event::Crash(node, false),
                Event::Lose(node),
                Event::PutBack(node),
                Event::Install(node),
                Event::Fence(node),
                Event::Serve(node),
                Event::Write(node),
                Event::Confirm(node),
                Event::Read(node),
            ]);
            for other in 0..self.copies {
                events.push(Event::Evict { reporter: node, node: other });
                if other != node {
                    events.extend([
                        Event::Open(node, other),
                        Event::Deliver(node, other),
                        Event::Acknowledge(node, other),
                        Event::Break(node, other),
                        Event::Grant(node, other),
                        Event::EndLease(node, other),
                        Event::WaitOut { granter: node, of: other },
                        Event::Promise(node, other),
                    ]);
                }
            }
        }
        events.extend([Event::Admit, Event::Decide]);
        debug_assert!(self.copies <= NODES);
    }

    fn next_state(&self, state: &State, event: Event) -> Option<State> {
        let mut next = *state;
        self.happen(&mut next, event)?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(READS, |_, state: &State| !state.has_gone_back),
            Property::always(HELD, Self::is_held),
        ]
    }
}
