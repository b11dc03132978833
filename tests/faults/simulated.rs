//! Histories of a simulated key that is linearizable by construction, for the checkers' tests.

use kvclient::{Condition, Version};
use rand::RngExt;
use rand::rngs::StdRng;

use super::history::{History, Operation, Outcome, Record, WriteId};

/// Who works at the same time.
const CLIENTS: usize = 6;

/// One in so many operations has an unknown outcome.
const UNKNOWN_RATIO: u32 = 25;

/// A key of which everything is known.
#[derive(Default)]
struct Key {
    record: Option<(WriteId, Version)>,
    sequence: u64,
}

/// A history of so many operations.
pub(super) fn simulated(random: &mut StdRng, operations: u64) -> History {
    let mut key = Key::default();
    let mut busy_until = [0_u64; CLIENTS];
    let mut last_seen = [None; CLIENTS];
    let mut history = History { key: "simulated".into(), records: Vec::new() };
    // Each operation is carried out at its number's time, and lasts for a while around it.
    for write in 1..=operations {
        let now_ns = write * 100;
        let free = busy_until.iter().position(|until| *until < now_ns);
        let Some(client) = free else { continue };
        let operation = choose(random, write, last_seen[client]);
        let is_unknown = operation != Operation::Get && random.random_ratio(1, UNKNOWN_RATIO);
        let happens = !is_unknown || random.random();
        let outcome = if happens { key.perform(operation) } else { Outcome::Unknown };
        if let Outcome::Stored(version) | Outcome::Found(_, Some(version)) = outcome {
            last_seen[client] = Some(version);
        }
        let call_ns = random.random_range(busy_until[client]..=now_ns);
        let response_ns = now_ns + random.random_range(0..400);
        busy_until[client] = response_ns + 1;
        let outcome = if is_unknown { Outcome::Unknown } else { outcome };
        history.records.push(Record { client, operation, outcome, call_ns, response_ns });
    }
    history
}

fn choose(random: &mut StdRng, write: WriteId, seen: Option<Version>) -> Operation {
    let version = seen.map_or(Condition::Absent, Condition::Version);
    match random.random_range(0..10) {
        0..4 => Operation::Get,
        4..6 => Operation::Put(write, Condition::None),
        6 => Operation::Put(write, Condition::Absent),
        7 => Operation::Put(write, version),
        8 => Operation::Delete(Condition::None),
        _ => Operation::Delete(seen.map_or(Condition::None, Condition::Version)),
    }
}

impl Key {
    fn perform(&mut self, operation: Operation) -> Outcome {
        let version = self.record.map(|(_, version)| version);
        let holds = |condition| match condition {
            Condition::None => true,
            Condition::Absent => version.is_none(),
            Condition::Version(expected) => version == Some(expected),
        };
        match operation {
            Operation::Get => match self.record {
                Some((write, version)) => Outcome::Found(write, Some(version)),
                None => Outcome::Absent,
            },
            Operation::Put(_, condition) | Operation::Delete(condition) if !holds(condition) => {
                Outcome::Conflict(version)
            }
            Operation::Put(write, _) => {
                self.sequence += 1;
                let version = Version { epoch: 1, sequence: self.sequence };
                self.record = Some((write, version));
                Outcome::Stored(version)
            }
            Operation::Delete(_) => Outcome::Deleted { existed: self.record.take().is_some() },
        }
    }
}
