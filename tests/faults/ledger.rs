//! What must be in the store besides the keys that clients work on: a population that no client changes,
//! and nothing of earlier rounds.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::history::{History, WriteId};
use super::value::{value_of, write_of};

/// How many records no client changes, so that there is something to move, and to lose.
const POPULATION: u64 = 3000;

/// What a scan found, by key.
pub(super) type Found = HashMap<String, WriteId>;

/// What must be in the store.
#[derive(Default)]
pub(super) struct Ledger {
    /// The writes to keys of earlier rounds that may be carried out late.
    outstanding: HashMap<String, Vec<WriteId>>,
}

/// Where a scan's records are not those that must be there.
#[derive(Debug, Default)]
pub(super) struct Discrepancies {
    pub(super) lost: Vec<String>,
    pub(super) resurrected: Vec<String>,
}

impl Ledger {
    /// The population, as lines of JSON to import.
    pub(super) fn population() -> String {
        (0..POPULATION).fold(String::new(), |mut lines, number| {
            let value = String::from_utf8(value_of(number)).expect("it is text");
            let line = serde_json::json!({ "key": key(number), "value": value });
            let _ = writeln!(lines, "{line}");
            lines
        })
    }

    /// The number of the first write that is not of the population.
    pub(super) fn next_write() -> WriteId {
        POPULATION
    }

    /// Ends a round, whose keys are all removed.
    pub(super) fn bury(&mut self, histories: &[History]) {
        for history in histories {
            let outstanding = history.outstanding();
            if !outstanding.is_empty() {
                self.outstanding.insert(history.key.clone(), outstanding);
            }
        }
    }

    /// Compares what a scan found with what must be there, whatever the keys of this round hold.
    pub(super) fn compare(&self, found: &Found, keys: &[String]) -> Discrepancies {
        let mut wrong = Discrepancies::default();
        for number in 0..POPULATION {
            let key = key(number);
            match found.get(&key) {
                Some(write) if *write == number => {}
                Some(write) => wrong.lost.push(format!("{key} holds the value of w{write}")),
                None => wrong.lost.push(format!("{key} is not there")),
            }
        }
        let current: HashSet<&str> = keys.iter().map(String::as_str).collect();
        for (key, write) in found {
            let is_late = || self.outstanding.get(key).is_some_and(|writes| writes.contains(write));
            if !key.starts_with(PREFIX) && !current.contains(key.as_str()) && !is_late() {
                wrong.resurrected.push(format!("{key} was removed, and holds w{write}"));
            }
        }
        wrong
    }
}

/// What the keys of the population begin with.
const PREFIX: &str = "population/";

fn key(number: u64) -> String {
    format!("{PREFIX}{number}")
}

/// Adds a record that a scan gave.
///
/// # Errors
/// It comes twice, or no client of these tests writes such a value.
pub(super) fn add(found: &mut Found, key: String, value: &[u8]) -> Result<(), String> {
    let write = write_of(value).ok_or_else(|| format!("{key} has a value that nobody wrote"))?;
    match found.insert(key.clone(), write) {
        None => Ok(()),
        Some(other) => Err(format!("{key} comes twice: with w{other} and with w{write}")),
    }
}
