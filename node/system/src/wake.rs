//! Waking a thread that sleeps in a poll on its sockets: the serving loop, or the one that owns a client's
//! connections.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// A flag that a poll can wait for. Any thread may raise it; the one that polls lowers it.
#[derive(Clone, Debug)]
pub struct Wake(Arc<OwnedFd>);

impl Wake {
    /// A lowered flag.
    ///
    /// # Errors
    /// Where the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    /// Raises the flag. It fails only where it is raised beyond counting already.
    pub fn raise(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Lowers the flag.
    pub fn lower(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }

    /// What a poll waits on.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
