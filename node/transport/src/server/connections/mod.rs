//! Bounding what peers can make ZeroMQ and the serving loop hold for them.
//!
//! ZeroMQ hands a message over only when all its frames have come. Our libzmq bounds their number and the
//! length of each, but a peer that sends many long ones, or that asks for much and does not read it, could
//! still fill the memory unseen. What can be seen is how many bytes the kernel has passed on each connection,
//! and how many of them came out as messages, or went in as replies.
//!
//! A connection is told from others by a number of its own: descriptors and names of peers are used again,
//! and a reply must reach no connection but the one that asked.
//!
//! - here: which connections there are, and who asks and reads on them;
//! - `held`: requests that are held back; `waiting`: when those are looked at again;
//! - `looks`: the bytes that are held for all of them, and which have to be cut for it.

mod held;
mod looks;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::os::fd::RawFd;
use std::time::Instant;

use nohash_hasher::IntMap;
use tracing::{debug, warn};

pub(super) use self::held::Standing;
use super::bounds::Bounds;
use super::connection::{Connection, ConnectionId, Outgoing, State};
use super::monitor::{Event, Monitor};
use crate::tcp;

/// The connections that are gone of which late messages are still recognised.
const GONE_MAX: usize = 1024;

/// The connections of one listening socket.
pub(super) struct Connections {
    monitor: Monitor,
    bounds: Bounds,
    /// The most that may be open.
    count_max: usize,
    last_id: ConnectionId,
    by_id: IntMap<ConnectionId, Connection>,
    /// Those that are open, cut ones too: their descriptors are taken.
    by_fd: IntMap<RawFd, ConnectionId>,
    /// Those whose first message has come.
    by_routing_id: HashMap<Box<[u8]>, ConnectionId>,
    /// Those that are gone and have been carried out, the longest gone first.
    gone: VecDeque<ConnectionId>,
    /// Those that wait for their peer to read, and when the first of them is looked at next.
    waiting: Vec<ConnectionId>,
    due: Option<Instant>,
    /// The bytes of all replies that are under way, and all requests that are held back.
    unread: u64,
    held: usize,
    held_bytes: u64,
    /// Whether a reply had no room since the last look.
    room_was_short: bool,
    /// The connections that were cut because there are too many, and when that was last said.
    silent_cut: usize,
    silent_told_at: Option<Instant>,
    turn: u64,
    looked_at: Instant,
    asked_at: Instant,
}

impl Connections {
    /// Watches the connections of `socket`, of which `count_max` may be open. It has to be done before the
    /// socket listens.
    pub(super) fn watch(
        context: &zmq::Context,
        socket: &zmq::Socket,
        count_max: usize,
        bounds: Bounds,
    ) -> Result<Self, zmq::Error> {
        let now = Instant::now();
        Ok(Self {
            monitor: Monitor::watch(context, socket)?,
            bounds,
            count_max,
            last_id: 0,
            by_id: IntMap::default(),
            by_fd: IntMap::default(),
            by_routing_id: HashMap::new(),
            gone: VecDeque::new(),
            waiting: Vec::new(),
            due: None,
            unread: 0,
            held: 0,
            held_bytes: 0,
            room_was_short: false,
            silent_cut: 0,
            silent_told_at: None,
            turn: 1,
            looked_at: now,
            asked_at: now,
        })
    }

    /// The connection on which a message with this routing id and first `frame` came; `None` where it is gone
    /// and forgotten.
    pub(super) fn of_message(
        &mut self,
        routing_id: &[u8],
        frame: &mut zmq::Message,
    ) -> Option<ConnectionId> {
        let id = match self.by_routing_id.get(routing_id) {
            Some(id) => *id,
            None => self.introduce(routing_id, frame)?,
        };
        self.by_id.get_mut(&id)?.spoke_at = self.turn;
        Some(id)
    }

    /// Finds the connection on which the first message with a routing id came.
    fn introduce(&mut self, routing_id: &[u8], frame: &mut zmq::Message) -> Option<ConnectionId> {
        // The name under which libzmq keeps the connection's file descriptor for ZMQ_SRCFD.
        let fd = frame.gets("__fd").and_then(|fd| fd.parse::<RawFd>().ok())?;
        // The connection was told of before its first message came, so it is known now or gone.
        self.take_events();
        let mut id = *self.by_fd.get(&fd)?;
        let known = &self.by_id.get(&id)?.routing_id;
        if !known.is_empty() {
            if !is_later(routing_id, known) {
                return None;
            }
            // What was taken for the connection's first message was a late one of the connection that had
            // its descriptor before.
            self.end(id);
            id = self.begin(fd);
        }
        let connection = self.by_id.get_mut(&id)?;
        connection.routing_id = routing_id.into();
        self.by_routing_id.insert(routing_id.into(), id);
        Some(id)
    }

    /// Counts a message of `bytes` that is carried out or dropped.
    pub(super) fn took(&mut self, id: ConnectionId, bytes: u64) {
        if let Some(connection) = self.by_id.get_mut(&id) {
            connection.traffic.took(bytes);
        }
    }

    /// The connection that a reply of `bytes` goes out on, now or later, which is counted for it; `None`
    /// where its peer is gone or cut.
    pub(super) fn reader(&mut self, id: ConnectionId, bytes: u64) -> Option<&mut Connection> {
        let connection = self.by_id.get_mut(&id).filter(|it| it.state == State::Open)?;
        connection.traffic.gave(bytes);
        self.unread += bytes;
        Some(connection)
    }

    /// The replies of a connection that ZeroMQ had no room for, and how the socket names its peer.
    pub(super) fn outbox(&mut self, id: ConnectionId) -> Option<(&[u8], &mut VecDeque<Outgoing>)> {
        let connection = self.by_id.get_mut(&id)?;
        Some((&connection.routing_id, &mut connection.outbox))
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The bytes of all replies that are under way.
    pub(super) fn unread(&self) -> u64 {
        self.unread
    }

    /// Cuts a connection and says why.
    fn cut(&mut self, id: ConnectionId, why: &str) {
        if let Some(connection) = self.by_id.get(&id).filter(|it| it.state == State::Open) {
            warn!("cutting the connection from {}: {why}", tcp::peer_name(connection.fd));
            self.cut_quietly(id);
        }
    }

    fn cut_quietly(&mut self, id: ConnectionId) {
        let Some(connection) = self.by_id.get_mut(&id) else { return };
        connection.state = State::Cut;
        if let Err(error) = tcp::cut(connection.fd) {
            debug!("the connection is gone already: {error}");
        }
        self.held -= connection.held.len();
        self.held_bytes -= std::mem::take(&mut connection.held_bytes);
        connection.held.clear();
        self.drop_replies(id);
    }

    /// Drops what no peer reads any more.
    fn drop_replies(&mut self, id: ConnectionId) {
        let Some(connection) = self.by_id.get_mut(&id) else { return };
        connection.outbox.clear();
        self.unread -= connection.traffic.unread();
        connection.traffic.forget_unread();
    }

    fn take_events(&mut self) {
        while let Some(event) = self.monitor.next() {
            match event {
                Event::Accepted(fd) => {
                    if let Some(id) = self.by_fd.get(&fd) {
                        self.end(*id);
                    }
                    self.begin(fd);
                }
                Event::Disconnected(fd) => {
                    if let Some(id) = self.by_fd.get(&fd) {
                        self.end(*id);
                    }
                }
            }
        }
    }

    fn begin(&mut self, fd: RawFd) -> ConnectionId {
        self.last_id += 1;
        self.by_id.insert(self.last_id, Connection::new(fd, Instant::now()));
        self.by_fd.insert(fd, self.last_id);
        self.last_id
    }

    /// Ends a connection that is gone. What it has sent is carried out.
    fn end(&mut self, id: ConnectionId) {
        self.drop_replies(id);
        let Some(connection) = self.by_id.get_mut(&id) else { return };
        connection.state = State::Gone;
        self.by_fd.remove(&connection.fd);
        // One that waits is forgotten when what it has sent is carried out.
        if connection.due().is_none() {
            self.forget_later(id);
        }
    }

    /// Forgets a connection once late messages of it are no longer to be expected.
    fn forget_later(&mut self, id: ConnectionId) {
        self.gone.push_back(id);
        if self.gone.len() <= GONE_MAX {
            return;
        }
        let forgotten = self.gone.pop_front().and_then(|id| self.by_id.remove(&id));
        if let Some(connection) = forgotten {
            self.by_routing_id.remove(&connection.routing_id);
        }
    }
}

/// Whether a connection with the routing id `one` began after that with `other`. ZeroMQ numbers connections
/// in four bytes after a zero.
fn is_later(one: &[u8], other: &[u8]) -> bool {
    let number = |id: &[u8]| Some(u32::from_be_bytes(*id.strip_prefix(b"\0")?.first_chunk()?));
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.wrapping_sub(other).cast_signed() > 0,
        _ => true,
    }
}
