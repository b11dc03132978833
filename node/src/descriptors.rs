//! How many file descriptors the process may have, and who gets them.
//!
//! Connections come as others please, and files are what acknowledged data lies in. So connections get
//! what is left once files have their part.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{DESCRIPTORS_KEPT_FOR_FILES, DESCRIPTORS_MAX, DESCRIPTORS_OF_A_NODE};

/// Raises this process's soft limit of open files to the hard one: the soft one is low for the sake of
/// old programs. Returns how many there may be.
///
/// # Errors
/// What the operating system says; the limit is then what it was.
pub fn raise() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
    if current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })?;
    }
    Ok(limit())
}

/// How many descriptors this process may have.
#[must_use]
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS_MAX)
}

/// How many connections there may be, so that files have theirs. Where the limit is so low that this
/// leaves less, connections get half, but never what an idle node needs.
#[must_use]
pub fn for_connections() -> u64 {
    connections_of(limit())
}

fn connections_of(limit: u64) -> u64 {
    let half_at_least = limit.saturating_sub(DESCRIPTORS_KEPT_FOR_FILES).max(limit / 2);
    half_at_least.min(limit.saturating_sub(DESCRIPTORS_OF_A_NODE))
}

/// Whether so many descriptors are free at this moment.
///
/// # Errors
/// What the operating system says to the first one that is not.
pub fn are_left(count: usize) -> io::Result<()> {
    let first = eventfd(0, EventfdFlags::CLOEXEC)?;
    let mut rest: Vec<OwnedFd> = Vec::with_capacity(count);
    while rest.len() + 1 < count {
        rest.push(first.try_clone()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DESCRIPTORS_MIN;

    #[test]
    fn connections_leave_files_their_part() {
        assert_eq!(connections_of(1024), 1024 - DESCRIPTORS_KEPT_FOR_FILES);
        assert_eq!(connections_of(DESCRIPTORS_KEPT_FOR_FILES), DESCRIPTORS_KEPT_FOR_FILES / 2);
        for limit in DESCRIPTORS_MIN as u64..4 * DESCRIPTORS_KEPT_FOR_FILES {
            let connections = connections_of(limit);
            assert!(connections >= 4 && connections <= limit - DESCRIPTORS_OF_A_NODE, "{limit}");
        }
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        let allowed = raise().unwrap();
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(DESCRIPTORS_MAX);
        assert_eq!(allowed, hard.min(DESCRIPTORS_MAX));
        assert!(are_left(8).is_ok());
    }
}
