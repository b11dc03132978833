//! The reserve on a disk: bytes, as a file whose blocks are allocated, so that no other process can
//! take them, and inodes, as empty files, each of which is one.
//!
//! [`crate::disk`] says how much there is to be, and when it is given up.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, FallocateFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fallocate,
    futimens, openat, unlinkat,
};

use kv_system::private;
use kv_system::transient::is_full;

/// The file of a data directory that holds the bytes.
pub const RESERVE_FILE: &str = "reserve";
/// The empty files beside it: this and a number.
const SPARE_PREFIX: &str = "spare-";
/// What `stat` counts allocated blocks in.
const STAT_BLOCK_BYTES: u64 = 512;

/// A reserve that is held in a directory.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    /// The directory, and the file in it. They stay open: by their paths, another directory's could be
    /// reached. `None` where they are not there yet, or cannot be used.
    directory: Option<File>,
    file: Option<File>,
    held_bytes: u64,
    /// The numbers of the empty files.
    spares: BTreeSet<u64>,
}

impl Reserve {
    /// Finds the reserve that an earlier run has left in `directory`.
    pub(crate) fn take_up(directory: &Path) -> Self {
        let mut reserve = Self { directory: File::open(directory).ok(), ..Self::default() };
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number =
                name.to_str().and_then(|it| it.strip_prefix(SPARE_PREFIX)?.parse::<u64>().ok());
            reserve.spares.extend(number);
        }
        if let Ok(file) = OpenOptions::new().write(true).open(directory.join(RESERVE_FILE))
            && let Ok(metadata) = file.metadata()
        {
            // A copy of the directory may have it with holes.
            reserve.held_bytes = metadata.len().min(metadata.blocks() * STAT_BLOCK_BYTES);
            reserve.file = Some(file);
        }
        reserve
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.held_bytes
    }

    /// The inodes that it holds.
    pub(crate) fn inodes(&self) -> u64 {
        self.spares.len() as u64
    }

    /// Whether there is a file that holds bytes.
    pub(crate) fn is_begun(&self) -> bool {
        self.file.is_some()
    }

    /// Gives bytes up, so that `left_bytes` are left.
    pub(crate) fn shrink(&mut self, left_bytes: u64) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.set_len(left_bytes)?;
        }
        self.held_bytes = left_bytes;
        Ok(())
    }

    /// Takes `bytes` more.
    pub(crate) fn grow(&mut self, directory: &Path, bytes: u64) -> io::Result<()> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            let options = options.create(true).write(true).truncate(false);
            let path = directory.join(RESERVE_FILE);
            self.file = Some(options.mode(private::FILE_MODE).open(path)?);
        }
        let Some(file) = &self.file else { return Ok(()) };
        // From the start, since there may be holes.
        if let Err(error) = fallocate(file, FallocateFlags::empty(), 0, self.held_bytes + bytes) {
            // Some of it may have been allocated.
            file.set_len(self.held_bytes)?;
            return Err(error.into());
        }
        self.held_bytes += bytes;
        Ok(())
    }

    /// Whether `bytes` can be allocated, whatever the file system shows. Where nothing is held as a file,
    /// the write itself will tell.
    pub(crate) fn can_grow(&self, bytes: u64) -> bool {
        let Some(file) = &self.file else { return true };
        match fallocate(file, FallocateFlags::empty(), self.held_bytes, bytes.max(1)) {
            Ok(()) => file.set_len(self.held_bytes).is_ok(),
            Err(error) => !is_full(&error.into()),
        }
    }

    /// Writes to the directory, in the least way: when that was.
    pub(crate) fn touch(&self) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps {
            last_access: Timespec { tv_nsec: UTIME_OMIT, ..now },
            last_modification: now,
        };
        Ok(futimens(directory, &times)?)
    }

    /// Gives up to so many inodes up. Returns how many it gave up.
    pub(crate) fn give_inodes(&mut self, count: u64) -> u64 {
        let Some(directory) = &self.directory else { return 0 };
        let mut given = 0;
        while given < count
            && let Some(number) = self.spares.pop_last()
        {
            if unlinkat(directory, spare(number), AtFlags::empty()).is_ok() {
                given += 1;
            }
        }
        given
    }

    /// Takes so many inodes more.
    pub(crate) fn take_inodes(&mut self, count: u64) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        for _ in 0..count {
            let free = (0..).find(|number| !self.spares.contains(number)).unwrap_or_default();
            let mode = Mode::from_bits_truncate(private::FILE_MODE);
            openat(directory, spare(free), flags, mode)?;
            self.spares.insert(free);
        }
        Ok(())
    }

    /// Gives everything up, and removes its files where `is_in_place` says that they can be found.
    pub(crate) fn dissolve(&mut self, is_in_place: bool) {
        let directory = self.directory.take();
        if let Some(directory) = directory.filter(|_| is_in_place) {
            // A file that cannot be removed only keeps its room.
            let _ = unlinkat(&directory, RESERVE_FILE, AtFlags::empty());
            for number in &self.spares {
                let _ = unlinkat(&directory, spare(*number), AtFlags::empty());
            }
        }
        *self = Self::default();
    }
}

fn spare(number: u64) -> String {
    format!("{SPARE_PREFIX}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_are_held_as_empty_files_and_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let spares = || {
            let names = fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name());
            names.filter(|it| it.to_str().unwrap().starts_with(SPARE_PREFIX)).count()
        };
        let mut reserve = Reserve::take_up(directory.path());
        reserve.take_inodes(5).unwrap();
        assert_eq!((reserve.inodes(), spares()), (5, 5));
        assert_eq!(reserve.give_inodes(2), 2);
        assert_eq!((reserve.inodes(), spares()), (3, 3));
        // Another process has removed one.
        fs::remove_file(directory.path().join(spare(2))).unwrap();
        assert_eq!(reserve.give_inodes(3), 2, "one had been given up");
        assert_eq!((reserve.inodes(), spares()), (0, 0));
        reserve.take_inodes(4).unwrap();
        assert_eq!(Reserve::take_up(directory.path()).inodes(), 4);
        reserve.dissolve(true);
        assert_eq!((reserve.inodes(), spares()), (0, 0));
    }
}
