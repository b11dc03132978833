//! Keys, their values, and who holds their locks.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use super::Refusal;
use super::session::{Behavior, Session};

/// The most that all keys and values together may take.
pub(crate) const KV_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The longest key.
pub(crate) const KEY_BYTES_MAX: usize = 2_048;

/// How many deleted keys are remembered one by one, for queries that wait on a prefix.
pub(super) const TOMBSTONES_MAX: usize = 4_096;

/// A key with its value and bookkeeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Arc<[u8]>,
    pub(crate) flags: u64,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    /// How often the key was locked.
    pub(crate) lock_index: u64,
    /// The session that holds the lock.
    pub(crate) session: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Put {
    pub(crate) key: String,
    pub(crate) value: Arc<[u8]>,
    pub(crate) flags: u64,
    pub(crate) condition: Condition,
}

/// What must hold for a write to take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    /// The key was last modified at this index; 0 means that it does not exist.
    ModifiedAt(u64),
    /// The session, which exists, holds the lock or can have it. It holds it afterwards.
    Acquire(String),
    /// The session holds the lock. No session holds it afterwards.
    Release(String),
}

#[derive(Clone, Debug)]
pub(crate) enum DeleteTarget {
    /// One key; with an index, only if it was last modified at that index.
    Key { key: String, modified_at: Option<u64> },
    /// All keys that start with this.
    Prefix(String),
}

/// What became of a write or a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    /// Whether the condition held.
    pub(super) held: bool,
    /// Whether anything is different now.
    pub(super) changed: bool,
}

/// The condition of a write does not hold.
struct ConditionFailed;

const REFUSED: Effect = Effect { held: false, changed: false };
const UNCHANGED: Effect = Effect { held: true, changed: false };
const CHANGED: Effect = Effect { held: true, changed: true };

/// An entry of the last run, and what becomes of it if a session held its lock then: sessions do not
/// survive a restart.
#[derive(Clone, Debug)]
pub(crate) struct Restored {
    pub(crate) entry: Entry,
    pub(crate) held: Option<Behavior>,
}

#[derive(Clone, Debug)]
pub(crate) struct Kv {
    entries: BTreeMap<String, Arc<Entry>>,
    /// The size of all keys and values.
    size_bytes: usize,
    /// The index of the last change to any key.
    index: u64,
    /// Deleted keys and when they were deleted, so that the index of a prefix never goes backwards.
    tombstones: BTreeMap<String, u64>,
    /// No tombstone older than this is kept, so no prefix has a lower index.
    tombstone_floor: u64,
    /// Until when keys cannot be locked, since their holder ended without a release.
    lock_delays: BTreeMap<String, Instant>,
}

impl Kv {
    /// The keys after a start. `index` is new, and the indexes of the last run are lower.
    pub(super) fn new(index: u64, restored: Vec<Restored>) -> Self {
        let mut entries = BTreeMap::new();
        for Restored { mut entry, held } in restored {
            match held {
                Some(Behavior::Delete) => continue,
                Some(Behavior::Release) => entry.modify_index = index,
                None => {}
            }
            entries.insert(entry.key.clone(), Arc::new(entry));
        }
        Self {
            size_bytes: entries.values().map(|entry| size(entry)).sum(),
            entries,
            index,
            tombstones: BTreeMap::new(),
            tombstone_floor: index,
            lock_delays: BTreeMap::new(),
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// A number that differs after every change to the part that is kept on disk.
    pub(super) fn revision(&self) -> u64 {
        self.index
    }

    /// The entry at `key`, and the index that a query for it waits on.
    pub(crate) fn get(&self, key: &str) -> (u64, Option<Arc<Entry>>) {
        let entry = self.entries.get(key).cloned();
        (entry.as_ref().map_or(self.index, |entry| entry.modify_index), entry)
    }

    /// The entries whose keys start with `prefix`, and the index that a query for them waits on.
    pub(crate) fn list(&self, prefix: &str) -> (u64, Vec<Arc<Entry>>) {
        let entries: Vec<Arc<Entry>> =
            with_prefix(&self.entries, prefix).map(|(_, entry)| entry.clone()).collect();
        let modified = entries.iter().map(|entry| entry.modify_index);
        let deleted = with_prefix(&self.tombstones, prefix).map(|(_, index)| *index);
        let index = modified.chain(deleted).max();
        (index.map_or(self.index, |index| index.max(self.tombstone_floor)), entries)
    }

    pub(super) fn put(&mut self, put: Put, index: u64, now: Instant) -> Result<Effect, Refusal> {
        let Put { key, value, flags, condition } = put;
        let existing = self.entries.get(&key).cloned();
        let Ok(session) = self.holder_after(&key, existing.as_deref(), condition, now) else {
            return Ok(REFUSED);
        };
        let newly_locked =
            session.is_some() && existing.as_ref().is_none_or(|entry| entry.session.is_none());
        let entry = Entry {
            value,
            flags,
            create_index: existing.as_ref().map_or(index, |entry| entry.create_index),
            modify_index: index,
            lock_index: existing.as_ref().map_or(0, |entry| entry.lock_index)
                + u64::from(newly_locked),
            session,
            key,
        };
        if let Some(existing) = &existing {
            let unchanged = Entry { modify_index: existing.modify_index, ..entry.clone() };
            if unchanged == **existing {
                return Ok(UNCHANGED);
            }
        }
        let size_bytes = self.size_bytes - existing.as_deref().map_or(0, size) + size(&entry);
        if size_bytes > KV_BYTES_MAX {
            return Err(Refusal::Full { what: "bytes of keys and values", limit: KV_BYTES_MAX });
        }
        self.size_bytes = size_bytes;
        self.tombstones.remove(&entry.key);
        self.entries.insert(entry.key.clone(), Arc::new(entry));
        self.index = index;
        Ok(CHANGED)
    }

    /// Which session holds the lock after a write whose condition holds.
    fn holder_after(
        &mut self,
        key: &str,
        existing: Option<&Entry>,
        condition: Condition,
        now: Instant,
    ) -> Result<Option<String>, ConditionFailed> {
        let holder = existing.and_then(|entry| entry.session.clone());
        let (holds, after) = match condition {
            Condition::Always => (true, holder),
            Condition::ModifiedAt(index) => {
                (index == existing.map_or(0, |entry| entry.modify_index), holder)
            }
            Condition::Acquire(session) => {
                self.lock_delays.retain(|_, until| *until > now);
                let available = match &holder {
                    Some(holder) => *holder == session,
                    None => !self.lock_delays.contains_key(key),
                };
                (available, Some(session))
            }
            Condition::Release(session) => (holder == Some(session), None),
        };
        if holds { Ok(after) } else { Err(ConditionFailed) }
    }

    pub(super) fn delete(&mut self, target: &DeleteTarget, index: u64) -> Effect {
        let keys = match target {
            DeleteTarget::Key { key, modified_at } => match (self.entries.get(key), modified_at) {
                (None, _) => return UNCHANGED,
                (Some(entry), Some(at)) if entry.modify_index != *at => return REFUSED,
                (Some(_), _) => vec![key.clone()],
            },
            DeleteTarget::Prefix(prefix) => {
                with_prefix(&self.entries, prefix).map(|(key, _)| key.clone()).collect()
            }
        };
        for key in &keys {
            self.remove(key, index);
        }
        if keys.is_empty() { UNCHANGED } else { CHANGED }
    }

    /// Releases or deletes the keys that `session` holds, and begins their lock delay.
    pub(super) fn end_session(&mut self, session: &Session, index: u64, now: Instant) {
        let holds = |entry: &&Arc<Entry>| entry.session.as_ref() == Some(&session.id);
        let held: Vec<Arc<Entry>> = self.entries.values().filter(holds).cloned().collect();
        for entry in held {
            if !session.lock_delay.is_zero() {
                self.lock_delays.insert(entry.key.clone(), now + session.lock_delay);
            }
            match session.behavior {
                Behavior::Delete => self.remove(&entry.key, index),
                Behavior::Release => {
                    let free = Entry { session: None, modify_index: index, ..(*entry).clone() };
                    self.entries.insert(free.key.clone(), Arc::new(free));
                    self.index = index;
                }
            }
        }
    }

    fn remove(&mut self, key: &str, index: u64) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.size_bytes -= size(&entry);
        self.index = index;
        self.tombstones.insert(key.to_owned(), index);
        if self.tombstones.len() > TOMBSTONES_MAX {
            // Forgetting them all raises the index of every prefix, which wakes some who wait
            // without need, but never fails to wake one.
            self.tombstones.clear();
            self.tombstone_floor = index;
        }
    }
}

fn size(entry: &Entry) -> usize {
    entry.key.len() + entry.value.len()
}

fn with_prefix<'a, T>(
    map: &'a BTreeMap<String, T>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a String, &'a T)> {
    map.range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
}
