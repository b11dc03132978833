//! When connections are looked at again whose peers have something to read first.

use std::time::{Duration, Instant};

use super::Connections;
use super::looks::LOOK_INTERVAL_CROWDED;
use crate::server::connection::{Connection, ConnectionId, State};

impl Connections {
    /// Has a connection with an outbox or held requests looked at again.
    pub(in crate::server) fn await_reader(&mut self, id: ConnectionId) {
        let Some(connection) = self.by_id.get_mut(&id) else { return };
        if connection.begin_to_wait() {
            self.waiting.push(id);
            let due = connection.due();
            self.due = self.due.min(due).or(due);
        }
    }

    /// The connections that wait and are to be looked at now, those first that have waited longest for it.
    pub(in crate::server) fn due(&self, now: Instant) -> Vec<ConnectionId> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let due = |id: &ConnectionId| Some((self.by_id.get(id)?.due()?, *id));
        let mut due: Vec<_> = self.waiting.iter().filter_map(due).collect();
        due.retain(|(due, _)| *due <= now);
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).collect()
    }

    /// Ends a look at the connections that wait: each waits on, for longer where nothing `has_moved`, or
    /// waits no more.
    pub(in crate::server) fn settle(&mut self, looked_at: &[(ConnectionId, bool)], now: Instant) {
        for (id, has_moved) in looked_at {
            let Some(connection) = self.by_id.get_mut(id) else { continue };
            if connection.has_waiting() {
                connection.wait_on(now, *has_moved);
                continue;
            }
            connection.stop_waiting();
            if connection.state == State::Gone {
                self.forget_later(*id);
            }
        }
        let waits = |id: &ConnectionId| self.by_id.get(id).and_then(Connection::due);
        self.waiting.retain(|id| waits(id).is_some());
        self.due = self.waiting.iter().filter_map(waits).min();
    }

    /// How long the loop may sleep, at most `max`.
    pub(in crate::server) fn sleep_max(&self, max: Duration) -> Duration {
        let due = self.due.map_or(max, |due| due.saturating_duration_since(Instant::now()));
        max.min(due).min(if self.is_crowded() { LOOK_INTERVAL_CROWDED } else { max })
    }

    /// Whether replies wait for room in ZeroMQ's queues.
    pub(in crate::server) fn has_outbox(&self) -> bool {
        self.waiting.iter().any(|id| self.by_id.get(id).is_some_and(|it| !it.outbox.is_empty()))
    }
}
