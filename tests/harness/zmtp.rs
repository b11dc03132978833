//! ZeroMQ's own protocol over a plain TCP connection, for peers that no library would let misbehave.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// How long one read or write may take.
const IO_WITHIN: Duration = Duration::from_secs(20);

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// A peer that writes its own bytes.
pub(crate) struct RawPeer {
    stream: TcpStream,
}

impl RawPeer {
    /// Connects and says nothing.
    ///
    /// # Panics
    /// Where the node does not listen.
    #[track_caller]
    pub(crate) fn connect(address: &str) -> Self {
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
    pub(crate) fn dealer(address: &str) -> Self {
        Self::dealer_of(address, 0, b"")
    }

    /// Connects and shakes hands as a DEALER of version 3.`minor` that claims `routing_id`; an empty
    /// one is none.
    ///
    /// # Panics
    /// Where the node does not shake hands.
    #[track_caller]
    pub(crate) fn dealer_of(address: &str, minor: u8, routing_id: &[u8]) -> Self {
        let mut peer = Self::connect(address);
        let mut greeting = greeting();
        greeting[11] = minor;
        peer.write(&greeting).expect("the node takes a greeting");
        peer.read_exactly(64).expect("the node greets");
        peer.write(&ready(routing_id)).expect("the node takes a command");
        let (flags, _) = peer.read_frame().expect("the node is ready");
        assert_eq!(flags, COMMAND, "the node's first frame is its READY");
        peer
    }

    /// The port of its own end.
    ///
    /// # Panics
    /// Where the connection is gone.
    pub(crate) fn local_port(&self) -> u16 {
        self.stream.local_addr().expect("it is connected").port()
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The node has closed the connection, or reads no more.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes a frame that is followed by others of its message.
    ///
    /// # Errors
    /// As [`RawPeer::write`].
    pub(crate) fn write_part(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(&part(bytes))
    }

    /// Writes the last frame of a message.
    ///
    /// # Errors
    /// As [`RawPeer::write`].
    pub(crate) fn write_last(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(&frame(0, bytes))
    }

    /// Reads a frame: its flags, and what is in it.
    ///
    /// # Errors
    /// The node has closed the connection, or sends nothing in time.
    pub(crate) fn read_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let flags = self.read_exactly(1)?[0];
        let length = if flags & LONG == 0 {
            u64::from(self.read_exactly(1)?[0])
        } else {
            let bytes = self.read_exactly(8)?;
            u64::from_be_bytes(*bytes.first_chunk().expect("there are eight"))
        };
        let length = usize::try_from(length).map_err(io::Error::other)?;
        Ok((flags, self.read_exactly(length)?))
    }

    /// Breaks the connection in a way that the node's system reports as an error.
    ///
    /// # Panics
    /// Where the system refuses.
    pub(crate) fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .expect("a connection may be closed at once");
    }

    /// Whether the node closes the connection in time.
    pub(crate) fn is_closed_by_node(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }

    fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        // It fails where the node was faster.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// What a peer of version 3.0 without security says first.
pub(crate) fn greeting() -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

/// A frame that is followed by others of its message.
pub(crate) fn part(bytes: &[u8]) -> Vec<u8> {
    frame(MORE, bytes)
}

/// The head of a frame that claims to have `length` bytes.
pub(crate) fn head_of_long_frame(length: u64) -> Vec<u8> {
    let mut head = vec![LONG];
    head.extend_from_slice(&length.to_be_bytes());
    head
}

/// A command: its name, and what follows it.
pub(crate) fn command(name: &str, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![u8::try_from(name.len()).expect("names are short")];
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(rest);
    frame(COMMAND, &body)
}

fn ready(routing_id: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in [("Socket-Type", &b"DEALER"[..]), ("Identity", routing_id)] {
        body.push(u8::try_from(name.len()).expect("names are short"));
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&u32::try_from(value.len()).expect("it is short").to_be_bytes());
        body.extend_from_slice(value);
    }
    command("READY", &body)
}

/// A frame; one that is the last of its message has no flags.
pub(crate) fn frame(flags: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = match u8::try_from(bytes.len()) {
        Ok(length) => vec![flags, length],
        Err(_) => {
            let mut head = head_of_long_frame(bytes.len() as u64);
            head[0] |= flags;
            head
        }
    };
    frame.extend_from_slice(bytes);
    frame
}
