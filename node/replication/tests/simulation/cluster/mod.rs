//! What happens in a cluster, one event after the other.

mod checks;
mod failing;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use kv_core::partition::Partition;
use kv_replication::{Message, Output, Step};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::faults::Fault;
use crate::history::History;
use crate::network::Network;
use crate::node::{Node, SimulatedMessage};
use crate::registry::Registry;
use crate::shard::Key;

/// For how long things go wrong, how long clients go on then, and when all is to be in order again, in milliseconds.
const FAULTS_FOR: u64 = 25_000;
const CLIENTS_FOR: u64 = 40_000;
const ENDS_AT: u64 = 50_000;
const TICK_MS: u64 = 50;
const KEYS: Key = 24;
const LOG_LINES: usize = 400;

/// What a cluster is like.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) nodes: u16,
    pub(crate) replicas: u16,
    pub(crate) min_in_sync: usize,
    pub(crate) partitions: u16,
}

#[derive(Debug)]
enum Event {
    Deliver {
        from: u16,
        to: u16,
        incarnation: u64,
        message: SimulatedMessage,
    },
    Tick(u16),
    /// A node goes on that stood still.
    GoOn(u16),
    /// A node looks for a layout.
    Look(u16),
    /// A step arrives at the registry.
    Step(u16, Step),
    Client,
    Fault,
    /// What went wrong is over.
    Over(Fault),
}

pub(crate) struct Cluster {
    shape: Shape,
    random: StdRng,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    /// What each event is, by its number.
    what: BTreeMap<u64, Event>,
    numbered: u64,
    nodes: Vec<Node>,
    registry: Registry,
    network: Network,
    history: History,
    jobs: u64,
    /// Whether nodes never come back, or lose what they have not synced: one that yields to a copy that is lost leaves
    /// the rest to an operator.
    has_deaths: bool,
    faults: usize,
    log: VecDeque<String>,
}

impl Cluster {
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        let Shape { nodes, replicas, min_in_sync, partitions } = shape;
        let mut random = StdRng::seed_from_u64(seed);
        let registry = Registry::new(nodes, replicas, min_in_sync, partitions);
        let node = |me| {
            let (ahead, faster) =
                (random.random_range(0..1_000_000), random.random_range(-10..=10));
            Node::new(me, registry.placement.clone(), ahead, faster)
        };
        let nodes = (0..nodes).map(node).collect();
        let mut cluster = Self {
            shape,
            random,
            now: 0,
            events: BinaryHeap::new(),
            what: BTreeMap::new(),
            numbered: 0,
            nodes,
            registry,
            network: Network::default(),
            history: History::default(),
            jobs: 0,
            has_deaths: seed.is_multiple_of(2),
            faults: 0,
            log: VecDeque::new(),
        };
        for node in 0..shape.nodes {
            cluster.nodes[usize::from(node)].start(0);
            cluster.at(0, Event::Tick(node));
        }
        cluster.network.heal();
        cluster.at(1, Event::Client);
        cluster.at(3_000, Event::Fault);
        cluster
    }

    /// The writes that were acknowledged and those of unknown outcome, the reads, the epochs, the faults.
    pub(crate) fn figures(&self) -> [usize; 5] {
        let History { acknowledged, unknown, reads, .. } = &self.history;
        [*acknowledged, *unknown, *reads, self.registry.placement.epoch as usize, self.faults]
    }

    pub(crate) fn log(&self) -> String {
        let state = |node: &Node| {
            let replicator = node.process.as_ref().map(|it| &it.replicator);
            format!("node {}, its clock at {}: {replicator:?}", node.me, node.clock(self.now))
        };
        let lines = self.log.iter().cloned().chain(self.nodes.iter().map(state));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Runs it to its end.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.run_until(FAULTS_FOR)?;
        self.heal();
        self.run_until(ENDS_AT)?;
        self.check_quiet()
    }

    fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(Reverse((at, number))) = self.events.pop() {
            if at > end {
                self.events.push(Reverse((at, number)));
                break;
            }
            self.now = at;
            let Some(event) = self.what.remove(&number) else { continue };
            self.happen(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn at(&mut self, at: u64, event: Event) {
        self.numbered += 1;
        self.events.push(Reverse((at, self.numbered)));
        self.what.insert(self.numbered, event);
    }

    fn after(&mut self, from: u64, to: u64, event: Event) {
        let delay = self.random.random_range(from..=to);
        self.at(self.now + delay, event);
    }

    fn note(&mut self, line: String) {
        self.log.push_back(format!("{:>6} {line}", self.now));
        if self.log.len() > LOG_LINES {
            self.log.pop_front();
        }
    }

    fn node(&mut self, node: u16) -> &mut Node {
        &mut self.nodes[usize::from(node)]
    }

    fn stands(&self, node: u16) -> bool {
        let node = &self.nodes[usize::from(node)];
        node.process.is_none() || self.now < node.stands_until
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        let now = self.now;
        match event {
            Event::Deliver { from, to, incarnation, message } => {
                let node = self.node(to);
                let same = node.incarnation == incarnation;
                // What was queued for a process that is gone may arrive at the next one.
                if let Some(process) =
                    node.process.as_mut().filter(|_| same || now.is_multiple_of(2))
                {
                    process.inbox.push_back((from, message));
                    self.work(to)?;
                }
            }
            Event::Tick(node) => {
                self.at(now + TICK_MS, Event::Tick(node));
                if !self.stands(node) {
                    let it = self.node(node);
                    let clock = it.clock(now);
                    if let Some(process) = &mut it.process {
                        process.replicator.tick(clock, &mut process.shard);
                    }
                    self.carry_out(node)?;
                    let it = self.node(node);
                    if it.process.as_ref().is_some_and(|it| it.replicator.has_left()) {
                        it.kill(false);
                    }
                }
            }
            Event::GoOn(node) => {
                if !self.stands(node) {
                    let it = self.node(node);
                    let syncs = it.process.as_mut().map(|it| std::mem::take(&mut it.syncs));
                    if syncs == Some(true) {
                        it.synced(now);
                        self.carry_out(node)?;
                    }
                    self.work(node)?;
                }
            }
            Event::Look(node) => {
                if self.stands(node) {
                    if self.node(node).process.is_some() {
                        self.after(1, 20, Event::Look(node));
                    }
                } else if self.node(node).reaches_registry {
                    let placement = self.registry.placement.clone();
                    self.node(node).install(now, &placement);
                    self.carry_out(node)?;
                    self.sync(node);
                }
            }
            Event::Step(node, step) => {
                // The last word of a node that is lost for good may leave nothing but itself.
                let arrives = self.node(node).reaches_registry && !self.node(node).is_dead;
                if arrives {
                    self.step(node, &step);
                }
            }
            Event::Client => {
                if now < CLIENTS_FOR {
                    self.after(1, 6, Event::Client);
                }
                self.client()?;
            }
            Event::Fault => {
                if now < FAULTS_FOR {
                    self.after(100, 1_500, Event::Fault);
                    let fault = Fault::any(&mut self.random, self.shape.nodes);
                    self.fail(fault);
                }
            }
            Event::Over(fault) => self.mend(fault),
        }
        Ok(())
    }

    /// Has the layout take a step, and nodes look for it.
    fn step(&mut self, reporter: u16, step: &Step) {
        if self.registry.step(reporter, step) {
            let placement = &self.registry.placement;
            let rows = &placement.rows;
            self.note(format!("epoch {} by {reporter}: {step:?}: {rows:?}", placement.epoch));
            (0..self.shape.nodes).for_each(|it| self.after(1, 60, Event::Look(it)));
        }
    }

    /// Has a node take in what has come, until it has to wait for its disk.
    fn work(&mut self, node: u16) -> Result<(), String> {
        while !self.stands(node) {
            let now = self.now;
            let it = self.node(node);
            let clock = it.clock(now);
            let Some(process) = &mut it.process else { break };
            let Some((from, message)) = process.inbox.pop_front() else { break };
            let changes = matches!(message, Message::Stream { .. });
            process.replicator.receive(clock, from, message, &mut process.shard);
            self.carry_out(node)?;
            if changes {
                self.sync(node);
            }
        }
        Ok(())
    }

    /// Has a node's disk sync what it has.
    fn sync(&mut self, node: u16) {
        let takes = match self.random.random_range(0..200) {
            0 if self.now < FAULTS_FOR => self.random.random_range(100..2_000),
            _ => self.random.random_range(0..4),
        };
        let until = self.now + takes;
        if let Some(process) = &mut self.node(node).process {
            process.syncs = true;
            let it = self.node(node);
            it.stands_until = until.max(it.stands_until);
            self.at(self.nodes[usize::from(node)].stands_until, Event::GoOn(node));
        }
    }

    /// Does what a node has to do.
    fn carry_out(&mut self, node: u16) -> Result<(), String> {
        for output in self.node(node).outputs() {
            match output {
                Output::Send { to, message } => {
                    let incarnation = self.node(to).incarnation;
                    let arrives = self.network.send(&mut self.random, self.now, node, to);
                    let deliver =
                        |at| (at, Event::Deliver { from: node, to, incarnation, message });
                    if let Some((at, event)) = arrives.map(deliver) {
                        self.at(at, event);
                    }
                }
                Output::Settled { job, is_confirmed } => {
                    if let Some(process) = &mut self.node(node).process {
                        process.hidden.remove(&job);
                    }
                    if let Some((key, version)) = self.history.end(job, is_confirmed)? {
                        self.check_copies(key, version)?;
                    }
                }
                Output::WantLayout(_) => self.after(1, 30, Event::Look(node)),
                Output::Step(step) => self.after(1, 40, Event::Step(node, step)),
            }
        }
        Ok(())
    }

    /// A client reads or writes somewhere.
    fn client(&mut self) -> Result<(), String> {
        let key = self.random.random_range(0..KEYS);
        let partition = Partition(key % u32::from(self.shape.partitions));
        let node = self.random.random_range(0..self.shape.nodes);
        if self.stands(node) {
            return Ok(());
        }
        let now = self.now;
        if self.random.random_bool(0.5) {
            if let Some(shown) = self.node(node).read(now, key, partition) {
                self.history.read(key, shown).map_err(|error| format!("node {node}: {error}"))?;
            }
            return Ok(());
        }
        self.jobs += 1;
        let job = self.jobs;
        if let Some(version) = self.node(node).write(now, job, key, partition) {
            self.history.begin(job, key, version)?;
            self.carry_out(node)?;
            self.sync(node);
        }
        Ok(())
    }
}
