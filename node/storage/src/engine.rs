//! The engine itself: how it is opened, and what it reports.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv_system::transient::passes;
use tracing::warn;

use crate::belongings::Belongings;
use crate::disk::Disk;
use crate::limits::{INODES_PER_STORE, SMALL_FILES_BYTES};
use crate::sums::Sums;
use crate::sums::stored::{self, SumsUpdate};
use crate::unfinished::{self, LOG_PREFIX, METADATA_DIRECTORY, SNAPSHOT_PREFIX};
use crate::{Counters, StorageKey, StoreError};

/// Entries per leaf of the engine's tree, which rewrites a leaf for a change of one of them: few,
/// since values may be large. Fixed for ever once a data directory exists.
pub(crate) const LEAF_FANOUT: usize = 32;
/// Pages are lightly compressed when they are written: at this level of ZSTD in half the time of level 1, to the
/// same length where values are random, and to a few hundredths more where they are text.
const COMPRESSION_LEVEL: i32 = -1;
/// How long a directory may be held by an engine that was just dropped, and how often the next one tries to get it.
const HELD_FOR_MAX: Duration = Duration::from_millis(500);
const HELD_LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// What the engine needs to find a page, where keys have some 10 bytes: that many stores of several sizes took for
/// each place for a page after a start.
const INDEX_BYTES_PER_PLACE: u64 = 180;
/// Where its data lies, in files that are made when it is opened for the first time.
const SLABS_DIRECTORY: &str = "slabs";
const LAYOUT_TREE: &str = "layout";
const LAYOUT_KEY: &str = "installed";
/// A record beside the layout, which says nothing. sled writes no page of a tree that has always been empty, drops it
/// from its cache like any other, and then looks for it for ever.
const EMPTY_KEY: &str = "";
const COUNTERS_KEY: [u8; 9] = *b"\0counters";
/// Under it is the number of the last segment of the write-ahead log that the engine has.
const CHECKPOINT_KEY: [u8; 11] = *b"\0checkpoint";
const _: () = assert!(COUNTERS_KEY[0] == crate::key::MARK_META);
const _: () = assert!(CHECKPOINT_KEY[0] == crate::key::MARK_META);

/// The name of the thread on which the engine is opened. The engine panics on some damage, and
/// unwinding would wait for ever for a flush: the process has to end when this thread panics.
pub const OPENING_THREAD: &str = "store-open";

type Tree = sled::Tree<LEAF_FANOUT>;

/// One thread's handles of the engine.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) data: Tree,
    layout: Tree,
}

impl Engine {
    /// Opens the engine in `directory`, with a cache of `cache_bytes`. It writes there, for which the reserve of
    /// the `disk` is given up where there is no other room.
    pub(crate) fn open(
        directory: &Path,
        disk: &Disk,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        let needed = unfinished::metadata_bytes(directory) + SMALL_FILES_BYTES;
        let is_new = !directory.exists();
        let has_inodes = !is_new || disk.make_inodes(INODES_PER_STORE, 0);
        if !(disk.make_room(needed, 0) && has_inodes) && is_new {
            return Err(StoreError::Waits(format!(
                "a new store needs {needed} bytes on the disk, and {INODES_PER_STORE} inodes; it has {}",
                disk.describe()
            )));
        }
        let directory = directory.to_owned();
        let opening = std::thread::Builder::new()
            .name(OPENING_THREAD.into())
            .spawn(move || Self::open_patiently(&directory, cache_bytes))?;
        opening.join().unwrap_or(Err(StoreError::Broken))
    }

    /// An engine that was just dropped may hold its directory for a moment, until its thread has ended.
    fn open_patiently(directory: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let started = Instant::now();
        loop {
            match Self::open_here(directory, cache_bytes) {
                Err(StoreError::Engine(error))
                    if error.kind() == io::ErrorKind::WouldBlock
                        && started.elapsed() < HELD_FOR_MAX =>
                {
                    std::thread::sleep(HELD_LOOK_INTERVAL);
                }
                result => return result,
            }
        }
    }

    fn open_here(directory: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        unfinished::complete_start(directory)?;
        let config = sled::Config {
            path: directory.to_owned(),
            cache_capacity_bytes: cache_bytes,
            zstd_compression_level: COMPRESSION_LEVEL,
            // The writer flushes; a flusher of the engine's own would end the process on an error.
            flush_every_ms: None,
            // The engine would read and rewrite scattered pages in every flush, and a damaged one
            // among them would fail the flush. Freed places are used again all the same.
            target_heap_file_fill_ratio: 0.0,
            ..sled::Config::default()
        };
        let db = config.open::<LEAF_FANOUT>().map_err(classify)?;
        let layout = db.open_tree(LAYOUT_TREE).map_err(classify)?;
        if layout.is_empty().map_err(classify)? {
            layout.insert(EMPTY_KEY, EMPTY_KEY).map_err(classify)?;
        }
        // Dropped, it would do so, and keep a failure to itself.
        if let Err(error) = db.flush() {
            std::mem::forget((db, layout));
            return Err(StoreError::Spoiled(error));
        }
        // The trees keep the database open.
        Ok(Self { data: Tree::clone(&db), layout })
    }

    /// Takes over changes, which are durable only after [`Engine::flush`].
    pub(crate) fn change(&self, changes: &[(StorageKey, Option<Bytes>)]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, record) in changes {
            match record {
                Some(record) => batch.insert(key.to_bytes(), &record[..]),
                None => batch.remove(key.to_bytes()),
            }
        }
        self.data.apply_batch(batch).map_err(classify)
    }

    /// Takes over the layout, which is durable only after [`Engine::flush`].
    pub(crate) fn change_layout(&self, layout: &[u8]) -> Result<(), StoreError> {
        self.layout.insert(LAYOUT_KEY, sealed(layout)).map_err(classify)?;
        Ok(())
    }

    /// Takes note that it has all of the write-ahead log up to `segment`, with these counters and sums after it, and
    /// makes all that it was given durable.
    pub(crate) fn complete(
        &self,
        counters: Option<Counters>,
        sums: Option<&SumsUpdate>,
        segment: u64,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        if let Some(counters) = counters {
            batch.insert(COUNTERS_KEY.as_slice(), sealed(&counters.encode()));
        }
        for (key, record) in sums.into_iter().flat_map(|it| it.records(segment)) {
            batch.insert(key, sealed(&record));
        }
        batch.insert(CHECKPOINT_KEY.as_slice(), sealed(&segment.to_le_bytes()));
        self.data.apply_batch(batch).map_err(classify)?;
        self.flush()
    }

    /// Makes all that it was given durable. After an error, the engine must neither be used nor dropped:
    /// it waits for this flush for ever.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.data.flush().map_err(classify)?;
        Ok(())
    }

    /// The number of the last segment of the write-ahead log that the engine has; 0 where it has none.
    pub(crate) fn checkpointed(&self) -> Result<u64, StoreError> {
        let Some(bytes) = self.data.get(CHECKPOINT_KEY).map_err(classify)? else { return Ok(0) };
        let number = unsealed(&bytes)?.try_into().map(u64::from_le_bytes);
        number.map_err(|_| StoreError::RecordCorrupt("the number of the last checkpoint".into()))
    }

    /// The sums that belong to this checkpoint; `None` where there are none, or they are damaged: then what
    /// partitions have is counted.
    pub(crate) fn sums(&self, checkpoint: u64) -> Result<Option<Sums>, StoreError> {
        match stored::read(checkpoint, |key| self.bookkeeping(key)) {
            Err(StoreError::RecordCorrupt(what)) => {
                warn!("what is stored of what partitions have is not used: {what}");
                Ok(None)
            }
            read => read,
        }
    }

    /// Reads what an update of the sums will change.
    pub(crate) fn read_sums(&self, update: &SumsUpdate) -> Result<(), StoreError> {
        let read = |(key, _): (Vec<u8>, _)| self.data.get(key).map(drop).map_err(classify);
        update.records(0).try_for_each(read)
    }

    fn bookkeeping(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = self.data.get(key).map_err(classify)?;
        bytes.map(|bytes| unsealed(&bytes).map(<[u8]>::to_vec)).transpose()
    }

    pub(crate) fn layout(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = self.layout.get(LAYOUT_KEY).map_err(classify)?;
        bytes.map(|bytes| unsealed(&bytes).map(<[u8]>::to_vec)).transpose()
    }

    /// The bytes of a key's record.
    pub(crate) fn get(&self, key: &StorageKey) -> Result<Option<sled::InlineArray>, StoreError> {
        self.data.get(key.to_bytes()).map_err(classify)
    }

    pub(crate) fn counters(&self) -> Result<Counters, StoreError> {
        match self.data.get(COUNTERS_KEY).map_err(classify)? {
            None => Ok(Counters::default()),
            Some(bytes) => Counters::decode(unsealed(&bytes)?),
        }
    }
}

/// Takes note of the files of an engine that is open in `directory`.
pub(crate) fn keep_files(directory: &Path, belongings: &Belongings) -> io::Result<()> {
    belongings.keep(directory)?;
    belongings.keep_all_in(&directory.join(SLABS_DIRECTORY))?;
    let metadata = directory.join(METADATA_DIRECTORY);
    belongings.keep(&metadata)?;
    belongings.keep_last_of(&metadata, SNAPSHOT_PREFIX)?;
    belongings.keep_last_of(&metadata, LOG_PREFIX)
}

/// An engine that starts in `directory` writes its metadata anew: meanwhile, none of it is missed.
pub(crate) fn forget_metadata(directory: &Path, belongings: &Belongings) {
    let metadata = directory.join(METADATA_DIRECTORY);
    belongings.forget_last_of(&metadata, SNAPSHOT_PREFIX);
    belongings.forget_last_of(&metadata, LOG_PREFIX);
}

/// How long the longest file is in which the engine in `directory` has data, in bytes.
pub(crate) fn longest_file(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory.join(SLABS_DIRECTORY)).into_iter().flatten();
    let lengths = entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len()));
    lengths.max().unwrap_or_default()
}

/// The memory that the engine in `directory` takes to find its pages, about, in bytes, beside its cache of them.
pub(crate) fn index_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory.join(SLABS_DIRECTORY)).into_iter().flatten();
    let places = entries.flatten().filter_map(|entry| {
        // A file is named after the length of a place for a page in it.
        let place_bytes: u64 = entry.file_name().to_str()?.parse().ok()?;
        entry.metadata().ok()?.len().checked_div(place_bytes)
    });
    places.sum::<u64>() * INDEX_BYTES_PER_PLACE
}

/// sled reports a page whose checksum is wrong as invalid data, and every operation after that
/// with the same error.
pub(crate) fn classify(error: io::Error) -> StoreError {
    match error.kind() {
        // It cannot be read without memory either.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof if !passes(&error) => {
            StoreError::PageCorrupt(error.to_string())
        }
        _ => StoreError::Engine(error),
    }
}

/// Bytes with their checksum before them.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    [&crc32fast::hash(bytes).to_le_bytes(), bytes].concat()
}

fn unsealed(bytes: &[u8]) -> Result<&[u8], StoreError> {
    match bytes.split_first_chunk::<4>() {
        Some((checksum, bytes)) if *checksum == crc32fast::hash(bytes).to_le_bytes() => Ok(bytes),
        _ => {
            Err(StoreError::RecordCorrupt("a bookkeeping record's checksum does not match".into()))
        }
    }
}
