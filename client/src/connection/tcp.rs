//! What the kernel knows of a TCP connection that ZeroMQ owns.
//!
//! The descriptors are ZeroMQ's, which may close one, and the system give its number to something else, at
//! any time. That is harmless here: nothing is done to them, and what is asked of another file is at worst a
//! wrong number about a connection that is gone.
#![allow(unsafe_code)]

use std::mem::size_of;
use std::os::fd::{BorrowedFd, RawFd};

/// Where `tcpi_bytes_received` stands in Linux's `struct tcp_info`, a u64: part of the kernel's stable
/// interface since 4.1.
const BYTES_RECEIVED_AT: usize = 128;
const INFO_BYTES: usize = BYTES_RECEIVED_AT + size_of::<u64>();

/// How many bytes were read from the connection with this descriptor, so far; none where the system does not
/// tell.
pub(super) fn bytes_read(fd: RawFd) -> Option<u64> {
    let received = bytes_received(fd)?;
    // SAFETY: the borrow ends with the call; see the module's text on descriptors that change hands.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let unread = rustix::io::ioctl_fionread(fd).ok()?;
    // What comes between the two questions makes it less, never more than it is.
    Some(received.saturating_sub(unread))
}

fn bytes_received(fd: RawFd) -> Option<u64> {
    let mut info = [0_u8; INFO_BYTES];
    let mut length = libc::socklen_t::try_from(INFO_BYTES).ok()?;
    // SAFETY: the kernel writes at most `length` bytes to `info` and the new length to `length`; both outlive
    // the call. A descriptor that is closed or no socket makes it fail.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 || (length as usize) < INFO_BYTES {
        return None;
    }
    info[BYTES_RECEIVED_AT..].first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}
