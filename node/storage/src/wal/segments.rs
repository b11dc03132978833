//! The files of the log: how they are named, which there are, and removing those that the engine has.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::error::{WalError, file_error};

const SUFFIX: &str = ".redo";

pub(super) fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(name_of(number))
}

pub(super) fn name_of(number: u64) -> String {
    format!("{number:016}{SUFFIX}")
}

/// The numbers of the segments in `directory`, ascending.
pub(super) fn numbers(directory: &Path) -> Result<Vec<u64>, WalError> {
    let read = || -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|it| it.strip_suffix(SUFFIX)?.parse::<u64>().ok());
            // Numbers can be written in several ways, and each segment has one name.
            numbers.extend(number.filter(|it| path_of(directory, *it).file_name() == Some(&name)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    };
    read().map_err(|source| file_error(directory, source))
}

/// Makes the log's directory if need be, durably.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        result => result?,
    }
    directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Removes the segments up to this number, which the engine remembers to have, from the directory that
/// is open as `names` and was found at `directory`.
pub(crate) fn remove_through(names: &File, directory: &Path, number: u64) -> Result<(), WalError> {
    for number in numbers(directory)?.into_iter().filter(|it| *it <= number) {
        match unlinkat(names, name_of(number), AtFlags::empty()) {
            // It was removed before, or another directory is in the place of this one.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(file_error(&path_of(directory, number), error.into())),
        }
    }
    Ok(())
}
