//! Bounding what a peer can make ZeroMQ hold for it.
//!
//! ZeroMQ hands a message over only when all its frames have come, and its own limits count
//! complete messages and single frames. A peer that sends frame after frame without an end, or
//! message after message without waiting, could therefore fill the memory unseen. What can be seen
//! is how many bytes the kernel has received on each connection. One that is far ahead of the
//! messages that came out of it is cut, and ZeroMQ drops what it held. The same holds the other way
//! round, for a peer that asks for much and does not read it.
//!
//! Bytes on the wire are not all: a frame of no bytes takes two there and many more in memory. So a
//! connection is also cut when the process has grown much while it kept a message unfinished.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use tracing::{debug, warn};
use zmq::{DONTWAIT, SocketEvent};

use super::tcp::{self, Passed};

/// How many bytes of one connection may be under way in each direction: received and not yet part
/// of a message that was taken in, or given to ZeroMQ as replies and not yet at the peer.
const UNDER_WAY_BYTES_MAX: u64 = 128 << 20;
/// How much the process may grow while a connection keeps a message unfinished, in bytes.
const GROWTH_BYTES_MAX: u64 = 96 << 20;
/// A connection with less than this under way is not taken for one with an unfinished message.
const UNFINISHED_BYTES_MIN: u64 = 64 << 10;
/// How often connections are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
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
    /// Since a look found a message unfinished: what had been taken, and the process's memory.
    unfinished: Option<(u64, u64)>,
}

impl Traffic {
    /// Why the connection has to be cut, where it has to be.
    fn excess(&mut self, passed: Passed) -> Option<String> {
        let inward = passed.received.saturating_sub(self.taken);
        let outward = self.given.saturating_sub(passed.acked);
        if inward.max(outward) > UNDER_WAY_BYTES_MAX {
            return Some(format!(
                "{inward} bytes are under way to this node and {outward} from it, the limit is {UNDER_WAY_BYTES_MAX}"
            ));
        }
        if inward < UNFINISHED_BYTES_MIN {
            self.unfinished = None;
            return None;
        }
        let memory = memory_bytes();
        match self.unfinished {
            Some((taken, before)) if taken == self.taken => {
                let growth = memory.saturating_sub(before);
                (growth > GROWTH_BYTES_MAX).then(|| {
                    format!("a message of it is unfinished, and the process grew by {growth} bytes meanwhile, the limit is {GROWTH_BYTES_MAX}")
                })
            }
            _ => {
                self.unfinished = Some((self.taken, memory));
                None
            }
        }
    }
}

/// The memory of this process, in bytes; 0 where the system does not tell.
fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
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
                let excess = traffic.excess(passed);
                if let Some(excess) = &excess {
                    warn!("cutting a connection: {excess}");
                    if let Err(error) = tcp::cut(*fd) {
                        debug!("the connection is gone already: {error}");
                    }
                }
                excess.is_none()
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
