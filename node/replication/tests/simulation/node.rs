//! One simulated node: its process, its disk, its clock.

use std::collections::{BTreeMap, VecDeque};

use kv_core::partition::Partition;
use kv_core::version::Version;
use kv_replication::{Change, Message, Output, Placement, Replicator, Shard as _};

use crate::shard::{Key, MemoryShard};

pub(crate) type SimulatedMessage = Message<Key, Version>;
pub(crate) type SimulatedOutput = Output<Key, Version>;

/// What a process has.
pub(crate) struct Process {
    pub(crate) replicator: Replicator<MemoryShard>,
    pub(crate) shard: MemoryShard,
    /// What it does only once its disk has synced, and since when it syncs.
    pub(crate) syncs: bool,
    pub(crate) inbox: VecDeque<(u16, SimulatedMessage)>,
    /// The keys that are written by jobs that are not settled.
    pub(crate) hidden: BTreeMap<u64, Key>,
}

/// A node, whether its process runs or not.
pub(crate) struct Node {
    pub(crate) me: u16,
    pub(crate) process: Option<Process>,
    /// What would be there after a power loss.
    pub(crate) disk: MemoryShard,
    /// What would be there after the process was killed.
    pub(crate) written: MemoryShard,
    /// The layout that is installed, durably.
    pub(crate) installed: Placement,
    pub(crate) incarnation: u64,
    /// Its clock is ahead by so many milliseconds, and goes faster by as many of a thousand.
    pub(crate) ahead: u64,
    pub(crate) faster: i64,
    /// It does nothing before that: it is frozen, or its disk is slow.
    pub(crate) stands_until: u64,
    pub(crate) reaches_registry: bool,
    pub(crate) is_dead: bool,
}

impl Node {
    pub(crate) fn new(me: u16, installed: Placement, ahead: u64, faster: i64) -> Self {
        Self {
            me,
            process: None,
            disk: MemoryShard::default(),
            written: MemoryShard::default(),
            installed,
            incarnation: 0,
            ahead,
            faster,
            stands_until: 0,
            reaches_registry: true,
            is_dead: false,
        }
    }

    /// What its clock shows.
    pub(crate) fn clock(&self, now: u64) -> u64 {
        let faster = now as i64 * self.faster / 1000;
        self.ahead + now.saturating_add_signed(faster)
    }

    pub(crate) fn start(&mut self, now: u64) {
        self.incarnation += 1;
        // A start syncs what it finds, before it shows any of it.
        self.disk = self.written.clone();
        let mut shard = self.written.clone();
        let clock = self.clock(now);
        let mut replicator = Replicator::new(self.me, self.incarnation, clock);
        replicator.install(clock, self.installed.clone(), &mut shard);
        let (inbox, hidden) = (VecDeque::new(), BTreeMap::new());
        self.process = Some(Process { replicator, shard, syncs: false, inbox, hidden });
    }

    /// Ends the process. After a power loss only what was synced is there.
    pub(crate) fn kill(&mut self, is_power_loss: bool) {
        self.process = None;
        if is_power_loss {
            self.written = self.disk.clone();
        }
        self.stands_until = 0;
    }

    /// Installs a layout.
    pub(crate) fn install(&mut self, now: u64, placement: &Placement) {
        let clock = self.clock(now);
        let Some(process) = &mut self.process else { return };
        if placement.epoch > self.installed.epoch {
            self.installed = placement.clone();
            let Process { replicator, shard, .. } = process;
            replicator.install(clock, placement.clone(), shard);
        }
    }

    /// Writes to a key as a client asks, where it may be written to. Returns the version.
    pub(crate) fn write(
        &mut self,
        now: u64,
        job: u64,
        key: Key,
        partition: Partition,
    ) -> Option<Version> {
        let clock = self.clock(now);
        let Process { replicator, shard, hidden, .. } = self.process.as_mut()?;
        replicator.may_write(clock, partition).ok()?;
        shard.sequence += 1;
        let version = Version { epoch: replicator.epoch()?, sequence: shard.sequence };
        let change = Change { key, record: version };
        shard.apply(partition, change.clone());
        hidden.insert(job, key);
        replicator.write(clock, job, &[(partition, vec![change])], shard);
        Some(version)
    }

    /// What a client reads of a key, where it may be read.
    pub(crate) fn read(&self, now: u64, key: Key, partition: Partition) -> Option<Option<Version>> {
        let Process { replicator, shard, hidden, .. } = self.process.as_ref()?;
        let value = shard.records.get(&(partition, key)).copied();
        let is_hidden = hidden.values().any(|it| *it == key);
        (!is_hidden && replicator.may_read(self.clock(now), partition)).then_some(value)
    }

    /// Takes note that all that was done so far is durable.
    pub(crate) fn synced(&mut self, now: u64) {
        let clock = self.clock(now);
        let Some(Process { replicator, shard, .. }) = &mut self.process else { return };
        self.disk = shard.clone();
        replicator.synced(clock, shard);
    }

    /// What the process has to do. All of it is in the page cache by now.
    pub(crate) fn outputs(&mut self) -> Vec<SimulatedOutput> {
        let Some(Process { replicator, shard, .. }) = &mut self.process else {
            return Vec::new();
        };
        self.written = shard.clone();
        replicator.take_outputs()
    }
}
