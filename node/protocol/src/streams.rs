//! Whether the standard streams were open when the process was started.
//!
//! A shell can start a program without them (`>&-`). The standard library then opens `/dev/null` in their
//! place before `main` runs, so that no file takes their numbers. What is printed there is lost, and what is
//! read is empty, without an error. Where that matters, the stream that was asked for is looked up here.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

static WERE_CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

/// Looks while nobody has opened anything yet: the system's loader calls it before the standard library.
#[used]
// SAFETY: the section is a list of functions of this kind, which the loader calls one after the other.
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static LOOK_FIRST: extern "C" fn() = look;

extern "C" fn look() {
    for (descriptor, was_closed) in (0_i32..).zip(&WERE_CLOSED) {
        // SAFETY: it only asks about a number, be it a descriptor or not.
        let flags = unsafe { libc::fcntl(descriptor as c_int, libc::F_GETFD) };
        was_closed.store(flags == -1, Ordering::Relaxed);
    }
}

/// Whether this process was started without a standard input.
#[must_use]
pub fn stdin_was_closed() -> bool {
    WERE_CLOSED[0].load(Ordering::Relaxed)
}

/// Whether this process was started without a standard output.
#[must_use]
pub fn stdout_was_closed() -> bool {
    WERE_CLOSED[1].load(Ordering::Relaxed)
}
