//! What the kernel knows of a TCP connection that ZeroMQ owns.
//!
//! The descriptors are ZeroMQ's, which may close one, and the system give its number to something
//! else, at any time. That is harmless here: asking a file for a connection's counters fails, and
//! another connection's counters are its own.
#![allow(unsafe_code, reason = "what is asked of a descriptor that is ZeroMQ's goes by its number")]

use std::io;
use std::mem::size_of;
use std::os::fd::{BorrowedFd, RawFd};

/// Where `tcpi_bytes_acked` and `tcpi_bytes_received` stand in Linux's `struct tcp_info`: u64 each,
/// part of the kernel's stable interface since 4.1.
const BYTES_ACKED_AT: usize = 120;
const BYTES_RECEIVED_AT: usize = 128;
const INFO_BYTES: usize = BYTES_RECEIVED_AT + size_of::<u64>();

/// What has passed on a connection.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// The bytes that have come from the peer.
    pub received: u64,
    /// The bytes that have arrived at the peer.
    pub acked: u64,
}

/// What has passed on the connection with this descriptor.
///
/// # Errors
/// It is no connection any more, or the system does not tell.
pub fn passed(fd: RawFd) -> io::Result<Passed> {
    let mut info = [0_u8; INFO_BYTES];
    let mut length = libc::socklen_t::try_from(INFO_BYTES).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the kernel writes at most `length` bytes to `info` and the new length to `length`;
    // both outlive the call. A descriptor that is closed or no socket makes it fail.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < INFO_BYTES {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let counter =
        |at: usize| info[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    Ok(Passed { received: counter(BYTES_RECEIVED_AT), acked: counter(BYTES_ACKED_AT) })
}

/// How many bytes were read from the connection with this descriptor, so far; `None` where the system does
/// not tell.
#[must_use]
pub fn bytes_read(fd: RawFd) -> Option<u64> {
    let received = passed(fd).ok()?.received;
    // SAFETY: the borrow ends with the call; see the module's text on descriptors that change hands.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let unread = rustix::io::ioctl_fionread(fd).ok()?;
    // What comes between the two questions makes it less, never more than it is.
    Some(received.saturating_sub(unread))
}

/// Ends the connection with this descriptor, in both directions.
///
/// # Errors
/// It is no connection any more.
pub fn cut(fd: RawFd) -> io::Result<()> {
    // SAFETY: the borrow ends with the call; see the module's text on descriptors that change hands.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(rustix::net::shutdown(fd, rustix::net::Shutdown::Both)?)
}

/// The address of the peer of the connection with this descriptor, as far as it is known.
#[must_use]
pub fn peer_name(fd: RawFd) -> String {
    // SAFETY: as in `cut`.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let address = rustix::net::getpeername(fd).ok().flatten();
    let address = address.and_then(|it| std::net::SocketAddr::try_from(it).ok());
    address.map_or_else(|| "a peer that is gone".to_owned(), |address| address.to_string())
}
