//! The redo log: what has been acknowledged and is not yet in the engine.
//!
//! The engine takes milliseconds and many writes to make a group of changes durable. So a group is
//! appended to this log, as one frame, and synced; the engine gets it later, with many others. What
//! is in the log when the node starts is carried out again, which does no harm where it had been
//! carried out.
//!
//! The log consists of segments, files with ascending numbers. All but the last one end with a seal.
//! Once the engine has all of a segment, it remembers the segment's number, and the file is removed.
//!
//! A crash can tear the last frame that was being written, which nobody was told of; it is cut off.
//! Whatever else is wrong with a segment is damage, which is reported and not passed over:
//! [`RedoError`].

mod frame;
mod replay;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::ValueEnum;
use tracing::warn;

pub(super) use self::frame::FRAME_HEAD_BYTES;
use self::frame::Place;
use crate::failpoints;

const SUFFIX: &str = ".redo";

/// Why the redo log cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedoError {
    /// What was acknowledged cannot be read.
    #[error(
        "the redo log is damaged: {path} has no valid frame at byte {offset}, and what stood there had been acknowledged ({reason}); a copy of the whole data directory from before can be served with --serve-older-copy, without what was written since; or remove the node as dead and start it with an empty data directory"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the first damaged frame begins.
        offset: u64,
        /// How it is known that there was a frame.
        reason: String,
    },
    /// A segment is not there.
    #[error(
        "the redo log is incomplete: {0} is missing; put this very file back, or serve a copy of the whole data directory from before with --serve-older-copy, without what was written since; or remove the node as dead and start it with an empty data directory"
    )]
    Missing(PathBuf),
    /// It failed before, and what is at its end is unknown.
    #[error("the redo log failed before: start the node again, which finds out what is in it")]
    Unusable,
    /// A file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// When a write counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Fsync {
    /// Once it is on the disk: it survives a power loss
    #[default]
    Always,
    /// Once the operating system has it: a power loss can cost what was written in the last second
    #[value(name = "everysec")]
    EverySecond,
}

/// The log, open for appending.
pub(super) struct RedoLog {
    directory: PathBuf,
    number: u64,
    file: Arc<File>,
    /// The bytes that the segment has.
    length: u64,
    /// How many of them are on the disk for certain.
    durable: u64,
    /// Whether something failed, after which nothing may be appended: it could stand behind a seal, or
    /// behind something that is torn, where nobody would find it.
    has_failed: bool,
}

/// A piece of the log that has been written and is perhaps not on the disk yet.
pub(super) struct Unsynced {
    number: u64,
    length: u64,
    file: Arc<File>,
}

impl RedoLog {
    /// Opens the log in `directory`, making it where there is none. The engine has all segments up
    /// to the one with the number `checkpointed`. Hands over the frames of the others, in order.
    pub(super) fn open(
        directory: &Path,
        checkpointed: u64,
        mut take: impl FnMut(Bytes) -> Result<(), Malformed>,
    ) -> Result<Self, RedoError> {
        make(directory).map_err(|source| file_error(directory, source))?;
        let mut last = checkpointed;
        let numbers = replay::numbers(directory)?;
        // The engine gets a segment only after the next one was begun.
        if checkpointed > 0 && numbers.last().is_none_or(|it| *it <= checkpointed) {
            return Err(RedoError::Missing(path_of(directory, checkpointed + 1)));
        }
        for number in numbers {
            let path = path_of(directory, number);
            if number <= checkpointed {
                fs::remove_file(&path).map_err(|source| file_error(&path, source))?;
                continue;
            }
            if number != last + 1 {
                return Err(RedoError::Missing(path_of(directory, last + 1)));
            }
            last = number;
            replay::segment(directory, number, &mut take)?;
        }
        Self::create(directory, last + 1)
    }

    fn create(directory: &Path, number: u64) -> Result<Self, RedoError> {
        let path = path_of(directory, number);
        let create = || {
            let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            // The file's name must be durable before anything in it counts.
            File::open(directory)?.sync_all()?;
            Ok(file)
        };
        let file = Arc::new(create().map_err(|source| file_error(&path, source))?);
        let directory = directory.to_owned();
        Ok(Self { directory, number, file, length: 0, durable: 0, has_failed: false })
    }

    /// The number of the segment that is being written.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The bytes of the segment that is being written.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Appends a frame, whose head is still blank; where `sync` says so, it is on the disk when this
    /// returns. After an error the log must not be used any more: what it contains is unknown.
    pub(super) fn append(&mut self, frame: Vec<u8>, sync: bool) -> Result<Bytes, RedoError> {
        let path = path_of(&self.directory, self.number);
        self.unless_failed(|log| log.write(frame, sync).map_err(|source| file_error(&path, source)))
    }

    fn unless_failed<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<T, RedoError>,
    ) -> Result<T, RedoError> {
        if self.has_failed {
            return Err(RedoError::Unusable);
        }
        let result = change(self);
        self.has_failed = result.is_err();
        result
    }

    fn write(&mut self, mut frame: Vec<u8>, sync: bool) -> io::Result<Bytes> {
        let place = Place { segment: self.number, offset: self.length, durable: self.durable };
        frame::complete(&mut frame, place);
        failpoints::pass("node::redo::before-write");
        if failpoints::is_on("node::redo::torn-write") {
            self.file.write_all_at(&frame[..frame.len() / 2], self.length)?;
            failpoints::pass("node::redo::torn-write");
        }
        self.file.write_all_at(&frame, self.length)?;
        self.length += frame.len() as u64;
        failpoints::pass("node::redo::before-sync");
        if sync {
            self.sync()?;
        }
        failpoints::pass("node::redo::after-sync");
        Ok(frame.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.durable = self.length;
        Ok(())
    }

    /// What has to be synced, where anything has.
    pub(super) fn unsynced(&self) -> Option<Unsynced> {
        let unsynced =
            Unsynced { number: self.number, length: self.length, file: Arc::clone(&self.file) };
        (self.durable < self.length).then_some(unsynced)
    }

    /// Takes note that this is on the disk now.
    pub(super) fn synced(&mut self, synced: &Unsynced) {
        if synced.number == self.number {
            self.durable = self.durable.max(synced.length);
        }
    }

    /// Ends the segment and begins the next one. Returns the number of the one that has ended.
    pub(super) fn rotate(&mut self) -> Result<u64, RedoError> {
        let ended = self.number;
        let path = path_of(&self.directory, ended);
        self.unless_failed(|log| {
            log.seal().map_err(|source| file_error(&path, source))?;
            failpoints::pass("node::redo::after-seal");
            *log = Self::create(&log.directory, ended + 1)?;
            Ok(ended)
        })
    }

    fn seal(&mut self) -> io::Result<()> {
        // Only what is durable may be sealed: the seal says that nothing is missing before it.
        self.sync()?;
        self.write(vec![0; FRAME_HEAD_BYTES], true).map(drop)
    }

    /// Removes the segments up to this number, which the engine remembers to have.
    pub(super) fn remove_through(directory: &Path, number: u64) -> Result<(), RedoError> {
        for number in replay::numbers(directory)?.into_iter().filter(|it| *it <= number) {
            let path = path_of(directory, number);
            fs::remove_file(&path).map_err(|source| file_error(&path, source))?;
        }
        Ok(())
    }
}

impl Unsynced {
    /// Syncs it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The content of an intact frame makes no sense.
#[derive(Debug)]
pub(super) struct Malformed;

fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016}{SUFFIX}"))
}

/// Makes the log's directory where there is none, durably.
fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        result => result?,
    }
    directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn file_error(path: &Path, source: io::Error) -> RedoError {
    RedoError::File { path: path.to_owned(), source }
}

/// Says that a torn write was cut off.
fn tell_torn(path: &Path, offset: u64, bytes: u64) {
    warn!(
        "the last write before the crash was torn: {bytes} bytes at byte {offset} of {} are dropped, of which nobody was told",
        path.display()
    );
}
