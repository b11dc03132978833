//! When a node that is wanted and does not run may be started: pure rules over what one observer
//! has seen.
//!
//! A supervisor that starts a node first writes an attempt into its desired state. An attempt may fail, and its
//! supervisor may die before it starts anything, so each observer gives an attempt some time on its own clock.
//! Then the first supervisor that comes by may make another one. One that brings nothing doubles the time
//! that the next one is given, up to a limit, and a node that was up for however short a time starts
//! over. So a node that crashes is back soon, and one that cannot start is tried again for as long as
//! it is wanted, without haste.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::backoff::Backoff;
use kv_core::name::Name;
use tokio::time::Instant;
use uuid::Uuid;

/// The most times [`Attempts::within`] that an attempt is given.
const WITHIN_MULTIPLE_MAX: u32 = 8;

/// What one observer remembers of the attempts to start nodes.
#[derive(Debug)]
pub struct Attempts {
    within: Duration,
    seen: BTreeMap<Name, Seen>,
}

/// The attempt that was seen last to start a node.
#[derive(Debug)]
struct Seen {
    attempt: Option<Uuid>,
    /// When another one may be made.
    not_before: Instant,
    /// How many attempts before it brought nothing.
    fruitless: u32,
    /// Whether the node has been up since.
    came_up: bool,
}

/// What a supervisor does about a node that is wanted.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it is up.
    Nothing,
    /// It may be started now.
    Start,
    /// It may be started at this time, unless it is up by then.
    Wait(Instant),
}

impl Attempts {
    /// Nothing has been seen yet. An attempt is given the time `within`.
    #[must_use]
    pub fn new(within: Duration) -> Self {
        Self { within, seen: BTreeMap::new() }
    }

    /// Judges the node `id`, whose desired state names `attempt` now.
    pub fn judge(&mut self, id: &Name, attempt: Option<Uuid>, is_up: bool, now: Instant) -> Next {
        let changed = self.seen.get(id).is_none_or(|seen| seen.attempt != attempt);
        if changed {
            let seen = self.first_sight(id, attempt, now);
            self.seen.insert(id.clone(), seen);
        }
        match self.seen.get_mut(id) {
            Some(seen) if is_up => {
                seen.came_up = true;
                Next::Nothing
            }
            Some(seen) if now < seen.not_before => Next::Wait(seen.not_before),
            _ => Next::Start,
        }
    }

    /// Leaves the node `id` alone until `until`, or until there is another attempt.
    pub fn postpone(&mut self, id: &Name, until: Instant) {
        if let Some(seen) = self.seen.get_mut(id) {
            seen.not_before = until;
        }
    }

    /// Forgets the nodes that are not wanted any more.
    pub fn retain(&mut self, is_wanted: impl Fn(&Name) -> bool) {
        self.seen.retain(|id, _| is_wanted(id));
    }

    fn first_sight(&self, id: &Name, attempt: Option<Uuid>, now: Instant) -> Seen {
        let fruitless = match self.seen.get(id) {
            Some(before) if attempt.is_some() && before.attempt.is_some() && !before.came_up => {
                before.fruitless + 1
            }
            _ => 0,
        };
        let wait = match attempt {
            Some(_) => {
                Backoff::new(self.within, self.within * WITHIN_MULTIPLE_MAX).after(fruitless)
            }
            None => Duration::ZERO,
        };
        Seen { attempt, not_before: now + wait, fruitless, came_up: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(15);

    fn attempts() -> (Attempts, Name, Instant) {
        (Attempts::new(WITHIN), "node-7".parse().unwrap(), Instant::now())
    }

    #[test]
    fn a_signal_that_nobody_has_taken_up_is_due_at_once() {
        let (mut attempts, id, now) = attempts();
        assert_eq!(attempts.judge(&id, None, false, now), Next::Start);
        assert_eq!(attempts.judge(&id, None, true, now), Next::Nothing);
    }

    #[test]
    fn an_attempt_is_given_its_time_and_fruitless_ones_more_and_more() {
        let (mut attempts, id, mut now) = attempts();
        for factor in [1, 2, 4, 8, 8, 8] {
            let attempt = Some(Uuid::new_v4());
            let due = now + WITHIN * factor;
            assert_eq!(attempts.judge(&id, attempt, false, now), Next::Wait(due));
            let just_before = due - Duration::from_millis(1);
            assert_eq!(attempts.judge(&id, attempt, false, just_before), Next::Wait(due));
            assert_eq!(attempts.judge(&id, attempt, false, due), Next::Start);
            now = due;
        }
    }

    #[test]
    fn a_node_that_was_up_is_due_when_its_attempt_is_old_and_starts_over() {
        let (mut attempts, id, now) = attempts();
        attempts.judge(&id, Some(Uuid::new_v4()), false, now);
        let second = Some(Uuid::new_v4());
        attempts.judge(&id, second, false, now);
        assert_eq!(attempts.judge(&id, second, true, now), Next::Nothing);
        let later = now + WITHIN * 10;
        assert_eq!(attempts.judge(&id, second, false, later), Next::Start);
        let third = Some(Uuid::new_v4());
        assert_eq!(attempts.judge(&id, third, false, later), Next::Wait(later + WITHIN));
    }

    #[test]
    fn what_is_postponed_waits_until_there_is_another_attempt() {
        let (mut attempts, id, now) = attempts();
        attempts.judge(&id, None, false, now);
        attempts.postpone(&id, now + WITHIN);
        assert_eq!(attempts.judge(&id, None, false, now), Next::Wait(now + WITHIN));
        let attempt = Some(Uuid::new_v4());
        attempts.judge(&id, attempt, false, now);
        assert_eq!(attempts.judge(&id, None, false, now), Next::Start);
        attempts.postpone(&id, now + WITHIN);
        attempts.retain(|_| false);
        assert_eq!(attempts.judge(&id, None, false, now), Next::Start);
    }
}
