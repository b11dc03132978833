//! Bounding what peers can make ZeroMQ and the serving loop hold for them.
//!
//! ZeroMQ hands a message over only when all its frames have come. Our libzmq bounds their number and the
//! length of each, but a peer that sends many long ones, or that asks for much and does not read it, could
//! still fill the memory unseen. What can be seen is how many bytes the kernel has passed on each connection,
//! and how many of them came out as messages, or went in as replies.
//!
//! A connection is told from others by a number of its own: descriptors and names of peers are used again,
//! and a reply must reach nobody but the connection that asked.

use std::collections::{HashMap, VecDeque};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use nohash_hasher::IntMap;
use tracing::{debug, warn};

use super::bounds::{self, Holding};
use super::connection::{Connection, ConnectionId, Incoming, Outgoing, State};
use super::limits::{HELD_BYTES_MAX, HELD_BYTES_TOTAL_MAX, HELD_REQUESTS_MAX, UNREAD_BYTES_FULL};
use super::monitor::{Event, Monitor};
use super::tcp;
use crate::handler::ReplyRoom;

/// How often connections are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The same where nearly as many connections are open as may be.
const LOOK_INTERVAL_CROWDED: Duration = Duration::from_millis(10);
/// Before a long reply is refused, the kernel is asked anew what was read, but not more often than this.
const ASK_INTERVAL: Duration = Duration::from_millis(5);
/// How often it is said that there are too many connections, while there are.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// The connections that are gone of which late messages are still recognised.
const GONE_MAX: usize = 1024;

/// What becomes of a message that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is carried out.
    Ready,
    /// It is held back: its peer has much to read, or requests before it are held back.
    Waits,
    /// It is dropped.
    Cut,
}

/// The connections of one listening socket.
pub(super) struct Connections {
    monitor: Monitor,
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
    ) -> Result<Self, zmq::Error> {
        let now = Instant::now();
        Ok(Self {
            monitor: Monitor::watch(context, socket)?,
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

    /// The connection on which a message with this routing id and first `frame` came; none where it is gone
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

    /// What becomes of the next message of a connection.
    pub(super) fn standing(&mut self, id: ConnectionId, is_busy: bool) -> Standing {
        let Some(connection) = self.by_id.get_mut(&id) else { return Standing::Ready };
        if connection.state == State::Cut {
            return Standing::Cut;
        }
        if connection.held.is_empty() && connection.has_much_to_read() {
            self.unread -= connection.refresh(Instant::now());
        }
        let waits = !connection.held.is_empty()
            || connection.has_much_pending(is_busy)
            || connection.has_much_to_read();
        if waits { Standing::Waits } else { Standing::Ready }
    }

    /// Counts a message of `bytes` that is carried out or dropped.
    pub(super) fn took(&mut self, id: ConnectionId, bytes: u64) {
        if let Some(connection) = self.by_id.get_mut(&id) {
            connection.traffic.took(bytes);
        }
    }

    /// Notes that a request waits for the writer.
    pub(super) fn began(&mut self, id: Option<ConnectionId>) {
        if let Some(connection) = id.and_then(|id| self.by_id.get_mut(&id)) {
            connection.pending += 1;
        }
    }

    /// Notes that the writer has done a request.
    pub(super) fn finished(&mut self, id: Option<ConnectionId>) {
        if let Some(connection) = id.and_then(|id| self.by_id.get_mut(&id))
            && connection.finished()
        {
            self.due = connection.due();
        }
    }

    /// Whether a request of `bytes` can be held back as it is.
    pub(super) fn can_hold(&self, id: ConnectionId, bytes: u64) -> bool {
        let own = self.by_id.get(&id).map_or(0, |it| it.held_bytes);
        own + bytes <= HELD_BYTES_MAX && self.held_bytes + bytes <= HELD_BYTES_TOTAL_MAX
    }

    /// Holds a request back.
    pub(super) fn hold(&mut self, id: ConnectionId, request: Incoming) {
        let Some(connection) = self.by_id.get_mut(&id) else { return };
        connection.held_bytes += request.bytes;
        self.held_bytes += request.bytes;
        connection.held.push_back(request);
        self.held += 1;
        let held = connection.held.len();
        self.await_reader(id);
        if held > HELD_REQUESTS_MAX {
            self.cut(id, &format!("{held} of its requests wait until it has read their answers, or the disk has done those before them, the limit is {HELD_REQUESTS_MAX}"));
        }
    }

    /// The connection that a reply of `bytes` goes out on, now or later, which is counted for it; none
    /// where nobody is there to read it.
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

    /// Has a connection with an outbox or held requests looked at again.
    pub(super) fn await_reader(&mut self, id: ConnectionId) {
        let Some(connection) = self.by_id.get_mut(&id) else { return };
        if connection.begin_to_wait() {
            self.waiting.push(id);
            let due = connection.due();
            self.due = self.due.min(due).or(due);
        }
    }

    /// The connections that wait and are to be looked at now, those first that have waited longest for it.
    pub(super) fn due(&self, now: Instant) -> Vec<ConnectionId> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let due = |id: &ConnectionId| Some((self.by_id.get(id)?.due()?, *id));
        let mut due: Vec<_> = self.waiting.iter().filter_map(due).collect();
        due.retain(|(due, _)| *due <= now);
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).collect()
    }

    /// The oldest request that was held back, where it need not be any longer.
    pub(super) fn release(&mut self, id: ConnectionId, is_busy: bool) -> Option<Incoming> {
        let connection = self.by_id.get_mut(&id)?;
        // That it has to come again is told after what became of those before it.
        let is_refused = connection.held.front()?.refused.is_some();
        if connection.has_much_pending(is_busy) || (is_refused && connection.pending > 0) {
            return None;
        }
        if connection.has_much_to_read() {
            self.unread -= connection.refresh(Instant::now());
        }
        if connection.has_much_to_read() {
            return None;
        }
        let request = connection.held.pop_front()?;
        self.held -= 1;
        self.held_bytes -= request.bytes;
        connection.held_bytes -= request.bytes;
        Some(request)
    }

    /// Ends a look at the connections that wait: each waits on, for longer where nothing `has_moved`, or
    /// waits no more.
    pub(super) fn settle(&mut self, looked_at: &[(ConnectionId, bool)], now: Instant) {
        for (id, has_moved) in looked_at {
            let Some(connection) = self.by_id.get_mut(id) else { continue };
            if connection.has_waiting() {
                connection.wait_on(now, *has_moved);
                continue;
            }
            connection.stop_waiting();
            if connection.state == State::Gone {
                self.forget_later(*id);
            }
        }
        let waits = |id: &ConnectionId| self.by_id.get(id).and_then(Connection::due);
        self.waiting.retain(|id| waits(id).is_some());
        self.due = self.waiting.iter().filter_map(waits).min();
    }

    /// How long the loop may sleep, at most `max`.
    pub(super) fn sleep_max(&self, max: Duration) -> Duration {
        let due = self.due.map_or(max, |due| due.saturating_duration_since(Instant::now()));
        max.min(due).min(if self.is_crowded() { LOOK_INTERVAL_CROWDED } else { max })
    }

    /// Whether replies wait for room in ZeroMQ's queues.
    pub(super) fn has_outbox(&self) -> bool {
        self.waiting.iter().any(|id| self.by_id.get(id).is_some_and(|it| !it.outbox.is_empty()))
    }

    /// The bytes of all replies that are under way.
    pub(super) fn unread(&self) -> u64 {
        self.unread
    }

    /// How much the next reply may be.
    pub(super) fn room(&mut self) -> ReplyRoom {
        if self.unread < UNREAD_BYTES_FULL {
            return ReplyRoom::Long;
        }
        if self.asked_at.elapsed() >= ASK_INTERVAL {
            self.ask_kernel(Instant::now());
        }
        if self.unread < UNREAD_BYTES_FULL {
            return ReplyRoom::Long;
        }
        self.room_was_short = true;
        ReplyRoom::Short
    }

    /// Begins another turn of the loop, and cuts those connections that hold too much, if it is time to
    /// look.
    pub(super) fn look(&mut self) {
        self.turn += 1;
        let interval = if self.is_crowded() { LOOK_INTERVAL_CROWDED } else { LOOK_INTERVAL };
        if self.looked_at.elapsed() < interval {
            return;
        }
        let now = Instant::now();
        self.looked_at = now;
        self.take_events();
        self.cut_silent();
        self.ask_kernel(now);
        let room_was_short = std::mem::take(&mut self.room_was_short);
        for (id, why) in bounds::excess(self.holdings(now), room_was_short) {
            self.cut(id, &why);
        }
    }

    /// What is held for each connection.
    fn holdings(&self, now: Instant) -> Vec<Holding> {
        let open = self.by_id.iter().filter(|(_, it)| it.state == State::Open);
        let holding = |(id, it): (&ConnectionId, &Connection)| Holding {
            id: *id,
            inward: it.traffic.inward(now),
            unread: it.traffic.unread(),
            is_stalled: it.traffic.is_stalled(now),
            held: it.held.len() as u64,
        };
        open.map(holding).collect()
    }

    /// Asks the kernel what has passed on all connections.
    fn ask_kernel(&mut self, now: Instant) {
        self.asked_at = now;
        for connection in self.by_id.values_mut() {
            self.unread -= connection.refresh(now);
        }
    }

    fn is_crowded(&self) -> bool {
        self.by_fd.len() > self.count_max - self.count_max / 4
    }

    /// Cuts those that have said nothing, and those that have been silent longest, where there are too
    /// many.
    fn cut_silent(&mut self) {
        let is_open = |it: &&Connection| it.state == State::Open;
        let open = self.by_id.values().filter(is_open).count();
        let Some(excess) = open.checked_sub(self.count_max).filter(|it| *it > 0) else { return };
        self.silent_cut += excess;
        if self.silent_told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            self.silent_told_at = Some(Instant::now());
            let (max, cut) = (self.count_max, std::mem::take(&mut self.silent_cut));
            warn!(
                "{open} connections are open, the limit is {max}: those that have been silent longest are cut, {cut} since this was last said"
            );
        }
        let open = self.by_id.iter().filter(|(_, it)| is_open(it));
        let mut by_silence: Vec<_> = open.map(|(id, it)| (it.spoke_at, *id)).collect();
        by_silence.sort_unstable();
        for (_, id) in by_silence.into_iter().take(excess) {
            self.cut_quietly(id);
        }
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

    /// Drops what nobody reads any more.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::traffic::wire_bytes;

    /// More than what sockets say to each other beside messages.
    const OTHER_BYTES_MAX: u64 = 4096;

    /// A ROUTER, what is known of its connections, and where it listens.
    fn listening(context: &zmq::Context) -> (zmq::Socket, Connections, String) {
        let router = context.socket(zmq::ROUTER).unwrap();
        router.set_router_mandatory(true).unwrap();
        router.set_rcvtimeo(20_000).unwrap();
        let connections = Connections::watch(context, &router, 10).unwrap();
        router.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = router.get_last_endpoint().unwrap().unwrap();
        (router, connections, endpoint)
    }

    /// A peer's first message of `bytes`, the connection that it came on, and the peer.
    fn first_message(
        context: &zmq::Context,
        (router, connections, endpoint): &mut (zmq::Socket, Connections, String),
        bytes: usize,
    ) -> (zmq::Message, Option<ConnectionId>, zmq::Socket) {
        let dealer = context.socket(zmq::DEALER).unwrap();
        dealer.set_linger(0).unwrap();
        dealer.connect(endpoint).unwrap();
        dealer.send(vec![7; bytes], 0).unwrap();
        let routing_id = router.recv_msg(0).unwrap();
        let mut frame = router.recv_msg(0).unwrap();
        let id = connections.of_message(&routing_id, &mut frame);
        (frame, id, dealer)
    }

    #[test]
    fn a_connection_is_counted_from_its_first_message_on() {
        let context = zmq::Context::new();
        let mut listening = listening(&context);
        let (frame, id, _dealer) = first_message(&context, &mut listening, 1 << 20);
        let connections = &mut listening.1;
        // Nobody has looked at the connections in between.
        let id = id.expect("the connection is known");
        let inward = |connections: &mut Connections| {
            let now = Instant::now();
            connections.ask_kernel(now);
            connections.by_id[&id].traffic.inward(now)
        };
        assert!(inward(connections) >= 1 << 20, "the message is there and not carried out");
        connections.took(id, wire_bytes(&frame));
        let left = inward(connections);
        assert!(left < OTHER_BYTES_MAX, "{left} bytes seem to be unfinished");
    }

    #[test]
    fn nobody_reads_the_replies_of_a_connection_that_is_gone_or_cut() {
        let context = zmq::Context::new();
        let mut listening = listening(&context);
        let (_, gone, dealer) = first_message(&context, &mut listening, 1);
        let (_, cut, _dealer) = first_message(&context, &mut listening, 1);
        let (gone, cut) = (gone.expect("it is known"), cut.expect("it is known"));
        let connections = &mut listening.1;
        assert!(connections.reader(gone, 1000).is_some() && connections.reader(cut, 500).is_some());
        assert_eq!(connections.unread(), 1500);
        drop(dealer);
        while connections.by_id[&gone].state != State::Gone {
            connections.take_events();
            std::thread::yield_now();
        }
        assert!(connections.reader(gone, 1000).is_none());
        assert_eq!(connections.unread(), 500);
        connections.cut(cut, "this is a test");
        assert_eq!(connections.standing(cut, false), Standing::Cut);
        assert!(connections.reader(cut, 500).is_none());
        assert_eq!(connections.unread(), 0);
    }

    #[test]
    fn connections_are_told_apart_by_their_numbers() {
        let id = |number: u32| [&[0][..], &number.to_be_bytes()].concat();
        assert!(is_later(&id(8), &id(7)));
        assert!(!is_later(&id(7), &id(8)) && !is_later(&id(7), &id(7)));
        assert!(is_later(&id(3), &id(u32::MAX - 3)), "the numbers begin anew");
        assert!(!is_later(&id(u32::MAX - 3), &id(3)));
    }
}
