//! Copying a window's records from their sources to their destinations, and verifying the copies.
//!
//! Everything here may be done any number of times, by any number of movers: a copy never replaces a
//! record.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use futures::future::try_join_all;
use kv_core::layout::{Assignment, Assignments, Side};
use kv_core::operation::{Done, Operation};
use kv_core::partition::{Partition, PartitionCount};
use kv_core::window::Size;
use kv_protocol::record_stream::fingerprint;
use kv_protocol::reply::{Content, MoveDigest, PartitionDigest, Records};
use kv_protocol::request::{Command, Digest, Fetch};
use kv_system::failpoints;
use kv_system::lock::lock;
use kvclient::ClientError;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::ask::{Asker, Trouble};
use crate::error::RebalanceError;
use crate::throttle::Throttle;

/// How many keys are asked for at once when they are compared one by one.
const COMPARED_AT_ONCE: usize = 256;

/// A node that data leaves, and a node that it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pair {
    pub(crate) source: u16,
    pub(crate) destination: u16,
}

/// How two nodes differ in what should be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) pair: Pair,
    pub(crate) partition: u32,
    pub(crate) problem: String,
}

/// The pairs between which the open window moves something.
pub(crate) fn pairs(assignments: &Assignments) -> Vec<Pair> {
    let moves = assignments.iter().filter_map(|(_, assignment)| match assignment {
        Assignment::Moving(it) => Some(Pair { source: it.source?, destination: it.destination }),
        _ => None,
    });
    let mut pairs: Vec<Pair> = moves.collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// Where the copying between a pair stands, so that it goes on after a pause where it was.
#[derive(Clone, Debug, Default)]
pub(crate) enum Cursor {
    #[default]
    Start,
    After(String),
    End,
}

/// The copying of one window.
pub(crate) struct Transfer<'a> {
    pub(crate) asker: Asker<'a>,
    pub(crate) throttle: &'a Mutex<Throttle>,
    /// Is told of everything that was copied.
    pub(crate) copied: &'a (dyn Fn(Size) + Sync),
    /// Data directories that are given up: nothing is copied from or to them.
    pub(crate) lost: &'a [Uuid],
}

impl Transfer<'_> {
    fn pairs(&self) -> impl Iterator<Item = Pair> {
        let assignments = &self.asker.view.assignments;
        let lost: Vec<u16> =
            self.lost.iter().filter_map(|uuid| assignments.index_of(*uuid)).collect();
        let lives = move |it: &Pair| !lost.contains(&it.source) && !lost.contains(&it.destination);
        pairs(assignments).into_iter().filter(lives)
    }

    /// Copies what is left to copy, between all pairs at the same time.
    pub(crate) async fn copy(&self, cursors: &mut HashMap<Pair, Cursor>) -> Result<(), Trouble> {
        for pair in self.pairs() {
            cursors.entry(pair).or_default();
        }
        try_join_all(cursors.iter_mut().map(|(pair, cursor)| self.copy_pair(*pair, cursor)))
            .await
            .map(|_| ())
    }

    /// Copies page by page; the next page is fetched while one is stored.
    async fn copy_pair(&self, pair: Pair, cursor: &mut Cursor) -> Result<(), Trouble> {
        let mut fetched = match cursor {
            Cursor::End => return Ok(()),
            Cursor::Start => self.fetch(pair, None).await?,
            Cursor::After(key) => self.fetch(pair, Some(key.clone())).await?,
        };
        loop {
            let Records { records, stream, next } = fetched;
            let size = Size { keys: records.into(), bytes: stream.len() as u64 };
            let store = self.store(pair, records, stream);
            fetched = match &next {
                Some(key) => {
                    let (stored, fetched) =
                        futures::join!(store, self.fetch(pair, Some(key.clone())));
                    stored?;
                    // The page is stored, so the copying goes on after it whatever became of the next.
                    *cursor = Cursor::After(key.clone());
                    (self.copied)(size);
                    fetched?
                }
                None => {
                    store.await?;
                    *cursor = Cursor::End;
                    (self.copied)(size);
                    return Ok(());
                }
            };
        }
    }

    async fn fetch(&self, pair: Pair, after: Option<String>) -> Result<Records, Trouble> {
        let to = self.uuid(pair.destination)?;
        let command = Command::Fetch(Fetch { to, after: after.clone().map(Into::into) });
        match self.asker.ask(pair.source, command).await? {
            Content::Records(page) if page.next.is_none() || page.next != after => Ok(page),
            _ => Err(self.asker.nonsense(pair.source, "it is not the answer to FETCH")),
        }
    }

    async fn store(&self, pair: Pair, records: u32, stream: Vec<u8>) -> Result<(), Trouble> {
        if records == 0 {
            return Ok(());
        }
        let wait = self.throttle.lock().await.wait(stream.len() as u64, Instant::now());
        tokio::time::sleep(wait).await;
        failpoints::pass("mover::copy::page");
        let command = Command::Copy { records, stream: stream.into() };
        match self.asker.ask(pair.destination, command).await? {
            Content::Copied { copied } if copied <= records => Ok(()),
            _ => Err(self.asker.nonsense(pair.destination, "it is not the answer to COPY")),
        }
    }

    /// Compares what sources and destinations have, between all pairs at the same time. Gives the
    /// first difference.
    pub(crate) async fn verify(&self) -> Result<Option<Difference>, Trouble> {
        let found = try_join_all(self.pairs().map(|pair| self.verify_pair(pair))).await?;
        Ok(found.into_iter().flatten().next())
    }

    async fn verify_pair(&self, pair: Pair) -> Result<Option<Difference>, Trouble> {
        let mut after: Option<String> = None;
        loop {
            let theirs = self.digest_of_source(pair, after.clone()).await?;
            let until = theirs.next.clone();
            let (copies, replaced) = self.digest_of_destination(pair, after, until.clone()).await?;
            if let Some((partition, problem)) = difference(&theirs.partitions, &copies, &replaced) {
                return Ok(Some(Difference { pair, partition, problem }));
            }
            match until {
                Some(key) => after = Some(key),
                None => return Ok(None),
            }
        }
    }

    /// What the source has from `after` on, as far as its answer goes.
    async fn digest_of_source(
        &self,
        pair: Pair,
        after: Option<String>,
    ) -> Result<MoveDigest, Trouble> {
        let (peer, side) = (self.uuid(pair.destination)?, Side::Source);
        let from = after.clone().map(Into::into);
        self.digest(pair.source, Digest { peer, side, after: from, until: None }, after.as_ref())
            .await
    }

    /// What the destination has copied of that stretch, and what the source has of the keys that
    /// were written at the destination since.
    async fn digest_of_destination(
        &self,
        pair: Pair,
        mut after: Option<String>,
        until: Option<String>,
    ) -> Result<(Vec<PartitionDigest>, Vec<PartitionDigest>), Trouble> {
        let (peer, side) = (self.uuid(pair.source)?, Side::Destination);
        let (mut copies, mut replaced) = (Vec::new(), Vec::new());
        loop {
            let (from, to) = (after.clone().map(Into::into), until.clone().map(Into::into));
            let digest = Digest { peer, side, after: from, until: to };
            let part = self.digest(pair.destination, digest, after.as_ref()).await?;
            copies.extend(part.partitions);
            replaced.extend(self.replaced(pair.source, &part.written).await?);
            match part.next {
                Some(key) => after = Some(key),
                None => return Ok((copies, replaced)),
            }
        }
    }

    async fn digest(
        &self,
        node: u16,
        digest: Digest<'_>,
        after: Option<&String>,
    ) -> Result<MoveDigest, Trouble> {
        match self.asker.ask(node, Command::Digest(digest)).await? {
            Content::Digest(part) if part.next.is_none() || part.next.as_ref() != after => Ok(part),
            _ => Err(self.asker.nonsense(node, "it is not the answer to DIGEST")),
        }
    }

    /// What the source has of the keys that were written at the destination, per partition.
    async fn replaced(
        &self,
        source: u16,
        keys: &[String],
    ) -> Result<Vec<PartitionDigest>, Trouble> {
        let partitions = self.asker.view.layout.partitions;
        let mut replaced = Vec::new();
        for keys in keys.chunks(COMPARED_AT_ONCE) {
            let gets = keys.iter().map(|key| Operation::Get { key: key.as_str().into() });
            let command = Command::Batch(gets.collect());
            let Content::Batch(outcomes) = self.asker.ask(source, command).await? else {
                return Err(self.asker.nonsense(source, "it is not the answer to BATCH"));
            };
            if outcomes.len() != keys.len() {
                return Err(self.asker.nonsense(source, "it answers another number of operations"));
            }
            for (key, outcome) in keys.iter().zip(outcomes) {
                match outcome {
                    Ok(Done::Read(None)) => {}
                    Ok(Done::Read(Some(record))) => {
                        let version = record.version.ok_or_else(|| {
                            self.asker.nonsense(source, "a record has no version")
                        })?;
                        replaced.push(one(partitions, key, version, &record.value));
                    }
                    Ok(_) => return Err(self.asker.nonsense(source, "it is not a read")),
                    Err(refusal) if refusal.code.is_retryable() => {
                        let (node, problem) = (self.asker.name(source), refusal.message);
                        return Err(Trouble::Later { node, problem });
                    }
                    Err(refusal) => {
                        let node = self.asker.name(source);
                        return Err(Trouble::Never(ClientError::Refused { node, refusal }));
                    }
                }
            }
        }
        Ok(replaced)
    }

    fn uuid(&self, node: u16) -> Result<Uuid, Trouble> {
        let nodes = self.asker.view.assignments.nodes();
        nodes.get(usize::from(node)).map(|it| it.uuid).ok_or(Trouble::Changed)
    }
}

fn one(
    partitions: PartitionCount,
    key: &str,
    version: kv_core::version::Version,
    value: &[u8],
) -> PartitionDigest {
    let fingerprints = fingerprint(key, version, Some(value));
    PartitionDigest { partition: partitions.partition_of(key), records: 1, fingerprints }
}

/// The first partition in which the source has something else than what was copied and what was
/// `replaced` by later writes, with what is wrong.
fn difference(
    source: &[PartitionDigest],
    copied: &[PartitionDigest],
    replaced: &[PartitionDigest],
) -> Option<(u32, String)> {
    let sum = |digests: &mut dyn Iterator<Item = &PartitionDigest>| {
        let mut sums: BTreeMap<Partition, (u64, u64)> = BTreeMap::new();
        for digest in digests {
            let sum = sums.entry(digest.partition).or_default();
            sum.0 += digest.records;
            sum.1 = sum.1.wrapping_add(digest.fingerprints);
        }
        sums
    };
    let expected = sum(&mut source.iter());
    let found = sum(&mut copied.iter().chain(replaced));
    let all = expected.keys().chain(found.keys());
    all.copied().find_map(|partition| {
        let of = |sums: &BTreeMap<Partition, (u64, u64)>| {
            sums.get(&partition).copied().unwrap_or_default()
        };
        let ((records, checksum), (copies, copied_checksum)) = (of(&expected), of(&found));
        if records != copies {
            return Some((partition.0, format!("{records} records there, {copies} here")));
        }
        (checksum != copied_checksum).then(|| {
            (partition.0, format!("checksum {checksum:016x} there, {copied_checksum:016x} here"))
        })
    })
}

/// Shares a count of what was copied between tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<std::sync::Mutex<Size>>);

impl Tally {
    pub(crate) fn add(&self, size: Size) {
        lock(&self.0).add(size);
    }

    pub(crate) fn sum(&self) -> Size {
        *lock(&self.0)
    }
}

/// The error where a copy is not what was copied.
pub(crate) fn unverified(asker: Asker<'_>, difference: &Difference) -> RebalanceError {
    let Difference { pair, partition, problem } = difference;
    RebalanceError::Unverified {
        from: asker.name(pair.source),
        destination: asker.name(pair.destination),
        partition: *partition,
        problem: problem.clone(),
    }
}

#[cfg(test)]
mod tests {
    use kv_core::version::Version;

    use super::*;

    fn digest(keys: &[&str]) -> Vec<PartitionDigest> {
        let partitions = PartitionCount::new(4).unwrap();
        let version = Version { epoch: 1, sequence: 1 };
        keys.iter().map(|key| one(partitions, key, version, b"value")).collect()
    }

    #[test]
    fn copies_and_what_replaced_them_make_up_the_source() {
        let source = digest(&["a", "b", "c", "d", "e"]);
        assert_eq!(difference(&source, &source, &[]), None);
        assert_eq!(difference(&source, &digest(&["a", "c", "e"]), &digest(&["d", "b"])), None);
    }

    #[test]
    fn what_is_missing_damaged_or_too_much_is_found() {
        let source = digest(&["a", "b", "c"]);
        assert!(difference(&source, &digest(&["a", "b"]), &[]).is_some());
        assert!(difference(&source, &source, &digest(&["d"])).is_some());
        let mut damaged = source.clone();
        damaged[1].fingerprints ^= 1;
        let (_, problem) = difference(&source, &damaged, &[]).unwrap();
        assert!(problem.contains("checksum"), "{problem}");
    }
}
