//! What a node has on its disk, and must find where it was.
//!
//! A file that is open stays open when another process removes it, or moves it away: it can be read and written
//! as before, and is gone when the process ends. So what must outlive the process is remembered by its
//! path and by which file that was, and looked for: before anything rests on it, and now and then.

use kv_system::lock::lock;
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The files and directories that must be in their places.
#[derive(Debug, Default)]
pub struct Belongings {
    places: Mutex<BTreeMap<PathBuf, Known>>,
    series: Mutex<BTreeMap<Series, Option<(u64, FileId)>>>,
}

/// Which file a path led to.
#[derive(Clone, Debug)]
struct Known {
    id: FileId,
    /// Held open, unless the node has it open anyway: another could be given its number when it is gone.
    _held: Option<Arc<File>>,
}

/// Which file it is, whatever its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// Files of a directory with the same prefix and ascending numbers, of which the last one counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    directory: PathBuf,
    prefix: &'static str,
}

impl Belongings {
    /// Takes note of the directory that is at `path` now.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn keep(&self, path: &Path) -> io::Result<()> {
        let held = File::open(path)?;
        let id = FileId::of(&held.metadata()?);
        let known = Known { id, _held: Some(Arc::new(held)) };
        lock(&self.places).insert(path.to_owned(), known);
        Ok(())
    }

    /// Takes note that `path` leads to `file`, which is open for as long as it is missed.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn keep_open(&self, path: &Path, file: &File) -> io::Result<()> {
        self.keep_id(path, &file.metadata()?);
        Ok(())
    }

    /// Takes note of a directory, and of all that is in it now, which must be open elsewhere in the process.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn keep_all_in(&self, directory: &Path) -> io::Result<()> {
        self.keep(directory)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            self.keep_id(&path, &fs::metadata(&path)?);
        }
        Ok(())
    }

    fn keep_id(&self, path: &Path, metadata: &Metadata) {
        let known = Known { id: FileId::of(metadata), _held: None };
        lock(&self.places).insert(path.to_owned(), known);
    }

    /// Takes note of the last of the files in `directory` whose names are `prefix` and a hexadecimal
    /// number. Another one with a higher number may take its place at any time, and is there before it
    /// goes.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn keep_last_of(&self, directory: &Path, prefix: &'static str) -> io::Result<()> {
        let series = Series { directory: directory.to_owned(), prefix };
        let last = series.last()?;
        lock(&self.series).insert(series, last);
        Ok(())
    }

    /// Does not miss the file or directory at `path` any more.
    pub fn forget(&self, path: &Path) {
        lock(&self.places).remove(path);
    }

    /// The files of [`Belongings::keep_last_of`] are not missed until they are named again.
    pub fn forget_last_of(&self, directory: &Path, prefix: &'static str) {
        lock(&self.series).remove(&Series { directory: directory.to_owned(), prefix });
    }

    /// The first that is not in its place, where there is one: it was removed or moved, or another is
    /// there.
    ///
    /// # Errors
    /// What the operating system says where that cannot be found out.
    pub fn missing(&self) -> io::Result<Option<PathBuf>> {
        // Not while it is locked: a thread that begins a file must not wait for a disk that is slow to answer.
        let places = lock(&self.places).clone();
        for (path, Known { id, .. }) in places {
            if found(fs::metadata(&path).map(|it| FileId::of(&it)))? != Some(id)
                // It may have been given up since.
                && lock(&self.places).get(&path).is_some_and(|it| it.id == id)
            {
                return Ok(Some(path));
            }
        }
        let series = lock(&self.series).clone();
        for (series, known) in series {
            let last = found(series.last())?.flatten();
            let goes_on = |last: Option<(u64, FileId)>| match (known, last) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(known), Some(last)) => last == known || last.0 > known.0,
            };
            // A directory that changes while it is read may show neither the old nor the new one.
            if !goes_on(last)
                && !goes_on(found(series.last())?.flatten())
                // They may have been given up since.
                && lock(&self.series).get(&series) == Some(&known)
            {
                return Ok(Some(series.directory.join(format!("{}*", series.prefix))));
            }
            if goes_on(last)
                && let Some(entry) = lock(&self.series).get_mut(&series)
                && *entry == known
            {
                *entry = last;
            }
        }
        Ok(None)
    }
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Series {
    /// The number of the last file, and which one that is; `None` where there is no file.
    fn last(&self) -> io::Result<Option<(u64, FileId)>> {
        let mut last: Option<(u64, FileId)> = None;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let digits = name.to_str().and_then(|it| it.strip_prefix(self.prefix));
            let Some(number) = digits.and_then(|it| u64::from_str_radix(it, 16).ok()) else {
                continue;
            };
            if last.is_none_or(|(highest, _)| number > highest)
                && let Some(metadata) = found(entry.metadata())?
            {
                last = Some((number, FileId::of(&metadata)));
            }
        }
        Ok(last)
    }
}

/// `None` for a file that is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says that there is no such file.
#[must_use]
pub fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, StaleNetworkFileHandle};
    matches!(error.kind(), NotFound | NotADirectory | StaleNetworkFileHandle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_moved_or_replaced_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("directory");
        fs::create_dir(&directory).unwrap();
        let files = ["a", "b"].map(|name| directory.join(name));
        files.iter().for_each(|file| fs::write(file, "").unwrap());
        let belongings = Belongings::default();
        belongings.keep_all_in(&directory).unwrap();
        let missing = || belongings.missing().unwrap();
        assert_eq!(missing(), None);
        // Another of the same name, which is made while the first one is there.
        fs::write(directory.join("new"), "").unwrap();
        let aside = root.path().join("aside");
        fs::rename(&files[0], &aside).unwrap();
        assert_eq!(missing().as_ref(), Some(&files[0]));
        fs::rename(directory.join("new"), &files[0]).unwrap();
        assert_eq!(missing().as_ref(), Some(&files[0]));
        fs::rename(&aside, &files[0]).unwrap();
        assert_eq!(missing(), None, "it is back");
        fs::remove_file(&files[1]).unwrap();
        assert_eq!(missing().as_ref(), Some(&files[1]));
        belongings.forget(&files[1]);
        assert_eq!(missing(), None);
        fs::remove_dir_all(&directory).unwrap();
        fs::write(&directory, "a file").unwrap();
        assert_eq!(missing().as_ref(), Some(&directory));
    }

    #[test]
    fn a_series_may_go_on_and_must_not_end() {
        let root = tempfile::tempdir().unwrap();
        let file = |number: u64| root.path().join(format!("log_{number:016x}"));
        let belongings = Belongings::default();
        fs::write(file(9), "").unwrap();
        belongings.keep_last_of(root.path(), "log_").unwrap();
        assert_eq!(belongings.missing().unwrap(), None);
        fs::write(file(10), "").unwrap();
        fs::remove_file(file(9)).unwrap();
        assert_eq!(belongings.missing().unwrap(), None);
        fs::write(file(9), "").unwrap();
        fs::remove_file(file(10)).unwrap();
        assert_eq!(belongings.missing().unwrap(), Some(root.path().join("log_*")));
        fs::write(root.path().join("log_of_something_else"), "").unwrap();
        assert!(belongings.missing().unwrap().is_some());
        belongings.forget_last_of(root.path(), "log_");
        assert_eq!(belongings.missing().unwrap(), None);
    }
}
