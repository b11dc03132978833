//! Carrying out operations in memory, before they become durable together.
//!
//! Operations of one group see what those before them staged, so that a group behaves as if its
//! operations were carried out one after another.

use std::borrow::Cow;
use std::collections::HashMap;

use kv_protocol::refusal::{ErrorCode, Refusal};
use kv_protocol::reply::{Done, Outcome, Record};
use kv_protocol::request::{Condition, Operation};
use kv_protocol::version::Version;

use crate::guard::Admitted;
use crate::refusals::from_store;
use crate::store::{Batch, Counters, StorageKey, Store, StoreError};

/// What a group of operations has changed so far.
pub struct Staging {
    /// The new record of each key that was changed; none where it was removed.
    changes: HashMap<StorageKey, Option<Record>>,
    counters: Counters,
    /// Whether the store accepts new data; deletes go on when its disk is full.
    room: Room,
}

/// Whether the disk has room for more data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It has.
    Free,
    /// It has less than the reserve.
    Full {
        /// The bytes that are free.
        free_bytes: u64,
        /// The bytes that are kept free.
        reserve_bytes: u64,
    },
}

impl Staging {
    /// Starts a group on top of what is stored.
    #[must_use]
    pub fn new(counters: Counters, room: Room) -> Self {
        Self { changes: HashMap::new(), counters, room }
    }

    /// Whether nothing has been changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes as one batch, with the counters after it.
    #[must_use]
    pub fn into_batch(self) -> (Batch, Counters) {
        let mut batch = Batch::default();
        for (key, change) in self.changes {
            match change {
                Some(Record { value, version: Some(version) }) => batch.put(&key, version, &value),
                _ => batch.remove(&key),
            }
        }
        (batch, self.counters)
    }

    /// Carries one operation out.
    ///
    /// # Errors
    /// Why it was refused; nothing is staged then.
    pub fn carry_out(
        &mut self,
        store: &Store,
        admitted: Admitted<'_>,
        operation: Operation<'_>,
    ) -> Outcome {
        admitted.check_key(operation.key())?;
        let key = StorageKey::new(operation.key());
        let current = match self.changes.get(&key) {
            Some(change) => Ok(change.clone()),
            None => store.get(&key),
        };
        let current = match (current, &operation) {
            (Ok(current), _) => current,
            // The one cure of a damaged record is to remove it, so that must be possible.
            (Err(StoreError::Corrupt(_)), Operation::Delete { condition: Condition::None, .. }) => {
                self.counters.sequence += 1;
                self.counters.keys = self.counters.keys.saturating_sub(1);
                self.changes.insert(key, None);
                return Ok(Done::Deleted { existed: true });
            }
            (Err(error), _) => return Err(from_store(&error)),
        };
        match operation {
            Operation::Get { .. } => Ok(Done::Read(current)),
            Operation::Put { key: text, value, condition } => check(condition, current.as_ref())
                .and_then(|()| self.check_room())
                .map(|()| self.put(key, &text, value, current, admitted.epoch())),
            Operation::Delete { key: text, condition } => {
                check(condition, current.as_ref()).map(|()| self.delete(key, &text, current))
            }
        }
    }

    fn put(
        &mut self,
        key: StorageKey,
        text: &str,
        value: Cow<'_, [u8]>,
        current: Option<Record>,
        epoch: u64,
    ) -> Done {
        self.counters.sequence += 1;
        let version = Version { epoch, sequence: self.counters.sequence };
        self.uncount(text, current.as_ref());
        self.counters.keys += 1;
        self.counters.bytes += size(text, &value);
        let record = Record { value: value.into_owned(), version: Some(version) };
        self.changes.insert(key, Some(record));
        Done::Stored { version }
    }

    fn delete(&mut self, key: StorageKey, text: &str, current: Option<Record>) -> Done {
        let existed = current.is_some();
        if existed {
            self.counters.sequence += 1;
            self.uncount(text, current.as_ref());
            self.changes.insert(key, None);
        }
        Done::Deleted { existed }
    }

    fn uncount(&mut self, text: &str, current: Option<&Record>) {
        if let Some(current) = current {
            self.counters.keys = self.counters.keys.saturating_sub(1);
            self.counters.bytes = self.counters.bytes.saturating_sub(size(text, &current.value));
        }
    }

    fn check_room(&self) -> Result<(), Refusal> {
        match self.room {
            Room::Free => Ok(()),
            Room::Full { free_bytes, reserve_bytes } => Err(Refusal::new(
                ErrorCode::DiskFull,
                format!(
                    "the node's disk has {free_bytes} bytes left and keeps {reserve_bytes} in reserve: free some space there; reads and deletes go on"
                ),
            )),
        }
    }
}

fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn check(condition: Condition, current: Option<&Record>) -> Result<(), Refusal> {
    let stored = current.and_then(|record| record.version);
    let expected = match (condition, stored) {
        (Condition::None, _) | (Condition::Absent, None) => return Ok(()),
        (Condition::Version(wanted), Some(stored)) if wanted == stored => return Ok(()),
        (Condition::Absent, Some(_)) => "no record".to_owned(),
        (Condition::Version(wanted), _) => format!("version {wanted}"),
    };
    let found = stored.map_or("there is none".to_owned(), |stored| format!("found {stored}"));
    Err(Refusal {
        version: stored,
        ..Refusal::new(
            ErrorCode::Conflict,
            format!("the condition does not hold: expected {expected}, {found}"),
        )
    })
}
