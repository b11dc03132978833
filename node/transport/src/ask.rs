//! Asking another node one thing: one request, one reply, and no more time and memory than that takes.
//!
//! Where a node listens, Consul says, and any process that can write to Consul can name any address. So
//! the answer is bounded: our libzmq bounds the frames of a message and the length of each, and all of
//! them together are still far more than an answer; what the kernel has received on the connection is
//! looked at too.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kv_protocol::InvalidReply;
use kv_protocol::frame::ZAP_DOMAIN;
use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::Request;
use kv_system::lock::lock;
use kv_system::resources;
use zmq::{DONTWAIT, PollEvents, SocketEvent};

use crate::tcp;

/// The longest reply that is read, in bytes of each of its frames.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What a connection may bring altogether, in bytes: the handshake, and a header and a body.
const RECEIVED_BYTES_MAX: u64 = 2 * ANSWER_BYTES_MAX as u64 + (64 << 10);
/// How many descriptors and threads ZeroMQ takes for itself, and some to spare.
const CONTEXT_DESCRIPTORS: usize = 16;
const CONTEXT_THREADS: usize = 4;
/// How often is looked whether the reply is still wanted, and how much has come.
const LOOK_EVERY_MS: i64 = 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// ZeroMQ does not take the address, or gives no socket.
    #[error("it cannot be asked: {0}")]
    Socket(#[from] zmq::Error),
    /// The system lacks what ZeroMQ takes.
    #[error("it cannot be asked: {0}")]
    Scarce(#[from] io::Error),
    /// Nothing came in time.
    #[error("it does not answer within {0:?}")]
    Silent(Duration),
    /// More came than an answer can be.
    #[error("its answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// What came is no reply.
    #[error(transparent)]
    Invalid(#[from] InvalidReply),
    /// The connection ended before an answer, cut by the node or for what it brought.
    #[error("its connection ends before an answer")]
    HungUp,
    /// The caller does not wait for the answer any more, or this process ends.
    #[error("the question was given up")]
    GivenUp,
}

/// Asks other nodes. Clones share their connections' thread.
#[derive(Clone, Default)]
pub struct Asker {
    /// ZeroMQ, once it has been started.
    context: Arc<Mutex<Option<zmq::Context>>>,
}

impl Asker {
    /// Asks the node that listens at `host` and `port`, which answers `within` so long or not at all.
    /// Dropping the future gives the question up.
    ///
    /// # Errors
    /// [`AskError`]. Whether the node was asked is not known then.
    pub async fn ask(
        &self,
        (host, port): (&str, u16),
        request: &Request<'_>,
        within: Duration,
    ) -> Result<Content, AskError> {
        let (header, body) = request.encode();
        let question = PendingAsk {
            asker: self.clone(),
            endpoint: match host.contains(':') {
                true => format!("tcp://[{host}]:{port}"),
                false => format!("tcp://{host}:{port}"),
            },
            frames: std::iter::once(header).chain(body).collect(),
            within,
            given_up: Arc::default(),
        };
        let _giving_up = GivingUp(Arc::clone(&question.given_up));
        let asked = tokio::task::spawn_blocking(move || question.ask()).await;
        asked.unwrap_or(Err(AskError::GivenUp))
    }
}

impl Asker {
    /// ZeroMQ, with the threads that it takes. It starts them with its first socket, and ends the process where
    /// the system gives it no thread.
    fn context(&self) -> Result<zmq::Context, AskError> {
        let mut context = lock(&self.context);
        if let Some(started) = &*context {
            return Ok(started.clone());
        }
        resources::descriptors(CONTEXT_DESCRIPTORS)?;
        resources::threads(CONTEXT_THREADS)?;
        let started = zmq::Context::new();
        started.socket(zmq::DEALER)?;
        Ok(context.insert(started).clone())
    }
}

/// Tells the thread that waits for an answer that the caller has gone.
struct GivingUp(Arc<AtomicBool>);

impl Drop for GivingUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A question on its way.
struct PendingAsk {
    asker: Asker,
    endpoint: String,
    frames: Vec<Vec<u8>>,
    within: Duration,
    given_up: Arc<AtomicBool>,
}

impl PendingAsk {
    fn ask(self) -> Result<Content, AskError> {
        let began = Instant::now();
        let (socket, events) = self.connect()?;
        socket.send_multipart(&self.frames, DONTWAIT)?;
        let mut connection = None;
        loop {
            // Looked at before the reply is: what came before the end of a connection is in the queue by then.
            let ended = match change(&events) {
                Some(ConnectionEvent::Connected(fd)) => {
                    connection = Some(fd);
                    false
                }
                Some(ConnectionEvent::Disconnected) => true,
                None => false,
            };
            let mut items = [socket.as_poll_item(PollEvents::POLLIN)];
            match zmq::poll(&mut items, LOOK_EVERY_MS) {
                Ok(0) | Err(zmq::Error::EINTR) => {}
                Ok(_) => return receive(&socket),
                Err(error) => return Err(error.into()),
            }
            if self.given_up.load(Ordering::Relaxed) {
                return Err(AskError::GivenUp);
            }
            if began.elapsed() >= self.within {
                return Err(AskError::Silent(self.within));
            }
            if ended {
                return Err(AskError::HungUp);
            }
            let passed = connection.and_then(|fd| tcp::passed(fd).ok());
            if passed.is_some_and(|passed| passed.received > RECEIVED_BYTES_MAX) {
                return Err(AskError::TooLong);
            }
        }
    }

    /// The socket, and what tells of its connections.
    fn connect(&self) -> Result<(zmq::Socket, zmq::Socket), AskError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let context = self.asker.context()?;
        let socket = context.socket(zmq::DEALER)?;
        socket.set_linger(0)?;
        socket.set_ipv6(true)?;
        socket.set_sndhwm(1)?;
        socket.set_rcvhwm(1)?;
        socket.set_maxmsgsize(ANSWER_BYTES_MAX as i64)?;
        socket.set_zap_domain(ZAP_DOMAIN)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let monitor = format!("inproc://asked-{number}");
        let changes = SocketEvent::CONNECTED as i32 | SocketEvent::DISCONNECTED as i32;
        socket.monitor(&monitor, changes)?;
        let events = context.socket(zmq::PAIR)?;
        events.set_linger(0)?;
        events.connect(&monitor)?;
        socket.connect(&self.endpoint)?;
        Ok((socket, events))
    }
}

/// What became of the socket's connection.
enum ConnectionEvent {
    /// It stands, on this descriptor.
    Connected(RawFd),
    /// It has ended.
    Disconnected,
}

/// The next change of the connection since the last look, if there is one.
fn change(events: &zmq::Socket) -> Option<ConnectionEvent> {
    let frames = events.recv_multipart(DONTWAIT).ok()?;
    let (event, value) = frames.first()?.split_first_chunk::<2>()?;
    if u16::from_ne_bytes(*event) == SocketEvent::DISCONNECTED as u16 {
        return Some(ConnectionEvent::Disconnected);
    }
    value.first_chunk::<4>().map(|fd| ConnectionEvent::Connected(RawFd::from_ne_bytes(*fd)))
}

/// Reads the reply, all of which has come.
fn receive(socket: &zmq::Socket) -> Result<Content, AskError> {
    let header = socket.recv_bytes(DONTWAIT)?;
    let body = if socket.get_rcvmore()? { Some(socket.recv_bytes(DONTWAIT)?) } else { None };
    if socket.get_rcvmore()? {
        return Err(AskError::TooLong);
    }
    Ok(Reply::decode(&header, body.as_deref())?.content)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use kv_core::guard::Context;
    use kv_protocol::request::{Command, Style};

    use super::*;

    fn status() -> Request<'static> {
        let (context, style) = (Context::default(), Style::default());
        Request { id: None, context, style, command: Command::Status }
    }

    async fn ask(port: u16, within: Duration) -> Result<Content, AskError> {
        Asker::default().ask(("127.0.0.1", port), &status(), within).await
    }

    /// What a ROUTER answers with these frames.
    async fn answered(frames: Vec<Vec<u8>>) -> Result<Content, AskError> {
        let context = zmq::Context::new();
        let router = context.socket(zmq::ROUTER).unwrap();
        router.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = router.get_last_endpoint().unwrap().unwrap();
        let port = endpoint.rsplit(':').next().unwrap().parse().unwrap();
        let answering = std::thread::spawn(move || {
            let request = router.recv_multipart(0).unwrap();
            let reply = std::iter::once(request[0].clone()).chain(frames);
            router.send_multipart(reply, 0).unwrap();
            // The frames under way leave before the socket is closed.
            router.set_linger(-1).unwrap();
        });
        let content = ask(port, Duration::from_secs(20)).await;
        answering.join().unwrap();
        content
    }

    #[tokio::test]
    async fn what_is_answered_is_read() {
        let refused = br#"{"error":{"code":"no_layout","message":"no"}}"#.to_vec();
        assert!(matches!(answered(vec![refused]).await, Ok(Content::Refused(_))));
        let nonsense = answered(vec![b"hello".to_vec()]).await;
        assert!(matches!(nonsense, Err(AskError::Invalid(_))), "{nonsense:?}");
        let many = answered(vec![b"{}".to_vec(); 3]).await;
        assert!(matches!(many, Err(AskError::TooLong)), "{many:?}");
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_said_to_be_none() {
        let (asker, request) = (Asker::default(), status());
        let asked = asker.ask(("no address", 1), &request, Duration::from_millis(50)).await;
        assert!(matches!(asked, Err(AskError::Socket(_) | AskError::Silent(_))), "{asked:?}");
    }

    #[tokio::test]
    async fn what_says_nothing_is_waited_for_no_longer_than_allowed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = ask(port, Duration::from_millis(50)).await;
        assert!(matches!(silent, Err(AskError::Silent(_))), "{silent:?}");
    }

    #[tokio::test]
    async fn who_hangs_up_is_waited_for_no_longer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let hanging_up = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let cut = ask(port, Duration::from_secs(60)).await;
        assert!(matches!(cut, Err(AskError::HungUp)), "{cut:?}");
        hanging_up.join().unwrap();
    }

    /// One frame after the other, each within ZeroMQ's own limit, and never the last one. Which of the two bounds
    /// is met first, that of frames or that of bytes, depends on how fast the frames come.
    #[tokio::test]
    async fn a_message_without_an_end_is_not_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let flooding = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut greeting = [0; 64];
            greeting[..12].copy_from_slice(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0");
            greeting[12..16].copy_from_slice(b"NULL");
            peer.write_all(&greeting).unwrap();
            peer.read_exact(&mut [0; 64]).unwrap();
            peer.write_all(b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06ROUTER").unwrap();
            let mut head = [0; 2];
            peer.read_exact(&mut head).unwrap();
            peer.read_exact(&mut vec![0; usize::from(head[1])]).unwrap();
            let mut frame = vec![3, 0, 0, 0, 0, 0, 8, 0, 0];
            frame.resize(9 + (512 << 10), b'x');
            let mut sent = 0_u64;
            while peer.write_all(&frame).is_ok() {
                sent += frame.len() as u64;
            }
            sent
        });
        let flood = ask(port, Duration::from_secs(60)).await;
        assert!(matches!(flood, Err(AskError::TooLong | AskError::HungUp)), "{flood:?}");
        assert!(flooding.join().unwrap() >= RECEIVED_BYTES_MAX);
    }
}
