//! Lending the driver to the thread that asks: where all that a program does runs on one thread, and it does
//! one thing after the other, its own thread sends and receives, and no other is woken up for that.
//!
//! The connections' thread lends the driver to a task of the runtime from which operations come, where that
//! runs on one thread. The task works between the other tasks of its runtime for as long as that pays. It gives the
//! driver back once there is nothing to do, and loses it where its runtime does not let it work, or where
//! another thread asks for something.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use kv_system::lock::{forgive, lock};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use super::driver::Driver;
use super::outbox::Outbox;
use crate::spin_wait::AWAKE_MAX;

/// A task that has not worked for this long has lost the driver.
const ABANDONED_AFTER: Duration = Duration::from_millis(10);
/// Once another thread has asked for something, nothing is lent for this long.
const RECALLED_FOR: Duration = Duration::from_secs(1);
/// No thread's [`here`].
const NOBODY: usize = 0;

/// The driver, and who has it: the connections' thread, or a task.
pub(super) struct Lending<O: Outbox> {
    /// Locked by the connections' thread all the time, unless the driver is lent.
    desk: Mutex<Desk<O>>,
    given_back: Condvar,
    /// The thread whose task has the driver, or [`NOBODY`].
    borrower: AtomicUsize,
    /// Whether there is a task that has the driver, or waits for it.
    is_asked_for: AtomicBool,
}

struct Desk<O: Outbox> {
    /// `None` once the connections' thread has ended.
    driver: Option<Driver<O>>,
    worked_at: Instant,
    lends_from: Instant,
}

/// A task asks for the driver.
pub(super) struct Ask {
    /// The thread that the task runs on.
    thread: usize,
    granted: oneshot::Sender<()>,
}

impl<O: Outbox> Lending<O> {
    pub(super) fn new(driver: Driver<O>) -> Self {
        let now = Instant::now();
        let desk = Desk { driver: Some(driver), worked_at: now, lends_from: now };
        Self {
            desk: Mutex::new(desk),
            given_back: Condvar::new(),
            borrower: AtomicUsize::new(NOBODY),
            is_asked_for: AtomicBool::new(false),
        }
    }

    /// Works, or waits for the driver that is lent, until the waker is closed.
    pub(super) fn run(&self) {
        let mut desk = lock(&self.desk);
        while let Desk { driver: Some(driver), worked_at, lends_from } = &mut *desk {
            if driver.is_closed() {
                break;
            }
            if self.is_lent() {
                desk = forgive(self.given_back.wait_timeout(desk, ABANDONED_AFTER)).0;
                if desk.worked_at.elapsed() >= ABANDONED_AFTER {
                    self.borrower.store(NOBODY, Ordering::Release);
                }
                continue;
            }
            if let Err(error) = driver.turn() {
                // A task that waits for an answer learns from its dropped channel that none comes.
                tracing::error!(%error, "the connections to all nodes are given up");
                break;
            }
            let now = Instant::now();
            if driver.is_worth_lending()
                && now >= *lends_from
                && let Some(Ask { thread, granted }) = driver.take_ask()
            {
                *worked_at = now;
                self.borrower.store(thread, Ordering::Release);
                if granted.send(()).is_err() {
                    self.borrower.store(NOBODY, Ordering::Release);
                }
            }
        }
        self.borrower.store(NOBODY, Ordering::Release);
        drop(desk.driver.take());
    }

    fn is_lent(&self) -> bool {
        self.borrower.load(Ordering::Acquire) != NOBODY
    }

    /// Something was handed over by this thread. Gives what is to be handed over too: the question for the
    /// driver, where this thread could do its work.
    pub(super) fn note_hand_over(self: &Arc<Self>) -> Option<Ask> {
        let borrower = self.borrower.load(Ordering::Acquire);
        if borrower != NOBODY {
            if borrower != here() {
                self.take_back(Some(Instant::now() + RECALLED_FOR));
            }
            return None;
        }
        if self.is_asked_for.load(Ordering::Relaxed) {
            return None;
        }
        let runtime = Handle::try_current().ok()?;
        if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread
            || self.is_asked_for.swap(true, Ordering::AcqRel)
        {
            return None;
        }
        let (granted, is_granted) = oneshot::channel();
        let borrowed = Borrowed(Arc::clone(self));
        runtime.spawn(async move {
            if is_granted.await.is_ok() {
                borrowed.work().await;
            }
        });
        Some(Ask { thread: here(), granted })
    }

    /// Has the connections' thread work again, and lend nothing before `lends_from`.
    fn take_back(&self, lends_from: Option<Instant>) {
        while self.is_lent() {
            if let Some(mut desk) = self.try_desk() {
                if self.borrower.swap(NOBODY, Ordering::AcqRel) != NOBODY {
                    desk.lends_from = lends_from.unwrap_or(desk.lends_from);
                }
                self.given_back.notify_one();
                return;
            }
            std::thread::yield_now();
        }
    }

    /// The desk, unless another thread works there, which may take long where the driver is not lent.
    fn try_desk(&self) -> Option<MutexGuard<'_, Desk<O>>> {
        match self.desk.try_lock() {
            Ok(desk) => Some(desk),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The task that has the driver, or waits for it.
struct Borrowed<O: Outbox>(Arc<Lending<O>>);

impl<O: Outbox> Borrowed<O> {
    /// Works until there is nothing to do, or the driver is lost.
    async fn work(&self) {
        while self.turn() {
            tokio::task::yield_now().await;
        }
    }

    /// Does what there is to do. Whether the task shall come again.
    fn turn(&self) -> bool {
        let Self(lending) = self;
        if !lending.is_lent() {
            return false;
        }
        let Some(mut desk) = lending.try_desk() else { return true };
        // It may have been lost just before, and is not lent to another task while this one is there.
        if !lending.is_lent() {
            return false;
        }
        lending.borrower.store(here(), Ordering::Release);
        let now = Instant::now();
        let Desk { driver: Some(driver), worked_at, .. } = &mut *desk else { return false };
        if driver.turn_awake(now) {
            *worked_at = now;
            return driver.is_worth_keeping();
        }
        let goes_on = now.duration_since(*worked_at) < AWAKE_MAX;
        drop(desk);
        // The node, or another thread of it, may wait for this very processor.
        std::thread::yield_now();
        goes_on
    }
}

impl<O: Outbox> Drop for Borrowed<O> {
    fn drop(&mut self) {
        self.0.take_back(None);
        self.0.is_asked_for.store(false, Ordering::Release);
    }
}

/// A number that no other thread has at the same time, and that is not [`NOBODY`].
fn here() -> usize {
    thread_local! {
        static PLACE: u8 = const { 0 };
    }
    PLACE.with(|place| std::ptr::from_ref(place) as usize)
}

#[cfg(test)]
mod tests;
