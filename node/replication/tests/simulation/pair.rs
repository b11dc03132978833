//! Two nodes, step by step: what catching up costs, and what is bounded.

use kv_core::copies::Row;
use kv_core::partition::Partition;
use kv_core::version::Version;
use kv_replication::limits::{
    BACKUP_SILENT_MS, BUSY_MS, LEASE_MARGIN_MS, LEASE_MS, UNDER_WAY_BYTES_MAX, WAITING_BYTES_MAX,
};
use kv_replication::replicator::Hindrance;
use kv_replication::{
    Change, Item, Message, Output, Placement, Replicator, Session, Shard as _, Step,
};

use crate::node::{SimulatedMessage, SimulatedOutput};
use crate::shard::{Key, MemoryShard};

const PARTITIONS: u32 = 16;
/// A record counts for 100 bytes here, its heading for 32, and the message that it is in as well.
const MESSAGE_BYTES: usize = 164;

/// The nodes 0 and 1, which have copies of all partitions, 0 as primary.
struct Pair {
    now: u64,
    nodes: [(Replicator<MemoryShard>, MemoryShard); 2],
    placement: Placement,
    jobs: u64,
    /// The records that have been sent.
    sent: usize,
    settled: Vec<(u64, bool)>,
    steps: Vec<Step>,
}

impl Pair {
    /// Both run, and have installed the layout.
    fn new() -> Self {
        let row = Row::whole(&[0, 1]).expect("it has nodes");
        let rows = vec![(row, 1); PARTITIONS as usize];
        let placement = Placement { epoch: 1, min_in_sync: 1, rows };
        let node = |me| {
            let mut shard = MemoryShard::default();
            let mut replicator = Replicator::new(me, 1, 0);
            replicator.install(0, placement.clone(), &mut shard);
            (replicator, shard)
        };
        let nodes = [node(0), node(1)];
        let (sent, settled, steps) = (0, Vec::new(), Vec::new());
        Self { now: 0, nodes, placement, jobs: 0, sent, settled, steps }
    }

    /// Lets time pass in which both hear each other, where they are `connected`.
    fn pass(&mut self, ms: u64, connected: bool) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 10;
            for node in 0..2 {
                let (replicator, shard) = &mut self.nodes[node];
                replicator.tick(self.now, shard);
            }
            self.exchange(connected);
        }
    }

    /// Delivers all messages, and what comes of them, and syncs.
    fn exchange(&mut self, connected: bool) {
        loop {
            let outputs: Vec<(u16, SimulatedOutput)> = (0..2)
                .flat_map(|node| {
                    let (replicator, shard) = &mut self.nodes[node];
                    replicator.synced(self.now, shard);
                    replicator.take_outputs().into_iter().map(move |it| (node as u16, it))
                })
                .collect();
            if outputs.is_empty() {
                return;
            }
            for (from, output) in outputs {
                match output {
                    Output::Send { to, message } if connected => {
                        self.sent += records(&message);
                        let (replicator, shard) = &mut self.nodes[usize::from(to)];
                        replicator.receive(self.now, from, message, shard);
                    }
                    Output::Send { .. } | Output::WantLayout(_) => {}
                    Output::Settled { job, is_confirmed } => self.settled.push((job, is_confirmed)),
                    Output::Step(step) => self.steps.push(step),
                }
            }
        }
    }

    fn write(&mut self, key: Key) -> Result<u64, Hindrance> {
        let partition = Partition(key % PARTITIONS);
        let (replicator, shard) = &mut self.nodes[0];
        replicator.may_write(self.now, partition)?;
        shard.sequence += 1;
        let record = Version { epoch: self.placement.epoch, sequence: shard.sequence };
        let change = Change { key, record };
        shard.apply(partition, change.clone());
        self.jobs += 1;
        replicator.write(self.now, self.jobs, &[(partition, vec![change])], shard);
        Ok(self.jobs)
    }

    /// Has the layout take a step that changes all rows.
    fn change(&mut self, changed: impl Fn(Row) -> Row) {
        let epoch = self.placement.epoch + 1;
        self.placement.epoch = epoch;
        self.placement.rows.iter_mut().for_each(|it| *it = (changed(it.0), epoch));
        for (replicator, shard) in &mut self.nodes {
            replicator.install(self.now, self.placement.clone(), shard);
        }
    }

    fn is_equal(&self) -> bool {
        let [(_, one), (_, other)] = &self.nodes;
        one.records == other.records
    }
}

fn records(message: &SimulatedMessage) -> usize {
    let Message::Stream { items, .. } = message else { return 0 };
    let count = |item: &Item<Key, Version>| match item {
        Item::Changes { changes, .. } => changes.len(),
        Item::Part { records, .. } => records.len(),
        Item::Offer { .. } => 0,
    };
    items.iter().map(count).sum()
}

#[test]
fn a_node_that_was_away_gets_what_it_lacks_and_no_more() {
    const KEYS: Key = 20_000;
    const MISSED: Key = KEYS / 100;
    let mut pair = Pair::new();
    pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
    for key in 0..KEYS {
        pair.write(key).expect("it is written");
        pair.exchange(true);
    }
    assert!(pair.is_equal());
    assert_eq!(pair.sent, KEYS as usize, "each record is sent once");

    pair.pass(2 * LEASE_MS, false);
    assert!(pair.steps.contains(&Step::Evict([1].into())), "{:?}", pair.steps);
    pair.change(|row| row.evict(1, 0).expect("it is one of two"));
    pair.sent = 0;
    // Every one in a hundred, all over the partitions.
    for key in (0..KEYS).step_by((KEYS / MISSED) as usize) {
        pair.write(key).expect("one copy is enough");
        pair.exchange(false);
    }
    assert!(!pair.is_equal());
    pair.sent = 0;
    pair.pass(2 * LEASE_MS, true);
    assert!(pair.is_equal());
    assert_eq!(pair.sent, MISSED as usize, "what it lacks, and nothing else");
    let admitted =
        |step: &Step| matches!(step, Step::Admit { promised, .. } if promised.len() == 16);
    assert!(pair.steps.iter().any(admitted), "{:?}", pair.steps);
}

#[test]
fn what_a_copy_has_too_much_goes() {
    let mut pair = Pair::new();
    let extra = Change { key: 5, record: Version { epoch: 1, sequence: 77 } };
    pair.nodes[1].1.apply(Partition(5), extra);
    pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
    assert!(pair.is_equal());
    assert_eq!(pair.write(5), Ok(1));
}

#[test]
fn a_write_waits_for_its_own_disk_and_for_the_other_copy() {
    let mut pair = Pair::new();
    pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
    let job = pair.write(1).expect("it is written");
    // The other node has it durably, this one does not.
    let sent = pair.nodes[0].0.take_outputs();
    for output in sent {
        if let Output::Send { message, .. } = output {
            let (replicator, shard) = &mut pair.nodes[1];
            replicator.receive(pair.now, 0, message, shard);
            replicator.synced(pair.now, shard);
        }
    }
    for output in pair.nodes[1].0.take_outputs() {
        if let Output::Send { message, .. } = output {
            let (replicator, shard) = &mut pair.nodes[0];
            replicator.receive(pair.now, 1, message, shard);
        }
    }
    let is_settled = |it: &SimulatedOutput| matches!(it, Output::Settled { .. });
    assert!(!pair.nodes[0].0.take_outputs().iter().any(is_settled));
    pair.exchange(true);
    assert_eq!(pair.settled, [(job, true)]);

    let job = pair.write(2).expect("it is written");
    pair.exchange(false);
    assert_eq!(pair.settled.len(), 1, "the other copy does not have it");
    // Once that is known to be no copy in sync any more, this one is enough.
    pair.change(|row| row.evict(1, 0).expect("it is one of two"));
    pair.exchange(false);
    assert_eq!(pair.settled[1..], [(job, true)]);
}

#[test]
fn a_copy_that_does_not_keep_up_is_not_given_ever_more() {
    let mut pair = Pair::new();
    pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
    pair.write(1).expect("it is written");
    pair.exchange(false);
    assert!(pair.write(2).is_ok(), "one that is merely slow is no hindrance");
    pair.pass(BUSY_MS, false);
    assert_eq!(pair.write(3), Err(Hindrance::Busy));

    let mut pair = Pair::new();
    pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
    let mut written = 0;
    while pair.write(written).is_ok() {
        written += 1;
        pair.exchange(false);
    }
    assert_eq!(pair.write(0), Err(Hindrance::Busy));
    assert_eq!(written as usize, UNDER_WAY_BYTES_MAX.div_ceil(MESSAGE_BYTES));
}

#[test]
fn a_primary_without_leases_shows_nothing() {
    let mut pair = Pair::new();
    let partition = Partition(1);
    assert!(!pair.nodes[0].0.may_read(pair.now, partition), "the other one may be primary yet");
    pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
    assert!(pair.nodes[0].0.may_read(pair.now, partition));
    assert!(!pair.nodes[1].0.may_read(pair.now, partition), "it is a backup");
    pair.pass(LEASE_MS - 300, false);
    assert!(pair.nodes[0].0.may_read(pair.now, partition));
    pair.pass(300, false);
    assert!(!pair.nodes[0].0.may_read(pair.now, partition));
}

#[test]
fn fewer_copies_than_a_write_needs_are_read_and_not_written() {
    let mut pair = Pair::new();
    pair.placement.min_in_sync = 2;
    pair.change(|row| row);
    pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
    let job = pair.write(1).expect("both are in sync");
    pair.change(|row| row.evict(1, 0).expect("it is one of two"));
    pair.exchange(false);
    assert_eq!(pair.settled, [(job, false)], "it is in the log, and on too few disks");
    assert_eq!(pair.write(1), Err(Hindrance::TooFew));
    assert!(pair.nodes[0].0.may_read(pair.now, Partition(1)));
}

#[test]
fn what_waits_for_a_layout_is_bounded_and_taken_once_it_is_there() {
    for (messages, is_kept) in
        [(WAITING_BYTES_MAX / MESSAGE_BYTES, true), (WAITING_BYTES_MAX / MESSAGE_BYTES + 1, false)]
    {
        let mut pair = Pair::new();
        let (replicator, shard) = &mut pair.nodes[1];
        let session = Session { incarnation: 9, number: 1 };
        replicator.receive(0, 0, Message::Open { session }, shard);
        for position in 1..=messages as u64 {
            let change = Change { key: 0, record: Version { epoch: 2, sequence: position } };
            let items = vec![Item::Changes { partition: Partition(0), changes: vec![change] }];
            let message =
                Message::Stream { session, position, epoch: 2, sequence: position, items };
            replicator.receive(0, 0, message, shard);
        }
        let outputs = replicator.take_outputs();
        let is_closed = |it: &SimulatedOutput| {
            matches!(it, Output::Send { message: Message::Closed { .. }, .. })
        };
        assert_eq!(!outputs.iter().any(is_closed), is_kept);
        assert!(outputs.contains(&Output::WantLayout(2)));
        assert!(shard.records.is_empty());
        pair.change(|row| row);
        assert_eq!(pair.nodes[1].1.records.len(), usize::from(is_kept));
    }
}

#[test]
fn a_node_that_shares_no_row_any_more_is_no_peer() {
    let mut pair = Pair::new();
    pair.pass(LEASE_MS, true);
    pair.nodes[0].0.take_outputs();
    let alone = Row::whole(&[0]).expect("it has a node");
    pair.change(|_| alone);
    pair.pass(2 * LEASE_MS, true);
    // A silent one that counted would keep the node from reporting others.
    let (replicator, shard) = &mut pair.nodes[0];
    replicator.tick(pair.now + LEASE_MS, shard);
    assert_eq!(replicator.take_outputs(), []);
    assert!(replicator.may_read(pair.now, Partition(1)));
}

/// A layout by which node 1 is the only one in sync.
fn promote(pair: &mut Pair) {
    pair.change(|row| row.evict(0, 1).expect("it is one of two"));
}

#[test]
fn a_new_primary_waits_for_the_leases_that_it_gave() {
    let partition = Partition(1);
    for forgets in [false, true] {
        let mut pair = Pair::new();
        pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
        assert!(pair.nodes[0].0.may_read(pair.now, partition));
        if forgets {
            // Its process is another one, which has granted nothing.
            pair.nodes[1].0 = Replicator::new(1, 2, pair.now);
            let (replicator, shard) = &mut pair.nodes[1];
            replicator.install(pair.now, pair.placement.clone(), shard);
        }
        promote(&mut pair);
        // The other one is not told of it, and may still read.
        pair.pass(LEASE_MS + LEASE_MARGIN_MS - 300, false);
        assert!(!pair.nodes[1].0.may_read(pair.now, partition), "{forgets}");
        pair.pass(300, false);
        assert!(pair.nodes[1].0.may_read(pair.now, partition), "{forgets}");

        // One that has said that it knows need not be waited for.
        let mut pair = Pair::new();
        pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
        promote(&mut pair);
        assert!(!pair.nodes[1].0.may_read(pair.now, partition));
        pair.exchange(true);
        assert!(pair.nodes[1].0.may_read(pair.now, partition));
    }
}

#[test]
fn a_primary_that_has_missed_layouts_begins_anew() {
    let mut pair = Pair::new();
    pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
    assert_eq!(pair.write(1), Ok(1));
    pair.exchange(true);
    // In an epoch that this node does not see, the other one is primary, and writes.
    let (_, shard) = &mut pair.nodes[1];
    let foreign = Change { key: 1, record: Version { epoch: 2, sequence: 9 } };
    shard.apply(Partition(1), foreign);
    pair.placement.epoch = 2;
    pair.change(|row| row);
    assert_eq!(pair.write(1), Err(Hindrance::NotServing), "it does not know what was written");
}

#[test]
fn a_primary_that_has_lost_writes_gives_its_place_up() {
    let mut pair = Pair::new();
    pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
    let before = pair.nodes[0].1.clone();
    for key in 0..10 {
        pair.write(key).expect("it is written");
        pair.exchange(true);
    }
    pair.nodes[0] = (Replicator::new(0, 2, pair.now), before);
    let (replicator, shard) = &mut pair.nodes[0];
    replicator.install(pair.now, pair.placement.clone(), shard);
    pair.pass(2 * LEASE_MS, true);
    assert_eq!(pair.write(1), Err(Hindrance::NotServing));
    assert_eq!(pair.steps.last(), Some(&Step::Yield([1].into())));
    assert!(!pair.is_equal(), "it has not taken from the other one what it lost");
    // To one that it does not hear it yields nothing.
    pair.pass(BACKUP_SILENT_MS, false);
    pair.steps.clear();
    pair.pass(LEASE_MS, false);
    assert!(!pair.steps.iter().any(|it| matches!(it, Step::Yield(_))), "{:?}", pair.steps);
    promote(&mut pair);
    pair.pass(2 * LEASE_MS, true);
    assert!(pair.is_equal());
    assert_eq!(pair.nodes[0].1.sequence, 10, "what it writes next is numbered above that");
}

#[test]
fn a_node_that_stops_hands_over_first() {
    let mut pair = Pair::new();
    pair.pass(LEASE_MS + LEASE_MARGIN_MS, true);
    let job = pair.write(1).expect("it is written");
    pair.nodes[0].0.leave();
    pair.nodes[0].0.tick(pair.now, &mut pair.nodes[0].1);
    let outputs = pair.nodes[0].0.take_outputs();
    let is_step = |it: &SimulatedOutput| matches!(it, Output::Step(_));
    assert!(!outputs.iter().any(is_step), "a write is under way");
    pair.sent = 0;
    for output in outputs {
        if let Output::Send { to, message } = output {
            let (replicator, shard) = &mut pair.nodes[usize::from(to)];
            replicator.receive(pair.now, 0, message, shard);
        }
    }
    pair.pass(20, true);
    assert_eq!(pair.settled, [(job, true)]);
    assert_eq!(pair.write(1), Err(Hindrance::NotServing));
    assert_eq!(pair.steps, [Step::Yield([1].into())]);
    assert!(!pair.nodes[0].0.has_left());
    promote(&mut pair);
    assert!(pair.nodes[0].0.has_left());

    // Where nobody is heard, nobody takes its place.
    let mut alone = Pair::new();
    alone.pass(2 * LEASE_MS, false);
    alone.steps.clear();
    alone.nodes[0].0.leave();
    assert!(alone.nodes[0].0.has_left());
    alone.pass(LEASE_MS, false);
    assert!(!alone.steps.iter().any(|it| matches!(it, Step::Yield(_))), "{:?}", alone.steps);

    // It says so with the next message, and no lease has to run out.
    pair.exchange(true);
    assert!(pair.nodes[1].0.may_read(pair.now, Partition(1)));
    assert!(pair.nodes[1].0.may_write(pair.now, Partition(1)).is_ok());
}
