//! How much address space the process may have, and how the allocator uses it.
//!
//! A process that gets no memory can do nothing about it in the middle of its work, and its libraries end it
//! in ways that explain nothing. So a limit that is too low is told of before anything is begun.
#![allow(unsafe_code, reason = "the allocator is C's")]

use rustix::process::{Resource, getrlimit};

use crate::limits::ADDRESS_SPACE_BYTES_MIN;
use crate::memory::MemoryBudget;

/// How many arenas the allocator has where address space or memory is limited.
const ARENAS_WHERE_LIMITED: libc::c_int = 2;
/// With a budget below this, in bytes, what many arenas hold would be much of it.
const MEMORY_BYTES_SMALL: u64 = 1 << 30;

/// The process may have too little address space.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have {allowed} bytes of address space, and needs at least {ADDRESS_SPACE_BYTES_MIN}: raise its limit (ulimit -v)"
)]
pub struct TooLittle {
    /// How many bytes it may have.
    pub allowed: u64,
}

/// Whether the process may have as much address space as it needs. Where that is limited, or the `memory` that it
/// may take is little, the allocator sets less of it aside. To be called before there are threads.
///
/// # Errors
/// [`TooLittle`] where it may not.
pub fn check(memory: Option<MemoryBudget>) -> Result<(), TooLittle> {
    let limit = getrlimit(Resource::As).current;
    if limit.is_some() || memory.is_some_and(|it| it.bytes() < MEMORY_BYTES_SMALL) {
        set_little_aside();
    }
    check_limit(limit)
}

/// Has threads share a few arenas of the allocator's. Each is 64 MiB of address space, and where many threads
/// have their own, none is left for the next thread. Memory that one of them has freed is not there for threads
/// with another one, either.
fn set_little_aside() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_WHERE_LIMITED);
    }
}

fn check_limit(limit: Option<u64>) -> Result<(), TooLittle> {
    match limit {
        Some(allowed) if allowed < ADDRESS_SPACE_BYTES_MIN => Err(TooLittle { allowed }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_what_is_needed_is_refused() {
        assert_eq!(check_limit(None), Ok(()));
        assert_eq!(check_limit(Some(ADDRESS_SPACE_BYTES_MIN)), Ok(()));
        let text = check_limit(Some(ADDRESS_SPACE_BYTES_MIN - 1)).unwrap_err().to_string();
        assert!(text.contains("1073741823") && text.contains("ulimit -v"), "{text}");
    }
}
