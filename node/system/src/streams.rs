//! Whether the standard streams could be used when the process was started.
//!
//! A shell can start a program without them (`>&-`), or with one that is not open for what it is for. The
//! standard library opens `/dev/null` in the place of those that are missing before `main` runs, so that no
//! file takes their numbers, and passes over the errors of the others. Output to it is lost and input from
//! it is empty, without a word. Where that matters, the stream that was asked for is looked up here.
#![allow(unsafe_code, reason = "what happens before `main` is told to the loader")]

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

static CAN_READ_STDIN: AtomicBool = AtomicBool::new(true);
static CAN_WRITE_STDOUT: AtomicBool = AtomicBool::new(true);

/// Looks while this process has opened nothing yet: the system's loader calls it before the standard library.
#[used]
// SAFETY: the section is a list of functions of this kind, which the loader calls one after the other.
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static LOOK_FIRST: extern "C" fn() = look;

extern "C" fn look() {
    CAN_READ_STDIN.store(is_open(libc::STDIN_FILENO, libc::O_RDONLY), Ordering::Relaxed);
    CAN_WRITE_STDOUT.store(is_open(libc::STDOUT_FILENO, libc::O_WRONLY), Ordering::Relaxed);
}

/// Whether a descriptor is open for both directions, or for the one that is wanted.
fn is_open(descriptor: c_int, wanted: c_int) -> bool {
    // SAFETY: it only asks about a number, be it a descriptor or not.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    let mode = flags & libc::O_ACCMODE;
    flags != -1 && (mode == wanted || mode == libc::O_RDWR)
}

/// Whether this process was started with a standard input that can be read.
#[must_use]
pub fn can_read_stdin() -> bool {
    CAN_READ_STDIN.load(Ordering::Relaxed)
}

/// Whether this process was started with a standard output that can be written.
#[must_use]
pub fn can_write_stdout() -> bool {
    CAN_WRITE_STDOUT.load(Ordering::Relaxed)
}
