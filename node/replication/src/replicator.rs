//! What a node is told, and what it is to do.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::copies::session::yields;
use kv_core::copies::term::Term;
use kv_core::copies::{Positions, Row};
use kv_core::partition::Partition;

use crate::beacons::Contact;
use crate::intake::{Intake, Piece};
use crate::jobs::{Job, Jobs, Verdict};
use crate::limits::{
    BACKUP_SILENT_MS, BELOW_MIN_DELAY_MS, BUSY_MS, PRIMARY_SILENT_MS, RANK_DELAY_MS, STEP_RETRY_MS,
};
use crate::message::{Item, Message, Session};
use crate::placement::Placement;
use crate::shard::{Change, Shard};
use crate::stream::{self, Heading, Stream};

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

/// A step of the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These nodes' copies are in sync no more, in each row in which this node's is.
    Evict(BTreeSet<u16>),
    /// This node's copies are in sync no more where it is primary and another one's are.
    Yield,
    /// Nothing but the epoch.
    Fence,
    /// These learners are in sync. Promised under this very epoch.
    Admit {
        /// The epoch.
        epoch: u64,
        /// For each partition, which positions of its row.
        promised: Vec<(Partition, Positions)>,
    },
}

/// Why a node does not write to a partition now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It is not the primary, or does not serve yet.
    NotServing,
    /// Fewer copies are in sync than a write needs.
    TooFew,
    /// A copy does not keep up.
    Busy,
}

/// What was written to a partition.
pub type Written<S> = (Partition, Vec<Change<<S as Shard>::Key, <S as Shard>::Record>>);

/// Why jobs may be settled.
#[derive(Clone, Copy)]
enum Cause {
    /// This node has them durably.
    Synced,
    /// Another one has come further.
    Acked(u16),
    /// A row has changed, or a copy was made equal.
    Changed,
}

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
    contacts: BTreeMap<u16, Contact>,
    streams: BTreeMap<u16, Stream<S>>,
    /// Since when this node, as a primary, has had no open stream to another one.
    down_since: BTreeMap<u16, u64>,
    intakes: BTreeMap<u16, Intake<S>>,
    jobs: Jobs,
    /// The number of the last write of this node's that another one holds, where it has lost that itself.
    lost: Option<u64>,
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
            contacts: BTreeMap::new(),
            streams: BTreeMap::new(),
            down_since: BTreeMap::new(),
            intakes: BTreeMap::new(),
            jobs: Jobs::default(),
            lost: None,
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

    /// Whether clients may read a partition here.
    #[must_use]
    pub fn may_read(&self, now: u64, partition: Partition) -> bool {
        let placement = self.placement.as_ref();
        let Some(view) = placement.and_then(|it| it.view(partition)) else { return false };
        let has_leases = |term: &Term| {
            term.needed().iter().all(|position| {
                let contact = self.contacts.get(&view.row.node(position));
                contact.is_some_and(|it| it.has_lease(now, &view))
            })
        };
        self.terms.get(&partition).is_some_and(|it| it.serves() && has_leases(it))
    }

    /// Whether clients may write to a partition here.
    ///
    /// # Errors
    /// Why not.
    pub fn may_write(&self, now: u64, partition: Partition) -> Result<(), Hindrance> {
        let term = self.terms.get(&partition).filter(|it| it.serves());
        let (Some(term), Some(placement)) = (term, &self.placement) else {
            return Err(Hindrance::NotServing);
        };
        if !term.has_enough(placement.min_in_sync) {
            return Err(Hindrance::TooFew);
        }
        let is_busy = |node: u16| {
            let stream = self.streams.get(&node);
            stream.is_some_and(|it| it.is_full() || it.owes_for(now) >= BUSY_MS)
        };
        match term.needed().iter().any(|position| is_busy(term.row().node(position))) {
            true => Err(Hindrance::Busy),
            false => Ok(()),
        }
    }

    /// Takes note that a layout was installed durably. One that is not newer than the last changes nothing.
    pub fn install(&mut self, now: u64, placement: Placement, shard: &mut S) {
        self.now = self.now.max(now);
        let before = self.placement.as_ref().map(|it| it.epoch);
        if before >= Some(placement.epoch) {
            return;
        }
        let started_in = *self.started_in.get_or_insert(placement.epoch);
        let epoch = placement.epoch;
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
        let others = placement.partitions().filter(|(_, row)| row.position(self.me).is_some());
        for node in others.flat_map(|(_, row)| row.nodes().to_vec()).filter(|it| *it != self.me) {
            self.contacts.entry(node).or_insert_with(|| Contact::new(self.now));
        }
        let (me, is_new) = (self.me, before.map_or(0, |it| it + 1));
        self.streams.retain(|node, stream| {
            stream.keep(|partition| has(&terms, partition, *node));
            stream.offer_refused();
            let shared = terms.iter().filter(|(_, term)| term.row().position(*node).is_some());
            let mut is_needed = false;
            for (partition, term) in shared {
                is_needed = true;
                let since = placement.rows[partition.0 as usize].1;
                if !is_equal(term, *node) && since >= is_new {
                    stream.offer_anew(*partition);
                }
            }
            is_needed && *node != me
        });
        self.terms = terms;
        self.placement = Some(placement);
        self.step_at = None;
        self.down_since
            .retain(|node, _| self.terms.values().any(|term| term.row().position(*node).is_some()));
        self.yield_place(shard);
        self.open_streams();
        let senders: Vec<_> = self.intakes.keys().copied().collect();
        senders.into_iter().for_each(|sender| self.take(sender, shard));
        self.go_on(shard);
        self.settle(Cause::Changed);
    }

    /// Takes note that time has passed.
    pub fn tick(&mut self, now: u64, shard: &mut S) {
        self.now = self.now.max(now);
        let Some(placement) = &self.placement else { return };
        let epoch = placement.epoch;
        for (to, contact) in &mut self.contacts {
            if contact.is_beacon_due(self.now) {
                let message = Message::Beacon { epoch, sent_at: self.now };
                self.outputs.push(Output::Send { to: *to, message });
            }
        }
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

    /// Takes in what another node has sent.
    pub fn receive(
        &mut self,
        now: u64,
        from: u16,
        message: Message<S::Key, S::Record>,
        shard: &mut S,
    ) {
        self.now = self.now.max(now);
        let (Some(epoch), true) = (self.epoch(), from != self.me) else { return };
        let contact = self.contacts.entry(from).or_insert_with(|| Contact::new(self.now));
        contact.hear(self.now);
        match message {
            Message::Beacon { epoch: theirs, sent_at } => {
                contact.note_installed(theirs);
                contact.grant(self.now, epoch);
                self.send(from, Message::Grant { epoch, sent_at });
                self.want(theirs);
            }
            Message::Grant { epoch: theirs, sent_at } => {
                contact.note_installed(theirs);
                // What was not sent yet was not answered.
                if sent_at <= self.now {
                    contact.note_lease(theirs, sent_at);
                }
                self.want(theirs);
            }
            Message::Open { session } => self.open_intake(from, session, shard),
            Message::Opened { session, held } => {
                let stream = self.streams.get_mut(&from).filter(|it| it.session() == session);
                if yields(shard.sequence(), held) {
                    self.lost = self.lost.max(Some(held));
                    self.yield_place(shard);
                } else if let Some(stream) = stream.filter(|_| self.lost.is_none()) {
                    stream.open();
                    self.down_since.remove(&from);
                }
            }
            Message::Stream { session, position, epoch, sequence, items } => {
                let piece = Piece { position, epoch, sequence, items };
                let intake = self.intakes.get_mut(&from).filter(|it| it.session() == session);
                if intake.is_some_and(|it| it.receive(piece)) {
                    self.take(from, shard);
                } else {
                    if self.intakes.get(&from).is_some_and(|it| it.session() == session) {
                        self.intakes.remove(&from);
                    }
                    self.send(from, Message::Closed { session });
                }
            }
            Message::Ack { session, after, position, answers } => {
                let stream = self.streams.get_mut(&from).filter(|it| it.session() == session);
                let Some(stream) = stream else { return };
                if !stream.is_next_ack(after, position) {
                    return self.end_stream(from);
                }
                let changes = stream.ack(position, &answers, epoch);
                // What was refused may be another node's by now.
                stream.keep(|partition| has(&self.terms, partition, from));
                let cause = if changes.is_empty() { Cause::Acked(from) } else { Cause::Changed };
                for change in changes {
                    let (stream::Change::Equal(partition) | stream::Change::Unequal(partition)) =
                        change;
                    let Some(term) = self.terms.get_mut(&partition) else { continue };
                    let Some(position) = term.row().position(from) else { continue };
                    match change {
                        stream::Change::Equal(_) => term.note_equal(position),
                        stream::Change::Unequal(_) => term.note_end(position),
                    }
                }
                self.settle(cause);
            }
            Message::Closed { session } => {
                if self.streams.get(&from).is_some_and(|it| it.session() == session) {
                    self.end_stream(from);
                }
            }
        }
        self.go_on(shard);
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

    fn open_intake(&mut self, from: u16, session: Session, shard: &S) {
        if self.intakes.get(&from).is_some_and(|it| it.session() >= session) {
            return self.send(from, Message::Closed { session });
        }
        self.intakes.insert(from, Intake::new(session));
        self.send(from, Message::Opened { session, held: shard.held(from) });
    }

    /// Takes what can be taken of a node's stream.
    fn take(&mut self, from: u16, shard: &mut S) {
        let (Some(intake), Some(placement)) = (self.intakes.get_mut(&from), &self.placement) else {
            return;
        };
        if let Some(epoch) = intake.take((self.me, from), placement, shard) {
            self.want(epoch);
        }
    }

    /// Begins a stream to each node that has copies of what this one is primary of, where there is none.
    fn open_streams(&mut self) {
        if self.lost.is_some() {
            return;
        }
        let rows = self.terms.values().map(Term::row);
        let nodes: BTreeSet<u16> = rows.flat_map(|row| row.nodes().to_vec()).collect();
        for node in nodes {
            if node == self.me || self.streams.contains_key(&node) {
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

    /// A node that has lost writes goes on once no other copy is in sync where it is primary: the others have
    /// become primaries, or were not needed for what it has acknowledged. What it writes from then on is numbered
    /// above what it has lost.
    fn yield_place(&mut self, shard: &mut S) {
        let Some(lost) = self.lost else { return };
        if self.terms.values().all(|term| term.row().in_sync().count() == 1) {
            shard.skip_to(lost);
            self.lost = None;
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
        for (partition, term) in &mut self.terms {
            if self.lost.is_some() || term.serves() && term.row().learners().is_empty() {
                continue;
            }
            let since = placement.rows[partition.0 as usize].1;
            let is_in_the_way = |node: &u16| {
                self.contacts.get(node).is_some_and(|it| it.is_in_the_way(self.now, since))
            };
            term.serve(term.row().nodes().iter().any(is_in_the_way));
            for position in term.row().learners().iter() {
                let node = term.row().node(position);
                let is_heard = |it: &Contact| it.silent_for(self.now) < BACKUP_SILENT_MS;
                let stream = self.streams.get(&node);
                if self.contacts.get(&node).is_some_and(is_heard) {
                    term.promise(position, stream.is_some_and(Stream::owes_nothing));
                }
            }
        }
    }

    /// Ends the jobs for which no copy has to be waited any more, after something that can have brought that about.
    fn settle(&mut self, cause: Cause) {
        let (terms, streams) = (&self.terms, &self.streams);
        let min_in_sync = self.placement.as_ref().map_or(1, |it| it.min_in_sync);
        // The first node that a job waits for in a partition.
        let waits_for = |job: &Job, term: &Term| {
            let mut needed = term.needed().iter();
            let position = needed.find(|position| {
                let node = term.row().node(*position);
                let is_acked = |it: &Stream<S>| job.is_acked(node, it.session(), it.acked());
                !(term.equal().contains(*position) && streams.get(&node).is_some_and(is_acked))
            });
            position.map(|it| term.row().node(it))
        };
        let judge = |job: &Job| {
            let mut is_confirmed = true;
            for partition in &job.partitions {
                let Some(term) = terms.get(partition).filter(|it| it.serves()) else {
                    return Verdict::Settled(false);
                };
                if let Some(node) = waits_for(job, term) {
                    return Verdict::Waits(node);
                }
                is_confirmed &= term.has_enough(min_in_sync);
            }
            Verdict::Settled(is_confirmed)
        };
        let settled = match cause {
            Cause::Synced => self.jobs.synced(judge),
            Cause::Acked(node) => self.jobs.acked(node, judge),
            Cause::Changed => self.jobs.look(judge),
        };
        let settled = settled.into_iter();
        self.outputs
            .extend(settled.map(|(job, is_confirmed)| Output::Settled { job, is_confirmed }));
    }

    /// The step that the layout is to take, as this node sees it.
    fn step(&self) -> Option<Step> {
        if self.lost.is_some() {
            return Some(Step::Yield);
        }
        let evicted = self.evicted();
        if !evicted.is_empty() {
            return Some(Step::Evict(evicted));
        }
        let is_silent = |node: u16| {
            let contact = self.contacts.get(&node);
            contact.is_none_or(|it| it.silent_for(self.now) >= BACKUP_SILENT_MS)
        };
        let waits_for_silent = |term: &Term| {
            term.promised().iter().any(|position| is_silent(term.row().node(position)))
        };
        if self.terms.values().any(|it| it.needs_fence() || waits_for_silent(it)) {
            return Some(Step::Fence);
        }
        let promised: Vec<_> = self.terms.iter().map(|(it, term)| (*it, term.promised())).collect();
        let promised: Vec<_> = promised.into_iter().filter(|(_, it)| !it.is_empty()).collect();
        let epoch = self.epoch()?;
        (!promised.is_empty()).then_some(Step::Admit { epoch, promised })
    }

    /// The nodes that do not answer for too long.
    fn evicted(&self) -> BTreeSet<u16> {
        let heard = self.contacts.values().filter(|it| it.silent_for(self.now) < BACKUP_SILENT_MS);
        // One that is cut off accuses nobody.
        let hears_enough = (heard.count() + 1) * 2 > self.contacts.len();
        let Some(placement) = self.placement.as_ref().filter(|_| hears_enough) else {
            return BTreeSet::new();
        };
        let rows = placement.partitions().map(|(_, row)| row);
        let shared = rows.filter(|row| row.is_in_sync(self.me));
        shared.flat_map(|row| self.evicted_of(row, placement.min_in_sync)).collect()
    }

    fn evicted_of(&self, row: Row, min_in_sync: usize) -> Vec<u16> {
        let others = row.in_sync().iter().map(|it| row.node(it)).filter(|it| *it != self.me);
        let put_off = match row.in_sync().count() > min_in_sync {
            true => 0,
            false => BELOW_MIN_DELAY_MS,
        };
        let silent_for =
            |node: u16| self.contacts.get(&node).map_or(0, |it| it.silent_for(self.now));
        let is_due = |node: &u16| {
            if row.primary() == self.me {
                let down_for = self.down_since.get(node).map_or(0, |at| self.now - at);
                let owes_for = self.streams.get(node).map_or(0, |it| it.owes_for(self.now));
                let waited = silent_for(*node).max(down_for).max(owes_for);
                return waited >= BACKUP_SILENT_MS + put_off;
            }
            let backups = row.in_sync().iter().filter(|it| *it != row.primary_position());
            let rank = backups.take_while(|it| row.node(*it) != self.me).count() as u64;
            *node == row.primary()
                && silent_for(*node) >= PRIMARY_SILENT_MS + rank * RANK_DELAY_MS + put_off
        };
        others.filter(is_due).collect()
    }
}

/// Whether this node is primary of a partition of which `node` has a copy.
fn has(terms: &BTreeMap<Partition, Term>, partition: Partition, node: u16) -> bool {
    terms.get(&partition).is_some_and(|it| it.row().position(node).is_some())
}

fn is_equal(term: &Term, node: u16) -> bool {
    term.row().position(node).is_some_and(|it| term.equal().contains(it))
}
