//! The write-ahead log: changes that have been acknowledged and are not yet in the engine.
//!
//! The engine takes milliseconds and many writes to make a group of changes durable. So a group is
//! appended to this log, as one frame, and synced; the engine gets it later, with many others. What
//! is in the log when the node starts is carried out again, which does no harm where it had been
//! carried out.
//!
//! The log consists of segments, files with ascending numbers. All but the last one end with a seal.
//! Once the engine has all of a segment, it remembers the segment's number, and the file is removed.
//!
//! A crash can tear the last frame that was being written, of which no client was told; it is cut off.
//! Whatever else is wrong with a segment is damage, which is reported and not passed over:
//! [`WalError`].
//!
//! - here: writing it; `frame`: how one group lies in it;
//! - `replay`: reading it when the node starts, with several threads;
//! - `segments`: its files.

mod error;
mod frame;
mod replay;
mod segments;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kv_system::transient::{is_full, is_read_only, passes};
use kv_system::{descriptors, failpoints, private};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};

pub use self::error::WalError;
use self::error::file_error;
pub(super) use self::frame::FRAME_HEAD_BYTES;
use self::frame::Place;
pub(super) use self::replay::{Malformed, Segment, Taker};
pub(crate) use self::segments::remove_through;
use self::segments::{make, name_of, path_of};
use crate::belongings::is_absence;
use crate::disk::Disk;
use crate::limits::INODES_PER_STEP;

/// When a write counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Once it is on the disk: it survives a power loss.
    #[default]
    Always,
    /// Once the operating system has it: a power loss can cost what was written in the last second.
    EverySecond,
}

/// How well something must be kept when it counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keeping {
    /// It is on the disk.
    pub(crate) is_synced: bool,
    /// The file that it is in can be found again by others.
    pub(crate) can_be_found: bool,
}

/// The log, open for appending.
pub(super) struct WriteAheadLog {
    directory: PathBuf,
    /// The same, open: it stays this one where another takes its place, and no descriptor is needed to
    /// sync the names in it.
    names: Arc<File>,
    /// Told which file must be in its place.
    disk: Disk,
    number: u64,
    file: Arc<File>,
    /// The bytes that the segment has.
    length: u64,
    /// How many of them are on the disk for certain.
    durable: u64,
    /// Whether the file system counts the names of files, of which this one had one when it was begun.
    names_are_counted: bool,
    /// Whether there may be something of a frame behind them, which was not written to its end.
    has_rest: bool,
    /// Whether the segment has its seal, and the next one could not be begun yet.
    is_sealed: bool,
    /// Whether something failed, after which nothing may be appended: it could stand behind a seal, or
    /// behind a torn frame, where no start would find it.
    has_failed: bool,
}

/// A piece of the log that has been written and is perhaps not on the disk yet.
pub(super) struct Unsynced {
    number: u64,
    length: u64,
    file: Arc<File>,
}

impl WriteAheadLog {
    /// Opens the log in `directory`, which it makes if need be. The engine has all segments up
    /// to the one with the number `checkpointed`. Has the frames of the others taken, and returns what was made of
    /// them, in order.
    pub(super) fn open<T: Taker>(
        directory: &Path,
        disk: &Disk,
        checkpointed: u64,
    ) -> Result<(Self, Vec<Segment<T>>), WalError> {
        make(directory).map_err(|source| file_error(directory, source))?;
        let mut last = checkpointed;
        let mut replayed = Vec::new();
        let numbers = segments::numbers(directory)?;
        // The engine gets a segment only after the next one was begun.
        if checkpointed > 0 && numbers.last().is_none_or(|it| *it <= checkpointed) {
            return Err(WalError::Missing(path_of(directory, checkpointed + 1)));
        }
        for number in numbers {
            let path = path_of(directory, number);
            if number <= checkpointed {
                fs::remove_file(&path).map_err(|source| file_error(&path, source))?;
                continue;
            }
            if number != last + 1 {
                return Err(WalError::Missing(path_of(directory, last + 1)));
            }
            last = number;
            replayed.push(replay::segment(directory, number)?);
        }
        let names = File::open(directory).map_err(|source| file_error(directory, source))?;
        let mut log = Self {
            directory: directory.to_owned(),
            number: last,
            file: Arc::new(names.try_clone().map_err(|source| file_error(directory, source))?),
            names: Arc::new(names),
            disk: disk.clone(),
            length: 0,
            durable: 0,
            names_are_counted: false,
            has_rest: false,
            is_sealed: true,
            has_failed: false,
        };
        log.begin_next()?;
        Ok((log, replayed))
    }

    /// Begins the next segment, after the one that is sealed.
    fn begin_next(&mut self) -> Result<(), WalError> {
        let number = self.number + 1;
        let path = path_of(&self.directory, number);
        let create = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::from_bits_truncate(private::FILE_MODE);
            let file = File::from(openat(&self.names, name_of(number), flags, mode)?);
            let metadata = file.metadata();
            let kept = metadata.and_then(|it| {
                self.disk.belongings().keep_open(&path, &file)?;
                // The file's name must be durable before anything in it counts.
                self.names.sync_all()?;
                Ok(it)
            });
            match kept {
                Ok(metadata) => Ok((file, metadata.nlink() > 0)),
                Err(error) => {
                    // So that it can be tried again; where it stays, that fails.
                    self.disk.belongings().forget(&path);
                    let _ = unlinkat(&self.names, name_of(number), AtFlags::empty());
                    Err(error)
                }
            }
        };
        let created = match create() {
            // What the disk shows is not always to be had.
            Err(error) if is_full(&error) && self.disk.give_inode() => create(),
            created => created,
        };
        match created {
            Ok((file, names_are_counted)) => {
                self.disk.belongings().forget(&path_of(&self.directory, self.number));
                self.file = Arc::new(file);
                (self.number, self.length, self.durable) = (number, 0, 0);
                self.names_are_counted = names_are_counted;
                self.is_sealed = false;
                Ok(())
            }
            // In a directory that was removed, nothing can be made.
            Err(source) if is_absence(&source) && self.disk.has_lost() => {
                Err(WalError::Removed(path))
            }
            Err(source) if passes(&source) || is_read_only(&source) => {
                self.disk.note(&source);
                Err(WalError::NotWritten { path, source })
            }
            Err(source) => Err(self.fail(&path, source)),
        }
    }

    /// Whether the segment that is being written can still be found. Where it cannot, all know from now on.
    fn check_found(&self) -> Result<(), WalError> {
        let is_removed =
            self.names_are_counted && self.file.metadata().is_ok_and(|it| it.nlink() == 0);
        if !is_removed {
            return Ok(());
        }
        let _ = self.disk.look();
        Err(WalError::Removed(path_of(&self.directory, self.number)))
    }

    /// The number of the segment that is being written.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The bytes of the segment that is being written.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Appends a frame, whose head is still blank, and keeps it as well as `keeping` says. After any error
    /// but [`WalError::NotWritten`] and [`WalError::Removed`] the log must not be used any more: what it
    /// contains is unknown. A frame that is refused as removed is in a file that no start will ever read.
    pub(crate) fn append(&mut self, frame: Vec<u8>, keeping: Keeping) -> Result<Bytes, WalError> {
        self.check()?;
        if self.is_sealed {
            self.begin_next()?;
        }
        let frame = self.write(frame)?;
        failpoints::pass("node::wal::before-sync");
        if keeping.is_synced {
            self.sync_or_fail()?;
        }
        failpoints::pass("node::wal::after-sync");
        if keeping.can_be_found {
            self.check_found()?;
        }
        Ok(frame)
    }

    /// Whether an append has nothing else to do before.
    pub(super) fn is_ready(&self) -> bool {
        !(self.has_failed || self.is_sealed || self.has_rest)
    }

    fn check(&self) -> Result<(), WalError> {
        if self.has_failed { Err(WalError::Unusable) } else { Ok(()) }
    }

    fn fail(&mut self, path: &Path, source: io::Error) -> WalError {
        self.has_failed = true;
        self.disk.note(&source);
        file_error(path, source)
    }

    /// Writes a frame at the segment's end, as a whole or not at all.
    fn write(&mut self, mut frame: Vec<u8>) -> Result<Bytes, WalError> {
        let place = Place { segment: self.number, offset: self.length, durable: self.durable };
        frame::complete(&mut frame, place);
        failpoints::pass("node::wal::before-write");
        if let Err(source) = self.cut().and_then(|()| self.write_whole(&frame)) {
            let path = path_of(&self.directory, self.number);
            if !passes(&source) && !is_read_only(&source) {
                return Err(self.fail(&path, source));
            }
            // What there is of the frame is no valid one, and the next one takes its place.
            self.has_rest = true;
            let _ = self.cut();
            self.disk.note(&source);
            return Err(WalError::NotWritten { path, source });
        }
        self.length += frame.len() as u64;
        Ok(frame.into())
    }

    /// Cuts off the rest of a frame that could not be written.
    fn cut(&mut self) -> io::Result<()> {
        if self.has_rest {
            self.file.set_len(self.length)?;
            self.has_rest = false;
        }
        Ok(())
    }

    fn write_whole(&self, frame: &[u8]) -> io::Result<()> {
        if failpoints::is_on("node::wal::torn-write") {
            self.file.write_all_at(&frame[..frame.len() / 2], self.length)?;
            failpoints::pass("node::wal::torn-write");
        }
        self.file.write_all_at(frame, self.length)
    }

    /// A sync that failed may have cost what it was to keep, however often it is tried again.
    pub(crate) fn sync_or_fail(&mut self) -> Result<(), WalError> {
        self.sync().map_err(|source| self.fail(&path_of(&self.directory, self.number), source))
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

    /// Ends the segment and begins the next one. Returns the number of the one that has ended. After
    /// [`WalError::NotWritten`] and [`WalError::Removed`], the log goes on in the segment, or in the next
    /// one where it has ended.
    pub(crate) fn rotate(&mut self) -> Result<u64, WalError> {
        self.check()?;
        self.check_found()?;
        if !self.is_sealed {
            // While the next one could not be begun, this one can still be written to.
            let has_inode = self.disk.make_inodes(1, INODES_PER_STEP);
            let no_inode = || Err(io::ErrorKind::StorageFull.into());
            let has_inode = if has_inode { Ok(()) } else { no_inode() };
            if let Err(source) = descriptors::are_left(1).and(has_inode) {
                let path = path_of(&self.directory, self.number + 1);
                return Err(WalError::NotWritten { path, source });
            }
            // Only durable frames may be sealed: the seal says that nothing is missing before it.
            if self.durable < self.length {
                self.sync_or_fail()?;
            }
            self.write(vec![0; FRAME_HEAD_BYTES])?;
            self.sync_or_fail()?;
            self.is_sealed = true;
            failpoints::pass("node::wal::after-seal");
        }
        let ended = self.number;
        self.begin_next()?;
        Ok(ended)
    }

    /// The directory that the segments are in.
    pub(crate) fn names(&self) -> Arc<File> {
        Arc::clone(&self.names)
    }
}

impl Unsynced {
    /// Syncs it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
