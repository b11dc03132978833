//! A node's shard on disk: the only crate that names sled.
//!
//! One thread writes, any thread reads. A batch is durable when [`Store::commit`] returns: then it is
//! in the write-ahead log. What lies where:
//!
//! - `wal`: the log, to which groups of changes are appended, in the folder `redo`;
//! - `changes`: the same in memory, where they are found until the engine has them: in a `memtable`, each a `change`,
//!   or as they were `replayed` when the node started, the `newest` of each key;
//! - `checkpoint`: the thread that gives them to the engine, many at once; `take_over`: how, on a disk
//!   that may be full, and `needs` what it needs; `renewal`: how the engine gives memory back;
//!   `backpressure`: what becomes of writes when it cannot keep up; `closing`: how a store is closed;
//! - `engine`: sled, with data records under their [`StorageKey`], a few bookkeeping records beside
//!   them, and the installed layout in a tree of its own;
//! - `shared`: what the handles and the background thread share; `strikes`: the keys that are not read
//!   again; `scan`: all of this as one ordered whole; [`gc`] finds in it the records to be removed;
//! - `sums`: what stands for all records of each partition, kept as they change;
//! - [`disk`]: the room that all this has, the [`reserve`], and whether it fits ([`fitness`]);
//!   [`belongings`]: whether all is still in its place; [`limits`]: what must be free, and what is held in reserve.
//!
//! sled answers damage on its disk by refusing all further work. So that one damaged page does not
//! take the whole node down, [`Store::reopen`] starts the engine anew; the keys that led to the
//! damage are remembered and answered without touching it again.

mod backpressure;
mod batch;
pub mod belongings;
mod change;
mod changes;
mod checkpoint;
mod closing;
mod commit;
mod counters;
pub mod disk;
mod engine;
mod entry;
mod error;
pub mod fitness;
pub mod gc;
mod key;
pub mod limits;
mod memtable;
mod needs;
mod newest;
mod options;
pub mod record;
mod renewal;
mod replayed;
pub mod reserve;
mod scan;
mod shared;
mod store;
mod strikes;
mod sums;
mod take_over;
mod unfinished;
mod varint;
mod wal;

pub use batch::{Batch, Before};
pub use commit::{Appender, UnsyncedLog};
pub use counters::Counters;
pub use engine::OPENING_THREAD;
pub use entry::Entry;
pub use error::{Failure, StoreError};
pub use key::StorageKey;
pub use options::StoreOptions;
pub use record::Stored;
pub use scan::{ScanStart, Visit};
pub use store::Store;
pub use wal::{Fsync, WalError};
