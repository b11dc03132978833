//! What a node is told, and what it is to do.
//!
//! - here: what it knows, and what happens to it: a layout, time, a write, a sync; `receiving`: what comes from others;
//! - `serving`: what clients may do, and when what they have written is settled; `steps`: what the layout is to become.

mod receiving;
mod serving;
mod steps;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kv_core::copies::Row;
use kv_core::copies::term::Term;
use kv_core::partition::Partition;

use self::serving::Cause;
pub use self::serving::Hindrance;
pub use self::steps::Step;
use crate::beacons::Contact;
use crate::intake::Intake;
use crate::jobs::{Job, Jobs};
use crate::limits::{BACKUP_SILENT_MS, STEP_RETRY_MS};
use crate::message::{Item, Message, Session};
use crate::placement::Placement;
use crate::shard::{Change, Shard};
use crate::stream::{Heading, Stream};

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<K, R> {
    /// A message is to be sent. It may be lost.
    Send {
        /// To this node.
        to: u16,
        /// The message.
        message: Message<K, R>,
    },
    /// What a job has written can be shown from now on, and it can be answered.
    Settled {
        /// The job.
        job: u64,
        /// Whether as many copies have it as a write needs; otherwise its outcome is unknown.
        is_confirmed: bool,
    },
    /// A layout has to be installed that is at least as new as this epoch.
    WantLayout(u64),
    /// The layout is to take this step, where it still can.
    Step(Step),
}

/// What was written to a partition.
pub type Written<S> = (Partition, Vec<Change<<S as Shard>::Key, <S as Shard>::Record>>);

/// What a node knows of the others, and they of it.
#[derive(Debug)]
pub struct Replicator<S: Shard> {
    me: u16,
    now: u64,
    incarnation: u64,
    sessions: u64,
    /// The epoch of the first layout that was installed since the process was started.
    started_in: Option<u64>,
    placement: Option<Placement>,
    terms: BTreeMap<Partition, Term>,
    /// Those that do not serve yet or have learners, which need to be looked after.
    unfinished: BTreeSet<Partition>,
    /// The nodes that have copies of what this one is primary of.
    partners: BTreeSet<u16>,
    /// The rows in which this node's copy is in sync, each once however many partitions have it.
    rows: HashSet<Row>,
    contacts: BTreeMap<u16, Contact>,
    streams: BTreeMap<u16, Stream<S>>,
    /// Since when this node, as a primary, has had no open stream to another one.
    down_since: BTreeMap<u16, u64>,
    intakes: BTreeMap<u16, Intake<S>>,
    jobs: Jobs,
    /// The number of the last write of this node's that another one holds, where it has lost that itself.
    lost: Option<u64>,
    /// Whether it gives its places up, since its process is to end.
    leaves: bool,
    step_at: Option<u64>,
    outputs: Vec<Output<S::Key, S::Record>>,
}

impl<S: Shard> Replicator<S> {
    /// Of the node `me` in a process that was started for the `incarnation`th time, and has no layout yet.
    #[must_use]
    pub fn new(me: u16, incarnation: u64, now: u64) -> Self {
        Self {
            me,
            now,
            incarnation,
            sessions: 0,
            started_in: None,
            placement: None,
            terms: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            partners: BTreeSet::new(),
            rows: HashSet::new(),
            contacts: BTreeMap::new(),
            streams: BTreeMap::new(),
            down_since: BTreeMap::new(),
            intakes: BTreeMap::new(),
            jobs: Jobs::default(),
            lost: None,
            leaves: false,
            step_at: None,
            outputs: Vec::new(),
        }
    }

    /// What is to be done, in this order.
    pub fn take_outputs(&mut self) -> Vec<Output<S::Key, S::Record>> {
        std::mem::take(&mut self.outputs)
    }

    /// The epoch of the layout that is installed.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.placement.as_ref().map(|it| it.epoch)
    }

    /// Takes note that a layout was installed durably. One that is not newer than the last changes nothing.
    pub fn install(&mut self, now: u64, placement: Placement, shard: &mut S) {
        self.now = self.now.max(now);
        let before = self.placement.as_ref().map(|it| it.epoch);
        if before >= Some(placement.epoch) {
            return;
        }
        let terms = self.terms_by(&placement);
        self.follow(&placement, &terms, before.map_or(0, |it| it + 1));
        let (me, rows) = (self.me, placement.partitions().map(|(_, row)| row));
        self.rows = rows.filter(|row| row.is_in_sync(me)).collect();
        let partners = terms.values().flat_map(|term| term.row().nodes().to_vec());
        self.partners = partners.filter(|node| *node != me).collect();
        self.unfinished = terms.keys().copied().collect();
        self.terms = terms;
        self.placement = Some(placement);
        self.step_at = None;
        // A new primary waits for the one before to say that it knows.
        self.contacts.values_mut().for_each(Contact::hasten_beacon);
        self.send_beacons();
        self.down_since.retain(|node, _| self.partners.contains(node));
        self.yield_place(shard);
        self.open_streams();
        let senders: Vec<_> = self.intakes.keys().copied().collect();
        senders.into_iter().for_each(|sender| self.take(sender, shard));
        self.go_on(shard);
        self.settle(Cause::Changed);
    }

    /// The terms of the rows that this node is primary of by a layout that is about to be installed.
    fn terms_by(&mut self, placement: &Placement) -> BTreeMap<Partition, Term> {
        let (epoch, before) = (placement.epoch, self.epoch());
        let started_in = *self.started_in.get_or_insert(epoch);
        let mut terms = BTreeMap::new();
        for (partition, row) in placement.partitions().filter(|(_, row)| row.primary() == self.me) {
            let since = placement.rows[partition.0 as usize].1;
            // Another one may have been primary in an epoch that was passed over.
            let is_continued = before.is_some_and(|before| since <= before || epoch == before + 1);
            let term = match self.terms.remove(&partition).filter(|_| is_continued) {
                Some(term) => term.install(row, epoch),
                None => Term::begin(row, (epoch <= started_in).then_some(started_in)),
            };
            terms.insert(partition, term);
        }
        terms
    }

    /// Has contacts and streams follow a layout with these `terms`, where rows have changed since the epoch `changed`.
    fn follow(&mut self, placement: &Placement, terms: &BTreeMap<Partition, Term>, changed: u64) {
        let shared = placement.partitions().filter(|(_, row)| row.position(self.me).is_some());
        let nodes: BTreeSet<u16> = shared.flat_map(|(_, row)| row.nodes().to_vec()).collect();
        self.contacts.retain(|node, _| nodes.contains(node));
        self.intakes.retain(|node, _| nodes.contains(node));
        for node in nodes.into_iter().filter(|it| *it != self.me) {
            self.contacts.entry(node).or_insert_with(|| Contact::new(self.now));
        }
        self.streams.retain(|node, stream| {
            stream.keep(|partition| has(terms, partition, *node));
            stream.offer_refused();
            let mut is_needed = false;
            for (partition, term) in terms.iter().filter(|(it, _)| has(terms, **it, *node)) {
                is_needed = true;
                let since = placement.rows[partition.0 as usize].1;
                if !is_equal(term, *node) && since >= changed {
                    stream.offer_anew(*partition);
                }
            }
            is_needed
        });
    }

    /// Begins to give up the node's places in rows in which others are in sync, so that its process can end without
    /// anybody's waiting for it. It begins no writes any more. A backup takes over as soon as those are settled that
    /// are under way, and [`has_left`](Self::has_left) says when.
    pub fn leave(&mut self) {
        self.leaves = true;
    }

    /// Whether nobody waits for this node any more, or nobody can take its place.
    #[must_use]
    pub fn has_left(&self) -> bool {
        let can_be_left = |row: &Row| {
            let mut in_sync = row.in_sync().iter().map(|it| row.node(it));
            in_sync.all(|node| node == self.me || !self.hears(node))
        };
        self.leaves && self.rows.iter().all(can_be_left)
    }

    /// Takes note that time has passed.
    pub fn tick(&mut self, now: u64, shard: &mut S) {
        self.now = self.now.max(now);
        if self.placement.is_none() {
            return;
        }
        self.send_beacons();
        let now = self.now;
        let is_lost = |it: &Stream<S>| it.is_stuck(now) || it.owes_for(now) >= BACKUP_SILENT_MS;
        let lost = self.streams.iter().filter(|(_, it)| is_lost(it)).map(|(node, _)| *node);
        for node in lost.collect::<Vec<_>>() {
            self.end_stream(node);
        }
        self.open_streams();
        self.go_on(shard);
        if self.step_at.is_none_or(|at| now >= at + STEP_RETRY_MS)
            && let Some(step) = self.step()
        {
            self.step_at = Some(now);
            self.outputs.push(Output::Step(step));
        }
    }

    /// Takes note that something was written to partitions that this node may write to, each of which is there once.
    /// The shard has it by now.
    pub fn write(&mut self, now: u64, job: u64, written: &[Written<S>], shard: &mut S) {
        self.now = self.now.max(now);
        let heading = self.heading(shard);
        let mut sent = Vec::new();
        for (node, stream) in &mut self.streams {
            let is_wanted =
                |partition| has(&self.terms, partition, *node) && stream.wants(partition);
            let wanted = written.iter().filter(|(partition, _)| is_wanted(*partition));
            let item = |(partition, changes): &(Partition, Vec<_>)| Item::Changes {
                partition: *partition,
                changes: changes.clone(),
            };
            let items: Vec<_> = wanted.map(item).collect();
            if items.is_empty() {
                continue;
            }
            let message = stream.message(heading, items);
            if let Message::Stream { session, position, .. } = &message {
                sent.push((*node, *session, *position));
            }
            self.outputs.push(Output::Send { to: *node, message });
        }
        let partitions = written.iter().map(|(partition, _)| *partition).collect();
        self.jobs.add(Job { id: job, partitions, sent });
    }

    /// Takes note that all that was written and applied so far is durable.
    pub fn synced(&mut self, now: u64, shard: &mut S) {
        self.now = self.now.max(now);
        for (to, intake) in &mut self.intakes {
            let ack = intake.ack();
            self.outputs.extend(ack.map(|message| Output::Send { to: *to, message }));
        }
        self.go_on(shard);
        self.settle(Cause::Synced);
    }

    /// Sends the beacons that are due.
    fn send_beacons(&mut self) {
        let Some(epoch) = self.epoch() else { return };
        for (to, contact) in &mut self.contacts {
            if contact.is_beacon_due(self.now) {
                let message = Message::Beacon { epoch, sent_at: self.now };
                self.outputs.push(Output::Send { to: *to, message });
            }
        }
    }

    fn send(&mut self, to: u16, message: Message<S::Key, S::Record>) {
        self.outputs.push(Output::Send { to, message });
    }

    fn want(&mut self, epoch: u64) {
        if self.epoch() < Some(epoch) {
            self.outputs.push(Output::WantLayout(epoch));
        }
    }

    fn heading(&self, shard: &S) -> Heading {
        let epoch = self.epoch().unwrap_or_default();
        Heading { now: self.now, epoch, sequence: shard.sequence() }
    }

    /// Begins a stream to each node that has copies of what this one is primary of, where there is none.
    fn open_streams(&mut self) {
        if self.lost.is_some() {
            return;
        }
        for node in self.partners.clone() {
            if self.streams.contains_key(&node) {
                continue;
            }
            self.sessions += 1;
            let session = Session { incarnation: self.incarnation, number: self.sessions };
            let mut stream = Stream::new(session, self.now);
            let shared = self.terms.iter().filter(|(_, term)| term.row().position(node).is_some());
            shared.for_each(|(partition, _)| stream.offer(*partition));
            self.streams.insert(node, stream);
            self.down_since.entry(node).or_insert(self.now);
            self.send(node, Message::Open { session });
        }
    }

    fn end_stream(&mut self, node: u16) {
        self.streams.remove(&node);
        self.down_since.entry(node).or_insert(self.now);
        for term in self.terms.values_mut() {
            if let Some(position) = term.row().position(node) {
                term.note_end(position);
            }
        }
    }

    /// Does all that has become possible.
    fn go_on(&mut self, shard: &S) {
        let heading = self.heading(shard);
        for (to, stream) in &mut self.streams {
            let messages = stream.catch_up(heading, shard);
            let sends = messages.into_iter().map(|message| Output::Send { to: *to, message });
            self.outputs.extend(sends);
        }
        let Some(placement) = &self.placement else { return };
        if self.lost.is_some() {
            return;
        }
        self.unfinished.retain(|partition| {
            let Some(term) = self.terms.get_mut(partition) else { return false };
            let since = placement.rows[partition.0 as usize].1;
            let is_in_the_way = |node: &u16| {
                self.contacts.get(node).is_some_and(|it| it.is_in_the_way(self.now, since))
            };
            term.serve(term.row().nodes().iter().any(is_in_the_way));
            for position in term.row().learners().iter() {
                let node = term.row().node(position);
                if self.contacts.get(&node).is_some_and(|it| it.is_heard(self.now)) {
                    let stream = self.streams.get(&node);
                    term.promise(position, stream.is_some_and(Stream::owes_nothing));
                }
            }
            !term.serves() || !term.row().learners().is_empty()
        });
    }
}

/// Whether this node is primary of a partition of which `node` has a copy.
fn has(terms: &BTreeMap<Partition, Term>, partition: Partition, node: u16) -> bool {
    terms.get(&partition).is_some_and(|it| it.row().position(node).is_some())
}

fn is_equal(term: &Term, node: u16) -> bool {
    term.row().position(node).is_some_and(|it| term.equal().contains(it))
}
