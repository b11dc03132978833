//! Listening: the socket and what it is told, and its address and port.

use std::ops::RangeInclusive;

use kv_core::limits::FRAME_BYTES_MAX;
use kv_protocol::frame::ZAP_DOMAIN;
use kv_system::descriptors;
use tracing::debug;

use super::Server;
use super::bounds::Bounds;
use super::connections::Connections;
use super::limits::CONNECTIONS_MAX;
use crate::own_io::OwnIo;

/// The ports that a node without `--port` tries, in order.
pub const PORTS: RangeInclusive<u16> = 2000..=2999;
/// When the socket closes, replies have this long to leave.
const LINGER_MS: i32 = 1000;
/// Replies that wait for one peer in ZeroMQ's queues. Those that find no room there wait here, and what their
/// peer asks next waits with them.
const QUEUE_MESSAGES_MAX: i32 = 1000;
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

impl Server {
    /// Starts to listen, for peers that may make the node hold as much as these `bounds` say.
    ///
    /// # Errors
    /// [`ListenError`] where the address or port cannot be had.
    pub fn listen(host: &str, choice: PortChoice, bounds: Bounds) -> Result<Self, ListenError> {
        // libzmq sets room aside for a frame as soon as it knows its length. Where the system gives every
        // process huge pages, the first byte of it would take 2 MiB.
        if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
            debug!("the system may go on giving huge pages: {error}");
        }
        let context = zmq::Context::new();
        let router = context.socket(zmq::ROUTER)?;
        // With this, our libzmq gives each connection an id that no other ever has, under any name that
        // its peer gives itself: peers of one name are all served, and none gets another's replies.
        router.set_router_mandatory(true)?;
        router.set_ipv6(host.contains(':'))?;
        router.set_linger(LINGER_MS)?;
        router.set_maxmsgsize(FRAME_BYTES_MAX as i64)?;
        router.set_rcvhwm(bounds.received_messages_max)?;
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
        let connections = Connections::watch(&context, &router, connections_max(), bounds)?;
        let port = bind(&router, host, choice)?;
        let io = OwnIo::new(&context)?;
        Ok(Self { router, port, connections, is_stopping: false, io, _context: context })
    }
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

/// Binds to `port` and returns the port that was bound; `None` where it is taken.
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
