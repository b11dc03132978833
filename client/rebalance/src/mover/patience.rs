//! How long a mover waits where nothing gets on.

use std::time::{Duration, Instant};

use kv_core::window::Size;

use super::Mover;
use crate::limits::{MOVER_BEAT_INTERVAL, MOVER_NODE_WAIT, MOVER_TURN_PAUSE, MOVER_TURN_PAUSE_MAX};

/// A time in which nothing gets on.
#[derive(Clone, Copy)]
pub(super) struct Stuck {
    since: Instant,
    /// What had been copied when it began.
    copied: Size,
}

impl Mover<'_> {
    /// Notes that data was moved, or is about to be. That a window was prepared does not count: where it
    /// is taken back again and again, its keys wait each time.
    pub(super) fn got_on(&mut self) {
        self.stuck = None;
        self.progress.send_if_modified(|progress| progress.waiting.take().is_some());
    }

    /// Whether nothing has got on for as long as a mover waits. It is asked where nothing does.
    pub(super) fn is_out_of_patience(&mut self) -> bool {
        let copied = self.copied.sum();
        let began = Stuck { since: Instant::now(), copied };
        // What was copied before the trouble came is progress.
        let stuck = self.stuck.filter(|it| it.copied == copied).unwrap_or(began);
        self.stuck = Some(stuck);
        stuck.since.elapsed() > MOVER_NODE_WAIT
    }

    /// Rests before the next look: the longer, the longer nothing has got on.
    pub(super) async fn pause(&self) {
        let waited = self.stuck.map_or(Duration::ZERO, |stuck| stuck.since.elapsed());
        tokio::time::sleep((waited / 8).clamp(MOVER_TURN_PAUSE, MOVER_TURN_PAUSE_MAX)).await;
    }

    /// Tells who is waited for, once that takes longer than a node takes to follow.
    pub(super) fn tell_waiting(&self, node: &str, problem: &str) {
        if self.stuck.is_none_or(|stuck| stuck.since.elapsed() < MOVER_BEAT_INTERVAL) {
            return;
        }
        let waiting = format!("node {node} ({problem})");
        self.progress.send_modify(|progress| progress.waiting = Some(waiting));
    }
}
