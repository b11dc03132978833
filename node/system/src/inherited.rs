//! What this process was given by the one that started it.
#![allow(unsafe_code, reason = "a descriptor that was inherited is known by its number alone")]

use std::fs;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// Where the system lists the descriptors of this process.
const DESCRIPTORS: &str = "/proc/self/fd";
/// Standard input, output and error, which each child is given anew.
const STANDARD: std::ops::RangeInclusive<RawFd> = 0..=2;

/// Keeps the descriptors that this process was started with from the processes that it starts.
///
/// A shell, a lock's holder or a supervisor may have left some open here. They are meant for this
/// process; a node that it starts outlives it, and would hold their locks and pipes for as long. What
/// this process opens itself is never handed on: the standard library sees to that.
pub fn keep_from_children() {
    let entries = fs::read_dir(DESCRIPTORS).into_iter().flatten().flatten();
    let descriptors = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Listed before any is touched, since the listing itself has a descriptor.
    let descriptors: Vec<RawFd> = descriptors.collect();
    for descriptor in descriptors.into_iter().filter(|it| !STANDARD.contains(it)) {
        // SAFETY: the number is borrowed for one call, which neither closes nor keeps it. One that is
        // closed meanwhile makes the call fail; one that now is another file's only keeps that one from
        // children too.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
    }
}
