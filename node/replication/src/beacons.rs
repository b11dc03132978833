//! Whether another node is heard, and which leases there are between it and this one.

use kv_core::copies::lease::{Granted, counts};
use kv_core::copies::session::View;

use crate::limits::{BACKUP_SILENT_MS, BEACON_MS, LEASE_MARGIN_MS, LEASE_MS};

/// What a node knows of another one, whatever partitions they share.
#[derive(Debug)]
pub(crate) struct Contact {
    heard_at: u64,
    beacon_at: Option<u64>,
    /// The newest epoch that it has said to have installed.
    said: Option<u64>,
    lease: Option<Lease>,
    granted: Granted,
    granted_at: u64,
}

/// What another node has granted.
#[derive(Clone, Copy, Debug)]
struct Lease {
    epoch: u64,
    until: u64,
}

impl Contact {
    /// Of a node that has not been heard yet. This process may have been started a moment ago, and cannot remember
    /// what it granted before.
    pub(crate) fn new(now: u64) -> Self {
        let granted = Granted::Since(0);
        Self { heard_at: now, beacon_at: None, said: None, lease: None, granted, granted_at: now }
    }

    /// Whether a beacon is due, which is sent now.
    pub(crate) fn is_beacon_due(&mut self, now: u64) -> bool {
        let is_due = self.beacon_at.is_none_or(|at| now >= at + BEACON_MS);
        if is_due {
            self.beacon_at = Some(now);
        }
        is_due
    }

    /// Has the next beacon sent at once.
    pub(crate) fn hasten_beacon(&mut self) {
        self.beacon_at = None;
    }

    /// Takes note that something came of it.
    pub(crate) fn hear(&mut self, now: u64) {
        self.heard_at = now;
    }

    /// Takes note that it has the layout of `epoch` installed.
    pub(crate) fn note_installed(&mut self, epoch: u64) {
        self.said = self.said.max(Some(epoch));
    }

    /// Whether it has been heard lately.
    pub(crate) fn is_heard(&self, now: u64) -> bool {
        self.silent_for(now) < BACKUP_SILENT_MS
    }

    /// For how long nothing has come of it.
    pub(crate) fn silent_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.heard_at)
    }

    /// Grants it a lease by the layout of `epoch`.
    pub(crate) fn grant(&mut self, now: u64, epoch: u64) {
        if !self.may_have_lease(now) {
            self.granted = Granted::Nothing;
        }
        self.granted = self.granted.and(epoch);
        self.granted_at = now;
    }

    /// Takes note of a lease that it granted by the layout of `epoch`, for a beacon that was sent then.
    pub(crate) fn note_lease(&mut self, epoch: u64, sent_at: u64) {
        let until = sent_at + LEASE_MS;
        // Answers keep their order, and an older one would still be true, for less long.
        if self.lease.is_none_or(|it| (it.epoch, it.until) <= (epoch, until)) {
            self.lease = Some(Lease { epoch, until });
        }
    }

    /// Whether this node, the primary of a row that it sees so, has a lease of the other one now.
    pub(crate) fn has_lease(&self, now: u64, view: &View) -> bool {
        self.lease.is_some_and(|it| now < it.until && counts(it.epoch, view))
    }

    /// Whether the other node may still read a row as its primary that is this one's since the epoch `since`.
    pub(crate) fn is_in_the_way(&self, now: u64, since: u64) -> bool {
        self.may_have_lease(now) && self.granted.is_in_the_way(since, self.said)
    }

    fn may_have_lease(&self, now: u64) -> bool {
        now < self.granted_at + LEASE_MS + LEASE_MARGIN_MS
    }
}
