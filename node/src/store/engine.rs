//! The engine itself: how it is opened, and what it reports.

use std::io;
use std::path::Path;

use super::{Counters, StoreError};

/// Entries per leaf of the engine's tree, which rewrites a leaf for a change of one of them: few,
/// since values may be large. Fixed for ever once a data directory exists.
const LEAF_FANOUT: usize = 32;
/// The engine's page cache, in bytes.
const CACHE_BYTES: usize = 256 << 20;
/// Pages are lightly compressed when they are written.
const COMPRESSION_LEVEL: i32 = 1;
const LAYOUT_TREE: &str = "layout";
const COUNTERS_KEY: [u8; 9] = *b"\0counters";

const _: () = assert!(COUNTERS_KEY[0] == super::key::MARK_META);

/// The name of the thread on which the engine is opened. The engine panics on some damage, and
/// unwinding would wait for ever for a flush: the process has to end when this thread panics.
pub const OPENING_THREAD: &str = "store-open";

type Tree = sled::Tree<LEAF_FANOUT>;

/// One thread's handles of the engine.
#[derive(Clone)]
pub(super) struct Engine {
    pub(super) data: Tree,
    pub(super) layout: Tree,
}

impl Engine {
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let directory = directory.to_owned();
        let opening = std::thread::Builder::new()
            .name(OPENING_THREAD.into())
            .spawn(move || Self::open_here(&directory))?;
        opening.join().unwrap_or(Err(StoreError::OutOfOrder))
    }

    fn open_here(directory: &Path) -> Result<Self, StoreError> {
        let config = sled::Config {
            path: directory.to_owned(),
            cache_capacity_bytes: CACHE_BYTES,
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
        // The trees keep the database open.
        Ok(Self { data: Tree::clone(&db), layout })
    }

    /// Applies changes with their new counters and returns once both are durable.
    pub(super) fn commit(
        &self,
        mut changes: sled::Batch,
        counters: Counters,
    ) -> Result<(), StoreError> {
        changes.insert(COUNTERS_KEY.as_slice(), sealed(&counters.encode()));
        self.data.apply_batch(changes).map_err(classify)?;
        self.flush()
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.data.flush().map_err(classify)?;
        Ok(())
    }

    pub(super) fn counters(&self) -> Result<Counters, StoreError> {
        match self.data.get(COUNTERS_KEY).map_err(classify)? {
            None => Ok(Counters::default()),
            Some(bytes) => Counters::decode(unsealed(&bytes)?),
        }
    }
}

/// sled reports a page whose checksum is wrong as invalid data, and every operation after that
/// with the same error.
pub(super) fn classify(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            StoreError::Damaged(error.to_string())
        }
        _ => StoreError::Engine(error),
    }
}

/// Bytes with their checksum before them.
pub(super) fn sealed(bytes: &[u8]) -> Vec<u8> {
    [&crc32fast::hash(bytes).to_le_bytes(), bytes].concat()
}

pub(super) fn unsealed(bytes: &[u8]) -> Result<&[u8], StoreError> {
    match bytes.split_first_chunk::<4>() {
        Some((checksum, bytes)) if *checksum == crc32fast::hash(bytes).to_le_bytes() => Ok(bytes),
        _ => Err(StoreError::Corrupt("a bookkeeping record's checksum does not match".into())),
    }
}
