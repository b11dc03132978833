//! Bounding what a peer can make ZeroMQ hold for it.
//!
//! ZeroMQ hands a message over only when all its frames have come, and its own limits count
//! complete messages and single frames. A peer that sends frame after frame without an end, or
//! message after message without waiting, could therefore fill the memory unseen. What can be seen
//! is how many bytes the kernel has received on each connection. One that is far ahead of the
//! messages that came out of it is cut, and ZeroMQ drops what it held.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use tracing::{debug, warn};
use zmq::{DONTWAIT, SocketEvent};

use super::tcp;

/// How many bytes of one connection may be under way: received, and not yet part of a message that
/// was taken in.
pub(super) const UNDER_WAY_BYTES_MAX: u64 = 256 << 20;
/// How often connections are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// What a frame has around it on the wire, at most: flags and a length of eight bytes.
const FRAME_OVERHEAD_BYTES: u64 = 9;
const MONITOR_ENDPOINT: &str = "inproc://connections";

/// The connections of one listening socket.
pub(super) struct Connections {
    events: zmq::Socket,
    /// The bytes that were taken in from each connection, by its file descriptor.
    taken: HashMap<RawFd, u64>,
    looked_at: Instant,
}

impl Connections {
    /// Watches the connections of `socket`. It has to be done before the socket listens.
    pub(super) fn watch(context: &zmq::Context, socket: &zmq::Socket) -> Result<Self, zmq::Error> {
        let wanted = SocketEvent::ACCEPTED as i32 | SocketEvent::DISCONNECTED as i32;
        socket.monitor(MONITOR_ENDPOINT, wanted)?;
        let events = context.socket(zmq::PAIR)?;
        events.connect(MONITOR_ENDPOINT)?;
        Ok(Self { events, taken: HashMap::new(), looked_at: Instant::now() })
    }

    /// Counts a frame that was taken in.
    pub(super) fn count(&mut self, frame: &mut zmq::Message) {
        // The name under which libzmq keeps the connection's file descriptor for ZMQ_SRCFD.
        let connection = frame.gets("__fd").and_then(|fd| fd.parse::<RawFd>().ok());
        if let Some(taken) = connection.and_then(|fd| self.taken.get_mut(&fd)) {
            *taken += frame.len() as u64 + FRAME_OVERHEAD_BYTES;
        }
    }

    /// Cuts connections that are too far ahead, if it is time to look.
    pub(super) fn look(&mut self) {
        if self.looked_at.elapsed() < LOOK_INTERVAL {
            return;
        }
        self.looked_at = Instant::now();
        while let Some((event, fd)) = self.next_event() {
            if event == SocketEvent::ACCEPTED as u16 {
                self.taken.insert(fd, 0);
            } else {
                self.taken.remove(&fd);
            }
        }
        self.taken.retain(|fd, taken| match tcp::bytes_received(*fd) {
            Ok(received) if received.saturating_sub(*taken) > UNDER_WAY_BYTES_MAX => {
                warn!(
                    "cutting a connection that has {} bytes under way, the limit is {UNDER_WAY_BYTES_MAX}",
                    received - *taken
                );
                if let Err(error) = tcp::cut(*fd) {
                    debug!("the connection is gone already: {error}");
                }
                false
            }
            Ok(_) => true,
            Err(error) => is_open(&error),
        });
    }

    /// The next thing that happened: what, and on which file descriptor.
    fn next_event(&self) -> Option<(u16, RawFd)> {
        let frames = self.events.recv_multipart(DONTWAIT).ok()?;
        let (event, rest) = frames.first()?.split_first_chunk::<2>()?;
        let value = rest.first_chunk::<4>()?;
        Some((u16::from_ne_bytes(*event), RawFd::from_ne_bytes(*value)))
    }
}

/// Whether a descriptor that could not be asked may still be a connection.
fn is_open(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}
