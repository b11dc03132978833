//! Looking now and then at the bytes that are held for all connections, and which of them have to be cut for it.

use std::time::{Duration, Instant};

use tracing::warn;

use super::Connections;
use crate::server::connection::{Connection, ConnectionId, State};
use crate::server::excess::{Holding, excess};
use crate::server::service::ReplyRoom;

/// How often connections are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The same where nearly as many connections are open as may be.
pub(super) const LOOK_INTERVAL_CROWDED: Duration = Duration::from_millis(10);
/// Before a long reply is refused, the kernel is asked anew what was read, but not more often than this.
const ASK_INTERVAL: Duration = Duration::from_millis(5);
/// How often it is said that there are too many connections, while there are.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

impl Connections {
    /// How much the next reply may be.
    pub(in crate::server) fn room(&mut self) -> ReplyRoom {
        if self.unread < self.bounds.unread_bytes_full {
            return ReplyRoom::Long;
        }
        if self.asked_at.elapsed() >= ASK_INTERVAL {
            self.ask_kernel(Instant::now());
        }
        if self.unread < self.bounds.unread_bytes_full {
            return ReplyRoom::Long;
        }
        self.room_was_short = true;
        ReplyRoom::Short
    }

    /// Begins another turn of the loop, and cuts those connections that hold too much, if it is time to
    /// look.
    pub(in crate::server) fn look(&mut self) {
        self.turn += 1;
        let interval = if self.is_crowded() { LOOK_INTERVAL_CROWDED } else { LOOK_INTERVAL };
        if self.looked_at.elapsed() < interval {
            return;
        }
        let now = Instant::now();
        self.looked_at = now;
        self.take_events();
        self.cut_silent();
        self.ask_kernel(now);
        let room_was_short = std::mem::take(&mut self.room_was_short);
        for (id, why) in excess(&self.bounds, self.holdings(now), room_was_short) {
            self.cut(id, &why);
        }
    }

    fn holdings(&self, now: Instant) -> Vec<Holding> {
        let open = self.by_id.iter().filter(|(_, it)| it.state == State::Open);
        let holding = |(id, it): (&ConnectionId, &Connection)| Holding {
            id: *id,
            inward: it.traffic.inward(now),
            unread: it.traffic.unread(),
            is_stalled: it.traffic.is_stalled(now),
            held: it.held.len() as u64,
        };
        open.map(holding).collect()
    }

    /// Asks the kernel what has passed on all connections.
    pub(super) fn ask_kernel(&mut self, now: Instant) {
        self.asked_at = now;
        for connection in self.by_id.values_mut() {
            self.unread -= connection.refresh(now);
        }
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.by_fd.len() > self.count_max - self.count_max / 4
    }

    /// Cuts those that have said nothing, and those that have been silent longest, where there are too
    /// many.
    fn cut_silent(&mut self) {
        let is_open = |it: &&Connection| it.state == State::Open;
        let open = self.by_id.values().filter(is_open).count();
        let Some(excess) = open.checked_sub(self.count_max).filter(|it| *it > 0) else { return };
        self.silent_cut += excess;
        if self.silent_told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            self.silent_told_at = Some(Instant::now());
            let (max, cut) = (self.count_max, std::mem::take(&mut self.silent_cut));
            warn!(
                "{open} connections are open, the limit is {max}: those that have been silent longest are cut, {cut} since this was last said"
            );
        }
        let open = self.by_id.iter().filter(|(_, it)| is_open(it));
        let mut by_silence: Vec<_> = open.map(|(id, it)| (it.spoke_at, *id)).collect();
        by_silence.sort_unstable();
        for (_, id) in by_silence.into_iter().take(excess) {
            self.cut_quietly(id);
        }
    }
}
