//! What the agent knows, and the rules by which it changes: no HTTP, no files, no clock.
//!
//! Every change is a method that takes the present time where time matters. A change that takes
//! effect gives out the next index; one that changes nothing gives out none, so that no reader that
//! waits for news is woken without need.

mod catalog;
mod kv;
mod session;

#[cfg(test)]
mod tests;

use std::time::Instant;

pub(super) use catalog::{
    Catalog, Check, CheckDefinition, Registration, Service, ServiceDefinition, Status,
};
pub(super) use kv::{
    Condition, DeleteTarget, Entry, KEY_BYTES_MAX, KV_BYTES_MAX, Kv, Put, Restored,
};
pub(super) use session::{Behavior, NewSession, Session, Sessions};

/// How many indexes may be given out before the state is written to disk again.
///
/// The catalog is not kept on disk, but its changes give out indexes too. Each snapshot therefore
/// promises that no index beyond its reserve was given out, and a restart begins after the reserve:
/// so indexes never go backwards, and a heartbeat costs no disk access.
const INDEX_RESERVE: u64 = 10_000;

/// Why a change was not made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("CheckID {0:?} does not have associated TTL")]
    UnknownCheck(String),
    #[error("missing session")]
    NoSession,
    #[error("failed session lookup: index error: UUID must be 36 characters")]
    MalformedSession,
    #[error("invalid session {0:?}")]
    UnknownSession(String),
    #[error("the agent keeps at most {limit} {what}; remove some first")]
    Full { what: &'static str, limit: usize },
}

/// Everything that the agent knows.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The last index that was given out.
    index: u64,
    /// The last index that may be given out before the next snapshot.
    reserved_index: u64,
    pub(super) kv: Kv,
    pub(super) sessions: Sessions,
    pub(super) catalog: Catalog,
}

impl State {
    /// The state after a start: no index up to `index` is given out again, and the keys of the last
    /// run are there.
    pub(super) fn new(index: u64, entries: Vec<Restored>) -> Self {
        // Consul's first index is 1, since a query for index 0 would not block.
        let index = index + 1;
        Self {
            index,
            reserved_index: index + INDEX_RESERVE,
            kv: Kv::new(index, entries),
            sessions: Sessions::new(index),
            catalog: Catalog::new(index),
        }
    }

    /// The last index that a snapshot of this state promises not to exceed.
    pub(super) fn reserved_index(&self) -> u64 {
        self.reserved_index
    }

    /// Whether this state must be on disk before a reader may learn of it, given that `before` was.
    /// If so, it also renews the reserve of indexes.
    pub(super) fn must_persist(&mut self, before: &Self) -> bool {
        let due = self.kv.revision() != before.kv.revision() || self.index > self.reserved_index;
        if due {
            self.reserved_index = self.index + INDEX_RESERVE;
        }
        due
    }

    /// Writes a key. Returns whether the condition held.
    pub(super) fn put(&mut self, put: Put, now: Instant) -> Result<bool, Refusal> {
        if let Condition::Acquire(session) = &put.condition {
            self.sessions.require(session)?;
        }
        let index = self.index + 1;
        let written = self.kv.put(put, index, now)?;
        self.used(index, written.changed);
        Ok(written.held)
    }

    /// Deletes a key, or all keys with a prefix. Returns whether the condition held.
    pub(super) fn delete(&mut self, target: &DeleteTarget) -> bool {
        let index = self.index + 1;
        let deleted = self.kv.delete(target, index);
        self.used(index, deleted.changed);
        deleted.held
    }

    /// Creates a session under `id`, which the caller made up and no other session has.
    pub(super) fn create_session(
        &mut self,
        id: String,
        session: NewSession,
        now: Instant,
    ) -> Result<(), Refusal> {
        let index = self.index + 1;
        self.sessions.create(id, session, index, now)?;
        self.used(index, true);
        Ok(())
    }

    /// Starts the session's time to live anew, and returns the session if it still exists.
    pub(super) fn renew_session(
        &mut self,
        id: &str,
        now: Instant,
    ) -> Result<Option<Session>, Refusal> {
        self.sessions.renew(id, now)
    }

    /// Ends a session: what it locks is released or deleted, and its lock delay begins.
    pub(super) fn destroy_session(&mut self, id: &str, now: Instant) -> Result<(), Refusal> {
        let index = self.index + 1;
        if let Some(session) = self.sessions.remove(id, index)? {
            self.kv.end_session(&session, index, now);
            self.used(index, true);
        }
        Ok(())
    }

    /// Registers a service with its checks, in place of an earlier registration of the same id.
    pub(super) fn register(
        &mut self,
        registration: Registration,
        now: Instant,
    ) -> Result<(), Refusal> {
        let index = self.index + 1;
        let changed = self.catalog.register(registration, index, now)?;
        self.used(index, changed);
        Ok(())
    }

    /// Removes a service and its checks, if it is there.
    pub(super) fn deregister(&mut self, service_id: &str) {
        let index = self.index + 1;
        let changed = self.catalog.deregister(service_id, index);
        self.used(index, changed);
    }

    /// Takes a report on a TTL check, whose time to live starts anew.
    pub(super) fn report(
        &mut self,
        check_id: &str,
        status: Status,
        output: &str,
        now: Instant,
    ) -> Result<(), Refusal> {
        let index = self.index + 1;
        let changed = self.catalog.report(check_id, status, output, index, now)?;
        self.used(index, changed);
        Ok(())
    }

    /// Makes every change whose time has come: sessions end, checks become critical.
    pub(super) fn expire(&mut self, now: Instant) {
        for id in self.sessions.expired(now) {
            // An id that was just found is well formed and present.
            let _ = self.destroy_session(&id, now);
        }
        let index = self.index + 1;
        let changed = self.catalog.expire(index, now);
        self.used(index, changed);
    }

    /// When [`expire`](Self::expire) next has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.sessions.next_deadline().into_iter().chain(self.catalog.next_deadline()).min()
    }

    fn used(&mut self, index: u64, changed: bool) {
        if changed {
            self.index = index;
        }
    }
}
