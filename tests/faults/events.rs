//! A history as steps of the model, each with the time in which it was taken.

use std::collections::HashMap;

use kvclient::{Condition, Version};

use super::history::{History, Operation, Outcome, Record, WriteId};
use super::model::{Effect, Need, Rank, Step, Write};

/// A step, and when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) step: Step,
    /// Not before this.
    pub(super) call_ns: u64,
    /// Not after this; `None` if it may come at any time, or never.
    pub(super) response_ns: Option<u64>,
    /// The place of its record in the history.
    pub(super) record: usize,
}

/// What a history says of its writes, before any order is looked for.
struct Writes {
    numbers: HashMap<WriteId, Write>,
    versions: HashMap<WriteId, Version>,
    by_version: HashMap<Version, WriteId>,
    ranks: HashMap<Version, Rank>,
}

/// Reads a history as events.
///
/// # Errors
/// What in it is wrong in any order: a value that no client wrote, or a version of two writes.
pub(super) fn events(history: &History) -> Result<Vec<Event>, String> {
    let writes = Writes::of(history)?;
    let mut events: Vec<Event> = (0..)
        .zip(&history.records)
        .map(|(record, it)| Event {
            step: writes.step(it),
            call_ns: it.call_ns,
            response_ns: (it.outcome != Outcome::Unknown).then_some(it.response_ns),
            record,
        })
        .collect();
    settle_what_was_seen(&mut events);
    Ok(events)
}

/// A write of unknown outcome that a read returned was carried out, at the latest when the first such read
/// had its answer: it is like any other then.
fn settle_what_was_seen(events: &mut [Event]) {
    let mut seen: HashMap<Write, u64> = HashMap::new();
    for event in events.iter() {
        if let (Need::Exactly(write), Some(response)) = (event.step.need, event.response_ns) {
            let first = seen.entry(write).or_insert(response);
            *first = response.min(*first);
        }
    }
    for event in events.iter_mut().filter(|it| it.step.attempt) {
        let Effect::Store(write, _) = event.step.effect else { continue };
        // Seen before it was called: it stays as it is, and nothing explains who saw it.
        if let Some(response) = seen.get(&write).filter(|seen| **seen > event.call_ns) {
            event.response_ns = Some(*response);
            event.step.attempt = false;
        }
    }
}

impl Writes {
    fn of(history: &History) -> Result<Self, String> {
        let ids = history.records.iter().filter_map(|it| match it.operation {
            Operation::Put(write, _) => Some(write),
            _ => None,
        });
        let mut writes = Self {
            numbers: ids.zip(0..).collect(),
            versions: HashMap::new(),
            by_version: HashMap::new(),
            ranks: HashMap::new(),
        };
        for record in &history.records {
            match (record.operation, record.outcome) {
                (_, Outcome::Found(write, _)) if !writes.numbers.contains_key(&write) => {
                    return Err(format!("nobody wrote what was read: {record}"));
                }
                (_, Outcome::Found(write, Some(version)))
                | (Operation::Put(write, _), Outcome::Stored(version)) => {
                    writes
                        .bind(write, version)
                        .map_err(|problem| format!("{problem}: {record}"))?;
                }
                _ => {}
            }
        }
        let mut known: Vec<Version> = writes.by_version.keys().copied().collect();
        known.sort_unstable();
        writes.ranks = known.into_iter().zip(1..).collect();
        Ok(writes)
    }

    fn bind(&mut self, write: WriteId, version: Version) -> Result<(), String> {
        let other_version = *self.versions.entry(write).or_insert(version);
        if other_version != version {
            return Err(format!("w{write} has the versions {other_version} and {version}"));
        }
        let other_write = *self.by_version.entry(version).or_insert(write);
        if other_write != write {
            return Err(format!("{version} is the version of w{other_write} and w{write}"));
        }
        Ok(())
    }

    fn step(&self, record: &Record) -> Step {
        let attempt = record.outcome == Outcome::Unknown;
        let (effect, condition) = match record.operation {
            Operation::Get => return self.read(record.outcome),
            Operation::Put(write, condition) => (self.store(write), condition),
            Operation::Delete(condition) => (Effect::Remove, condition),
        };
        let need = match (record.outcome, condition) {
            (Outcome::Conflict(found), _) => {
                let need = self.conflict(condition, found);
                return Step { need, effect: Effect::Read, attempt };
            }
            (Outcome::Deleted { existed: true }, Condition::None) => Need::Something,
            (Outcome::Deleted { existed: false }, Condition::None) => {
                return Step { need: Need::Nothing, effect: Effect::Read, attempt };
            }
            // Where a condition on a version held, there was a record.
            (Outcome::Deleted { existed: false }, _) => Need::Impossible,
            (_, Condition::None) => Need::Anything,
            (_, Condition::Absent) => Need::Nothing,
            (_, Condition::Version(version)) => self.at(version),
        };
        Step { need, effect, attempt }
    }

    fn read(&self, outcome: Outcome) -> Step {
        let need = match outcome {
            Outcome::Found(write, _) => Need::Exactly(self.numbers[&write]),
            Outcome::Absent => Need::Nothing,
            _ => Need::Impossible,
        };
        Step { need, effect: Effect::Read, attempt: false }
    }

    /// Which record was stored, if `condition` did not hold because of `found`.
    fn conflict(&self, condition: Condition, found: Option<Version>) -> Need {
        match (condition, found) {
            (Condition::Version(version), Some(found)) if version == found => Need::Impossible,
            (Condition::Version(_), None) => Need::Nothing,
            (Condition::Version(_) | Condition::Absent, Some(found)) => self.at(found),
            (Condition::None, _) | (Condition::Absent, None) => Need::Impossible,
        }
    }

    fn at(&self, version: Version) -> Need {
        let write = self.by_version.get(&version);
        write.map_or(Need::Unversioned, |write| Need::Exactly(self.numbers[write]))
    }

    fn store(&self, write: WriteId) -> Effect {
        let rank = self.versions.get(&write).map_or(0, |version| self.ranks[version]);
        Effect::Store(self.numbers[&write], rank)
    }
}
