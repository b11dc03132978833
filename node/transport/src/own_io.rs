//! Input and output by the thread that owns the sockets, instead of ZeroMQ's I/O thread.
//!
//! To hand a message over to the I/O thread, or back, is to wake a thread up, which costs tens of microseconds. A
//! thread that waits most of its time does better to read and write by itself. One that has no time to wait
//! leaves it to the I/O thread, which then runs beside it.

#![allow(unsafe_code, reason = "libzmq is told by the pointer to a socket")]

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// How long the waiting is measured before its share decides.
const WINDOW: Duration = Duration::from_millis(5);
/// A thread that waits at least this part of the time, as 1 / n, takes over.
const TAKE_SHARE: u32 = 2;
/// A thread that waits less than this part of the time, as 1 / n, gives back.
const GIVE_BACK_SHARE: u32 = 8;

/// Who does the input and output of one context.
pub(crate) struct OwnIo {
    /// A socket of the context, which is connected to nothing: by it, the context is known.
    handle: zmq::Socket,
    /// While the I/O thread rests: what is readable where there is something to do.
    fd: Option<RawFd>,
    waiting: WaitShare,
}

/// How much of its time a thread waits.
struct WaitShare {
    since: Instant,
    waited: Duration,
}

impl OwnIo {
    /// Of a context that has one I/O thread, which goes on at first.
    pub(crate) fn new(context: &zmq::Context) -> zmq::Result<Self> {
        let handle = context.socket(zmq::PAIR)?;
        let waiting = WaitShare { since: Instant::now(), waited: Duration::ZERO };
        Ok(Self { handle, fd: None, waiting })
    }

    /// What to wait for besides the sockets, where the thread does the work itself: there is work once it is
    /// readable.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.fd
    }

    /// Does what there is to do, where the I/O thread rests. Returns in how many milliseconds there is more
    /// to do at the latest, where that is known.
    pub(crate) fn work(&mut self) -> Option<i64> {
        self.fd?;
        // SAFETY: the socket is open as long as it is not dropped, and this thread's alone.
        let next_ms = unsafe { zmq_sys::kv_zmq_io_work(self.handle.as_mut_ptr()) };
        (next_ms > 0).then_some(next_ms)
    }

    /// Takes note of a wait, after which the thread goes on as its share of the time says.
    pub(crate) fn waited(&mut self, began: Instant) {
        let now = Instant::now();
        self.waiting.waited += now.duration_since(began);
        let measured = now.duration_since(self.waiting.since);
        if measured < WINDOW {
            return;
        }
        let waited = std::mem::take(&mut self.waiting.waited);
        self.waiting.since = now;
        match std::env::var("KV_IO").as_deref() {
            Ok("own") => {
                if self.fd.is_none() {
                    self.take();
                }
                return;
            }
            Ok("zmq") => return,
            _ => {}
        }
        match self.fd {
            None if waited * TAKE_SHARE >= measured => self.take(),
            Some(_) if waited * GIVE_BACK_SHARE < measured => self.give_back(),
            _ => {}
        }
    }

    fn take(&mut self) {
        // SAFETY: as above.
        let fd = unsafe { zmq_sys::kv_zmq_io_take(self.handle.as_mut_ptr()) };
        self.fd = (fd >= 0).then_some(fd);
    }

    /// Has the I/O thread work again.
    pub(crate) fn give_back(&mut self) {
        if self.fd.take().is_some() {
            // SAFETY: as above.
            unsafe { zmq_sys::kv_zmq_io_give_back(self.handle.as_mut_ptr()) };
        }
    }
}

impl Drop for OwnIo {
    fn drop(&mut self) {
        self.give_back();
    }
}
