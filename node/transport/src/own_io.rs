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

impl OwnIo {
    /// Of a context that has one I/O thread, which goes on at first.
    pub(crate) fn new(context: &zmq::Context) -> zmq::Result<Self> {
        let handle = context.socket(zmq::PAIR)?;
        Ok(Self { handle, fd: None, waiting: WaitShare::new(Instant::now()) })
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

    /// Takes note of a wait that ends now, after which the thread goes on as its share of the time says.
    pub(crate) fn waited(&mut self, began: Instant) {
        match self.waiting.note(began, Instant::now()) {
            Some(Share::Most) if self.fd.is_none() => self.take(),
            Some(Share::Little) => self.give_back(),
            _ => {}
        }
    }

    /// Takes note that until `now` another thread had the sockets, so that nothing is known of this one's waiting.
    pub(crate) fn begin_anew(&mut self, now: Instant) {
        self.waiting = WaitShare::new(now);
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

/// How much of its time a thread waits.
struct WaitShare {
    since: Instant,
    waited: Duration,
}

/// The part of a thread's time that it has waited.
#[derive(Debug, PartialEq)]
enum Share {
    Most,
    Some,
    Little,
}

impl WaitShare {
    fn new(now: Instant) -> Self {
        Self { since: now, waited: Duration::ZERO }
    }

    /// Takes note of a wait. Gives the share where enough time has passed to know it, and begins anew.
    fn note(&mut self, began: Instant, now: Instant) -> Option<Share> {
        self.waited += now.duration_since(began);
        let measured = now.duration_since(self.since);
        if measured < WINDOW {
            return None;
        }
        let waited = std::mem::replace(self, Self::new(now)).waited;
        Some(match () {
            () if waited * TAKE_SHARE >= measured => Share::Most,
            () if waited * GIVE_BACK_SHARE < measured => Share::Little,
            () => Share::Some,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listening ROUTER and a DEALER that is connected to it, in a context each.
    fn pair() -> zmq::Result<(zmq::Context, zmq::Socket, zmq::Context, zmq::Socket)> {
        let (ours, others) = (zmq::Context::new(), zmq::Context::new());
        let (router, dealer) = (ours.socket(zmq::ROUTER)?, others.socket(zmq::DEALER)?);
        router.set_linger(0)?;
        dealer.set_linger(1000)?;
        router.bind("tcp://127.0.0.1:*")?;
        let endpoint = router.get_last_endpoint()?.unwrap_or_default();
        dealer.connect(&endpoint)?;
        Ok((ours, router, others, dealer))
    }

    /// Whether a message comes within `time`, to a thread that has `io` work.
    fn comes(router: &zmq::Socket, io: Option<&mut OwnIo>, time: Duration) -> bool {
        let (mut io, until) = (io, Instant::now() + time);
        while Instant::now() < until {
            if let Some(io) = &mut io {
                io.work();
            }
            if router.recv_multipart(zmq::DONTWAIT).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn what_has_been_taken_moves_only_as_this_thread_works_until_it_is_given_back() {
        let (ours, router, _others, dealer) = pair().unwrap();
        let mut io = OwnIo::new(&ours).unwrap();
        dealer.send("1", 0).unwrap();
        assert!(comes(&router, None, LONG), "the I/O thread does not work");
        io.take();
        assert!(io.fd().is_some());
        dealer.send("2", 0).unwrap();
        assert!(!comes(&router, None, SHORT), "the I/O thread works");
        assert!(comes(&router, Some(&mut io), LONG), "this thread does not");
        io.give_back();
        assert!(io.fd().is_none() && io.work().is_none());
        dealer.send("3", 0).unwrap();
        assert!(comes(&router, None, LONG), "the I/O thread has not come back");
    }

    #[test]
    fn a_context_that_ends_sends_what_is_left_though_its_work_was_taken() {
        let (_ours, router, others, dealer) = pair().unwrap();
        dealer.send("1", 0).unwrap();
        assert!(comes(&router, None, LONG));
        let mut io = OwnIo::new(&others).unwrap();
        io.take();
        dealer.send("2", 0).unwrap();
        assert!(!comes(&router, None, SHORT));
        // Not given back: libzmq itself does that as its context ends.
        let OwnIo { handle, .. } = &mut io;
        drop(std::mem::replace(handle, zmq::Context::new().socket(zmq::PAIR).unwrap()));
        io.fd = None;
        drop(dealer);
        drop(others);
        assert!(comes(&router, None, LONG), "it was lost");
    }

    #[test]
    fn the_share_is_known_once_enough_time_has_passed() {
        let start = Instant::now();
        let after = |waited: Duration, measured: Duration| {
            WaitShare::new(start).note(start + measured - waited, start + measured)
        };
        assert_eq!(after(WINDOW / 2, WINDOW / 2), None);
        assert_eq!(after(WINDOW / TAKE_SHARE, WINDOW), Some(Share::Most));
        assert_eq!(after(WINDOW / TAKE_SHARE - Duration::from_nanos(1), WINDOW), Some(Share::Some));
        assert_eq!(after(WINDOW / GIVE_BACK_SHARE, WINDOW), Some(Share::Some));
        let little = WINDOW / GIVE_BACK_SHARE - Duration::from_nanos(1);
        assert_eq!(after(little, WINDOW), Some(Share::Little));
    }
}
