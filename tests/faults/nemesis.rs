//! Who makes things fail: at each step one more fault begins or ends, as the seed decides.

use std::time::{Duration, Instant};

use kv_testkit::harness::proxy::Traffic;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};

use super::fleet::{Fleet, State};
use super::mover::{Mover, Order};
use super::totals::Totals;

/// How long a state of affairs lasts, in milliseconds.
const STEP_MS: std::ops::RangeInclusive<u64> = 10..=250;

/// The most nodes that a cluster is grown to, and the fewest that it is shrunk to.
const MEMBERS: std::ops::RangeInclusive<usize> = 3..=6;

/// The most movers at the same time.
const MOVERS_MAX: usize = 2;

/// How many of its last actions are shown.
const ACTIONS_SHOWN: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// Nodes are killed, and start again.
    Kill,
    /// Nodes are stopped in their tracks, and go on.
    Freeze,
    /// The traffic of nodes is delayed, stalled, cut.
    Traffic,
    /// Consul is away for a while, hangs, or starts again.
    Consul,
    /// Consul forgets everything.
    Amnesia,
    /// Nodes are added and removed, the strategy is changed, and all of it is aborted and resumed.
    Rebalance,
    /// The commands that do this are killed, or stopped in their tracks.
    Mover,
}

impl FaultKind {
    pub(super) const ALL: [Self; 7] = [
        Self::Kill,
        Self::Freeze,
        Self::Traffic,
        Self::Consul,
        Self::Amnesia,
        Self::Rebalance,
        Self::Mover,
    ];

    /// Those that a run has unless the environment names others. A Consul that forgets everything in the very
    /// moment in which a layout changes is not one of them: see the limits that the README names.
    pub(super) const DEFAULT: &[Self] =
        &[Self::Kill, Self::Freeze, Self::Traffic, Self::Consul, Self::Rebalance, Self::Mover];

    /// Its name, for the environment.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Traffic => "traffic",
            Self::Consul => "consul",
            Self::Amnesia => "amnesia",
            Self::Rebalance => "rebalance",
            Self::Mover => "mover",
        }
    }

    /// How often it is chosen, relative to the others.
    fn weight(self) -> u32 {
        match self {
            Self::Kill => 8,
            Self::Freeze | Self::Traffic | Self::Rebalance | Self::Mover => 4,
            Self::Consul => 2,
            Self::Amnesia => 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consul {
    Runs,
    Hangs,
    IsAway,
}

/// The nemesis of a run.
pub(super) struct Nemesis {
    random: StdRng,
    kinds: Vec<FaultKind>,
    consul: Consul,
    movers: Vec<Mover>,
    /// The ids of the layout's members when the round began.
    members: Vec<String>,
    began: Instant,
    actions: Vec<String>,
    /// What movers said that they must not say.
    problems: Vec<String>,
}

impl Nemesis {
    /// One that does nothing yet.
    pub(super) fn new(seed: u64, kinds: Vec<FaultKind>) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            kinds,
            consul: Consul::Runs,
            movers: Vec::new(),
            members: Vec::new(),
            began: Instant::now(),
            actions: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Begins and ends faults for a while. `members` are the ids of the layout's members.
    ///
    /// # Errors
    /// A node does not start again.
    pub(super) fn rage(
        &mut self,
        fleet: &mut Fleet,
        members: Vec<String>,
        duration: Duration,
        totals: &mut Totals,
    ) -> Result<(), String> {
        self.members = members;
        let end = Instant::now() + duration;
        while Instant::now() < end {
            fleet.look_around();
            let weight = |kind: &FaultKind| kind.weight();
            let kind = *self.kinds.choose_weighted(&mut self.random, weight).expect("there is one");
            // Each step draws as many numbers, so that one that could not be taken changes no other.
            let dice = Dice(self.random.random());
            match kind {
                FaultKind::Kill => self.kill(fleet, dice, totals)?,
                FaultKind::Freeze => self.freeze(fleet, dice, totals),
                FaultKind::Traffic => self.trouble(fleet, dice, totals),
                FaultKind::Consul => self.bother_consul(fleet, dice, totals),
                FaultKind::Amnesia => self.empty_consul(fleet, totals),
                FaultKind::Rebalance => self.rebalance(fleet, dice),
                FaultKind::Mover => self.bother_mover(dice, totals),
            }
            // The faults themselves need time to do harm.
            std::thread::sleep(Duration::from_millis(self.random.random_range(STEP_MS)));
        }
        Ok(())
    }

    /// Ends all faults, and all movers.
    ///
    /// # Errors
    /// A node does not start again.
    pub(super) fn heal(&mut self, fleet: &mut Fleet, totals: &mut Totals) -> Result<(), String> {
        self.note("all faults end");
        self.restore_consul(fleet);
        for number in fleet.in_state(State::IsFrozen) {
            fleet.thaw(number);
        }
        for number in fleet.behind_proxies() {
            fleet.set_traffic(number, Traffic::Flows);
        }
        for number in fleet.in_state(State::IsDown) {
            fleet.restart(number)?;
        }
        self.dismiss_movers();
        for mut mover in self.movers.drain(..) {
            totals.mover_kills += u64::from(mover.is_running());
            mover.kill();
        }
        fleet.look_around();
        Ok(())
    }

    /// What movers said that they must not say, since this was asked last.
    pub(super) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// The last of what it did.
    pub(super) fn actions(&self) -> String {
        let first = self.actions.len().saturating_sub(ACTIONS_SHOWN);
        self.actions[first..].join("\n")
    }

    fn note(&mut self, action: &str) {
        let mut line = format!("{:>10.3} s ", self.began.elapsed().as_secs_f64());
        line.push_str(action);
        self.actions.push(line);
    }

    fn kill(&mut self, fleet: &mut Fleet, dice: Dice, totals: &mut Totals) -> Result<(), String> {
        let down = fleet.in_state(State::IsDown);
        if let Some(number) = dice.pick(&down).filter(|_| dice.ends()) {
            // A node that starts needs Consul.
            self.restore_consul(fleet);
            self.note(&format!("node {number} starts"));
            return fleet.restart(number);
        }
        let up = [fleet.in_state(State::Runs), fleet.in_state(State::IsFrozen)].concat();
        if let Some(number) = dice.pick(&up) {
            self.note(&format!("node {number} is killed"));
            fleet.kill(number);
            totals.node_kills += 1;
        }
        Ok(())
    }

    fn freeze(&mut self, fleet: &mut Fleet, dice: Dice, totals: &mut Totals) {
        let frozen = fleet.in_state(State::IsFrozen);
        if let Some(number) = dice.pick(&frozen).filter(|_| dice.ends()) {
            self.note(&format!("node {number} goes on"));
            fleet.thaw(number);
        } else if let Some(number) = dice.pick(&fleet.in_state(State::Runs)) {
            self.note(&format!("node {number} is frozen"));
            fleet.freeze(number);
            totals.freezes += 1;
        }
    }

    fn trouble(&mut self, fleet: &mut Fleet, dice: Dice, totals: &mut Totals) {
        let reached = fleet.behind_proxies();
        let is_troubled = |number: &usize| fleet.members()[*number].traffic != Traffic::Flows;
        let troubled: Vec<usize> = reached.iter().copied().filter(is_troubled).collect();
        if let Some(number) = dice.pick(&troubled).filter(|_| dice.ends()) {
            self.note(&format!("the traffic of node {number} flows"));
            fleet.set_traffic(number, Traffic::Flows);
            return;
        }
        let Some(number) = dice.pick(&reached) else { return };
        totals.traffic_faults += 1;
        let delay = Duration::from_millis(2 << (dice.0 % 6));
        let faults =
            [Traffic::IsLate(delay), Traffic::Stalls, Traffic::IsOneWay, Traffic::IsRefused];
        match faults.get(dice.choice(5)) {
            Some(traffic) => {
                self.note(&format!("the traffic of node {number}: {traffic:?}"));
                fleet.set_traffic(number, *traffic);
            }
            None => {
                self.note(&format!("the connections of node {number} are cut"));
                fleet.cut(number);
            }
        }
    }

    fn bother_consul(&mut self, fleet: &mut Fleet, dice: Dice, totals: &mut Totals) {
        if self.consul != Consul::Runs {
            return self.restore_consul(fleet);
        }
        totals.consul_faults += 1;
        match dice.choice(3) {
            0 => {
                self.note("Consul starts again");
                fleet.cluster.own_consul().restart();
            }
            1 => {
                self.note("Consul is gone");
                fleet.cluster.own_consul().stop();
                self.consul = Consul::IsAway;
            }
            _ => {
                self.note("Consul hangs");
                signal(fleet.cluster.own_consul().pid(), Signal::STOP);
                self.consul = Consul::Hangs;
            }
        }
    }

    fn restore_consul(&mut self, fleet: &mut Fleet) {
        let consul = fleet.cluster.own_consul();
        match self.consul {
            Consul::Runs => return,
            Consul::Hangs => signal(consul.pid(), Signal::CONT),
            Consul::IsAway => consul.restart(),
        }
        self.consul = Consul::Runs;
        self.note("Consul is back");
    }

    fn empty_consul(&mut self, fleet: &mut Fleet, totals: &mut Totals) {
        self.restore_consul(fleet);
        self.note("Consul forgets everything");
        fleet.cluster.own_consul().restart_empty();
        totals.consul_faults += 1;
    }

    fn rebalance(&mut self, fleet: &Fleet, dice: Dice) {
        self.dismiss_movers();
        if self.movers.len() == MOVERS_MAX {
            return;
        }
        let members = self.members.len();
        let any = dice.pick(&self.members);
        let order = match dice.choice(6) {
            0 if members < *MEMBERS.end() => Order::Add(1 + dice.0 % 2),
            1 if members > *MEMBERS.start() => {
                Order::Remove(any.as_deref().expect("there are members"))
            }
            2 => Order::Migrate("hrw"),
            3 => Order::Migrate("consistent-hash"),
            4 => Order::Abort,
            _ => Order::Resume,
        };
        let mover = Mover::start(&fleet.cluster, order);
        let words = order.args().join(" ");
        self.movers.push(mover);
        self.note(&words);
    }

    /// Parts with the movers that have ended. They may well have failed, but not by a mistake here or
    /// there.
    fn dismiss_movers(&mut self) {
        let ended = self.movers.extract_if(.., |mover| !mover.is_running());
        self.problems.extend(ended.filter_map(|mover| mover.mistake()));
    }

    fn bother_mover(&mut self, dice: Dice, totals: &mut Totals) {
        self.dismiss_movers();
        let numbers: Vec<usize> = (0..self.movers.len()).collect();
        let Some(number) = dice.pick(&numbers) else { return };
        if dice.coin() {
            self.note("a mover is killed");
            self.movers.remove(number).kill();
            totals.mover_kills += 1;
        } else {
            let is_frozen = !self.movers[number].is_frozen;
            self.note(if is_frozen { "a mover is frozen" } else { "a mover goes on" });
            self.movers[number].freeze(is_frozen);
        }
    }
}

/// The chance of one step.
#[derive(Clone, Copy, Debug)]
struct Dice(u32);

impl Dice {
    fn coin(self) -> bool {
        self.0 >> 31 == 1
    }

    /// Whether a fault is to end rather than another one to begin: mostly, so that there is also
    /// something that works.
    fn ends(self) -> bool {
        self.0 >> 30 != 0
    }

    /// A number below `sides`.
    fn choice(self, sides: u32) -> usize {
        (self.0 >> 16 & 0x7fff) as usize % sides as usize
    }

    fn pick<T: Clone>(self, from: &[T]) -> Option<T> {
        from.get((self.0 & 0xffff) as usize % from.len().max(1)).cloned()
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.expect("a running process has an id");
    kill_process(pid, signal).expect("it is a process of ours");
}
