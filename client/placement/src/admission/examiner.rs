//! Asking a strategy, and judging what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::case::{ExamCase, Thoroughness};
use super::property::Property;
use super::report::{Figure, Finding, Judgement, Report};
use crate::measure::{Balance, Movement, Placed, Spread};
use crate::{
    Cache, Cost, Strategy, StrategyError, StrategyFault, StrategyHost, StrategyNode, thread_time,
};

/// The most load that a node may have, over its due. With the questions' partitions, chance
/// alone gives the most loaded of 16 nodes 1.1 to 1.15 times its due.
const LOAD_RATIO_MAX: f64 = 1.25;
/// The most that a change may move, over what has to move.
const MOVEMENT_RATIO_MAX: f64 = 1.5;
/// The most fuel that the questions of the gate may take together, those about replicas apart. Ordinary
/// strategies take a third of it at most.
const GATE_FUEL_MAX: u64 = 2_000_000_000;
/// The CPU time after which the gate stops asking, for strategies whose instructions are unusually
/// slow. Ordinary ones take a third of a second, so a machine that is ten times slower examines them too.
const GATE_TIME_MAX: Duration = Duration::from_secs(4);
/// The same for the questions beyond those.
const FULL_TIME_MAX: Duration = Duration::from_secs(600);
/// A cluster has one replica of each partition today, so nothing more is wanted of a strategy.
const REPLICAS_WANTED: u32 = 1;

/// Asks `strategy`, which is called with `config`, and judges what it answers.
///
/// It blocks for as long as the strategy computes, and ends early where the strategy breaks a rule that
/// leaves nothing to judge.
#[must_use]
pub fn examine(strategy: &Strategy, config: &str, thoroughness: Thoroughness) -> Report {
    let mut examiner = Examiner {
        strategy,
        config,
        time_max: Duration::ZERO,
        time_left: Duration::ZERO,
        fuel_left: u64::MAX,
        stopped: None,
        questions: 0,
        declined: 0,
        known: BTreeMap::new(),
    };
    // An error of a strategy ends it: what it was is known by then.
    let _ = examiner.examine(thoroughness);
    examiner.report()
}

/// The findings about a property so far.
#[derive(Default)]
struct Known {
    figure: Option<Figure>,
    /// The first and smallest question that showed that the strategy lacks it.
    counterexample: Option<String>,
    was_seen: bool,
}

struct Examiner<'a> {
    strategy: &'a Strategy,
    config: &'a str,
    /// The CPU time that the questions may take that are being asked.
    time_max: Duration,
    /// The part of it that is left.
    time_left: Duration,
    /// The fuel that is left for the questions that are being asked.
    fuel_left: u64,
    /// How the clock ended the examination, where it did.
    stopped: Option<String>,
    questions: usize,
    /// How many of them the strategy said that it does not answer.
    declined: usize,
    known: BTreeMap<Property, Known>,
}

/// The strategy broke a rule, or was stopped, after which there is nothing more to find out.
struct Broken;

impl Examiner<'_> {
    fn examine(&mut self, thoroughness: Thoroughness) -> Result<(), Broken> {
        self.give_time(GATE_TIME_MAX);
        self.fuel_left = GATE_FUEL_MAX;
        for count in ExamCase::equal_sizes() {
            self.balance_of_equals(count)?;
        }
        for question in ExamCase::weighted() {
            self.weights(&question)?;
        }
        for count in ExamCase::equal_sizes() {
            self.join_and_leave(&ExamCase::equal(count + 1))?;
        }
        for question in ExamCase::weighted() {
            self.join_and_leave(&question)?;
        }
        self.fuel_left = u64::MAX;
        if thoroughness == Thoroughness::Full {
            self.give_time(FULL_TIME_MAX);
            for question in ExamCase::weighted() {
                self.ask_verified(&question)?;
            }
            self.compile_anew()?;
            for question in ExamCase::random() {
                self.ask_verified(&question)?;
            }
            for question in ExamCase::largest() {
                self.ask(&question)?;
            }
        }
        // Last, since what fails with several replicas leaves nothing open about one.
        for question in ExamCase::zoned() {
            self.zones(&question)?;
        }
        Ok(())
    }

    /// Lets the questions that follow take so much time together.
    fn give_time(&mut self, time_max: Duration) {
        (self.time_max, self.time_left) = (time_max, time_max);
    }

    /// Asks the strategy, for as long as there is time.
    fn timed<T>(
        &mut self,
        ask: impl FnOnce(&Strategy) -> Result<T, StrategyError>,
    ) -> Result<T, StrategyError> {
        let began = thread_time();
        let answer = ask(&self.strategy.until(began + self.time_left));
        self.time_left = self.time_left.saturating_sub(thread_time() - began);
        answer
    }

    fn balance_of_equals(&mut self, count: usize) -> Result<(), Broken> {
        let question = ExamCase::equal(count);
        if let Some(owners) = self.ask_verified(&question)? {
            self.load(Property::Balanced, &question, &owners);
        }
        Ok(())
    }

    fn weights(&mut self, question: &ExamCase) -> Result<(), Broken> {
        // Whether it is a pure function, smaller questions have told.
        if let Some(owners) = self.ask(question)? {
            self.load(Property::HonoursWeights, question, &owners);
        }
        Ok(())
    }

    fn load(&mut self, property: Property, question: &ExamCase, owners: &[u32]) {
        let Some(placed) = Placed::new(&question.nodes, owners, question.replicas) else { return };
        let balance = Balance::of_partitions(placed);
        let figure = Figure {
            what: "times what is due to it, on the most loaded node",
            value: balance.max,
            limit: Some(LOAD_RATIO_MAX),
        };
        let most = balance.ratios.iter().position(|ratio| *ratio == balance.max);
        let node = most.map_or("", |index| question.nodes[index].id.as_str());
        self.note(property, figure, || {
            let load = most.map_or(0, |index| balance.loads[index]);
            format!("{question}: {node} gets {load}, {:.2} times what is due to it", balance.max)
        });
    }

    /// Has the first node, the last one and one between them join the others, and leave them.
    fn join_and_leave(&mut self, all: &ExamCase) -> Result<(), Broken> {
        let Some(owners) = self.ask(all)? else { return Ok(()) };
        let Some(with) = Placed::new(&all.nodes, &owners, all.replicas) else { return Ok(()) };
        let last = all.nodes.len() - 1;
        for index in BTreeSet::from([last, last / 2, 0]) {
            let rest = all.without(index);
            let id = &all.nodes[index].id;
            let Some(owners) = self.ask(&rest)? else { continue };
            let Some(without) = Placed::new(&rest.nodes, &owners, rest.replicas) else { continue };
            let joins = Movement::between(without, with);
            self.movement(Property::MovesLittleOnJoin, joins, || format!("{rest}, {id} joins"));
            let leaves = Movement::between(with, without);
            self.movement(Property::MovesLittleOnLeave, leaves, || format!("{all}, {id} leaves"));
        }
        Ok(())
    }

    fn movement(
        &mut self,
        property: Property,
        movement: Option<Movement>,
        case: impl FnOnce() -> String,
    ) {
        let Some((movement, ratio)) = movement.and_then(|it| it.ratio().map(|ratio| (it, ratio)))
        else {
            return;
        };
        let figure = Figure {
            what: "times what has to move",
            value: ratio,
            limit: Some(MOVEMENT_RATIO_MAX),
        };
        self.note(property, figure, || {
            let case = case();
            let Movement { moved, total, needless, .. } = movement;
            format!(
                "{case}: {moved} of {total} move, {ratio:.2} times what has to, {needless} of them between nodes that stay"
            )
        });
    }

    fn zones(&mut self, question: &ExamCase) -> Result<(), Broken> {
        let Some(owners) = self.ask_verified(question)? else { return Ok(()) };
        self.see(Property::ReplicasDistinct);
        let Some(placed) = Placed::new(&question.nodes, &owners, question.replicas) else {
            return Ok(());
        };
        let spread = Spread::of(placed);
        let figure = Figure {
            what: "partitions in fewer zones than possible",
            value: spread.short as f64,
            limit: Some(0.0),
        };
        self.note(Property::ZonesDistinct, figure, || {
            let owners = |partition: usize| {
                let owners = placed.partitions().nth(partition).unwrap_or_default().iter();
                let told = |&owner: &u32| {
                    let StrategyNode { id, zone, .. } = &question.nodes[owner as usize];
                    format!("{id} ({zone})")
                };
                owners.map(told).collect::<Vec<_>>().join(" and ")
            };
            let partition = spread.first_short.unwrap_or_default();
            format!("{question}: partition {partition} is on {}", owners(partition))
        });
        Ok(())
    }

    /// The owners, after proving that every client gets the same; `None` if the strategy declines.
    fn ask_verified(&mut self, question: &ExamCase) -> Result<Option<Vec<u32>>, Broken> {
        let Some(owners) = self.ask(question)? else { return Ok(None) };
        let ExamCase { nodes, partitions, replicas } = question;
        let config = self.config;
        let verified = self.timed(|strategy| {
            strategy.assign_verified_counted(nodes, *partitions, *replicas, config)
        });
        let (_, fuel) = verified.map_err(|error| self.fault(question, &error))?;
        self.burn(question, fuel)?;
        self.see(Property::Deterministic);
        self.see(Property::OrderIndependent);
        Ok(Some(owners))
    }

    /// The owners; `None` if the strategy says that it does not answer such questions.
    fn ask(&mut self, question: &ExamCase) -> Result<Option<Vec<u32>>, Broken> {
        self.questions += 1;
        let ExamCase { nodes, partitions, replicas } = question;
        let config = self.config;
        let answer =
            self.timed(|strategy| strategy.assign_counted(nodes, *partitions, *replicas, config));
        let (owners, cost) = match answer {
            Ok(answered) => answered,
            Err(error) if matches!(error.fault(), StrategyFault::Unsupported(_)) => {
                self.declined += 1;
                return Ok(None);
            }
            Err(error) => return Err(self.fault(question, &error)),
        };
        self.see(Property::Total);
        self.see(Property::InRange);
        self.cost(question, cost);
        self.burn(question, cost.fuel)?;
        Ok(Some(owners))
    }

    /// Takes what an answer took from the fuel of all of them.
    fn burn(&mut self, question: &ExamCase, fuel: u64) -> Result<(), Broken> {
        match self.fuel_left.checked_sub(fuel) {
            Some(left) => self.fuel_left = left,
            None => {
                let questions = self.questions;
                let why = format!(
                    "{questions} questions took more than {GATE_FUEL_MAX} instructions together, the last: {question}"
                );
                return Err(self.lack(Property::WithinFuel, why));
            }
        }
        Ok(())
    }

    /// Compiles the strategy anew and repeats a question.
    fn compile_anew(&mut self) -> Result<(), Broken> {
        let question = ExamCase::equal(3);
        let ExamCase { nodes, partitions, replicas } = &question;
        let Some(owners) = self.ask(&question)? else { return Ok(()) };
        let again = StrategyHost::new(Cache::disabled())
            .and_then(|host| host.load_bytes(self.strategy.label(), self.strategy.bytes()))
            .and_then(|strategy| strategy.assign(nodes, *partitions, *replicas, self.config))
            .map_err(|error| self.fault(&question, &error))?;
        if owners == again {
            return Ok(());
        }
        let why = format!("{question}: it answers otherwise when it is compiled anew");
        Err(self.lack(Property::Deterministic, why))
    }

    fn cost(&mut self, question: &ExamCase, cost: Cost) {
        let fuel = Figure {
            what: "of its fuel",
            value: cost.fuel as f64 / cost.fuel_max as f64,
            limit: Some(1.0),
        };
        self.note(Property::WithinFuel, fuel, || question.to_string());
        let memory = Figure {
            what: "MiB of memory",
            value: cost.memory_bytes as f64 / f64::from(1 << 20),
            limit: Some(crate::limits::MEMORY_BYTES_MAX as f64 / f64::from(1 << 20)),
        };
        self.note(Property::WithinMemory, memory, || question.to_string());
    }

    fn see(&mut self, property: Property) {
        self.known.entry(property).or_default().was_seen = true;
    }

    /// Takes note of a figure, and of a counterexample where it exceeds its limit.
    fn note(&mut self, property: Property, figure: Figure, case: impl FnOnce() -> String) {
        let known = self.known.entry(property).or_default();
        known.was_seen = true;
        if figure.limit.is_some_and(|limit| figure.value > limit) && known.counterexample.is_none()
        {
            known.counterexample = Some(case());
        }
        if known.figure.is_none_or(|before| before.value < figure.value) {
            known.figure = Some(figure);
        }
    }

    fn lack(&mut self, property: Property, why: String) -> Broken {
        self.known.entry(property).or_default().counterexample.get_or_insert(why);
        Broken
    }

    /// What an error says about the strategy.
    fn fault(&mut self, question: &ExamCase, error: &StrategyError) -> Broken {
        let property = match error.fault() {
            // It says something about this machine, where the strategy may have answered in time on another.
            StrategyFault::OutOfTime { .. } => {
                let (questions, max) = (self.questions, self.time_max.as_secs());
                self.stopped = Some(match self.time_left.is_zero() {
                    true => format!(
                        "{questions} questions took more than {max} s of this machine's CPU time, the last: {question}"
                    ),
                    false => format!("{question}: {}", error.fault()),
                });
                return Broken;
            }
            // Whatever it is, it says nothing about a cluster that wants fewer.
            _ if question.replicas > REPLICAS_WANTED => Property::ReplicasDistinct,
            StrategyFault::Unstable { .. } => Property::Deterministic,
            StrategyFault::OrderDependent { .. } => Property::OrderIndependent,
            StrategyFault::OutOfRange { .. } => Property::InRange,
            StrategyFault::DuplicateReplica { .. } => Property::ReplicasDistinct,
            StrategyFault::OutOfFuel { .. } | StrategyFault::OutOfVerifiedFuel { .. } => {
                Property::WithinFuel
            }
            StrategyFault::OutOfMemory { .. }
            | StrategyFault::OutOfTable { .. }
            | StrategyFault::OutOfStack { .. } => Property::WithinMemory,
            _ => Property::Total,
        };
        self.lack(property, format!("{question}: {}", error.fault()))
    }

    fn report(mut self) -> Report {
        let declined =
            Figure { what: "questions declined", value: self.declined as f64, limit: None };
        if let Some(total) = self.known.get_mut(&Property::Total) {
            total.figure = Some(declined);
        }
        let finding = |property: Property| {
            let known = self.known.remove(&property).unwrap_or_default();
            let verdict = match known.counterexample {
                Some(case) => Judgement::Fail(case),
                None if known.was_seen => Judgement::Pass,
                None => Judgement::Unknown(match &self.stopped {
                    Some(why) => format!("it was not examined to the end: {why}"),
                    None => "nothing that it answered shows it".into(),
                }),
            };
            let is_about_replicas =
                matches!(property, Property::ReplicasDistinct | Property::ZonesDistinct);
            let is_required = !is_about_replicas || REPLICAS_WANTED > 1;
            Finding { property, verdict, figure: known.figure, is_required }
        };
        let findings = Property::ALL.into_iter().map(finding).collect();
        Report { findings, questions: self.questions, stopped: self.stopped }
    }
}
