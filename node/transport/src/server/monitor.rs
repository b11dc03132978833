//! When connections begin and end, as ZeroMQ tells it.
//!
//! ZeroMQ's thread tells of a connection before it takes the first byte from it, and of its end before the
//! socket hears of it. So who looks here after a message has come knows of the message's connection.

use std::os::fd::RawFd;

use zmq::{DONTWAIT, SocketEvent};

const ENDPOINT: &str = "inproc://connections";

/// What happened on the connection with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It was accepted.
    Accepted(RawFd),
    /// It is gone, and its descriptor may be another's from now on.
    Disconnected(RawFd),
}

/// What happens on a socket's connections.
pub(super) struct Monitor {
    events: zmq::Socket,
}

impl Monitor {
    /// Watches the connections of `socket`. It has to be done before the socket listens.
    pub(super) fn watch(context: &zmq::Context, socket: &zmq::Socket) -> Result<Self, zmq::Error> {
        let wanted = SocketEvent::ACCEPTED as i32 | SocketEvent::DISCONNECTED as i32;
        socket.monitor(ENDPOINT, wanted)?;
        let events = context.socket(zmq::PAIR)?;
        // ZeroMQ's thread would wait for room, and all connections for it. There are no more events than two for
        // each descriptor and turn of the loop.
        events.set_rcvhwm(0)?;
        events.connect(ENDPOINT)?;
        Ok(Self { events })
    }

    /// The next thing that happened, if any.
    pub(super) fn next(&self) -> Option<Event> {
        loop {
            let frames = self.events.recv_multipart(DONTWAIT).ok()?;
            let parts = frames.first().and_then(|frame| {
                let (event, rest) = frame.split_first_chunk::<2>()?;
                Some((u16::from_ne_bytes(*event), RawFd::from_ne_bytes(*rest.first_chunk::<4>()?)))
            });
            match parts {
                Some((event, fd)) if event == SocketEvent::ACCEPTED as u16 => {
                    return Some(Event::Accepted(fd));
                }
                Some((event, fd)) if event == SocketEvent::DISCONNECTED as u16 => {
                    return Some(Event::Disconnected(fd));
                }
                _ => {}
            }
        }
    }
}
