//! Failures that pass: the system lacks something now that it will have again.
//!
//! Other processes, and this one, give descriptors, memory, threads and room on a disk back. A call that
//! failed for want of one of them is tried again, and is never taken for damage.

use std::io;

use rustix::process::{Resource, getrlimit};

/// What the system lacks for a time.
const PASSING: [i32; 8] = [
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOMEM,
    libc::EAGAIN,
    libc::ENOSPC,
    libc::EDQUOT,
    libc::EFBIG,
    libc::EINTR,
];

/// How error texts introduce the system's number for what happened: the standard library's way, and its
/// way for developers. The engine hands errors on as texts.
const NUMBER_FOLLOWS: [&str; 2] = ["os error ", "code: "];

/// What libraries say that are given no memory.
const NO_MEMORY: [&str; 2] = ["not enough memory", "Cannot allocate memory"];

/// Whether what failed this way may be tried again.
#[must_use]
pub fn passes(error: &io::Error) -> bool {
    number(error).is_some_and(|number| PASSING.contains(&number))
}

/// Whether the disk, or this user's part of it, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    number(error).is_some_and(|number| number == libc::ENOSPC || number == libc::EDQUOT)
}

/// Whether a file would have become longer than this process may make one (`ulimit -f`), or the file system
/// has one.
#[must_use]
pub fn is_too_long(error: &io::Error) -> bool {
    number(error) == Some(libc::EFBIG)
}

/// Whether the disk cannot be written to.
#[must_use]
pub fn is_read_only(error: &io::Error) -> bool {
    number(error) == Some(libc::EROFS)
}

/// The longest file that this process may make, in bytes.
#[must_use]
pub fn file_bytes_max() -> u64 {
    getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX)
}

/// What the operator of a node's machine can do about a write that failed this way, where there is something.
#[must_use]
pub fn write_advice(error: &io::Error) -> Option<&'static str> {
    if is_full(error) {
        Some("free some space there, or inodes where it has none left (df -i), or raise the quota")
    } else if is_too_long(error) {
        Some("the process may make no longer files: start it with a higher limit (ulimit -f)")
    } else if is_read_only(error) {
        Some("the disk is read-only: see why, and remount it")
    } else {
        None
    }
}

fn number(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| match error.kind() {
        io::ErrorKind::StorageFull => Some(libc::ENOSPC),
        io::ErrorKind::QuotaExceeded => Some(libc::EDQUOT),
        io::ErrorKind::FileTooLarge => Some(libc::EFBIG),
        io::ErrorKind::ReadOnlyFilesystem => Some(libc::EROFS),
        io::ErrorKind::OutOfMemory => Some(libc::ENOMEM),
        io::ErrorKind::WouldBlock => Some(libc::EAGAIN),
        io::ErrorKind::Interrupted => Some(libc::EINTR),
        _ => {
            let text = error.to_string();
            let has_no_memory = NO_MEMORY.iter().any(|words| text.contains(words));
            number_in(&text).or(has_no_memory.then_some(libc::ENOMEM))
        }
    })
}

/// The system's number for what happened, where a text tells it.
#[must_use]
pub fn number_in(text: &str) -> Option<i32> {
    NUMBER_FOLLOWS.iter().find_map(|words| {
        let (_, rest) = text.split_once(words)?;
        let digits = rest.split(|it: char| !it.is_ascii_digit()).next()?;
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_passes_however_it_is_told() {
        for number in PASSING {
            let error = io::Error::from_raw_os_error(number);
            assert!(passes(&error), "{error}");
            assert_eq!(is_full(&error), matches!(number, libc::ENOSPC | libc::EDQUOT));
            // As the engine tells it, which keeps the kind and puts words around the text.
            let told = io::Error::new(error.kind(), format!("heap.rs:1 -> {error}"));
            assert!(passes(&told), "{told}");
            let told = io::Error::other("Allocation error : not enough memory");
            assert!(passes(&told), "{told}");
            let told = io::Error::other(format!("unable to start a thread: {error:?}"));
            assert!(passes(&told), "{told}");
        }
    }

    #[test]
    fn what_is_broken_does_not() {
        for number in [libc::EIO, libc::EROFS, libc::EACCES, libc::ENOENT, libc::EBADF] {
            let error = io::Error::from_raw_os_error(number);
            assert!(!passes(&error) && !is_full(&error), "{error}");
        }
        for kind in [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof] {
            assert!(!passes(&io::Error::new(kind, "crc mismatch")));
        }
    }
}
