//! Copies of a node's data directory, explored: whichever is started when, and whichever process dies or
//! stands still in between, at most one process answers, and what it answers has all that Consul counts.
//!
//! What judges a directory is the code that nodes run (`kv_core::lineage`). The model is what stands around
//! it: the steps of a start (`kvnode::succession`), each of which others can come between, a process that
//! stands still and confirms its claim before it answers again (`kvnode::tenure`,
//! `kvnode::membership`), and a compare-and-set that arrives after its sender has died.
//!
//! A process that is asked whether it runs answers, unless it stands still: a node that cannot be reached
//! from where its copy is started, and not by Consul either, is left out.

use kv_core::incarnation::Incarnation;
use kv_core::lineage::Lineage;
use stateright::{Checker, HasDiscoveries, Model as Checked, Property};

const ONE: &str = "at most one process answers";
const COUNTED: &str = "what answers has all that Consul counts";
const STARTS: &str = "a directory that was never copied can always be started";

/// A rule of a start, which a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    JudgesByIncarnation,
    JudgesBySequence,
    KeepsBeforeItClaims,
    ComparesAndSets,
    AsksTwins,
    LooksAtTheClaimBeforeItAsks,
    LooksAfterAStandstill,
    ConfirmsByAChange,
}

/// How many directories there can be, and how often things may yet happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Budget {
    copies: u8,
    starts: u8,
    writes: u8,
    standstills: u8,
    /// Consuls that are put back to the claim before.
    returns: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Claim {
    incarnation: Option<Incarnation>,
    sequence: u32,
}

/// A claim that was sent, with the index that it compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sent {
    index: u8,
    claim: Claim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Down,
    /// The claim of this index did not speak against it.
    Judged(u8, Claim),
    /// Nor did a twin.
    Asked(u8, Claim),
    /// It has written its next incarnation down, and sent it.
    Begun(Sent),
    Answers(Incarnation),
    StandsStill(Incarnation),
}

/// A data directory. Its writes are bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Directory {
    lineage: Lineage,
    data: u16,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    claim: Claim,
    before: Claim,
    index: u8,
    directories: Vec<Directory>,
    /// A claim on its way whose sender has died.
    late: Option<Sent>,
    /// The writes that the claim counts.
    counted: u16,
    written: u8,
    drawn: u64,
    budget: Budget,
    was_refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Copy(usize),
    Judge(usize),
    Ask(usize),
    Begin(usize),
    Claim(usize),
    Arrives,
    Write(usize),
    Count(usize),
    Stop(usize),
    Kill(usize),
    StandStill(usize),
    GoOn(usize),
    Notice(usize),
    ConsulReturns,
}

struct Model {
    budget: Budget,
    without: Option<Rule>,
}

impl Directory {
    fn sequence(&self) -> u32 {
        self.data.count_ones()
    }
}

impl State {
    fn set(&mut self, sent: Sent) {
        self.before = std::mem::replace(&mut self.claim, sent.claim);
        self.index += 1;
    }

    fn answers(&self) -> impl Iterator<Item = &Directory> {
        self.directories.iter().filter(|it| matches!(it.phase, Phase::Answers(_)))
    }
}

impl Model {
    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Whether a start may go on with this directory by the claim that Consul holds.
    fn may_start(&self, directory: &Directory, claim: Claim) -> bool {
        let is_newest = directory.lineage.is_newest(claim.incarnation);
        let has_all = directory.sequence() >= claim.sequence;
        (is_newest || !self.keeps(Rule::JudgesByIncarnation))
            && (has_all || !self.keeps(Rule::JudgesBySequence))
    }

    fn happen(&self, state: &mut State, event: Event) -> Option<()> {
        match event {
            Event::Copy(from) => {
                state.budget.copies = state.budget.copies.checked_sub(1)?;
                let copy = Directory { phase: Phase::Down, ..state.directories[from].clone() };
                state.directories.push(copy);
            }
            Event::Judge(number) => {
                let directory = &state.directories[number];
                let may_start = self.may_start(directory, state.claim);
                if directory.phase != Phase::Down || state.budget.starts == 0 {
                    return None;
                }
                if may_start {
                    state.budget.starts -= 1;
                    let phase = Phase::Judged(state.index, state.claim);
                    state.directories[number].phase = phase;
                } else if state.directories.len() == 1 && !state.was_refused {
                    state.was_refused = true;
                } else {
                    return None;
                }
            }
            Event::Ask(number) => {
                let Phase::Judged(index, claim) = state.directories[number].phase else {
                    return None;
                };
                let has_twin = state.answers().next().is_some() && self.keeps(Rule::AsksTwins);
                // Looked at only now, the claim may be one that a twin has confirmed meanwhile.
                let (index, claim) = match self.keeps(Rule::LooksAtTheClaimBeforeItAsks) {
                    true => (index, claim),
                    false => (state.index, state.claim),
                };
                let phase = if has_twin { Phase::Down } else { Phase::Asked(index, claim) };
                state.directories[number].phase = phase;
            }
            Event::Begin(number) => self.begin(state, number)?,
            Event::Claim(number) => self.claim(state, number)?,
            Event::Arrives => {
                let sent = state.late.take()?;
                if sent.index == state.index {
                    state.set(sent);
                }
            }
            Event::Write(number) => {
                let directory = &mut state.directories[number];
                let Phase::Answers(_) = directory.phase else { return None };
                state.budget.writes = state.budget.writes.checked_sub(1)?;
                directory.data |= 1 << state.written;
                state.written += 1;
            }
            Event::Count(number) | Event::Stop(number) => {
                let directory = &mut state.directories[number];
                let Phase::Answers(own) = directory.phase else { return None };
                if event == Event::Stop(number) {
                    directory.phase = Phase::Down;
                }
                let claim = Claim { sequence: directory.sequence(), ..state.claim };
                if state.claim.incarnation == Some(own) && claim != state.claim {
                    state.counted = directory.data;
                    state.set(Sent { index: state.index, claim });
                } else if event == Event::Count(number) {
                    return None;
                }
            }
            Event::Kill(number) => {
                let directory = &mut state.directories[number];
                match std::mem::replace(&mut directory.phase, Phase::Down) {
                    Phase::Down => return None,
                    Phase::Begun(sent) => state.late = Some(sent),
                    _ => {}
                }
            }
            Event::StandStill(number) => {
                let directory = &mut state.directories[number];
                let Phase::Answers(own) = directory.phase else { return None };
                state.budget.standstills = state.budget.standstills.checked_sub(1)?;
                directory.phase = Phase::StandsStill(own);
            }
            Event::GoOn(number) => self.go_on(state, number)?,
            Event::Notice(number) => notice(state, number)?,
            Event::ConsulReturns => {
                state.budget.returns = state.budget.returns.checked_sub(1)?;
                let claim = state.before;
                state.set(Sent { index: state.index, claim });
            }
        }
        Some(())
    }

    /// It looks at the claim before it answers again.
    fn go_on(&self, state: &mut State, number: usize) -> Option<()> {
        let Phase::StandsStill(own) = state.directories[number].phase else { return None };
        let claimed = state.claim.incarnation;
        let is_own = claimed.is_none_or(|it| it == own || it.number < own.number);
        let goes_on = is_own || !self.keeps(Rule::LooksAfterAStandstill);
        let phase = if goes_on { Phase::Answers(own) } else { Phase::Down };
        state.directories[number].phase = phase;
        if is_own && self.keeps(Rule::ConfirmsByAChange) {
            let claim = Claim { incarnation: Some(own), ..state.claim };
            state.set(Sent { index: state.index, claim });
        }
        Some(())
    }

    fn begin(&self, state: &mut State, number: usize) -> Option<()> {
        let directory = &mut state.directories[number];
        let Phase::Asked(index, claim) = directory.phase else { return None };
        state.drawn += 1;
        // The nonces are drawn so that the checker sees the same ones every time.
        let next = directory.lineage.next(claim.incarnation).number;
        let next = Incarnation { number: next, nonce: state.drawn };
        if self.keeps(Rule::KeepsBeforeItClaims) {
            directory.lineage = directory.lineage.with(next);
        }
        let claim = Claim { incarnation: Some(next), sequence: directory.sequence() };
        directory.phase = Phase::Begun(Sent { index, claim });
        Some(())
    }

    fn claim(&self, state: &mut State, number: usize) -> Option<()> {
        let Phase::Begun(sent) = state.directories[number].phase else { return None };
        let is_set = sent.index == state.index || !self.keeps(Rule::ComparesAndSets);
        let directory = &mut state.directories[number];
        let own = sent.claim.incarnation?;
        // It looks again, unless it is killed.
        directory.phase = if is_set { Phase::Answers(own) } else { Phase::Down };
        if is_set {
            if !self.keeps(Rule::KeepsBeforeItClaims) {
                directory.lineage = directory.lineage.with(own);
            }
            state.set(sent);
        }
        Some(())
    }
}

/// It looks at the claim, as it does every few seconds.
fn notice(state: &mut State, number: usize) -> Option<()> {
    let directory = &mut state.directories[number];
    let Phase::Answers(own) = directory.phase else { return None };
    match state.claim.incarnation {
        Some(claimed) if claimed == own => return None,
        Some(claimed) if claimed.number >= own.number => directory.phase = Phase::Down,
        // Consul has lost it, or was put back to an older state.
        _ => {
            let claim = Claim { incarnation: Some(own), sequence: 0 };
            state.set(Sent { index: state.index, claim });
        }
    }
    Some(())
}

impl Checked for Model {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let directory = Directory { lineage: Lineage::default(), data: 0, phase: Phase::Down };
        vec![State {
            claim: Claim::default(),
            before: Claim::default(),
            index: 0,
            directories: vec![directory],
            late: None,
            counted: 0,
            written: 0,
            drawn: 0,
            budget: self.budget,
            was_refused: false,
        }]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        for number in 0..state.directories.len() {
            events.extend([
                Event::Copy(number),
                Event::Judge(number),
                Event::Ask(number),
                Event::Begin(number),
                Event::Claim(number),
                Event::Write(number),
                Event::Count(number),
                Event::Stop(number),
                Event::Kill(number),
                Event::StandStill(number),
                Event::GoOn(number),
                Event::Notice(number),
            ]);
        }
        events.extend([Event::Arrives, Event::ConsulReturns]);
    }

    fn next_state(&self, state: &State, event: Event) -> Option<State> {
        let mut next = state.clone();
        self.happen(&mut next, event)?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE, |_, state: &State| state.answers().count() <= 1),
            Property::always(COUNTED, |_, state: &State| {
                state.answers().all(|it| it.data & state.counted == state.counted)
            }),
            Property::always(STARTS, |_, state: &State| !state.was_refused),
        ]
    }
}

/// One directory is copied.
const COPIED: Budget = Budget { copies: 1, starts: 4, writes: 2, standstills: 1, returns: 0 };
/// The only directory is started again and again.
const ALONE: Budget = Budget { copies: 0, starts: 5, writes: 1, standstills: 1, returns: 1 };

/// The property that does not hold, and the events that lead to where it does not.
fn violation(budget: Budget, without: Option<Rule>) -> Option<(&'static str, Vec<Event>)> {
    let checker = Model { budget, without }.checker().finish_when(HasDiscoveries::Any);
    let checker = checker.spawn_bfs().join();
    println!("{without:?}: {} states", checker.unique_state_count());
    let found = checker.discoveries().into_iter().next();
    found.map(|(property, path)| (property, path.into_actions()))
}

#[test]
fn of_all_copies_one_answers_and_has_what_counts() {
    assert_eq!(violation(COPIED, None), None);
}

#[test]
fn a_directory_without_copies_starts_whatever_died_before() {
    assert_eq!(violation(ALONE, None), None);
}

#[test]
fn without_any_of_the_rules_something_breaks() {
    for (rule, budget, property) in [
        (Rule::JudgesByIncarnation, COPIED, COUNTED),
        (Rule::JudgesBySequence, COPIED, COUNTED),
        (Rule::KeepsBeforeItClaims, ALONE, STARTS),
        (Rule::ComparesAndSets, COPIED, ONE),
        (Rule::AsksTwins, COPIED, ONE),
        (Rule::LooksAtTheClaimBeforeItAsks, COPIED, COUNTED),
        (Rule::LooksAfterAStandstill, COPIED, ONE),
        (Rule::ConfirmsByAChange, COPIED, ONE),
    ] {
        let found = violation(budget, Some(rule));
        let broken = found.as_ref().map(|(property, _)| *property);
        assert_eq!(broken, Some(property), "without {rule:?}: {found:?}");
    }
}
