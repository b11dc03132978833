//! One connection: its peer's name, its requests under way, and the replies that wait for the peer to read.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::limits::PENDING_REQUESTS_MAX;
use super::service::Frames;
use super::traffic::{Traffic, wire_bytes};
use crate::tcp;

/// A connection that waits is looked at after this long first, and then ever more seldom while nothing
/// changes.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// A connection whose requests wait for the writer is looked at when so many are left.
const RESUMED_AT: u32 = PENDING_REQUESTS_MAX / 2;

/// A connection's number. Unlike a descriptor, it is never given twice.
pub(super) type ConnectionId = u64;

pub(super) struct Incoming {
    /// The connection that it came on; `None` where that is gone, and no peer waits for the answer.
    pub(super) connection: Option<ConnectionId>,
    /// Its frames, after the routing id; of one that is refused, the envelope.
    pub(super) frames: Vec<zmq::Message>,
    /// What these had on the wire, in bytes.
    pub(super) bytes: u64,
    /// The refusal that is sent in its turn, where it is not carried out.
    pub(super) refused: Option<Frames>,
}

/// A reply that has not been given to ZeroMQ.
pub(super) struct Outgoing {
    /// The request's envelope.
    pub(super) envelope: Vec<zmq::Message>,
    /// Header and body.
    pub(super) frames: Frames,
}

impl Outgoing {
    /// What it has on the wire, in bytes.
    pub(super) fn wire_bytes(&self) -> u64 {
        let (header, body) = &self.frames;
        let envelope = self.envelope.iter().map(|frame| wire_bytes(frame)).sum::<u64>();
        envelope + wire_bytes(header) + body.as_ref().map_or(0, |body| wire_bytes(body))
    }
}

/// Whether a connection is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// This node has cut it. What still comes from it is dropped.
    Cut,
    /// It has ended. What came before is carried out, and not answered.
    Gone,
}

pub(super) struct Connection {
    /// Its descriptor, while it is not gone.
    pub(super) fd: RawFd,
    /// How the socket names its peer; empty until its first message has come.
    pub(super) routing_id: Box<[u8]>,
    pub(super) state: State,
    pub(super) traffic: Traffic,
    /// The requests that wait for the writer.
    pub(super) pending: u32,
    /// Whether the next requests wait until none is pending.
    pub(super) is_last: bool,
    /// Replies that ZeroMQ had no room for, oldest first.
    pub(super) outbox: VecDeque<Outgoing>,
    /// Requests that are held back until the peer has read what was answered, oldest first.
    pub(super) held: VecDeque<Incoming>,
    /// Their bytes.
    pub(super) held_bytes: u64,
    /// The turn of the loop in which its last message came; 0 before the first.
    pub(super) spoke_at: u64,
    /// Where it waits: when it is looked at next, and after which pause then.
    waiting: Option<(Instant, Duration)>,
}

impl Connection {
    pub(super) fn new(fd: RawFd, now: Instant) -> Self {
        Self {
            fd,
            routing_id: Box::default(),
            state: State::Open,
            traffic: Traffic::new(now),
            pending: 0,
            is_last: false,
            outbox: VecDeque::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            spoke_at: 0,
            waiting: None,
        }
    }

    /// Asks the kernel what has passed. Returns by how much less is unread than was thought.
    pub(super) fn refresh(&mut self, now: Instant) -> u64 {
        let before = self.traffic.unread();
        // Where the connection has just ended, the monitor will say so.
        if self.state == State::Open
            && let Ok(passed) = tcp::passed(self.fd)
        {
            self.traffic.note(passed, now);
        }
        before.saturating_sub(self.traffic.unread())
    }

    /// Whether so many of its requests are pending, or such a long one, that the next one has to wait here.
    pub(super) fn has_much_pending(&self, is_busy: bool) -> bool {
        self.is_last || self.pending >= if is_busy { 1 } else { PENDING_REQUESTS_MAX }
    }

    /// Notes that one of its requests is done. Returns whether it is to be looked at now.
    pub(super) fn finished(&mut self) -> bool {
        self.pending = self.pending.saturating_sub(1);
        self.is_last &= self.pending > 0;
        let is_due = self.waiting.is_some() && matches!(self.pending, 0 | RESUMED_AT);
        if is_due {
            self.waiting = Some((Instant::now(), PAUSE_MIN));
        }
        is_due
    }

    /// Whether its peer has so much to read, `hold` bytes at least, that its next request has to wait.
    pub(super) fn has_much_to_read(&self, hold: u64) -> bool {
        self.state == State::Open && (!self.outbox.is_empty() || self.traffic.unread() >= hold)
    }

    /// Whether there is something that waits.
    pub(super) fn has_waiting(&self) -> bool {
        !self.outbox.is_empty() || !self.held.is_empty()
    }

    /// Has it looked at again soon; returns whether it did not wait before.
    pub(super) fn begin_to_wait(&mut self) -> bool {
        let begins = self.waiting.is_none();
        if begins {
            self.waiting = Some((Instant::now() + PAUSE_MIN, PAUSE_MIN));
        }
        begins
    }

    pub(super) fn wait_on(&mut self, now: Instant, has_moved: bool) {
        let pause = match self.waiting {
            Some((_, pause)) if !has_moved => (2 * pause).min(PAUSE_MAX),
            _ => PAUSE_MIN,
        };
        self.waiting = Some((now + pause, pause));
    }

    pub(super) fn stop_waiting(&mut self) {
        self.waiting = None;
    }

    /// When it is looked at next, where it waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.map(|(due, _)| due)
    }
}
