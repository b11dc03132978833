//! Whether this process may still speak for its node.
//!
//! A node that is started from a copy of this one's data directory takes the node over, and this process
//! learns of it when it looks at its claim, every few seconds. What it does before it has looked could
//! contradict the other one. So one that stood still for so long that it may have been taken for dead
//! (SIGSTOP, a machine that was suspended) looks before it answers anything; and one that knows that it
//! has been replaced answers nothing any more, whatever it has in hand.
//!
//! A Consul that cannot be asked keeps no node from serving: then it goes on unseen, as before it stood
//! still. What was on its way out in the very moment in which it stopped leaves it all the same; and a
//! virtual machine whose clocks stood still with it finds out at the next look, some seconds later.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use kv_core::guard::Context;
use kv_core::incarnation::Incarnation;
use kv_core::refusal::{ErrorCode, Refusal};
use kv_system::lock::{forgive, lock};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tracing::warn;

/// A process that did nothing at all for this long may have been taken for dead. It is well below what
/// a registration is given before it counts as critical, less the time between two signs of life.
pub const STANDSTILL_MAX: Duration = Duration::from_secs(4);
/// How long requests wait for the look at the claim after a standstill.
pub const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How often a process notes that it runs, where no request has it do so.
pub const NOTE_EVERY: Duration = Duration::from_secs(1);

const _: () = assert!(2 * NOTE_EVERY.as_millis() < STANDSTILL_MAX.as_millis());

/// One process's right to speak for its node. Shared by the serving loop and what watches the claim.
#[derive(Debug)]
pub struct Tenure {
    incarnation: Incarnation,
    /// When the process was last seen running, in milliseconds since the machine was started.
    seen_ms: AtomicU64,
    in_doubt: AtomicBool,
    is_lost: AtomicBool,
    look_wanted: Notify,
    /// Held to wait for the end of a doubt.
    doubt: Mutex<()>,
    decided: Condvar,
}

impl Tenure {
    /// The tenure of a process that has just claimed its node as `incarnation`.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            seen_ms: AtomicU64::new(now_ms()),
            in_doubt: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            look_wanted: Notify::new(),
            doubt: Mutex::default(),
            decided: Condvar::new(),
        }
    }

    /// Which run of the node this process is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Notes that the process runs, and begins a doubt where it did not for too long.
    pub fn note(&self) {
        self.note_at(now_ms());
    }

    fn note_at(&self, now_ms: u64) {
        let seen_ms = self.seen_ms.load(Ordering::Acquire);
        if Duration::from_millis(now_ms.saturating_sub(seen_ms)) > STANDSTILL_MAX {
            // Before the note, so that no thread sees the one without the other.
            self.in_doubt.store(true, Ordering::Release);
            self.look_wanted.notify_one();
        }
        // Most requests come within the millisecond that the last one noted.
        if now_ms > seen_ms {
            self.seen_ms.fetch_max(now_ms, Ordering::AcqRel);
        }
    }

    /// Waits until a doubt begins, so that the claim is to be looked at.
    pub async fn look_wanted(&self) {
        self.look_wanted.notified().await;
    }

    /// Ends a doubt: the claim was looked at and is this process's, or Consul cannot say.
    pub fn confirm(&self) {
        self.decide(&self.in_doubt, false);
    }

    /// Ends the tenure: another process has taken the node over.
    pub fn lose(&self) {
        self.decide(&self.is_lost, true);
    }

    fn decide(&self, what: &AtomicBool, to: bool) {
        let _doubt = lock(&self.doubt);
        what.store(to, Ordering::Release);
        self.decided.notify_all();
    }

    /// Checks that the process may answer now. After a standstill it waits for a look at the claim, and
    /// goes on after [`LOOK_WITHIN`] where there is no answer.
    ///
    /// # Errors
    /// `wrong_node` where another process has taken the node over.
    pub fn check(&self) -> Result<(), Refusal> {
        self.note();
        if self.in_doubt.load(Ordering::Acquire) {
            self.wait_for_a_look();
        }
        if self.is_lost.load(Ordering::Acquire) {
            return Err(Refusal::new(
                ErrorCode::WrongNode,
                "another copy of this node's data directory has been started and has taken the node over: look the node's address up in Consul again",
            ));
        }
        Ok(())
    }

    /// Checks that a request which names a run of the node does not mean another one that came after
    /// this. A client that names an earlier one has only not heard of this one yet.
    ///
    /// # Errors
    /// `wrong_node`.
    pub fn check_meant(&self, context: &Context) -> Result<(), Refusal> {
        let own = self.incarnation;
        match context.incarnation {
            Some(meant) if meant.number >= own.number && meant != own => Err(Refusal::new(
                ErrorCode::WrongNode,
                format!(
                    "this node runs as incarnation {own}, not {meant}: look the node's address up in Consul again"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn wait_for_a_look(&self) {
        let doubt = lock(&self.doubt);
        let undecided = |(): &mut ()| {
            self.in_doubt.load(Ordering::Acquire) && !self.is_lost.load(Ordering::Acquire)
        };
        let waited = self.decided.wait_timeout_while(doubt, LOOK_WITHIN, undecided);
        let (_doubt, waited) = forgive(waited);
        if waited.timed_out() {
            warn!(
                "this node stood still, and Consul does not say whether it was replaced: serving on"
            );
            self.in_doubt.store(false, Ordering::Release);
        }
    }
}

/// The time since the machine was started, with the time for which it was suspended.
fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const STANDSTILL_MS: u64 = STANDSTILL_MAX.as_millis() as u64;

    fn tenure() -> Arc<Tenure> {
        Arc::new(Tenure::new(Incarnation { number: 2, nonce: 7 }))
    }

    /// One that stood still until now.
    fn woken() -> Arc<Tenure> {
        let tenure = tenure();
        tenure.note_at(tenure.seen_ms.load(Ordering::Acquire) + STANDSTILL_MS + 1);
        tenure
    }

    #[test]
    fn who_runs_without_a_break_is_not_in_doubt() {
        let tenure = tenure();
        let start = tenure.seen_ms.load(Ordering::Acquire);
        for step in 1..10 {
            tenure.note_at(start + step * STANDSTILL_MS);
            assert!(!tenure.in_doubt.load(Ordering::Acquire));
        }
        assert!(tenure.check().is_ok());
    }

    #[test]
    fn after_a_standstill_nothing_is_answered_before_a_look() {
        let tenure = woken();
        let asked = Arc::clone(&tenure);
        let answers = std::thread::spawn(move || asked.check());
        let looked = tokio::runtime::Builder::new_current_thread().build().unwrap();
        looked.block_on(tenure.look_wanted());
        tenure.lose();
        let refusal = answers.join().unwrap().unwrap_err();
        assert_eq!(refusal.code, ErrorCode::WrongNode);
        assert!(tenure.check().is_err(), "it stays so");
    }

    #[test]
    fn where_the_look_finds_nothing_wrong_it_goes_on() {
        let tenure = woken();
        let asked = Arc::clone(&tenure);
        let answers = std::thread::spawn(move || asked.check());
        tenure.confirm();
        assert!(answers.join().unwrap().is_ok());
        assert!(!tenure.in_doubt.load(Ordering::Acquire));
    }

    #[test]
    fn where_nobody_looks_it_goes_on_after_a_while() {
        let tenure = woken();
        assert!(tenure.check().is_ok());
        assert!(!tenure.in_doubt.load(Ordering::Acquire));
    }

    #[test]
    fn who_means_another_run_that_came_after_is_refused() {
        let tenure = tenure();
        let meant = |incarnation| Context { incarnation, ..Context::default() };
        assert!(tenure.check_meant(&meant(None)).is_ok());
        assert!(tenure.check_meant(&meant(Some(tenure.incarnation()))).is_ok());
        assert!(tenure.check_meant(&meant(Some(Incarnation { number: 1, nonce: 9 }))).is_ok());
        for other in [Incarnation { number: 2, nonce: 8 }, Incarnation { number: 3, nonce: 7 }] {
            let refusal = tenure.check_meant(&meant(Some(other))).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::WrongNode);
            assert!(refusal.message.contains(&other.to_string()), "{}", refusal.message);
        }
    }
}
