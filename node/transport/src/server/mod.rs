//! The serving loop: one thread, one ROUTER socket, and the [`Service`] that answers.
//!
//! - here: the socket and the loop. A request is carried out as it comes, unless its peer has much to read,
//!   or much at the writer: then it is held back, with all that follow it, so that no reply is ever dropped
//!   for want of room, and replies stay in their order;
//! - `connections`: who asked, who reads, and who has to be cut; `connection`: what waits for one peer;
//!   `traffic`: the bytes of one connection; `bounds`: who has too much; [`limits`]: how much that is;
//! - [`service`]: what the loop asks of those who answer; `monitor`: what ZeroMQ tells of connections.

mod bounds;
mod connection;
mod connections;
pub mod limits;
mod monitor;
pub mod service;
mod traffic;

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kv_core::limits::{FRAME_BYTES_MAX, FRAMES_MAX};
use kv_core::refusal::{ErrorCode, Refusal, shutting_down};
use kv_protocol::frame::{Payload, ZAP_DOMAIN, is_probe, split_envelope};
use kv_system::descriptors;
use kv_system::wake::Wake;
use tokio::sync::watch;
use tracing::{debug, warn};
use zmq::{DONTWAIT, PollEvents, PollItem, SNDMORE};

use self::connection::{ConnectionId, Incoming, Outgoing};
use self::connections::{Connections, Standing};
use self::limits::{CONNECTIONS_MAX, HELD_BYTES_MAX, HELD_BYTES_TOTAL_MAX, RECEIVED_MESSAGES_MAX};
use self::service::{Disposition, Frames, Service, refuse};
use self::traffic::wire_bytes;
use crate::spin_wait::SpinWait;

/// The ports that a node without `--port` tries, in order.
pub const PORTS: RangeInclusive<u16> = 2000..=2999;

/// How many messages are taken in before replies are sent again.
const MESSAGES_PER_TURN: usize = 256;
/// How long messages are waited for, and how long they are taken in: the loop turns at least this
/// often or so, to show that it is alive and to see that it shall stop.
const TURN_MAX: Duration = Duration::from_millis(100);
/// When it stops, the loop waits this long for the writer to finish what was taken.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// When it stops, the loop goes on refusing requests that were on their way for this long.
const REFUSE_FOR: Duration = Duration::from_millis(100);
/// When it stops, replies that find no room in ZeroMQ's queues have this long for it.
const READ_FOR: Duration = Duration::from_secs(1);
/// When the socket closes, replies have this long to leave.
const LINGER_MS: i32 = 1000;
/// Replies that wait for one peer in ZeroMQ's queues. Those that find no room there wait here, and what their
/// peer asks next waits with them.
const QUEUE_MESSAGES_MAX: i32 = 1000;
/// The frames of most messages: a delimiter, a header, a body.
const FRAMES_USUAL: usize = 3;
/// A peer that connects must complete the handshake within this time.
const HANDSHAKE_MS: i32 = 5000;
/// An idle peer is asked for a sign of life this often, and given up after [`HEARTBEAT_GIVE_UP_MS`].
const HEARTBEAT_MS: i32 = 5000;
const HEARTBEAT_GIVE_UP_MS: i32 = 15_000;
/// A peer of ZMTP 3.0 knows no heartbeats. Where it is silent for this long, in seconds, the system asks
/// its system for a sign of life, this often, and gives it up after this many questions.
const KEEPALIVE_IDLE_S: i32 = 10;
const KEEPALIVE_INTERVAL_S: i32 = 5;
const KEEPALIVE_QUESTIONS: i32 = 3;
const CONNECTIONS_WAITING_MAX: i32 = 1024;

/// Why the node cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The port that was asked for is in use.
    #[error("port {port} of {host} is in use: stop what uses it, or choose another with --port")]
    PortTaken {
        /// The address to listen on.
        host: String,
        /// The port that was asked for.
        port: u16,
    },
    /// All ports that may be chosen are in use.
    #[error("ports {} to {} of {host} are all in use: choose one with --port", PORTS.start(), PORTS.end())]
    NoPortFree {
        /// The address to listen on.
        host: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {host}:{port}: {source}; is it an address of this machine?")]
    Address {
        /// The address to listen on.
        host: String,
        /// The port.
        port: u16,
        /// What ZeroMQ says.
        source: zmq::Error,
    },
    /// The socket cannot be made.
    #[error("cannot make a socket: {0}")]
    Socket(zmq::Error),
    /// The system lacks what a socket takes.
    #[error(
        "cannot listen: this machine gives no more files or memory just now ({0}): raise the limits (`ulimit -n`, \
         `ulimit -v`, or the container's), or start the node again later"
    )]
    Scarce(zmq::Error),
}

impl From<zmq::Error> for ListenError {
    fn from(error: zmq::Error) -> Self {
        if is_scarcity(error) { Self::Scarce(error) } else { Self::Socket(error) }
    }
}

/// Whether the system lacked something that it will have again.
fn is_scarcity(error: zmq::Error) -> bool {
    matches!(
        error,
        zmq::Error::EMFILE | zmq::Error::ENOMEM | zmq::Error::EAGAIN | zmq::Error::ENOBUFS
    )
}

/// Which port to listen on.
#[derive(Clone, Copy, Debug)]
pub enum PortChoice {
    /// This one and no other; 0 lets the operating system choose.
    Exactly(u16),
    /// This one if it is free, otherwise the first free one of [`PORTS`].
    Preferably(Option<u16>),
}

/// Where a reply goes to.
pub struct Peer {
    /// The connection that asked; none where it is gone.
    connection: Option<ConnectionId>,
    /// What its socket put before the request, and wants back.
    envelope: Vec<zmq::Message>,
}

/// A socket that listens.
pub struct Server {
    router: zmq::Socket,
    port: u16,
    connections: Connections,
    /// Whether requests are refused, because the node stops.
    is_stopping: bool,
    // Dropped after the socket, which it must outlive.
    _context: zmq::Context,
}

impl Server {
    /// Starts to listen.
    ///
    /// # Errors
    /// [`ListenError`] where the address or port cannot be had.
    pub fn listen(host: &str, choice: PortChoice) -> Result<Self, ListenError> {
        // libzmq sets room aside for a frame as soon as it knows its length. Where the system gives every
        // process huge pages, the first byte of it would take 2 MiB.
        if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
            debug!("the system may go on giving huge pages: {error}");
        }
        let context = zmq::Context::new();
        let router = context.socket(zmq::ROUTER)?;
        // With this, our libzmq gives each connection an id that no other ever has, whatever its peer calls
        // itself: peers of one name are all served, and none gets another's replies.
        router.set_router_mandatory(true)?;
        router.set_ipv6(host.contains(':'))?;
        router.set_linger(LINGER_MS)?;
        router.set_maxmsgsize(FRAME_BYTES_MAX as i64)?;
        router.set_rcvhwm(RECEIVED_MESSAGES_MAX)?;
        router.set_sndhwm(QUEUE_MESSAGES_MAX)?;
        router.set_handshake_ivl(HANDSHAKE_MS)?;
        router.set_heartbeat_ivl(HEARTBEAT_MS)?;
        router.set_heartbeat_timeout(HEARTBEAT_GIVE_UP_MS)?;
        router.set_heartbeat_ttl(HEARTBEAT_GIVE_UP_MS)?;
        router.set_tcp_keepalive(1)?;
        router.set_tcp_keepalive_idle(KEEPALIVE_IDLE_S)?;
        router.set_tcp_keepalive_intvl(KEEPALIVE_INTERVAL_S)?;
        router.set_tcp_keepalive_cnt(KEEPALIVE_QUESTIONS)?;
        router.set_zap_domain(ZAP_DOMAIN)?;
        router.set_backlog(CONNECTIONS_WAITING_MAX)?;
        let connections = Connections::watch(&context, &router, connections_max())?;
        let port = bind(&router, host, choice)?;
        Ok(Self { router, port, connections, is_stopping: false, _context: context })
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Serves until `stop` is set and all that was taken is answered.
    ///
    /// # Errors
    /// Where the writer is gone, or ZeroMQ fails in a way that no peer can cause.
    pub fn run<S: Service>(
        mut self,
        service: &mut S,
        finished: &flume::Receiver<S::Finished>,
        wake: &Wake,
        alive: &watch::Sender<()>,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        let mut spin_wait = SpinWait::default();
        while !stop.load(Ordering::Acquire) {
            spin_wait.wait(|| self.has_news(finished));
            self.wait(wake, TURN_MAX)?;
            self.take_messages(service)?;
            self.connections.look();
            self.send_finished(service, finished);
            self.send_waiting(service);
            service.note_unread(self.connections.unread());
            if service.is_gone() {
                // Its last words came before its end.
                self.send_finished(service, finished);
                return Err(io::Error::other("the writer has ended"));
            }
            if !service.hangs() {
                alive.send_replace(());
            }
        }
        self.drain(service, finished, wake)
    }

    /// Whether there is a message, or something is finished.
    fn has_news<F>(&self, finished: &flume::Receiver<F>) -> bool {
        !finished.is_empty()
            || self.router.get_events().is_ok_and(|events| events.contains(PollEvents::POLLIN))
    }

    fn wait(&self, wake: &Wake, timeout: Duration) -> io::Result<()> {
        let mut items = [
            self.router.as_poll_item(PollEvents::POLLIN),
            PollItem::from_fd(wake.raw_fd(), PollEvents::POLLIN),
        ];
        let timeout = self.connections.sleep_max(timeout).as_micros().div_ceil(1000);
        let timeout_ms = i64::try_from(timeout).unwrap_or(i64::MAX);
        match zmq::poll(&mut items, timeout_ms) {
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Lowered before the results are looked at, so that none is missed.
        wake.lower();
        Ok(())
    }

    fn take_messages<S: Service>(&mut self, service: &mut S) -> io::Result<()> {
        let started = Instant::now();
        for _ in 0..MESSAGES_PER_TURN {
            if started.elapsed() >= TURN_MAX {
                break;
            }
            let Some(message) = self.receive()? else { break };
            let is_busy = service.is_busy();
            match message.connection.map(|id| (id, self.connections.standing(id, is_busy))) {
                Some((id, Standing::Waits)) => self.hold(id, message, service),
                Some((id, Standing::Cut)) => self.connections.took(id, message.bytes),
                Some((_, Standing::Ready)) | None => self.carry_out(message, service),
            }
        }
        Ok(())
    }

    /// Holds a message back, or, where too many bytes are held back, the answer that it has to come again.
    fn hold<S: Service>(&mut self, id: ConnectionId, mut message: Incoming, service: &S) {
        if !self.connections.can_hold(id, message.bytes) && !is_probe(&message.frames) {
            let (envelope, frames) = split_envelope(message.frames);
            let refused = match Payload::open(frames) {
                Ok(payload) => refuse(service.id_of(&payload), requests_held()),
                Err(refusal) => refuse(None, refusal),
            };
            // What goes is counted as taken now, and what stays, the envelope, in its turn.
            let bytes = envelope.iter().map(|frame| wire_bytes(frame)).sum();
            self.connections.took(id, message.bytes - bytes);
            message = Incoming { frames: envelope, bytes, refused: Some(refused), ..message };
        }
        self.connections.hold(id, message);
    }

    /// Has a message answered, now or later.
    fn carry_out<S: Service>(&mut self, message: Incoming, service: &mut S) {
        let Incoming { connection, frames, bytes, refused } = message;
        if let Some(id) = connection {
            self.connections.took(id, bytes);
        }
        if let Some(refused) = refused {
            return self.send(Peer { connection, envelope: frames }, refused);
        }
        if is_probe(&frames) {
            return;
        }
        let (envelope, frames) = split_envelope(frames);
        let peer = Peer { connection, envelope };
        match Payload::open(frames) {
            Ok(payload) if self.is_stopping => {
                let id = service.id_of(&payload);
                self.send(peer, refuse(id, shutting_down()));
            }
            Ok(payload) => {
                let room = self.connections.room();
                match service.take(peer, &payload, room) {
                    Disposition::Answered(peer, frames) => self.send(peer, frames),
                    Disposition::Pending => self.connections.began(connection),
                }
            }
            Err(refusal) => self.send(peer, refuse(None, refusal)),
        }
    }

    /// The next message, if there is one.
    fn receive(&mut self) -> io::Result<Option<Incoming>> {
        let routing_id = match self.router.recv_msg(DONTWAIT) {
            Ok(routing_id) => routing_id,
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut connection = None;
        let mut frames: Vec<zmq::Message> = Vec::with_capacity(FRAMES_USUAL);
        let (mut bytes, mut more) = (0, routing_id.get_more());
        while more {
            let mut frame = match self.router.recv_msg(DONTWAIT) {
                Ok(frame) => frame,
                // The rest of a message is there once its first frame is.
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            more = frame.get_more();
            bytes += wire_bytes(&frame);
            if frames.is_empty() {
                connection = self.connections.of_message(&routing_id, &mut frame);
            }
            // One frame too many is kept, for the error; the rest of an overlong message is not.
            if frames.len() <= FRAMES_MAX {
                frames.push(frame);
            }
        }
        Ok(Some(Incoming { connection, frames, bytes, refused: None }))
    }

    fn send_finished<S: Service>(
        &mut self,
        service: &mut S,
        finished: &flume::Receiver<S::Finished>,
    ) {
        for finished in finished.try_iter() {
            if let Some((peer, frames)) = service.finish(finished) {
                self.connections.finished(peer.connection);
                self.send(peer, frames);
            }
        }
    }

    /// Sends a reply to the connection that asked, or has it wait until there is room. Where the connection
    /// is gone, it is dropped: nobody else may read it.
    fn send(&mut self, peer: Peer, frames: Frames) {
        let Peer { connection, envelope } = peer;
        let reply = Outgoing { envelope, frames };
        let Some(id) = connection else { return };
        let Some(reader) = self.connections.reader(id, reply.wire_bytes()) else {
            debug!("a reply was dropped: the connection that asked is gone");
            return;
        };
        if !reader.outbox.is_empty() {
            reader.outbox.push_back(reply);
            return;
        }
        if let Some(reply) = transmit(&self.router, &reader.routing_id, reply) {
            reader.outbox.push_back(reply);
            self.connections.await_reader(id);
        }
    }

    /// Sends replies that found no room before, and has requests carried out that were held back until
    /// their peers had read on.
    fn send_waiting<S: Service>(&mut self, service: &mut S) {
        let due = self.connections.due(Instant::now());
        if due.is_empty() {
            return;
        }
        let started = Instant::now();
        let mut looked_at = Vec::with_capacity(due.len());
        for id in due {
            if started.elapsed() >= TURN_MAX {
                break;
            }
            let mut has_moved = self.send_outbox(id);
            for _ in 0..MESSAGES_PER_TURN {
                let request = self.connections.release(id, service.is_busy());
                let Some(request) = request else { break };
                self.carry_out(request, service);
                has_moved = true;
            }
            looked_at.push((id, has_moved));
        }
        self.connections.settle(&looked_at, Instant::now());
    }

    /// Sends the replies of one connection that found no room before, as long as there is room. Returns
    /// whether there was any.
    fn send_outbox(&mut self, id: ConnectionId) -> bool {
        let Some((routing_id, outbox)) = self.connections.outbox(id) else { return false };
        let before = outbox.len();
        while let Some(reply) = outbox.pop_front() {
            if let Some(reply) = transmit(&self.router, routing_id, reply) {
                outbox.push_front(reply);
                break;
            }
        }
        outbox.len() < before
    }

    /// Answers what was taken and refuses what still comes in.
    fn drain<S: Service>(
        &mut self,
        service: &mut S,
        finished: &flume::Receiver<S::Finished>,
        wake: &Wake,
    ) -> io::Result<()> {
        let started = Instant::now();
        self.is_stopping = true;
        while service.pending() > 0
            || started.elapsed() < REFUSE_FOR
            || (self.connections.has_outbox() && started.elapsed() < READ_FOR)
        {
            if started.elapsed() > DRAIN_MAX {
                warn!("stopping with {} requests unanswered", service.pending());
                break;
            }
            self.wait(wake, REFUSE_FOR)?;
            self.take_messages(service)?;
            self.send_finished(service, finished);
            self.send_waiting(service);
        }
        Ok(())
    }
}

/// Gives a reply to ZeroMQ, or back where there is no room for it.
fn transmit(router: &zmq::Socket, routing_id: &[u8], reply: Outgoing) -> Option<Outgoing> {
    loop {
        match router.send(routing_id, DONTWAIT | SNDMORE) {
            Ok(()) => break,
            Err(zmq::Error::EINTR) => {}
            Err(zmq::Error::EAGAIN) => return Some(reply),
            Err(error) => {
                debug!("a reply was dropped: {error}");
                return None;
            }
        }
    }
    // Room is for whole messages, so from here on there is.
    let Outgoing { envelope, frames: (header, body) } = reply;
    let last = if body.is_some() { DONTWAIT | SNDMORE } else { DONTWAIT };
    let mut sent = envelope.into_iter().try_for_each(|it| router.send(it, DONTWAIT | SNDMORE));
    sent = sent.and_then(|()| router.send(header, last));
    if let Some(body) = body {
        sent = sent.and_then(|()| router.send(body, DONTWAIT));
    }
    if let Err(error) = sent {
        warn!("a reply was cut short: {error}");
        // The socket would take what comes next for the rest of it.
        let _ = router.send(zmq::Message::new(), DONTWAIT);
    }
    None
}

/// The most connections that may be open, by the descriptors that this process may have.
fn connections_max() -> usize {
    let descriptors = usize::try_from(descriptors::for_connections()).unwrap_or(usize::MAX);
    descriptors.min(CONNECTIONS_MAX)
}

fn bind(router: &zmq::Socket, host: &str, choice: PortChoice) -> Result<u16, ListenError> {
    match choice {
        PortChoice::Exactly(port) => bind_one(router, host, port)?
            .ok_or_else(|| ListenError::PortTaken { host: host.to_owned(), port }),
        PortChoice::Preferably(kept) => {
            for port in kept.into_iter().chain(PORTS) {
                if let Some(port) = bind_one(router, host, port)? {
                    return Ok(port);
                }
            }
            Err(ListenError::NoPortFree { host: host.to_owned() })
        }
    }
}

/// Binds to `port` and returns the port that was bound; none where it is taken.
fn bind_one(router: &zmq::Socket, host: &str, port: u16) -> Result<Option<u16>, ListenError> {
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let wanted = if port == 0 { "*".to_owned() } else { port.to_string() };
    match router.bind(&format!("tcp://{bracketed}:{wanted}")) {
        Ok(()) => {
            let endpoint = router.get_last_endpoint()?.unwrap_or_default();
            let bound = endpoint.rsplit(':').next().and_then(|port| port.parse().ok());
            Ok(Some(bound.unwrap_or(port)))
        }
        Err(zmq::Error::EADDRINUSE) => Ok(None),
        Err(source) if is_scarcity(source) => Err(source.into()),
        Err(source) => Err(ListenError::Address { host: host.to_owned(), port, source }),
    }
}

/// The refusal of a request that came when too much was held back before it.
fn requests_held() -> Refusal {
    Refusal::new(
        ErrorCode::Overloaded,
        format!(
            "{} MiB of requests of this connection, or {} MiB of all, were waiting before this one: try again when some are answered",
            HELD_BYTES_MAX >> 20,
            HELD_BYTES_TOTAL_MAX >> 20
        ),
    )
}

/// A flag by which another thread ends [`Server::run`].
pub type Stop = Arc<AtomicBool>;
