//! How many file descriptors the process may have, and how many of them connections get.
//!
//! Connections come as peers please, and acknowledged data lies in files. So connections get the rest once
//! files have their part.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many file descriptors are kept from connections, so that every part that opens a file finds one: the
/// engine has some eighty files, and opens some more while it begins a log or starts anew; the write-ahead log,
/// the identity, Consul's connections, a node that is started, and what the runtime waits on take a
/// hundred; and some are for connections that are accepted before the serving loop looks again. See
/// [`for_connections`].
pub const DESCRIPTORS_KEPT_FOR_FILES: u64 = 256;

/// A process needs no more descriptors than this, and a kernel keeps a table of as many as are allowed.
pub const DESCRIPTORS_MAX: u64 = 1 << 20;

/// How many descriptors a node of its own needs: it has 107 without a peer, and some for the
/// engine's logs. Connections get those beyond.
pub const DESCRIPTORS_OF_A_NODE: u64 = 124;

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

    #[test]
    fn connections_leave_files_their_part() {
        assert_eq!(connections_of(1024), 1024 - DESCRIPTORS_KEPT_FOR_FILES);
        assert_eq!(connections_of(DESCRIPTORS_KEPT_FOR_FILES), DESCRIPTORS_KEPT_FOR_FILES / 2);
        for limit in DESCRIPTORS_OF_A_NODE + 4..4 * DESCRIPTORS_KEPT_FOR_FILES {
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
