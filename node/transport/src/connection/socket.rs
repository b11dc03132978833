//! ZeroMQ, narrowed to what connections to nodes need.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

use kv_core::limits::FRAME_BYTES_MAX;
use kv_protocol::frame::{ZAP_DOMAIN, is_delimiter};
use kv_system::resources;
use kv_system::wake::Wake;
use zmq::SocketEvent;

use super::inflow::Inflow;
use crate::endpoint::Endpoint;
use crate::limits::{
    HANDSHAKE_TIMEOUT, HEARTBEAT_INTERVAL, HEARTBEAT_TIMEOUT, RECONNECT_INTERVAL,
    RECONNECT_INTERVAL_MAX,
};
use crate::own_io::OwnIo;
use crate::spin_wait::SpinWait;
use crate::tcp;

/// How many descriptors ZeroMQ opens with its first socket, and some to spare.
const CONTEXT_DESCRIPTORS: usize = 16;
/// How many threads it starts, and the one that owns the sockets.
const CONTEXT_THREADS: usize = 3;
/// After so many waits in succession that the thread was awake in, it counts as awake.
const AWAKE_WAITS_MIN: u32 = 16;
/// How many descriptors it opens for a line, and some to spare.
const LINE_DESCRIPTORS: usize = 8;

/// Wakes the thread that sleeps in [`Sockets::wait`], from any thread.
pub(super) struct Waker {
    shared: Arc<Alarm>,
}

/// What the sleeper shares with the threads that wake it.
struct Alarm {
    wake: Wake,
    /// Whether the sleeper sleeps, or is about to.
    sleeping: AtomicBool,
    closed: AtomicBool,
    ended: AtomicBool,
}

impl Waker {
    /// Wakes the sleeper, or keeps it from falling asleep. What was handed over before, it sees.
    pub(super) fn wake(&self) {
        // Pairs with the one in `wait`: either the sleeper sees what was handed over, or this sees
        // that it sleeps.
        fence(Ordering::SeqCst);
        let sleeping = &self.shared.sleeping;
        // One wake-up serves all that comes before the sleeper is awake; awake, it needs no other.
        if sleeping.load(Ordering::Relaxed) && sleeping.swap(false, Ordering::AcqRel) {
            self.shared.wake.raise();
        }
    }

    /// Wakes the sleeper for the last time.
    pub(super) fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.wake.raise();
    }

    /// Whether the sleeper does not come back.
    pub(super) fn is_ended(&self) -> bool {
        self.shared.ended.load(Ordering::SeqCst)
    }
}

/// Makes the sockets of one thread, and waits for them.
pub(super) struct Sockets {
    // Dropped before the context, which waits for what its I/O thread has to do.
    io: OwnIo,
    context: zmq::Context,
    alarm: Arc<Alarm>,
    spin_wait: SpinWait,
    /// How many waits in succession have ended while the thread was awake.
    awake_waits: u32,
    /// Makes the names of the lines' monitors distinct.
    lines_made: u64,
}

/// What there is to do at one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// A message can be received.
    pub(super) receive: bool,
    /// Something happened to the connection: ask [`Line::has_broken`].
    pub(super) events: bool,
}

impl Sockets {
    pub(super) fn new() -> io::Result<(Waker, Self)> {
        // ZeroMQ ends the process where it lacks one for itself.
        resources::descriptors(CONTEXT_DESCRIPTORS)?;
        resources::threads(CONTEXT_THREADS)?;
        let wake = Wake::new()?;
        let (sleeping, closed, ended) = Default::default();
        let alarm = Arc::new(Alarm { wake, sleeping, closed, ended });
        let waker = Waker { shared: Arc::clone(&alarm) };
        let context = zmq::Context::new();
        let io = OwnIo::new(&context)?;
        let spin_wait = SpinWait::default();
        Ok((waker, Self { io, context, alarm, spin_wait, awake_waits: 0, lines_made: 0 }))
    }

    /// Whether the [`Waker`] has been closed.
    pub(super) fn closed(&self) -> bool {
        self.alarm.closed.load(Ordering::SeqCst)
    }

    /// Takes note that the thread does not wait here any more.
    pub(super) fn end(&self) {
        self.alarm.ended.store(true, Ordering::SeqCst);
    }

    /// Waits until a line is ready, until it is woken, or for `time`; not at all where there `is_news`
    /// already. Where it `may_spin`, it stays awake for a moment. A line is waited for to take a message
    /// only where it comes with `true`. Gives what each line is ready for, in their order.
    pub(super) fn wait<'a>(
        &mut self,
        lines: impl Iterator<Item = (&'a Line, bool)> + Clone,
        time: Duration,
        may_spin: bool,
        is_news: impl Fn() -> bool,
    ) -> io::Result<Vec<Ready>> {
        let began = Instant::now();
        let mut io_ms = self.io.work();
        let is_awake = may_spin
            && self.spin_wait.wait(|| {
                io_ms = self.io.work();
                is_news() || lines.clone().any(|(line, _)| line.can_receive())
            });
        self.awake_waits = if is_awake { self.awake_waits.saturating_add(1) } else { 0 };
        let mut items = vec![zmq::PollItem::from_fd(self.alarm.wake.raw_fd(), zmq::POLLIN)];
        for (line, send) in lines {
            let wanted = if send { zmq::POLLIN | zmq::POLLOUT } else { zmq::POLLIN };
            items.push(line.socket.as_poll_item(wanted));
            // The descriptor rather than the socket, which ZeroMQ would look at with system calls of its
            // own each time.
            items.push(zmq::PollItem::from_fd(line.monitor_fd, zmq::POLLIN));
        }
        let lines_end = items.len();
        items.extend(self.io.fd().map(|fd| zmq::PollItem::from_fd(fd, zmq::POLLIN)));
        self.alarm.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Rounded up, so that a deadline has passed when the poll returns for it.
        let time_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX).saturating_add(1);
        let time_ms = io_ms.map_or(time_ms, |io_ms| time_ms.min(io_ms));
        poll(&mut items, if is_news() { 0 } else { time_ms })?;
        self.alarm.sleeping.store(false, Ordering::Relaxed);
        if items.get(lines_end).is_some_and(zmq::PollItem::is_readable) {
            self.io.work();
            poll(&mut items[..lines_end], 0)?;
        }
        self.io.waited(began);
        if items[0].is_readable() {
            self.alarm.wake.lower();
        }
        let ready = items[1..lines_end]
            .chunks_exact(2)
            .map(|pair| Ready { receive: pair[0].is_readable(), events: pair[1].is_readable() });
        Ok(ready.collect())
    }

    /// Has ZeroMQ do what there is to do `now`, where its work is not its own thread's, for a thread that waits
    /// for nothing.
    pub(super) fn work(&mut self, now: Instant) {
        self.io.begin_anew(now);
        self.io.work();
    }

    /// Whether the thread does ZeroMQ's work too, and has not slept for a while.
    pub(super) fn is_awake(&self) -> bool {
        self.io.fd().is_some() && self.awake_waits >= AWAKE_WAITS_MIN
    }

    /// Starts to connect to a node. Whether it succeeds shows in [`Line::can_send`].
    pub(super) fn connect(&mut self, endpoint: &Endpoint) -> io::Result<Line> {
        resources::descriptors(LINE_DESCRIPTORS)?;
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
        socket.set_zap_domain(ZAP_DOMAIN)?;
        socket.set_reconnect_ivl(ms(RECONNECT_INTERVAL))?;
        socket.set_reconnect_ivl_max(ms(RECONNECT_INTERVAL_MAX))?;
        let events = format!("inproc://events-{}", self.lines_made);
        let wanted = [SocketEvent::CONNECTED, SocketEvent::DISCONNECTED];
        let wanted = wanted.map(|event| i32::from(event.to_raw()));
        socket.monitor(&events, wanted[0] | wanted[1])?;
        let monitor = self.context.socket(zmq::PAIR)?;
        monitor.set_linger(0)?;
        monitor.connect(&events)?;
        socket.connect(endpoint.as_str())?;
        let monitor_fd = monitor.get_fd()?;
        let inflow = Inflow::default();
        let mut line = Line { socket, monitor, monitor_fd, connection: None, inflow };
        // ZeroMQ signals what comes only to a reader that has found nothing before.
        line.has_broken();
        Ok(line)
    }
}

fn poll(items: &mut [zmq::PollItem<'_>], time_ms: i64) -> io::Result<()> {
    match zmq::poll(items, time_ms) {
        Ok(_) | Err(zmq::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The way to one node.
pub(super) struct Line {
    socket: zmq::Socket,
    /// Tells that there is a connection and that it broke, and nothing else.
    monitor: zmq::Socket,
    /// Readable from when something comes to `monitor` until everything has been received.
    monitor_fd: RawFd,
    /// The descriptor of the connection, where there is one.
    connection: Option<RawFd>,
    inflow: Inflow,
}

/// A received frame.
pub(super) type Frame = zmq::Message;

impl Line {
    /// Whether there is a message.
    pub(super) fn can_receive(&self) -> bool {
        self.socket.get_events().is_ok_and(|events| events.contains(zmq::POLLIN))
    }

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
    pub(super) fn receive(&mut self) -> Option<Result<(Frame, Option<Frame>), String>> {
        let (mut header, mut body, mut count) = (None, None, 0);
        loop {
            let frame = self.socket.recv_msg(zmq::DONTWAIT).ok()?;
            let more = frame.get_more();
            self.inflow.take(frame.len());
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

    /// How many bytes ZeroMQ has read from the connection, where the system tells.
    pub(super) fn bytes_read(&self) -> Option<u64> {
        self.connection.and_then(tcp::bytes_read)
    }

    /// What has come on the connection.
    pub(super) fn inflow(&mut self) -> &mut Inflow {
        &mut self.inflow
    }

    /// Whether the connection broke since this was asked last. Connecting again is ZeroMQ's business.
    pub(super) fn has_broken(&mut self) -> bool {
        let mut broken = false;
        while let Ok(frames) = self.monitor.recv_multipart(zmq::DONTWAIT) {
            let event = frames.first().and_then(|frame| frame.split_first_chunk::<2>());
            let Some((event, value)) = event else { continue };
            self.inflow = Inflow::default();
            if u16::from_ne_bytes(*event) == SocketEvent::CONNECTED.to_raw() {
                self.connection = value.first_chunk().map(|fd| RawFd::from_ne_bytes(*fd));
            } else {
                self.connection = None;
                broken = true;
            }
        }
        broken
    }
}
