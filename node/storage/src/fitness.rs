//! Whether a node can work on a disk, and how much of it is held in reserve.

use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use tracing::warn;

use crate::limits::{DISK_BYTES_MIN, RESERVE_BYTES_DEFAULT};

/// A disk on which no node can work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnfitDisk {
    /// It is too small.
    #[error(
        "the disk that {path} is on has {disk_bytes} bytes, and a node needs at least {DISK_BYTES_MIN}: choose another directory with --data-dir"
    )]
    TooSmall {
        /// The data directory.
        path: PathBuf,
        /// How large the disk is.
        disk_bytes: u64,
    },
    /// The operator wants more of it in reserve than can be.
    #[error(
        "--disk-reserve-bytes asks for {asked_bytes} bytes of the disk that {path} is on, which has {disk_bytes}: at least {DISK_BYTES_MIN} have to be left for data. Ask for less; by default it is a quarter of the disk, and {RESERVE_BYTES_DEFAULT} at most"
    )]
    ReserveTooLarge {
        /// The data directory.
        path: PathBuf,
        /// How large the disk is.
        disk_bytes: u64,
        /// What was asked for.
        asked_bytes: u64,
    },
}

/// How many bytes of the disk that `directory` is on are to be held in reserve: as many as are `asked` for,
/// or what suits the disk.
///
/// # Errors
/// [`UnfitDisk`] where a node could store nothing there.
pub fn reserve_bytes(directory: &Path, asked: Option<u64>) -> Result<u64, UnfitDisk> {
    // A disk that cannot be asked is taken to be large.
    let disk_bytes =
        statvfs(directory).map_or(u64::MAX, |it| it.f_blocks.saturating_mul(it.f_frsize));
    reserve_bytes_of(disk_bytes, directory, asked)
}

fn reserve_bytes_of(
    disk_bytes: u64,
    directory: &Path,
    asked: Option<u64>,
) -> Result<u64, UnfitDisk> {
    let path = directory.to_owned();
    if disk_bytes < DISK_BYTES_MIN {
        return Err(UnfitDisk::TooSmall { path, disk_bytes });
    }
    if let Some(asked_bytes) = asked {
        if asked_bytes > disk_bytes - DISK_BYTES_MIN {
            return Err(UnfitDisk::ReserveTooLarge { path, disk_bytes, asked_bytes });
        }
        return Ok(asked_bytes);
    }
    let quarter = disk_bytes / 4;
    if quarter < RESERVE_BYTES_DEFAULT {
        warn!(
            "the disk that {} is on has {disk_bytes} bytes: a quarter of it is held in reserve instead of {RESERVE_BYTES_DEFAULT} bytes",
            directory.display()
        );
    }
    Ok(quarter.min(RESERVE_BYTES_DEFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_suits_the_disk_unless_more_is_asked_for_than_there_is() {
        let reserve = |disk_bytes, asked| reserve_bytes_of(disk_bytes, Path::new("/data"), asked);
        assert_eq!(reserve(1 << 40, None).unwrap(), RESERVE_BYTES_DEFAULT);
        assert_eq!(reserve(64 << 20, None).unwrap(), 16 << 20);
        assert_eq!(reserve(DISK_BYTES_MIN, None).unwrap(), DISK_BYTES_MIN / 4);
        let text = reserve(DISK_BYTES_MIN - 1, None).unwrap_err().to_string();
        assert!(text.contains("/data") && text.contains(&DISK_BYTES_MIN.to_string()), "{text}");
        assert_eq!(reserve(64 << 20, Some(0)).unwrap(), 0);
        assert_eq!(reserve(64 << 20, Some(32 << 20)).unwrap(), 32 << 20);
        let most = (64 << 20) - DISK_BYTES_MIN;
        assert_eq!(reserve(64 << 20, Some(most)).unwrap(), most);
        let text = reserve(64 << 20, Some(most + 1)).unwrap_err().to_string();
        assert!(text.contains("--disk-reserve-bytes") && text.contains("67108864"), "{text}");
        assert!(reserve(64 << 20, Some(u64::MAX)).is_err());
    }
}
