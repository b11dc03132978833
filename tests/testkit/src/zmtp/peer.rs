//! A client's end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::{COMMAND, frame, greeting, part, read_frame, ready};

/// How long one read or write may take.
const IO_WITHIN: Duration = Duration::from_secs(20);

/// A peer that writes its own bytes.
pub struct RawPeer {
    stream: TcpStream,
}

impl RawPeer {
    /// Connects and says nothing.
    ///
    /// # Panics
    /// Where the node does not listen.
    #[track_caller]
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the node listens");
        stream.set_read_timeout(Some(IO_WITHIN)).expect("the timeout is not zero");
        stream.set_write_timeout(Some(IO_WITHIN)).expect("the timeout is not zero");
        stream.set_nodelay(true).expect("TCP can do without delay");
        Self { stream }
    }

    /// Connects and shakes hands as a DEALER of version 3.0.
    ///
    /// # Panics
    /// Where the node does not shake hands.
    #[track_caller]
    pub fn dealer(address: &str) -> Self {
        Self::dealer_of(address, 0, b"")
    }

    /// Connects and shakes hands as a DEALER of version 3.`minor` that claims `routing_id`, or none if that
    /// is empty.
    ///
    /// # Panics
    /// Where the node does not shake hands.
    #[track_caller]
    pub fn dealer_of(address: &str, minor: u8, routing_id: &[u8]) -> Self {
        let mut peer = Self::connect(address);
        let mut greeting = greeting();
        greeting[11] = minor;
        peer.write(&greeting).expect("the node takes a greeting");
        peer.stream.read_exact(&mut greeting).expect("the node greets");
        let about = [("Socket-Type", &b"DEALER"[..]), ("Identity", routing_id)];
        peer.write(&ready(&about)).expect("the node takes a command");
        let (flags, _) = peer.read_frame().expect("the node is ready");
        assert_eq!(flags, COMMAND, "the node's first frame is its READY");
        peer
    }

    /// The port of its own end.
    ///
    /// # Panics
    /// Where the connection is gone.
    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().expect("it is connected").port()
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The node has closed the connection, or reads no more.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes a frame that is followed by others of its message.
    ///
    /// # Errors
    /// As [`RawPeer::write`].
    pub fn write_part(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(&part(bytes))
    }

    /// Writes the last frame of a message.
    ///
    /// # Errors
    /// As [`RawPeer::write`].
    pub fn write_last(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(&frame(0, bytes))
    }

    /// Reads a frame: its flags and its body.
    ///
    /// # Errors
    /// The node has closed the connection, or sends nothing in time.
    pub fn read_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        read_frame(&mut self.stream)
    }

    /// Breaks the connection in a way that the node's system reports as an error.
    ///
    /// # Panics
    /// Where the system refuses.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .expect("a connection may be closed at once");
    }

    /// Whether the node closes the connection in time.
    pub fn is_closed_by_node(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        // It fails where the node was faster.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
