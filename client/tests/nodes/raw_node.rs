//! A node that speaks ZeroMQ's own protocol over plain TCP, for answers that no library would send.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use kv_core::limits::VALUE_BYTES_MAX_CEILING;
use kv_protocol::request::Request;

use kv_testkit::zmtp::{COMMAND, MORE, greeting, read_frame, ready};

/// A node on threads of its own, one for each connection. They end with its handle.
pub(crate) struct RawNode {
    port: u16,
    streams: Arc<Mutex<Option<Vec<TcpStream>>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl RawNode {
    /// Starts a node on a free port. The script is told the first request of each connection, and the
    /// connection's number from 0, and writes what it likes until writing fails.
    pub(crate) fn start(
        script: impl Fn(&mut TcpStream, &Request<'_>, usize) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let streams = Arc::new(Mutex::new(Some(Vec::new())));
        let (shared, script) = (Arc::clone(&streams), Arc::new(script));
        let acceptor = std::thread::spawn(move || {
            let mut serving = Vec::new();
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                match &mut *shared.lock().unwrap() {
                    Some(streams) => streams.push(stream.try_clone().unwrap()),
                    None => break,
                }
                let script = Arc::clone(&script);
                serving.push(std::thread::spawn(move || {
                    // The client may go away at any time.
                    let Some(frames) = first_message(&mut stream) else { return };
                    let body = frames.get(1).map(Vec::as_slice);
                    let request = Request::decode(&frames[0], body, VALUE_BYTES_MAX_CEILING);
                    script(&mut stream, &request.unwrap(), number);
                }));
            }
            serving.into_iter().for_each(|thread| thread.join().unwrap());
        });
        Self { port, streams, acceptor: Some(acceptor) }
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for RawNode {
    fn drop(&mut self) {
        for stream in self.streams.lock().unwrap().take().into_iter().flatten() {
            // It fails where the client was faster.
            let _ = stream.shutdown(Shutdown::Both);
        }
        // So that the acceptor looks.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let ended = self.acceptor.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// Shakes hands as a ROUTER, and reads the frames of the first message, without a delimiter.
fn first_message(stream: &mut TcpStream) -> Option<Vec<Vec<u8>>> {
    let mut greeting = greeting();
    stream.write_all(&greeting).ok()?;
    stream.read_exact(&mut greeting).ok()?;
    stream.write_all(&ready(&[("Socket-Type", b"ROUTER")])).ok()?;
    let mut frames = Vec::new();
    loop {
        let (flags, bytes) = read_frame(stream).ok()?;
        if flags & COMMAND == 0 && (!bytes.is_empty() || !frames.is_empty()) {
            frames.push(bytes);
        }
        if flags & (COMMAND | MORE) == 0 {
            return Some(frames);
        }
    }
}
