//! What clients did to one key, and the answers that they got.

use std::fmt::{self, Write as _};
use std::time::Instant;

use kvclient::{Condition, Version};

/// The name of one write of this run. Its value says it, so that a reader of a value knows whose it is.
pub(super) type WriteId = u64;

/// An operation on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// To read it.
    Get,
    /// To store the value of a write, if the condition holds.
    Put(WriteId, Condition),
    /// To remove the record, if the condition holds.
    Delete(Condition),
}

/// What came of it. An operation that certainly was not carried out is in no history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A get found the value of this write; an export does not say its version.
    Found(WriteId, Option<Version>),
    /// A get found nothing.
    Absent,
    /// A put stored its value.
    Stored(Version),
    /// A delete did its work. It says whether there was a record.
    Deleted { existed: bool },
    /// The condition did not hold; the version of the record that was stored, if any was.
    Conflict(Option<Version>),
    /// It is not known. It may be carried out at any time after its call, or never.
    Unknown,
}

/// One operation, with the times of its call and its response on the run's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The number of the client.
    pub(super) client: usize,
    pub(super) operation: Operation,
    pub(super) outcome: Outcome,
    /// When it was called, in nanoseconds since the run began.
    pub(super) call_ns: u64,
    /// When the answer was there, in nanoseconds since the run began.
    pub(super) response_ns: u64,
}

/// All that was done to one key while it lived.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) key: String,
    /// The operations, in any order.
    pub(super) records: Vec<Record>,
}

impl History {
    /// The writes whose outcome is unknown and whose value no read has returned: they may come yet.
    pub(super) fn outstanding(&self) -> Vec<WriteId> {
        let seen = |write| {
            self.records.iter().any(|it| matches!(it.outcome, Outcome::Found(it, _) if it == write))
        };
        let unknown = self.records.iter().filter(|it| it.outcome == Outcome::Unknown);
        unknown
            .filter_map(|it| match it.operation {
                Operation::Put(write, _) if !seen(write) => Some(write),
                _ => None,
            })
            .collect()
    }

    /// The operations in the order of their calls, a line each.
    pub(super) fn lines(&self) -> String {
        let mut records = self.records.clone();
        records.sort_by_key(|it| (it.call_ns, it.response_ns));
        let mut text = format!("history of {} ({} operations)\n", self.key, records.len());
        for record in records {
            let _ = writeln!(text, "{record}");
        }
        text
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Reading along needs no nanoseconds; they are far below the time of an operation.
        let ms = |ns: u64| format!("{}.{:03}", ns / 1_000_000, ns / 1000 % 1000);
        let response = match self.outcome {
            Outcome::Unknown => "never".to_owned(),
            _ => ms(self.response_ns),
        };
        write!(f, "{:>12} {response:>12} c{:<3} ", ms(self.call_ns), self.client)?;
        match self.operation {
            Operation::Get => write!(f, "get")?,
            Operation::Put(write, condition) => write!(f, "put w{write}{}", text_of(condition))?,
            Operation::Delete(condition) => write!(f, "delete{}", text_of(condition))?,
        }
        match self.outcome {
            Outcome::Found(write, Some(version)) => write!(f, " -> w{write} at {version}"),
            Outcome::Found(write, None) => write!(f, " -> w{write}"),
            Outcome::Absent => write!(f, " -> nothing"),
            Outcome::Stored(version) => write!(f, " -> stored at {version}"),
            Outcome::Deleted { existed } => write!(f, " -> deleted, existed {existed}"),
            Outcome::Conflict(Some(version)) => write!(f, " -> conflict with {version}"),
            Outcome::Conflict(None) => write!(f, " -> conflict with nothing"),
            Outcome::Unknown => write!(f, " -> unknown"),
        }
    }
}

fn text_of(condition: Condition) -> String {
    match condition {
        Condition::None => String::new(),
        Condition::Absent => " if absent".to_owned(),
        Condition::Version(version) => format!(" if {version}"),
    }
}

/// The run's only clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub(super) fn now_ns(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("no run lasts for centuries")
    }
}
