//! What clients saw, and what they must never see.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::version::Version;

use crate::shard::Key;

/// A write that was sent.
struct Write {
    key: Key,
    version: Version,
    /// What had been shown or acknowledged of the key before it was sent.
    floor: Option<Version>,
}

/// All that clients did.
#[derive(Default)]
pub(crate) struct History {
    writes: BTreeMap<u64, Write>,
    /// The versions that may be there.
    versions: BTreeSet<(Key, Version)>,
    /// The newest version of a key that was acknowledged or shown.
    floors: BTreeMap<Key, Version>,
    pub(crate) acknowledged: usize,
    pub(crate) unknown: usize,
    pub(crate) reads: usize,
}

impl History {
    /// Takes note of a write that was begun.
    ///
    /// # Errors
    /// Its version was given before.
    pub(crate) fn begin(&mut self, job: u64, key: Key, version: Version) -> Result<(), String> {
        let floor = self.floors.get(&key).copied();
        // What was never shown may have gone with a power loss, and its version is free.
        if !self.versions.insert((key, version)) && floor >= Some(version) {
            return Err(format!("key {key}: {version} is given twice"));
        }
        self.writes.insert(job, Write { key, version, floor });
        Ok(())
    }

    /// Takes note of what a write came to. Returns what was acknowledged.
    ///
    /// # Errors
    /// It is older than what it was to replace.
    pub(crate) fn end(
        &mut self,
        job: u64,
        is_confirmed: bool,
    ) -> Result<Option<(Key, Version)>, String> {
        let Some(Write { key, version, floor }) = self.writes.remove(&job) else {
            return Err(format!("job {job} is settled twice"));
        };
        if !is_confirmed {
            self.unknown += 1;
            return Ok(None);
        }
        self.acknowledged += 1;
        if floor >= Some(version) {
            return Err(format!("key {key}: {version} is acknowledged over {floor:?}"));
        }
        let floor = self.floors.entry(key).or_insert(version);
        *floor = version.max(*floor);
        Ok(Some((key, version)))
    }

    /// Takes note of a read.
    ///
    /// # Errors
    /// It shows less than was shown or acknowledged before, or what nobody wrote.
    pub(crate) fn read(&mut self, key: Key, shown: Option<Version>) -> Result<(), String> {
        self.reads += 1;
        self.check(key, shown)?;
        if let Some(version) = shown {
            self.floors.insert(key, version);
        }
        Ok(())
    }

    /// Compares what a copy has with what is known.
    ///
    /// # Errors
    /// As [`History::read`].
    pub(crate) fn check(&self, key: Key, shown: Option<Version>) -> Result<(), String> {
        let floor = self.floors.get(&key).copied();
        if shown < floor {
            return Err(format!("key {key}: {shown:?} is there after {floor:?}"));
        }
        match shown.is_none_or(|version| self.versions.contains(&(key, version))) {
            true => Ok(()),
            false => Err(format!("key {key}: nobody wrote {shown:?}")),
        }
    }
}
