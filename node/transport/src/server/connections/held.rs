//! Requests that are held back until their peer has read what was answered, or the writer has done those before.

use std::time::Instant;

use super::Connections;
use crate::server::bounds::Bounds;
use crate::server::connection::{ConnectionId, Incoming, State};
use crate::server::limits::HELD_REQUESTS_MAX;

/// What becomes of a message that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Standing {
    /// It is carried out.
    Ready,
    /// It is held back: its peer has much to read, or requests before it are held back.
    Waits,
    /// It is dropped, since its connection is.
    Cut,
}

impl Connections {
    /// What becomes of the next message of a connection.
    pub(in crate::server) fn standing(&mut self, id: ConnectionId, is_busy: bool) -> Standing {
        let Some(connection) = self.by_id.get_mut(&id) else { return Standing::Ready };
        if connection.state == State::Cut {
            return Standing::Cut;
        }
        if connection.held.is_empty() && connection.has_much_to_read(self.bounds.unread_bytes_hold)
        {
            self.unread -= connection.refresh(Instant::now());
        }
        let waits = !connection.held.is_empty()
            || connection.has_much_pending(is_busy)
            || connection.has_much_to_read(self.bounds.unread_bytes_hold);
        if waits { Standing::Waits } else { Standing::Ready }
    }

    /// Notes that a request is pending, and whether the next ones wait for it.
    pub(in crate::server) fn began(&mut self, id: Option<ConnectionId>, is_last: bool) {
        if let Some(connection) = id.and_then(|id| self.by_id.get_mut(&id)) {
            connection.pending += 1;
            connection.is_last |= is_last;
        }
    }

    /// Notes that a request is done.
    pub(in crate::server) fn finished(&mut self, id: Option<ConnectionId>) {
        if let Some(connection) = id.and_then(|id| self.by_id.get_mut(&id))
            && connection.finished()
        {
            self.due = connection.due();
        }
    }

    /// Whether a request of `bytes` can be held back as it is. However long it is, a single one can.
    pub(in crate::server) fn can_hold(&self, id: ConnectionId, bytes: u64) -> bool {
        let own = self.by_id.get(&id).map_or(0, |it| it.held_bytes);
        let Bounds { held_bytes_max, held_bytes_total_max, .. } = self.bounds;
        self.held_bytes == 0
            || own + bytes <= held_bytes_max && self.held_bytes + bytes <= held_bytes_total_max
    }

    /// Holds a request back.
    pub(in crate::server) fn hold(&mut self, id: ConnectionId, request: Incoming) {
        let Some(connection) = self.by_id.get_mut(&id) else { return };
        connection.held_bytes += request.bytes;
        self.held_bytes += request.bytes;
        connection.held.push_back(request);
        self.held += 1;
        let held = connection.held.len();
        self.await_reader(id);
        if held > HELD_REQUESTS_MAX {
            self.cut(id, &format!("{held} of its requests wait until it has read their answers, or the disk has done those before them, the limit is {HELD_REQUESTS_MAX}"));
        }
    }

    /// The oldest request that was held back, where it need not be any longer.
    pub(in crate::server) fn release(
        &mut self,
        id: ConnectionId,
        is_busy: bool,
    ) -> Option<Incoming> {
        let connection = self.by_id.get_mut(&id)?;
        // That it has to come again is told after what became of those before it.
        let is_refused = connection.held.front()?.refused.is_some();
        if connection.has_much_pending(is_busy) || (is_refused && connection.pending > 0) {
            return None;
        }
        if connection.has_much_to_read(self.bounds.unread_bytes_hold) {
            self.unread -= connection.refresh(Instant::now());
        }
        if connection.has_much_to_read(self.bounds.unread_bytes_hold) {
            return None;
        }
        let request = connection.held.pop_front()?;
        self.held -= 1;
        self.held_bytes -= request.bytes;
        connection.held_bytes -= request.bytes;
        Some(request)
    }
}
