//! ZeroMQ, narrowed to what connections to nodes need. This is the only file that names it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kv_protocol::frame::is_delimiter;
use kv_protocol::limits::FRAME_BYTES_MAX;

use crate::endpoint::Endpoint;
use crate::limits::{
    HANDSHAKE_TIMEOUT, HEARTBEAT_INTERVAL, HEARTBEAT_TIMEOUT, RECONNECT_INTERVAL,
    RECONNECT_INTERVAL_MAX,
};

/// Wakes the thread that sleeps in [`Sockets::wait`], from any thread.
pub(super) struct Waker {
    socket: Mutex<zmq::Socket>,
    flags: Arc<Flags>,
}

#[derive(Default)]
struct Flags {
    /// Whether there is a wake-up that the sleeper has not taken note of.
    woken: AtomicBool,
    closed: AtomicBool,
}

impl Waker {
    /// Wakes the sleeper, or keeps it from falling asleep.
    pub(super) fn wake(&self) {
        // One wake-up serves all that comes before the sleeper takes note of it.
        if !self.flags.woken.swap(true, Ordering::AcqRel) {
            let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
            // The sleeper's queue has room: it holds at most this one wake-up.
            let _ = socket.send(&b""[..], zmq::DONTWAIT);
        }
    }

    /// Wakes the sleeper for the last time.
    pub(super) fn close(&self) {
        self.flags.closed.store(true, Ordering::Release);
        self.wake();
    }
}

/// Makes the sockets of one thread, and waits for them.
pub(super) struct Sockets {
    context: zmq::Context,
    sleeper: zmq::Socket,
    flags: Arc<Flags>,
    /// Makes the names of the lines' monitors distinct.
    lines_made: u64,
}

/// What there is to do at one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// A message can be received.
    pub(super) receive: bool,
    /// A message can be sent.
    pub(super) send: bool,
    /// The connection broke.
    pub(super) broken: bool,
}

impl Sockets {
    pub(super) fn new() -> io::Result<(Waker, Self)> {
        let context = zmq::Context::new();
        let (sleeper, waker) = (context.socket(zmq::PAIR)?, context.socket(zmq::PAIR)?);
        sleeper.bind("inproc://wake")?;
        waker.connect("inproc://wake")?;
        let flags = Arc::new(Flags::default());
        let waker = Waker { socket: Mutex::new(waker), flags: Arc::clone(&flags) };
        Ok((waker, Self { context, sleeper, flags, lines_made: 0 }))
    }

    /// Whether the [`Waker`] has been closed.
    pub(super) fn closed(&self) -> bool {
        self.flags.closed.load(Ordering::Acquire)
    }

    /// Waits until a line is ready, until it is woken, or for `time`. A line is waited for to take
    /// a message only where it comes with `true`. Gives what is ready, in the order of the lines.
    pub(super) fn wait<'a>(
        &self,
        lines: impl Iterator<Item = (&'a Line, bool)>,
        time: Duration,
    ) -> io::Result<Vec<Ready>> {
        let mut items = vec![self.sleeper.as_poll_item(zmq::POLLIN)];
        for (line, send) in lines {
            let wanted = if send { zmq::POLLIN | zmq::POLLOUT } else { zmq::POLLIN };
            items.push(line.socket.as_poll_item(wanted));
            items.push(line.monitor.as_poll_item(zmq::POLLIN));
        }
        // Rounded up, so that a deadline has passed when the poll returns for it.
        let time_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX).saturating_add(1);
        match zmq::poll(&mut items, time_ms) {
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if items[0].is_readable() {
            while self.sleeper.recv_msg(zmq::DONTWAIT).is_ok() {}
            // Before the caller looks at what it was woken for, so that what comes later wakes again.
            self.flags.woken.swap(false, Ordering::AcqRel);
        }
        let ready = items[1..].chunks_exact(2).map(|pair| Ready {
            receive: pair[0].is_readable(),
            send: pair[0].is_writable(),
            broken: pair[1].is_readable(),
        });
        Ok(ready.collect())
    }

    /// Starts to connect to a node. Whether it succeeds shows in [`Line::can_send`].
    pub(super) fn connect(&mut self, endpoint: &Endpoint) -> io::Result<Line> {
        self.lines_made += 1;
        let ms = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        let socket = self.context.socket(zmq::DEALER)?;
        // Nothing is queued for a connection that is not there, and nothing outlives its socket.
        socket.set_immediate(true)?;
        socket.set_linger(0)?;
        socket.set_ipv6(true)?;
        socket.set_maxmsgsize(FRAME_BYTES_MAX as i64)?;
        socket.set_heartbeat_ivl(ms(HEARTBEAT_INTERVAL))?;
        socket.set_heartbeat_timeout(ms(HEARTBEAT_TIMEOUT))?;
        socket.set_heartbeat_ttl(ms(HEARTBEAT_TIMEOUT))?;
        socket.set_handshake_ivl(ms(HANDSHAKE_TIMEOUT))?;
        socket.set_reconnect_ivl(ms(RECONNECT_INTERVAL))?;
        socket.set_reconnect_ivl_max(ms(RECONNECT_INTERVAL_MAX))?;
        let events = format!("inproc://events-{}", self.lines_made);
        socket.monitor(&events, i32::from(zmq::SocketEvent::DISCONNECTED.to_raw()))?;
        let monitor = self.context.socket(zmq::PAIR)?;
        monitor.set_linger(0)?;
        monitor.connect(&events)?;
        socket.connect(endpoint.as_str())?;
        Ok(Line { socket, monitor })
    }
}

/// The way to one node.
pub(super) struct Line {
    socket: zmq::Socket,
    /// Tells that the connection broke, and nothing else.
    monitor: zmq::Socket,
}

/// A received frame.
pub(super) type Frame = zmq::Message;

impl Line {
    /// Whether there is a connection that takes a message now.
    pub(super) fn can_send(&self) -> bool {
        self.socket.get_events().is_ok_and(|events| events.contains(zmq::POLLOUT))
    }

    /// Sends a message of one or two frames. After an error nothing of it is sent: ZeroMQ takes
    /// back the first frame where the second one fails.
    pub(super) fn send(&self, header: Vec<u8>, body: Option<Vec<u8>>) -> io::Result<()> {
        let frames = std::iter::once(header).chain(body);
        self.socket.send_multipart(frames, zmq::DONTWAIT).map_err(Into::into)
    }

    /// The header and body of the next message, where there is a message. One that does not
    /// consist of these, after an optional delimiter, is an error.
    pub(super) fn receive(&self) -> Option<Result<(Frame, Option<Frame>), String>> {
        let (mut header, mut body, mut count) = (None, None, 0);
        loop {
            let frame = self.socket.recv_msg(zmq::DONTWAIT).ok()?;
            let more = frame.get_more();
            if count > 0 || !is_delimiter(&frame) {
                count += 1;
                match count {
                    1 => header = Some(frame),
                    2 => body = Some(frame),
                    // Dropped, so that a message of many frames takes no memory here.
                    _ => {}
                }
            }
            if !more {
                break;
            }
        }
        match header {
            Some(header) if count <= 2 => Some(Ok((header, body))),
            _ => {
                Some(Err(format!("it has {count} frames, expected a header and at most one body")))
            }
        }
    }

    /// Takes note that the connection broke. Connecting again is ZeroMQ's business.
    pub(super) fn take_event(&self) {
        while self.monitor.recv_msg(zmq::DONTWAIT).is_ok() {}
    }
}
