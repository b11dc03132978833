//! Bounding what a peer can make ZeroMQ hold for it.
//!
//! ZeroMQ hands a message over only when all its frames have come, and its own limits count
//! complete messages and single frames. A peer that sends frame after frame without an end, or
//! message after message without waiting, could therefore fill the memory unseen. What can be seen
//! is how many bytes the kernel has received on each connection. One that is far ahead of the
//! messages that came out of it is cut, and ZeroMQ drops what it held. The same holds the other way
//! round, for a peer that asks for much and does not read it.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use tracing::{debug, warn};
use zmq::{DONTWAIT, SocketEvent};

use super::tcp;

/// How many bytes of one connection may be under way in each direction: received and not yet part
/// of a message that was taken in, or given to ZeroMQ as replies and not yet at the peer.
pub(super) const UNDER_WAY_BYTES_MAX: u64 = 256 << 20;
/// How often connections are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// What a frame has around it on the wire, at most: flags and a length of eight bytes.
const FRAME_OVERHEAD_BYTES: u64 = 9;
const MONITOR_ENDPOINT: &str = "inproc://connections";

/// Which connection a message came on, as long as that exists.
pub(super) type Connection = Option<RawFd>;

/// The bytes of one connection.
#[derive(Clone, Copy, Default)]
struct Traffic {
    /// Part of messages that were taken in.
    taken: u64,
    /// Given to ZeroMQ as replies.
    given: u64,
}

/// The connections of one listening socket.
pub(super) struct Connections {
    events: zmq::Socket,
    /// What this side knows of each connection, by its file descriptor.
    traffic: HashMap<RawFd, Traffic>,
    looked_at: Instant,
}

impl Connections {
    /// Watches the connections of `socket`. It has to be done before the socket listens.
    pub(super) fn watch(context: &zmq::Context, socket: &zmq::Socket) -> Result<Self, zmq::Error> {
        let wanted = SocketEvent::ACCEPTED as i32 | SocketEvent::DISCONNECTED as i32;
        socket.monitor(MONITOR_ENDPOINT, wanted)?;
        let events = context.socket(zmq::PAIR)?;
        events.connect(MONITOR_ENDPOINT)?;
        Ok(Self { events, traffic: HashMap::new(), looked_at: Instant::now() })
    }

    /// Counts a frame that was taken in, and tells which connection it came on.
    pub(super) fn count_taken(&mut self, frame: &mut zmq::Message) -> Connection {
        // The name under which libzmq keeps the connection's file descriptor for ZMQ_SRCFD.
        let connection = frame.gets("__fd").and_then(|fd| fd.parse::<RawFd>().ok())?;
        if let Some(traffic) = self.traffic.get_mut(&connection) {
            traffic.taken += frame.len() as u64 + FRAME_OVERHEAD_BYTES;
        }
        Some(connection)
    }

    /// Counts a reply of `bytes` that goes out on `connection`.
    pub(super) fn count_given(&mut self, connection: Connection, bytes: usize) {
        if let Some(traffic) = connection.and_then(|fd| self.traffic.get_mut(&fd)) {
            traffic.given += bytes as u64;
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
                self.traffic.insert(fd, Traffic::default());
            } else {
                self.traffic.remove(&fd);
            }
        }
        self.traffic.retain(|fd, traffic| match tcp::passed(*fd) {
            Ok(passed) => {
                let inward = passed.received.saturating_sub(traffic.taken);
                let outward = traffic.given.saturating_sub(passed.acked);
                let keep = inward.max(outward) <= UNDER_WAY_BYTES_MAX;
                if !keep {
                    warn!(
                        "cutting a connection with {inward} bytes under way to this node and {outward} from it: the limit is {UNDER_WAY_BYTES_MAX}"
                    );
                    if let Err(error) = tcp::cut(*fd) {
                        debug!("the connection is gone already: {error}");
                    }
                }
                keep
            }
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
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
