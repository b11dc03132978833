//! Finding out whether the system gives what libraries take for granted.
//!
//! ZeroMQ ends the process where it gets no descriptor or thread for itself, and so does the runtime by a
//! panic. So what they are going to take is taken first, and given back: then its lack is an error like any
//! other. Another part of the process may take it in between, which is why more is asked for than is needed.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use crate::lock::lock;
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Whether so many descriptors are to be had now.
///
/// # Errors
/// They are not; says what to do.
pub fn descriptors(count: usize) -> io::Result<()> {
    let opened = (0..count).map(|_| eventfd(0, EventfdFlags::CLOEXEC));
    let opened: Result<Vec<OwnedFd>, _> = opened.collect();
    opened.map(drop).map_err(|error| {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.map_or_else(|| "no limit".into(), |limit| limit.to_string());
        let advice = format!(
            "{count} more files or connections cannot be opened ({error}; the limit of this process is \
             {limit}): raise it with `ulimit -n`, or the container's"
        );
        io::Error::new(error.kind(), advice)
    })
}

/// Whether so many threads are to be had now.
///
/// # Errors
/// They are not; says what to do.
pub fn threads(count: usize) -> io::Result<()> {
    let gate = Arc::new(Mutex::new(()));
    // All are there at the same time, since none gets through before the last has started.
    let closed = lock(&gate);
    let start = |_| {
        let gate = Arc::clone(&gate);
        std::thread::Builder::new().spawn(move || drop(gate.lock()))
    };
    let started: Vec<_> = (0..count).map_while(|number| start(number).ok()).collect();
    let missing = count - started.len();
    drop(closed);
    for thread in started {
        // It does nothing that could fail.
        let _ = thread.join();
    }
    if missing == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::WouldBlock,
        format!(
            "the system gives {} threads of {count} that are needed: raise the limit of processes (`ulimit -u`, or \
             the container's), or of memory (`ulimit -v`)",
            count - missing
        ),
    ))
}

/// Lets this process open as many files and connections as the system allows it to. Where that fails, the
/// limit stays what it is.
pub fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Whether the main thread may have so many bytes of stack, which this process sees to as far as the system
/// allows it. Other threads have stacks of their own.
///
/// # Errors
/// It may not; says what to do.
pub fn stack(bytes: u64) -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Stack);
    let (Some(limit), wanted) = (current, Rlimit { current: Some(bytes), maximum }) else {
        return Ok(());
    };
    if limit >= bytes || setrlimit(Resource::Stack, wanted).is_ok() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!(
            "this process may have {limit} bytes of stack, expected at least {bytes}: raise the limit with \
             `ulimit -s`"
        ),
    ))
}

/// Whether this process may take so many bytes of memory, by the limit on what it maps.
///
/// # Errors
/// It may not; says what to do.
pub fn memory(bytes: u64) -> io::Result<()> {
    match getrlimit(Resource::As).current {
        Some(limit) if limit < bytes => Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!(
                "this process may map {limit} bytes of memory, expected at least {bytes}: raise the limit with \
                 `ulimit -v`"
            ),
        )),
        _ => Ok(()),
    }
}

/// Has a write beyond the limit on the size of files (`ulimit -f`) fail as other writes do. The system ends a
/// process that tries, unless it was told that the process minds the error.
#[allow(unsafe_code, reason = "how a signal is handled is told to C's library")]
pub fn mind_the_size_of_files() {
    // SAFETY: it sets what becomes of one signal, and no handler runs.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found() {
        assert!(descriptors(8).is_ok() && threads(4).is_ok() && memory(1).is_ok());
    }
}
