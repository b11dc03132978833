//! The serving loop: one thread, one ROUTER socket. The only module of the node that names ZeroMQ.

pub mod ask;
mod connections;
mod tcp;

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kv_protocol::frame::{Envelope, is_delimiter};
use kv_protocol::limits::{FRAME_BYTES_MAX, FRAMES_MAX};
use kv_protocol::linger::Linger;
use tokio::sync::watch;
use tracing::{debug, warn};
use zmq::{DONTWAIT, PollEvents, PollItem};

use self::connections::{Connection, Connections};
use crate::handler::{Disposition, Frames, Handler, refuse};
use crate::refusals::shutting_down;
use crate::wake::Wake;
use crate::writer::Finished;

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
/// When the socket closes, replies have this long to leave.
const LINGER_MS: i32 = 1000;
/// Messages that wait for one peer, in each direction. A peer that reads no replies loses them.
const QUEUE_MESSAGES_MAX: i32 = 1000;
/// A peer that connects must complete the handshake within this time.
const HANDSHAKE_MS: i32 = 5000;
/// An idle peer is asked for a sign of life this often, and given up after [`HEARTBEAT_GIVE_UP_MS`].
const HEARTBEAT_MS: i32 = 5000;
const HEARTBEAT_GIVE_UP_MS: i32 = 15_000;
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
    Socket(#[from] zmq::Error),
}

/// Which port to listen on.
#[derive(Clone, Copy, Debug)]
pub enum PortChoice {
    /// This one and no other; 0 lets the operating system choose.
    Exactly(u16),
    /// This one if it is free, otherwise the first free one of [`PORTS`].
    Preferably(Option<u16>),
}

/// How a peer is found again.
pub struct Peer {
    routing_id: Vec<u8>,
    connection: Connection,
    delimited: bool,
}

/// A socket that listens.
pub struct Server {
    router: zmq::Socket,
    port: u16,
    connections: Connections,
    // Dropped after the socket, which it must outlive.
    _context: zmq::Context,
}

impl Server {
    /// Starts to listen.
    ///
    /// # Errors
    /// [`ListenError`] where the address or port cannot be had.
    pub fn listen(host: &str, choice: PortChoice) -> Result<Self, ListenError> {
        let context = zmq::Context::new();
        let router = context.socket(zmq::ROUTER)?;
        router.set_router_mandatory(true)?;
        router.set_ipv6(host.contains(':'))?;
        router.set_linger(LINGER_MS)?;
        router.set_maxmsgsize(FRAME_BYTES_MAX as i64)?;
        router.set_rcvhwm(QUEUE_MESSAGES_MAX)?;
        router.set_sndhwm(QUEUE_MESSAGES_MAX)?;
        router.set_handshake_ivl(HANDSHAKE_MS)?;
        router.set_heartbeat_ivl(HEARTBEAT_MS)?;
        router.set_heartbeat_timeout(HEARTBEAT_GIVE_UP_MS)?;
        router.set_heartbeat_ttl(HEARTBEAT_GIVE_UP_MS)?;
        router.set_backlog(CONNECTIONS_WAITING_MAX)?;
        let connections = Connections::watch(&context, &router)?;
        let port = bind(&router, host, choice)?;
        Ok(Self { router, port, connections, _context: context })
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
    pub fn run(
        mut self,
        handler: &mut Handler<Peer>,
        finished: &flume::Receiver<Finished>,
        wake: &Wake,
        alive: &watch::Sender<()>,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        let mut linger = Linger::default();
        while !stop.load(Ordering::Acquire) {
            linger.wait(|| self.has_news(finished));
            self.wait(wake, TURN_MAX)?;
            self.take_messages(handler)?;
            self.connections.look();
            self.send_finished(handler, finished);
            if handler.writer_is_gone() {
                // Its last words came before its end.
                self.send_finished(handler, finished);
                return Err(io::Error::other("the writer has ended"));
            }
            if !handler.writer_hangs() {
                alive.send_replace(());
            }
        }
        self.drain(handler, finished, wake)
    }

    /// Whether there is a message, or something is finished.
    fn has_news(&self, finished: &flume::Receiver<Finished>) -> bool {
        !finished.is_empty()
            || self.router.get_events().is_ok_and(|events| events.contains(PollEvents::POLLIN))
    }

    fn wait(&self, wake: &Wake, timeout: Duration) -> io::Result<()> {
        let mut items = [
            self.router.as_poll_item(PollEvents::POLLIN),
            PollItem::from_fd(wake.raw_fd(), PollEvents::POLLIN),
        ];
        let timeout_ms = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        match zmq::poll(&mut items, timeout_ms) {
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Lowered before the results are looked at, so that none is missed.
        wake.lower();
        Ok(())
    }

    fn take_messages(&mut self, handler: &mut Handler<Peer>) -> io::Result<()> {
        let started = Instant::now();
        for _ in 0..MESSAGES_PER_TURN {
            if started.elapsed() >= TURN_MAX {
                break;
            }
            let Some((peer, frames)) = self.receive()? else { break };
            match Envelope::open(frames) {
                Ok(envelope) => {
                    if let Disposition::Answered(peer, frames) = handler.take(peer, &envelope) {
                        self.send(peer, frames);
                    }
                }
                Err(refusal) => self.send(peer, refuse(None, refusal)),
            }
        }
        Ok(())
    }

    /// The next message, if there is one: who sent it, and its frames.
    fn receive(&mut self) -> io::Result<Option<(Peer, Vec<zmq::Message>)>> {
        let routing_id = match self.router.recv_bytes(DONTWAIT) {
            Ok(routing_id) => routing_id,
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut connection = None;
        let mut frames = Vec::with_capacity(FRAMES_MAX);
        while self.router.get_rcvmore()? {
            let mut frame = match self.router.recv_msg(DONTWAIT) {
                Ok(frame) => frame,
                // The rest of a message is there once its first frame is.
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            connection = self.connections.count_taken(&mut frame);
            // One frame too many is kept, for the error; the rest of an overlong message is not.
            if frames.len() <= FRAMES_MAX {
                frames.push(frame);
            }
        }
        let delimited = frames.first().is_some_and(|it| is_delimiter(it));
        Ok(Some((Peer { routing_id, connection, delimited }, frames)))
    }

    fn send_finished(&mut self, handler: &mut Handler<Peer>, finished: &flume::Receiver<Finished>) {
        for finished in finished.try_iter() {
            if let Some((peer, frames)) = handler.finish(finished) {
                self.send(peer, frames);
            }
        }
    }

    /// Sends a reply. One whose peer is gone, or reads nothing, is dropped: the peer asks again.
    fn send(&mut self, peer: Peer, (header, body): Frames) {
        let bytes = header.len() + body.as_ref().map_or(0, Vec::len);
        let delimiter = peer.delimited.then(Vec::new);
        let frames = [Some(peer.routing_id), delimiter, Some(header), body];
        match self.router.send_multipart(frames.into_iter().flatten(), DONTWAIT) {
            Ok(()) => self.connections.count_given(peer.connection, bytes),
            Err(error) => debug!("a reply was dropped: {error}"),
        }
    }

    /// Answers what was taken and refuses what still comes in.
    fn drain(
        &mut self,
        handler: &mut Handler<Peer>,
        finished: &flume::Receiver<Finished>,
        wake: &Wake,
    ) -> io::Result<()> {
        let started = Instant::now();
        while handler.pending() > 0 || started.elapsed() < REFUSE_FOR {
            if started.elapsed() > DRAIN_MAX {
                warn!("stopping with {} requests unanswered", handler.pending());
                break;
            }
            self.wait(wake, REFUSE_FOR)?;
            for _ in 0..MESSAGES_PER_TURN {
                let Some((peer, frames)) = self.receive()? else { break };
                let id = handler.id_of(frames);
                self.send(peer, refuse(id, shutting_down()));
            }
            self.send_finished(handler, finished);
        }
        Ok(())
    }
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
        Err(source) => Err(ListenError::Address { host: host.to_owned(), port, source }),
    }
}

/// A flag by which another thread ends [`Server::run`].
pub type Stop = Arc<AtomicBool>;
