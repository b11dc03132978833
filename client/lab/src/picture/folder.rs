//! The folder that pictures go to. No reader sees half a file: each is written under another name, and
//! then takes the place of the one before it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kv_system::replacement::{Fresh, Replacement};

use super::Rendered;

/// A folder for pictures.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, which is made where it is missing.
    ///
    /// # Errors
    /// It cannot be made, or something else is there.
    pub fn make(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes both files of a picture, in place of those that are there.
    ///
    /// # Errors
    /// The folder cannot be written to, or the disk is full. An older file stays then.
    pub fn write(&self, picture: &Rendered) -> io::Result<()> {
        self.replace(&format!("{}.svg", picture.name), picture.svg.as_bytes())?;
        self.replace(&format!("{}.png", picture.name), &picture.png)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = Replacement::begin(&self.path.join(name), Fresh::Usual)?;
        file.write_all(bytes)?;
        file.finish()
    }
}
