//! The serving loop: one thread, one ROUTER socket, and the [`Service`] that answers.
//!
//! - here: the loop. A request is carried out as it comes, unless its peer has much to read,
//!   or much at the writer: then it is held back, with all that follow it, so that no reply is ever dropped
//!   for want of room, and replies stay in their order;
//! - `connections`: which peer asked, which reads, and which has to be cut; `connection`: what waits for one
//!   peer; `traffic`: the bytes of one connection; `excess`: which has too much; [`bounds`] and
//!   [`limits`]: how much that is;
//! - `listen`: the socket; `replies`: sending them;
//! - [`service`]: what the loop asks of the node that answers; `monitor`: what ZeroMQ tells of connections.

pub mod bounds;
mod connection;
mod connections;
mod excess;
pub mod limits;
mod listen;
mod monitor;
mod replies;
pub mod service;
mod traffic;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kv_core::limits::FRAMES_MAX;
use kv_core::refusal::{ErrorCode, Refusal, shutting_down};
use kv_protocol::frame::{Payload, is_probe, split_envelope};
use kv_system::wake::Wake;
use tokio::sync::watch;
use tracing::warn;
use zmq::{DONTWAIT, PollEvents, PollItem};

use self::bounds::Bounds;
use self::connection::{ConnectionId, Incoming};
use self::connections::{Connections, Standing};
pub use self::listen::{ListenError, PORTS, PortChoice};
use self::service::{Disposition, Service, refuse};
use self::traffic::wire_bytes;
use crate::own_io::OwnIo;
use crate::spin_wait::SpinWait;

/// How many messages are taken in before replies are sent again.
const MESSAGES_PER_TURN: usize = 256;
/// How long messages are waited for, and how long they are taken in: the loop turns at least this
/// often or so, to show that it is alive and to see that it shall stop.
const TURN_MAX: Duration = Duration::from_millis(100);
/// When it stops, the loop waits this long for the writer to finish what was taken.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// When it stops, the loop goes on refusing requests that were on their way for this long...
const REFUSE_FOR: Duration = Duration::from_millis(100);
/// ...or until none has come for this long.
const QUIET_FOR: Duration = Duration::from_millis(30);
/// When it stops, replies that find no room in ZeroMQ's queues have this long for it.
const READ_FOR: Duration = Duration::from_secs(1);
/// The frames of most messages: a delimiter, a header, a body.
const FRAMES_USUAL: usize = 3;

/// Where a reply goes to.
pub struct Peer {
    /// The connection that asked; `None` where it is gone.
    connection: Option<ConnectionId>,
    /// What its socket put before the request, and wants back.
    envelope: Vec<zmq::Message>,
}

/// A socket that listens.
pub struct Server {
    router: zmq::Socket,
    port: u16,
    connections: Connections,
    /// Whether requests are refused, because the node stops.
    is_stopping: bool,
    // Dropped before the context, which waits for what its I/O thread has to do.
    io: OwnIo,
    // Dropped after the socket, which it must outlive.
    _context: zmq::Context,
}

impl Server {
    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Serves until `stop` is set and all that was taken is answered.
    ///
    /// # Errors
    /// Where the writer is gone, or ZeroMQ fails in a way that no peer can cause.
    pub fn run<S: Service>(
        mut self,
        service: &mut S,
        finished: &flume::Receiver<S::Finished>,
        wake: &Wake,
        alive: &watch::Sender<()>,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        let mut spin_wait = SpinWait::default();
        while !stop.load(Ordering::Acquire) {
            let began = Instant::now();
            // What is seen awake need not be waited for once more.
            if spin_wait.wait(|| self.has_news(finished)) {
                if !finished.is_empty() {
                    wake.lower();
                }
                self.io.waited(began);
            } else {
                self.sleep(wake, TURN_MAX, began)?;
            }
            self.take_messages(service)?;
            self.connections.look();
            self.send_finished(service, finished);
            if self.send_waiting(service) {
                self.send_finished(service, finished);
            }
            service.note_unread(self.connections.unread());
            if service.is_gone() {
                // Its last words came before its end.
                self.send_finished(service, finished);
                return Err(io::Error::other("the writer has ended"));
            }
            if !service.hangs() {
                alive.send_replace(());
            }
        }
        self.drain(service, finished, wake)
    }

    /// Whether there is a message, or something is finished.
    fn has_news<F>(&mut self, finished: &flume::Receiver<F>) -> bool {
        self.io.work();
        !finished.is_empty()
            || self.router.get_events().is_ok_and(|events| events.contains(PollEvents::POLLIN))
    }

    /// Waits asleep until there is something to do, as it has awake since it `began` to.
    fn sleep(&mut self, wake: &Wake, timeout: Duration, began: Instant) -> io::Result<()> {
        let io_ms = self.io.work().unwrap_or(i64::MAX);
        let mut items = vec![
            self.router.as_poll_item(PollEvents::POLLIN),
            PollItem::from_fd(wake.raw_fd(), PollEvents::POLLIN),
        ];
        items.extend(self.io.fd().map(|fd| PollItem::from_fd(fd, PollEvents::POLLIN)));
        let timeout = self.connections.sleep_max(timeout).as_micros().div_ceil(1000);
        let timeout_ms = i64::try_from(timeout).unwrap_or(i64::MAX).min(io_ms);
        match zmq::poll(&mut items, timeout_ms) {
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Lowered before the results are looked at, so that none is missed.
        wake.lower();
        drop(items);
        self.io.work();
        self.io.waited(began);
        Ok(())
    }

    /// Takes messages in. Returns whether there were any.
    fn take_messages<S: Service>(&mut self, service: &mut S) -> io::Result<bool> {
        let started = Instant::now();
        let mut were_there = false;
        for _ in 0..MESSAGES_PER_TURN {
            if started.elapsed() >= TURN_MAX {
                break;
            }
            let Some(message) = self.receive()? else { break };
            were_there = true;
            let is_busy = service.is_busy();
            match message.connection.map(|id| (id, self.connections.standing(id, is_busy))) {
                Some((id, Standing::Waits)) => self.hold(id, message, service),
                Some((id, Standing::Cut)) => self.connections.took(id, message.bytes),
                Some((_, Standing::Ready)) | None => self.carry_out(message, service),
            }
        }
        Ok(were_there)
    }

    /// Holds a message back, or, where too many bytes are held back, the answer that it has to come again.
    fn hold<S: Service>(&mut self, id: ConnectionId, mut message: Incoming, service: &S) {
        if !self.connections.can_hold(id, message.bytes) && !is_probe(&message.frames) {
            let (envelope, frames) = split_envelope(message.frames);
            let refused = match Payload::open(frames) {
                Ok(payload) => {
                    refuse(service.id_of(&payload), requests_held(self.connections.bounds()))
                }
                Err(refusal) => refuse(None, refusal),
            };
            // The frames that are dropped count as taken now, and the envelope, which stays, in its turn.
            let bytes = envelope.iter().map(|frame| wire_bytes(frame)).sum();
            self.connections.took(id, message.bytes - bytes);
            message = Incoming { frames: envelope, bytes, refused: Some(refused), ..message };
        }
        self.connections.hold(id, message);
    }

    /// Has a message answered, now or later.
    fn carry_out<S: Service>(&mut self, message: Incoming, service: &mut S) {
        let Incoming { connection, frames, bytes, refused } = message;
        if let Some(id) = connection {
            self.connections.took(id, bytes);
        }
        if let Some(refused) = refused {
            return self.send(Peer { connection, envelope: frames }, refused);
        }
        if is_probe(&frames) {
            return;
        }
        let (envelope, frames) = split_envelope(frames);
        let peer = Peer { connection, envelope };
        match Payload::open(frames) {
            Ok(payload) if self.is_stopping => {
                let id = service.id_of(&payload);
                self.send(peer, refuse(id, shutting_down()));
            }
            Ok(payload) => {
                let room = self.connections.room();
                match service.take(peer, &payload, room) {
                    Disposition::Answered(peer, frames) => self.send(peer, frames),
                    Disposition::Pending => self.connections.began(connection, false),
                    Disposition::PendingAlone => self.connections.began(connection, true),
                }
            }
            Err(refusal) => self.send(peer, refuse(None, refusal)),
        }
    }

    /// The next message, if there is one.
    fn receive(&mut self) -> io::Result<Option<Incoming>> {
        let routing_id = match self.router.recv_msg(DONTWAIT) {
            Ok(routing_id) => routing_id,
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut connection = None;
        let mut frames: Vec<zmq::Message> = Vec::with_capacity(FRAMES_USUAL);
        let (mut bytes, mut more) = (0, routing_id.get_more());
        while more {
            let mut frame = match self.router.recv_msg(DONTWAIT) {
                Ok(frame) => frame,
                // The rest of a message is there once its first frame is.
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            more = frame.get_more();
            bytes += wire_bytes(&frame);
            if frames.is_empty() {
                connection = self.connections.of_message(&routing_id, &mut frame);
            }
            // One frame too many is kept, for the error; the rest of an overlong message is not.
            if frames.len() <= FRAMES_MAX {
                frames.push(frame);
            }
        }
        Ok(Some(Incoming { connection, frames, bytes, refused: None }))
    }

    /// Sends replies that found no room before, and has requests carried out that were held back until
    /// their peers had read on. Returns whether there may have been any.
    fn send_waiting<S: Service>(&mut self, service: &mut S) -> bool {
        let due = self.connections.due(Instant::now());
        if due.is_empty() {
            return false;
        }
        let started = Instant::now();
        let mut looked_at = Vec::with_capacity(due.len());
        for id in due {
            if started.elapsed() >= TURN_MAX {
                break;
            }
            let mut has_moved = self.send_outbox(id);
            for _ in 0..MESSAGES_PER_TURN {
                let request = self.connections.release(id, service.is_busy());
                let Some(request) = request else { break };
                self.carry_out(request, service);
                has_moved = true;
            }
            looked_at.push((id, has_moved));
        }
        self.connections.settle(&looked_at, Instant::now());
        true
    }

    /// Answers what was taken and refuses what still comes in.
    fn drain<S: Service>(
        &mut self,
        service: &mut S,
        finished: &flume::Receiver<S::Finished>,
        wake: &Wake,
    ) -> io::Result<()> {
        let started = Instant::now();
        let mut came_at = started;
        self.is_stopping = true;
        while service.pending() > 0
            || (started.elapsed() < REFUSE_FOR && came_at.elapsed() < QUIET_FOR)
            || (self.connections.has_outbox() && started.elapsed() < READ_FOR)
        {
            if started.elapsed() > DRAIN_MAX {
                warn!("stopping with {} requests unanswered", service.pending());
                break;
            }
            self.sleep(wake, QUIET_FOR, Instant::now())?;
            if self.take_messages(service)? {
                came_at = Instant::now();
            }
            self.send_finished(service, finished);
            if self.send_waiting(service) {
                self.send_finished(service, finished);
            }
        }
        Ok(())
    }
}

/// The refusal of a request that came when too much was held back before it.
fn requests_held(bounds: &Bounds) -> Refusal {
    Refusal::new(
        ErrorCode::Overloaded,
        format!(
            "{} MiB of requests of this connection, or {} MiB of all, were waiting before this one: try again when some are answered",
            bounds.held_bytes_max >> 20,
            bounds.held_bytes_total_max >> 20
        ),
    )
}

/// A flag by which another thread ends [`Server::run`].
pub type Stop = Arc<AtomicBool>;
