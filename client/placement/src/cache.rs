//! Compiled components on disk, so that only the first start with a strategy pays for compiling it.
//!
//! A compiled component is machine code, and loading a damaged one would be undefined behaviour. So
//! the directory and the file must be our own ([`PrivateDirectory`]), which keeps others out, and the
//! file must be whole, which its length and checksum tell. A file that is not is removed and written
//! anew. The cache is an optimisation, so nothing that is wrong with it is an error; it is a warning
//! at most.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fmt};

use kv_core::digest::Digest;
use xxhash_rust::xxh3::Xxh3;

use super::limits::{CACHE_FILE_BYTES_MAX, CACHE_FILES_MAX, CACHE_TEMPORARY_AGE_MAX};
use super::private_directory::PrivateDirectory;

/// The start of every cache file; its last byte is the version of the frame.
const MAGIC: &[u8; 8] = b"kvstrat\x01";

/// Its first bytes: magic, the length of what follows (8 bytes), the checksum (16 bytes).
type Header = [u8; 32];

/// Where compiled components are kept.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: Option<PathBuf>,
}

/// What the cache did for a strategy that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheOutcome {
    /// The compiled component was there; nothing was compiled.
    Hit,
    /// The component was compiled, and kept for the next start.
    Stored,
    /// The component was compiled, and could not be kept, or there is no cache.
    NotStored,
}

/// What a compiled component is the compiled form of: the component, and everything about the engine
/// (its version, its settings, the processor) that must be the same for its code to be usable.
pub(super) struct CacheKey {
    pub(super) component: Digest,
    pub(super) engine: u64,
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}.bin", self.component, self.engine)
    }
}

impl Cache {
    /// The user's cache: `$KV_CACHE_DIR/strategies`, else `$XDG_CACHE_HOME/kvclient/strategies`,
    /// else `~/.cache/kvclient/strategies`. Nothing is cached if no such variable is set.
    #[must_use]
    pub fn from_env() -> Self {
        Self { directory: directory(|variable| env::var_os(variable)) }
    }

    /// A cache in this directory, which is created where it is missing. It is not used where
    /// another user owns it or may write to it.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()) }
    }

    /// No cache: every load compiles.
    #[must_use]
    pub fn disabled() -> Self {
        Self { directory: None }
    }

    /// The compiled form that is kept under this key, exactly as it was stored.
    pub(super) fn load(&self, key: &CacheKey) -> Option<Vec<u8>> {
        let directory = self.open()?;
        let name = key.to_string();
        let checked = match directory.read(&name, CACHE_FILE_BYTES_MAX) {
            Ok(None) => return None,
            Ok(Some((found, compiled))) if found == header(&name, &compiled) => Ok(compiled),
            Ok(Some(_)) => Err("its length or checksum is wrong".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        checked
            .inspect_err(|reason| {
                tracing::warn!(file = %name, %reason, "the strategy cache had a damaged file");
                directory.remove(&name);
            })
            .ok()
    }

    /// Keeps a compiled form. Two processes that do so at once write the same bytes, and either wins.
    pub(super) fn store(&self, key: &CacheKey, compiled: &[u8]) -> CacheOutcome {
        let Some(directory) = self.open() else { return CacheOutcome::NotStored };
        if compiled.len() > CACHE_FILE_BYTES_MAX {
            return CacheOutcome::NotStored;
        }
        let name = key.to_string();
        let stored = directory
            .write(&name, &[&header(&name, compiled), compiled])
            .and_then(|()| directory.prune(CACHE_FILES_MAX, CACHE_TEMPORARY_AGE_MAX));
        match stored {
            Ok(()) => CacheOutcome::Stored,
            Err(error) => {
                tracing::warn!(%error, "the strategy cache cannot be written");
                CacheOutcome::NotStored
            }
        }
    }

    /// Forgets a compiled form that turned out to be unusable.
    pub(super) fn forget(&self, key: &CacheKey) {
        if let Some(directory) = self.open() {
            directory.remove(&key.to_string());
        }
    }

    fn open(&self) -> Option<PrivateDirectory> {
        let path = self.directory.as_deref()?;
        PrivateDirectory::open(path)
            .inspect_err(|error| {
                let path = path.display();
                tracing::warn!(%path, %error, "the strategy cache is not used");
            })
            .ok()
    }
}

/// The directory that the environment names. An empty variable counts as unset, and so does a
/// relative path where the XDG specification says so.
fn directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".cache"));
    path("KV_CACHE_DIR")
        .or_else(|| absolute("XDG_CACHE_HOME").or_else(home).map(|base| base.join("kvclient")))
        .map(|base| base.join(Path::new("strategies")))
}

/// The header of the file `name`. The checksum covers the name, so that one file is not taken for
/// another; it finds damage, and needs not withstand an attacker, who could not write the file.
fn header(name: &str, compiled: &[u8]) -> Header {
    let mut checksum = Xxh3::new();
    checksum.update(name.as_bytes());
    checksum.update(compiled);
    let mut header = Header::default();
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&(compiled.len() as u64).to_le_bytes());
    header[16..].copy_from_slice(&checksum.digest128().to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CacheKey {
        CacheKey { component: Digest::of(b"component"), engine: 7 }
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path().join("cache"));
        assert!(cache.load(&key()).is_none());
        assert_eq!(cache.store(&key(), b"code"), CacheOutcome::Stored);
        assert_eq!(cache.load(&key()).unwrap(), b"code");
        assert!(cache.load(&CacheKey { engine: 8, ..key() }).is_none());
        cache.forget(&key());
        assert!(cache.load(&key()).is_none());
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_seen() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path());
        cache.store(&key(), b"some machine code");
        let path = home.path().join(key().to_string());
        let whole = std::fs::read(&path).unwrap();
        let load = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            cache.load(&key())
        };
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(load(&damaged), None, "bit {bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(load(&whole[..length]), None, "length {length}");
        }
        assert_eq!(load(&[&whole[..], b"x"].concat()), None);
        assert_eq!(load(&whole).unwrap(), b"some machine code");
        let other = CacheKey { engine: 8, ..key() };
        std::fs::rename(&path, home.path().join(other.to_string())).unwrap();
        assert!(cache.load(&other).is_none());
    }

    #[test]
    fn a_damaged_file_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path());
        let path = home.path().join(key().to_string());
        std::fs::write(&path, b"damaged").unwrap();
        assert!(cache.load(&key()).is_none());
        assert!(!path.exists());
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path());
        let largest = vec![0; CACHE_FILE_BYTES_MAX];
        assert_eq!(cache.store(&key(), &largest), CacheOutcome::Stored);
        assert_eq!(cache.load(&key()).unwrap().len(), CACHE_FILE_BYTES_MAX);
        let larger = vec![0; CACHE_FILE_BYTES_MAX + 1];
        assert_eq!(cache.store(&key(), &larger), CacheOutcome::NotStored);
    }

    #[test]
    fn the_number_of_files_is_limited() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path());
        for engine in 0..CACHE_FILES_MAX as u64 + 3 {
            cache.store(&CacheKey { engine, ..key() }, b"code");
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), CACHE_FILES_MAX);
    }

    #[test]
    fn no_cache_is_no_error() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for cache in [Cache::disabled(), Cache::at(file.join("under-a-file"))] {
            assert!(cache.load(&key()).is_none());
            assert_eq!(cache.store(&key(), b"code"), CacheOutcome::NotStored);
        }
    }

    #[test]
    fn the_environment_says_where() {
        let at = |set: &[(&str, &str)]| {
            let set: Vec<_> =
                set.iter().map(|(n, v)| ((*n).to_owned(), OsString::from(v))).collect();
            directory(|name| set.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()))
        };
        let is = |path: &str| Some(PathBuf::from(path));
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[("HOME", "/h")]), is("/h/.cache/kvclient/strategies"));
        let xdg = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x")];
        assert_eq!(at(&xdg), is("/x/kvclient/strategies"));
        let relative = [("HOME", "/h"), ("XDG_CACHE_HOME", "x")];
        assert_eq!(at(&relative), is("/h/.cache/kvclient/strategies"));
        let own = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("KV_CACHE_DIR", "k")];
        assert_eq!(at(&own), is("k/strategies"));
        let empty = [("XDG_CACHE_HOME", "/x"), ("KV_CACHE_DIR", "")];
        assert_eq!(at(&empty), is("/x/kvclient/strategies"));
    }
}
