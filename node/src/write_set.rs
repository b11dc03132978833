//! Carrying out operations in memory, before they become durable together.
//!
//! Operations of one group see what those before them staged, so that a group behaves as if its
//! operations were carried out one after another. What an operation does, [`kv_core::record`]
//! decides; here is what it takes to ask.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use kv_core::guard::Admitted;
use kv_core::operation::{Condition, Done, Operation, Outcome};
use kv_core::ownership::Right;
use kv_core::partition_sum::RecordSize;
use kv_core::record::{
    Current, RecordChange, RecordOperation, RecordReply, remove_damaged, transition,
};
use kv_core::refusal::{Refusal, bad_request};
use kv_core::version::Version;
use kv_protocol::record_stream::{self, StreamRecord};
use kv_storage::disk::Room;
use kv_storage::{Batch, Before, Counters, StorageKey, Store, StoreError, Stored};
use nohash_hasher::BuildNoHashHasher;

use crate::refusals::{from_refused, from_store, no_room};

/// What the serving loop knows of the value that is stored under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownValue {
    /// Its version.
    pub version: Version,
    /// Its length, in bytes.
    pub bytes: u64,
}

/// What a group of operations has changed so far.
pub struct WriteSet {
    changes: Changes,
    counters: Counters,
    /// What the disk has room for; removals go on when it is full.
    room: Room,
}

type Changes = HashMap<StorageKey, Change, BuildNoHashHasher<StorageKey>>;

/// A key that was changed.
struct Change {
    /// Its new record; `None` where it was removed.
    record: Option<Stored<Vec<u8>>>,
    /// What the store has of it.
    before: Before,
}

impl WriteSet {
    /// Starts a group on top of the stored records, on a disk that has room.
    #[must_use]
    pub fn new(counters: Counters) -> Self {
        Self { changes: Changes::default(), counters, room: Room::Free }
    }

    /// The same, with room for changes of so many keys.
    #[must_use]
    pub fn with_room_for(mut self, keys: usize) -> Self {
        self.changes.reserve(keys);
        self
    }

    /// Takes note of whether the disk has room for what comes next.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// Whether nothing has been changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes as one batch, with the counters after it.
    #[must_use]
    pub fn into_batch(self) -> (Batch, Counters) {
        let bytes_of = |(key, change): (&StorageKey, &Change)| {
            let value = change.record.as_ref().and_then(|it| it.value.as_ref());
            key.text().len() + value.map_or(0, Vec::len)
        };
        let bytes = self.changes.iter().map(bytes_of).sum();
        let mut batch = Batch::with_room_for(self.changes.len(), bytes);
        for (key, Change { record, before }) in self.changes {
            match record {
                Some(Stored { version, value }) => {
                    batch.put(key, version, value.as_deref(), before);
                }
                None => batch.remove(key, before),
            }
        }
        (batch, self.counters)
    }

    /// Carries one operation out. Where its key is stored with a value that is `known`, it is not read.
    ///
    /// # Errors
    /// Why it was refused; nothing is staged then.
    pub fn carry_out(
        &mut self,
        store: &Store,
        admitted: Admitted<'_>,
        operation: Operation<'_>,
        known: Option<KnownValue>,
    ) -> Outcome {
        let partition = admitted.installed().partition_of(operation.key());
        let right = admitted.right_to(partition)?;
        let key = StorageKey::new(operation.key());
        let next = Version { epoch: admitted.epoch(), sequence: self.counters.sequence + 1 };
        let (step, condition) = step_of(&operation);
        let refuse = |it| from_refused(it, condition, admitted, partition);
        let is_read = matches!(operation, Operation::Get { .. });
        let known = known.filter(|_| !is_read);
        let stored = match (self.stored(store, &key, is_read, known), &operation) {
            (Ok(stored), _) => stored,
            // The one cure of a damaged record is to remove it, so that must be possible.
            (
                Err(StoreError::RecordCorrupt(_)),
                Operation::Delete { condition: Condition::None, .. },
            ) => {
                let change = remove_damaged(right, next).map_err(refuse)?;
                self.check_room(change)?;
                let size = store.measure(&key).map_err(|error| from_store(&error))?;
                self.apply(key, (size, Before::Unknown), change, None);
                self.counters.sequence = next.sequence;
                return Ok(Done::Deleted { existed: true });
            }
            (Err(error), _) => return Err(from_store(&error)),
        };
        let size = stored.as_ref().map(|it| it.size);
        let current = current_of(size);
        let (answer, change) = transition(right, current, step, next).map_err(refuse)?;
        self.check_room(change)?;
        if change != RecordChange::Keep {
            self.counters.sequence = next.sequence;
        }
        let before = (size.map(|it| it.value_bytes), before_of(size));
        let done = match answer {
            RecordReply::Stored(version) => Done::Stored { version },
            RecordReply::Deleted { existed } => Done::Deleted { existed },
            RecordReply::Read(_) | RecordReply::Copied { .. } => {
                Done::Read(stored.and_then(|it| it.record).and_then(Stored::into_record))
            }
        };
        match operation {
            Operation::Put { value, .. } => {
                self.apply(key, before, change, Some(value.into_owned()));
            }
            Operation::Delete { .. } | Operation::Get { .. } => {
                self.apply(key, before, change, None);
            }
        }
        Ok(done)
    }

    /// Copies a stream of so many `records`. Returns how many of them are new here.
    ///
    /// # Errors
    /// Why it was refused; nothing of it is staged then.
    pub fn copy(
        &mut self,
        store: &Store,
        admitted: Admitted<'_>,
        records: u32,
        stream: &[u8],
    ) -> Result<u32, Refusal> {
        admitted.check_exact("COPY")?;
        let records = read_stream(records, stream)?;
        records.iter().try_for_each(|record| check_copy(admitted, record))?;
        let mut added = Vec::new();
        for record in &records {
            let key = StorageKey::new(record.key);
            let is_new = !self.changes.contains_key(&key)
                && store.measure(&key).map_err(|error| from_store(&error))?.is_none();
            if is_new {
                added.push((key, record));
            }
        }
        for (_, record) in &added {
            let is_removal = record.value.is_none();
            self.check_room(if is_removal {
                RecordChange::Remove
            } else {
                RecordChange::Store(record.version)
            })?;
        }
        let mut copied = 0;
        for (key, &StreamRecord { key: text, version, value }) in added {
            // A key may stand in the stream twice: then the first one counts.
            let before = self.changes.get(&key).and_then(|it| it.record.as_ref());
            let current = current_of(before.map(|it| it.borrowed().size()));
            let partition = admitted.installed().partition_of(text);
            let right = admitted.right_to(partition)?;
            let step = RecordOperation::Copy { version, is_tombstone: value.is_none() };
            let (answer, change) = transition(right, current, step, version)
                .map_err(|it| from_refused(it, Condition::None, admitted, partition))?;
            self.apply(key, (None, Before::Nothing), change, value.map(<[u8]>::to_vec));
            copied += u32::from(answer == RecordReply::Copied { is_new: true });
        }
        Ok(copied)
    }

    /// What the node has of a key, with its value only where that is wanted.
    fn stored(
        &self,
        store: &Store,
        key: &StorageKey,
        with_value: bool,
        known: Option<KnownValue>,
    ) -> Result<Option<Known>, StoreError> {
        let know = |stored: Stored<&[u8]>| Known {
            size: stored.size(),
            record: with_value.then(|| stored.to_owned()),
        };
        match (self.changes.get(key), known) {
            (Some(change), _) => Ok(change.record.as_ref().map(|it| know(it.borrowed()))),
            (None, Some(KnownValue { version, bytes })) => Ok(Some(Known {
                size: RecordSize { version, value_bytes: Some(bytes) },
                record: None,
            })),
            (None, None) => store.look_up(key, know),
        }
    }

    /// Stages a change of a key, whose value had this length before, if there was a record. What the store has
    /// counts unless the key was changed already.
    fn apply(
        &mut self,
        key: StorageKey,
        (value_bytes, before): (Option<Option<u64>>, Before),
        change: RecordChange,
        value: Option<Vec<u8>>,
    ) {
        let record = match change {
            RecordChange::Keep => return,
            RecordChange::Store(version) => Some(Stored { version, value }),
            RecordChange::Bury(version) => Some(Stored { version, value: None }),
            RecordChange::Remove => None,
        };
        let key_bytes = key.text().len();
        if let Some(value_bytes) = value_bytes {
            self.counters.subtract(key_bytes, value_bytes);
        }
        if let Some(record) = &record {
            self.counters.add(key_bytes, record.borrowed().size().value_bytes);
        }
        match self.changes.entry(key) {
            Entry::Occupied(mut changed) => changed.get_mut().record = record,
            Entry::Vacant(unchanged) => {
                unchanged.insert(Change { record, before });
            }
        }
    }

    /// Whether the disk has room for a change.
    fn check_room(&self, change: RecordChange) -> Result<(), Refusal> {
        match (self.room, change) {
            (Room::Free, _) | (_, RecordChange::Keep) => Ok(()),
            (Room::Removals(_), RecordChange::Remove | RecordChange::Bury(_)) => Ok(()),
            (room, _) => Err(no_room(room)),
        }
    }
}

/// The records of a stream, which must be so many.
///
/// # Errors
/// `bad_request` where the stream is damaged or has another number of records.
pub fn read_stream(records: u32, stream: &[u8]) -> Result<Vec<StreamRecord<'_>>, Refusal> {
    let read: Vec<_> = record_stream::records(stream)
        .collect::<Result<_, _>>()
        .map_err(|error| bad_request(error.to_string()))?;
    if read.len() != records as usize {
        return Err(bad_request(format!(
            "the stream has {} records, \"records\" says {records}",
            read.len()
        )));
    }
    Ok(read)
}

/// Reads a key, of which `find` finds what the node has: a read that changes nothing.
///
/// # Errors
/// Why it was refused.
pub fn read(
    admitted: Admitted<'_>,
    key: &str,
    find: impl FnOnce() -> Result<Option<Stored<Vec<u8>>>, StoreError>,
) -> Outcome {
    let partition = admitted.installed().partition_of(key);
    let right = admitted.right_to(partition)?;
    let stored = find().map_err(|error| from_store(&error))?;
    // A read changes nothing, so no version is given.
    let unused = Version { epoch: 0, sequence: 0 };
    transition(
        right,
        current_of(stored.as_ref().map(|it| it.borrowed().size())),
        RecordOperation::Get,
        unused,
    )
    .map_err(|it| from_refused(it, Condition::None, admitted, partition))?;
    Ok(Done::Read(stored.and_then(Stored::into_record)))
}

fn check_copy(admitted: Admitted<'_>, record: &StreamRecord<'_>) -> Result<(), Refusal> {
    let installed = admitted.installed();
    let partition = installed.partition_of(record.key);
    let right = admitted.right_to(partition)?;
    if !matches!(right, Right::Destination { .. }) {
        let refused = kv_core::record::Refused::NotMoving;
        return Err(from_refused(refused, Condition::None, admitted, partition));
    }
    // Versions from the window's own time are this node's to give.
    if record.version.epoch >= installed.since(partition) {
        return Err(bad_request(format!(
            "the record of {:?} has version {}, which is not from before the move",
            record.key, record.version
        )));
    }
    Ok(())
}

fn step_of(operation: &Operation<'_>) -> (RecordOperation, Condition) {
    match operation {
        Operation::Get { .. } => (RecordOperation::Get, Condition::None),
        Operation::Put { condition, .. } => (RecordOperation::Put(*condition), *condition),
        Operation::Delete { condition, .. } => (RecordOperation::Delete(*condition), *condition),
    }
}

/// What the node has of a key.
struct Known {
    size: RecordSize,
    /// The record, where it was wanted.
    record: Option<Stored<Vec<u8>>>,
}

fn current_of(stored: Option<RecordSize>) -> Current {
    match stored {
        None => Current::Absent,
        Some(RecordSize { version, value_bytes: Some(_) }) => Current::Value(version),
        Some(RecordSize { version, value_bytes: None }) => Current::Tombstone(version),
    }
}

fn before_of(stored: Option<RecordSize>) -> Before {
    stored.map_or(Before::Nothing, Before::Record)
}
