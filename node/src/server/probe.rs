//! Asking what answers at a node's address.
//!
//! A node that starts asks whether another process serves as the same node. Only a process that answers
//! is certain to live, and only an address where nobody listens, or somebody else does, is certain not to
//! be the node's.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use kv_protocol::frame::Payload;
use kv_protocol::limits::FRAME_BYTES_MAX;
use kv_protocol::reply::{Content, NodeStatus, Reply};
use kv_protocol::request::{Command, Context, Request, Style};

/// How long each step of a probe may take: to connect, to be greeted, to be answered.
const STEP_MAX: Duration = Duration::from_secs(2);
/// What every ZeroMQ peer sends first.
const GREETING: u8 = 0xff;

/// What is at an address.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A node, which says this of itself.
    Node(Box<NodeStatus>),
    /// Nobody, or something that is no node.
    Nobody,
    /// Something that does not answer, or that cannot be reached from here: it may be a node that hangs.
    Silence,
}

/// Asks what is at `host` and `port`. It blocks for some seconds at most, and longer where the system is
/// slow to look a name up.
#[must_use]
pub fn probe(host: &str, port: u16) -> Found {
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    // A name that nobody knows here may be known elsewhere.
    let Ok(addresses) = (bare, port).to_socket_addrs() else { return Found::Silence };
    let mut is_silent = false;
    // A name may stand for an address of each family.
    for address in addresses.take(2) {
        match is_greeted(address) {
            Ok(true) => match ask(address) {
                Ok(Some(status)) => return Found::Node(Box::new(status)),
                Ok(None) | Err(_) => is_silent = true,
            },
            Ok(false) => {}
            Err(error) if is_refusal(&error) => {}
            Err(_) => is_silent = true,
        }
    }
    if is_silent { Found::Silence } else { Found::Nobody }
}

/// Whether the error says that nobody is there, or that nobody is behind it.
fn is_refusal(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// Whether a ZeroMQ peer is at `address`. The kernel takes connections for a process that hangs, too,
/// but does not greet.
fn is_greeted(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, STEP_MAX)?;
    stream.set_read_timeout(Some(STEP_MAX))?;
    let mut first = [0];
    Ok(stream.read(&mut first)? == 1 && first[0] == GREETING)
}

/// Asks the node at `address` for its status; none where there is no answer in time, or none that is
/// understood.
fn ask(address: SocketAddr) -> Result<Option<NodeStatus>, zmq::Error> {
    let step_ms = i32::try_from(STEP_MAX.as_millis()).unwrap_or(i32::MAX);
    let context = zmq::Context::new();
    let dealer = context.socket(zmq::DEALER)?;
    dealer.set_ipv6(address.is_ipv6())?;
    dealer.set_linger(0)?;
    dealer.set_maxmsgsize(FRAME_BYTES_MAX as i64)?;
    dealer.set_sndtimeo(step_ms)?;
    dealer.set_rcvtimeo(step_ms)?;
    dealer.connect(&format!("tcp://{address}"))?;
    let (context, style) = (Context::default(), Style::default());
    let (header, _) = Request { id: None, context, style, command: Command::Status }.encode();
    dealer.send_multipart([header], 0)?;
    let Ok(payload) = Payload::open(dealer.recv_multipart(0)?) else { return Ok(None) };
    match Reply::decode(&payload.header, payload.body.as_deref()).map(|reply| reply.content) {
        Ok(Content::Status(status)) => Ok(Some(*status)),
        Ok(_) | Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[test]
    fn where_nobody_listens_is_nobody() {
        let (gone, port) = listener();
        drop(gone);
        assert_eq!(probe("127.0.0.1", port), Found::Nobody);
    }

    #[test]
    fn who_closes_or_greets_otherwise_is_no_node() {
        for greeting in [&b""[..], b"SSH-2.0"] {
            let (listener, port) = listener();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(greeting).unwrap();
            });
            assert_eq!(probe("127.0.0.1", port), Found::Nobody);
            server.join().unwrap();
        }
    }

    #[test]
    fn who_takes_connections_and_says_nothing_may_be_a_node_that_hangs() {
        let (_listener, port) = listener();
        assert_eq!(probe("[127.0.0.1]", port), Found::Silence);
        assert_eq!(probe("no such host", port), Found::Silence);
    }
}
