//! A plain ZeroMQ client that knows nothing of the protocol: what any language's binding can do.

use std::time::Duration;

use serde_json::Value;

/// How long a reply may take.
pub const REPLY_WITHIN: Duration = Duration::from_secs(30);

/// A socket that is connected to one node.
pub struct Peer {
    socket: zmq::Socket,
    // Dropped after the socket, which it must outlive.
    _context: zmq::Context,
}

impl Peer {
    /// A REQ socket.
    pub fn req(endpoint: &str) -> Self {
        Self::connect_with(zmq::REQ, endpoint, |_| Ok(()))
    }

    /// A DEALER socket.
    pub fn dealer(endpoint: &str) -> Self {
        Self::connect_with(zmq::DEALER, endpoint, |_| Ok(()))
    }

    /// A socket of this kind, with what `set` sets before it connects.
    pub fn connect_with(
        kind: zmq::SocketType,
        endpoint: &str,
        set: impl FnOnce(&zmq::Socket) -> zmq::Result<()>,
    ) -> Self {
        let context = zmq::Context::new();
        let socket = context.socket(kind).expect("a socket can be made");
        let reply_ms = i32::try_from(REPLY_WITHIN.as_millis()).expect("it is short");
        socket.set_rcvtimeo(reply_ms).expect("the socket takes a timeout");
        socket.set_sndtimeo(reply_ms).expect("the socket takes a timeout");
        // What a test has sent and no longer cares for must not keep it.
        socket.set_linger(0).expect("the socket takes a linger time");
        set(&socket).expect("the socket takes what is set");
        socket.connect(endpoint).unwrap_or_else(|error| panic!("{endpoint}: {error}"));
        Self { socket, _context: context }
    }

    /// Sends one message.
    #[track_caller]
    pub fn send(&self, frames: &[&[u8]]) {
        self.socket.send_multipart(frames, 0).expect("the node takes messages");
    }

    /// Receives one message.
    ///
    /// # Panics
    /// No message comes in time.
    #[track_caller]
    pub fn receive(&self) -> Vec<Vec<u8>> {
        self.receive_within(REPLY_WITHIN).expect("the node answers")
    }

    /// Receives one message; `None` if no message comes in time.
    #[track_caller]
    pub fn receive_within(&self, time: Duration) -> Option<Vec<Vec<u8>>> {
        let timeout_ms = i64::try_from(time.as_millis()).expect("it is short");
        let events = self.socket.poll(zmq::POLLIN, timeout_ms).expect("the socket can be polled");
        (events > 0).then(|| self.socket.recv_multipart(0).expect("a message is there"))
    }

    /// Sends a message and receives the reply.
    ///
    /// # Panics
    /// No reply comes in time.
    #[track_caller]
    pub fn ask_frames(&self, frames: &[&[u8]]) -> Vec<Vec<u8>> {
        self.send(frames);
        self.receive()
    }

    /// Sends a header without a body and receives a reply of the same kind.
    ///
    /// # Panics
    /// Where the reply is not one frame of text.
    #[track_caller]
    pub fn ask(&self, header: &str) -> String {
        let mut frames = self.ask_frames(&[header.as_bytes()]);
        assert_eq!(frames.len(), 1, "a reply without a body is one frame: {frames:?}");
        String::from_utf8(frames.remove(0)).expect("a header is text")
    }

    /// Like [`Peer::ask`], with the reply as JSON.
    ///
    /// # Panics
    /// Where the reply is not one frame of JSON.
    #[track_caller]
    pub fn ask_json(&self, header: &str) -> Value {
        parse(&self.ask_frames(&[header.as_bytes()])[0])
    }

    /// The error code of the reply to a message.
    ///
    /// # Panics
    /// Where the reply is not exactly an error with a message.
    #[track_caller]
    pub fn refusal(&self, frames: &[&[u8]]) -> String {
        let mut reply = self.ask_frames(frames);
        if frames[0].is_empty() {
            assert!(reply.remove(0).is_empty(), "a delimiter is mirrored");
        }
        assert_eq!(reply.len(), 1, "a refusal is one frame: {reply:?}");
        let reply = parse(&reply[0]);
        let error = &reply["error"];
        let message = error["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "a refusal has a message: {reply}");
        let code = error["code"].as_str();
        code.unwrap_or_else(|| panic!("a refusal has a code: {reply}")).to_owned()
    }
}

/// A header as JSON.
///
/// # Panics
/// Where it is not.
#[track_caller]
pub fn parse(header: &[u8]) -> Value {
    serde_json::from_slice(header)
        .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(header)))
}
