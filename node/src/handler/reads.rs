//! Requests that wait for readers: which records they have, and what may be remembered of these.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use kv_core::guard::Guard;
use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::Request;
use kv_storage::StorageKey;
use kv_transport::server::service::{Disposition, Frames, ReplyRoom};
use nohash_hasher::{BuildNoHashHasher, IntMap};

use super::{Handler, answered};
use crate::read_pool::{Found, FoundRecords, KEYS_PER_JOB, ReadJob, Wanted};
use crate::reader;

/// What readers have found for a request, under the guard that admitted it.
#[derive(Default)]
pub(super) struct Records(HashMap<StorageKey, Found, BuildNoHashHasher<StorageKey>>);

impl Records {
    pub(super) fn get(&self, key: &StorageKey) -> Option<&Found> {
        if self.0.is_empty() { None } else { self.0.get(key) }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(&StorageKey::new(key))
    }
}

/// A request that waits for readers.
pub(super) struct Reading<P> {
    peer: P,
    request: Request<'static>,
    room: ReplyRoom,
    guard: Arc<Guard>,
    bytes: usize,
    records: Records,
    /// How many jobs are not done.
    jobs: usize,
}

/// The keys that are being read, by their hashes.
#[derive(Default)]
pub(super) struct KeysBeingRead(IntMap<u64, KeyBeingRead>);

#[derive(Default)]
struct KeyBeingRead {
    readers: u32,
    /// Whether it was written after one of the readers began: what they find may be older.
    is_written: bool,
}

impl KeysBeingRead {
    fn begin(&mut self, key: &StorageKey) {
        self.0.entry(key.hash()).or_default().readers += 1;
    }

    /// A client writes to a key with this hash.
    pub(super) fn write(&mut self, hash: u64) {
        if let Some(key) = self.0.get_mut(&hash) {
            key.is_written = true;
        }
    }

    /// One reader has read a key. Returns whether what it has found is the newest.
    fn end(&mut self, key: &StorageKey) -> bool {
        let Some(read) = self.0.get_mut(&key.hash()) else { return false };
        let is_newest = !read.is_written;
        read.readers -= 1;
        if read.readers == 0 {
            self.0.remove(&key.hash());
        }
        is_newest
    }
}

impl<P> Handler<P> {
    /// Has readers read these keys for a request, which is answered then. `records` has what they have found
    /// before.
    pub(super) fn read_keys(
        &mut self,
        peer: P,
        request: Request<'_>,
        room: ReplyRoom,
        (guard, records): (Arc<Guard>, Records),
        mut keys: Vec<StorageKey>,
    ) -> Disposition<P> {
        let mut jobs = Vec::with_capacity(keys.len().div_ceil(KEYS_PER_JOB));
        while !keys.is_empty() {
            let rest = keys.split_off(keys.len().min(KEYS_PER_JOB));
            jobs.push(Wanted::Records(std::mem::replace(&mut keys, rest)));
        }
        self.begin_reading((peer, request, room), (guard, records), jobs)
    }

    /// Has a reader carry out a request that reads many keys.
    pub(super) fn read_many(
        &mut self,
        peer: P,
        request: Request<'_>,
        room: ReplyRoom,
        guard: Arc<Guard>,
    ) -> Disposition<P> {
        let request = request.into_owned();
        let job = Wanted::Answer(Arc::clone(&guard), request.context, request.command.clone());
        match self.begin_reading((peer, request, room), (guard, Records::default()), vec![job]) {
            Disposition::Pending => Disposition::PendingAlone,
            refused => refused,
        }
    }

    fn begin_reading(
        &mut self,
        (peer, request, room): (P, Request<'_>, ReplyRoom),
        (guard, records): (Arc<Guard>, Records),
        jobs: Vec<Wanted>,
    ) -> Disposition<P> {
        let bytes = match self.make_room(&request.command) {
            Ok(bytes) => bytes,
            Err(refusal) => return answered(peer, request.id, refusal),
        };
        if self.reading.is_empty() {
            self.read_at = Instant::now();
        }
        let request_number = self.number();
        self.pending_bytes += bytes;
        let reading = Reading {
            peer,
            request: request.into_owned(),
            room,
            guard,
            bytes,
            records,
            jobs: jobs.len(),
        };
        self.reading.insert(request_number, reading);
        for wanted in jobs {
            if let Wanted::Records(keys) = &wanted {
                keys.iter().for_each(|key| self.being_read.begin(key));
            }
            self.pool.read(ReadJob { request_number, wanted });
        }
        Disposition::Pending
    }

    /// Takes what a reader has found. Returns the reply, where the request waits for no more.
    pub(super) fn take_records(
        &mut self,
        request_number: u64,
        found: FoundRecords,
    ) -> Option<(P, Frames)> {
        self.read_at = Instant::now();
        self.resources.published.replies.take_bytes(found.bytes);
        let guard = self.resources.guard.load_full();
        self.cache.follow(&guard);
        let reading = self.reading.get_mut(&request_number);
        let is_current = reading.as_ref().is_some_and(|it| Arc::ptr_eq(&it.guard, &guard));
        for (key, found) in &found.records {
            let is_newest = self.being_read.end(key);
            if let Found::Record(Some(record)) = found
                && is_newest
                && is_current
                && !self.writing.contains_key(&key.hash())
            {
                self.cache.remember(key.text(), record);
            }
        }
        let reading = reading?;
        reading.records.0.extend(found.records);
        reading.jobs -= 1;
        if reading.jobs > 0 {
            return None;
        }
        let Reading { peer, request, room, bytes, records, .. } =
            self.reading.remove(&request_number)?;
        self.pending_bytes -= bytes;
        // What was read may have been removed meanwhile, because another layout was installed: then its
        // absence says nothing, and it is read again.
        let records = if is_current { records } else { Records::default() };
        match self.carry_out(peer, request, room, (guard, records)) {
            Disposition::Answered(peer, frames) => Some((peer, frames)),
            Disposition::Pending | Disposition::PendingAlone => None,
        }
    }

    /// Takes what a reader answers to a request that reads many keys. Returns the reply, where that is the one.
    pub(super) fn take_answer(
        &mut self,
        request_number: u64,
        content: Content,
    ) -> Option<(P, Frames)> {
        let Reading { peer, request, room, guard, bytes, .. } =
            self.reading.remove(&request_number)?;
        self.read_at = Instant::now();
        self.pending_bytes -= bytes;
        let current = self.resources.guard.load_full();
        let disposition = if !Arc::ptr_eq(&guard, &current) {
            self.carry_out(peer, request, room, (current, Records::default()))
        } else if self.must_be_repaired() || is_to_be_noted(&guard, &request, &content) {
            self.queue(peer, request)
        } else {
            let content = match self.resources.tenure.check() {
                Ok(()) => content,
                Err(refusal) => Content::Refused(refusal),
            };
            return Some((peer, Reply { id: request.id, content }.encode(request.style)));
        };
        match disposition {
            Disposition::Answered(peer, frames) => Some((peer, frames)),
            Disposition::Pending | Disposition::PendingAlone => None,
        }
    }
}

/// Whether a request was for the last of what the node hands over, which the node has to remember.
fn is_to_be_noted(guard: &Guard, request: &Request<'_>, content: &Content) -> bool {
    let admitted = guard.admit(&request.context);
    admitted.is_ok_and(|it| reader::verified_peer(it, &request.command, content).is_some())
}
