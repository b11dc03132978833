//! Asking which process answers at a node's address.
//!
//! A node that starts asks whether another process serves as the same node. Only a process that answers
//! is certain to live, and only an address where no process listens, or one that is no node, is certain not
//! to be the node's.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use kv_core::guard::Context;
use kv_protocol::reply::{Content, NodeStatus};
use kv_protocol::request::{Command, Request, Style};

use super::ask::Asker;

/// How long each step of a probe may take: to connect, to be greeted, to be answered.
const STEP_MAX: Duration = Duration::from_secs(2);
/// What every ZeroMQ peer sends first.
const GREETING: u8 = 0xff;

/// What was found at an address.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A node, which says this of itself.
    Node(Box<NodeStatus>),
    /// No process, or one that is no node.
    Nobody,
    /// Something that does not answer, or that cannot be reached from here: it may be a node that hangs.
    Silence,
}

/// Asks which process is at `host` and `port`. It takes some seconds at most, and longer where the system is slow to
/// look a name up.
pub async fn probe(asker: &Asker, host: &str, port: u16) -> Found {
    let bare =
        host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host).to_owned();
    let greeted = tokio::task::spawn_blocking(move || greeted(&bare, port)).await;
    let Ok(Greeted { by, mut is_silent }) = greeted else { return Found::Silence };
    for address in by {
        match ask(asker, address).await {
            Some(status) => return Found::Node(Box::new(status)),
            None => is_silent = true,
        }
    }
    if is_silent { Found::Silence } else { Found::Nobody }
}

/// What connections to a name came to.
struct Greeted {
    /// The addresses at which a ZeroMQ peer is.
    by: Vec<SocketAddr>,
    /// Whether there is another one at which something is that says nothing.
    is_silent: bool,
}

fn greeted(host: &str, port: u16) -> Greeted {
    let (mut by, mut is_silent) = (Vec::new(), false);
    // A name that this machine does not know may be known elsewhere.
    let Ok(addresses) = (host, port).to_socket_addrs() else {
        return Greeted { by, is_silent: true };
    };
    // A name may stand for an address of each family.
    for address in addresses.take(2) {
        match is_greeted(address) {
            Ok(true) => by.push(address),
            Ok(false) => {}
            Err(error) if is_refusal(&error) => {}
            Err(_) => is_silent = true,
        }
    }
    Greeted { by, is_silent }
}

/// Whether the error says that no process is there, or none behind the one that takes connections.
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

/// Asks the node at `address` for its status; `None` where it does not answer in time, or not in a way
/// that is understood.
async fn ask(asker: &Asker, address: SocketAddr) -> Option<NodeStatus> {
    let (context, style) = (Context::default(), Style::default());
    let request = Request { id: None, context, style, command: Command::Status };
    let host = address.ip().to_string();
    match asker.ask((&host, address.port()), &request, STEP_MAX).await {
        Ok(Content::Status(status)) => Some(*status),
        Ok(_) | Err(_) => None,
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

    #[tokio::test]
    async fn where_nobody_listens_is_nobody() {
        let (gone, port) = listener();
        drop(gone);
        assert_eq!(probe(&Asker::default(), "127.0.0.1", port).await, Found::Nobody);
    }

    #[tokio::test]
    async fn who_closes_or_greets_otherwise_is_no_node() {
        for greeting in [&b""[..], b"SSH-2.0"] {
            let (listener, port) = listener();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(greeting).unwrap();
            });
            assert_eq!(probe(&Asker::default(), "127.0.0.1", port).await, Found::Nobody);
            server.join().unwrap();
        }
    }

    #[tokio::test]
    async fn who_takes_connections_and_says_nothing_may_be_a_node_that_hangs() {
        let (_listener, port) = listener();
        assert_eq!(probe(&Asker::default(), "[127.0.0.1]", port).await, Found::Silence);
        assert_eq!(probe(&Asker::default(), "no such host", port).await, Found::Silence);
    }
}
