//! Lending the writer to the thread that has something for it: one thread has it at a time.
//!
//! The writer's own thread works off the queue. To hand a request over to it and to be handed back the outcome is to
//! wake up two threads, which costs more than a few writes do where these do not wait for the disk. So the serving
//! thread has the writer itself for such a group, [where it may](Writer::may_carry_out_at_once), and only where
//! all is done that was handed over before: requests are carried out in the order in which they came.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use kv_storage::Counters;
use kv_system::lock::lock;
use kv_transport::spin_wait::SpinWait;

use super::{Job, LOOK_INTERVAL, WORK_PER_BACKGROUND, Work, Writer};

/// The writer, and what it has been handed over.
struct Lending {
    /// Locked by the thread that has the writer; `None` once that has ended.
    writer: Mutex<Option<Writer>>,
    /// The pieces of work that were handed over and are not done.
    undone: AtomicUsize,
    /// Whether another thread than the writer's can have the writer at all.
    lends: bool,
}

/// Hands work over to the writer's thread.
#[derive(Clone)]
pub struct WorkSender {
    lending: Arc<Lending>,
    work: flume::Sender<Work>,
}

/// What the writer's thread runs.
pub struct WriterThread {
    lending: Arc<Lending>,
    work: flume::Receiver<Work>,
    spin_wait: SpinWait,
    work_since_background: u32,
}

/// The writer has ended.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the writer has ended")]
pub struct WriterEnded;

impl Writer {
    /// Splits the writer into what its thread runs and what hands work over to that.
    #[must_use]
    pub fn lend(self) -> (WorkSender, WriterThread) {
        let (sender, work) = flume::unbounded();
        let lends = self.unsynced_log.is_some();
        let lending =
            Lending { writer: Mutex::new(Some(self)), undone: AtomicUsize::new(0), lends };
        let lending = Arc::new(lending);
        let thread = WriterThread {
            lending: Arc::clone(&lending),
            work,
            spin_wait: SpinWait::default(),
            work_since_background: 0,
        };
        (WorkSender { lending, work: sender }, thread)
    }
}

impl WorkSender {
    /// Hands work over. It is done after all that this thread handed over before.
    ///
    /// # Errors
    /// The writer has ended.
    pub fn send(&self, work: Work) -> Result<(), WriterEnded> {
        // Before it is sent, so that nothing that is on its way is ever overlooked.
        self.lending.undone.fetch_add(1, Ordering::Relaxed);
        self.work.send(work).map_err(|_| {
            self.lending.undone.fetch_sub(1, Ordering::Relaxed);
            WriterEnded
        })
    }

    /// Whether the writer has ended.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.work.is_disconnected()
    }

    /// Whether any request could ever be carried out by [`WorkSender::carry_out_here`].
    #[must_use]
    pub fn lends(&self) -> bool {
        self.lending.lends
    }

    /// Carries requests out as one group, in this thread, which waits neither for another one nor for the disk.
    ///
    /// # Errors
    /// The requests, where not all of them may be carried out so now. Nothing has been done then.
    pub fn carry_out_here(&self, jobs: Vec<Job>) -> Result<(), Vec<Job>> {
        let Some(mut desk) = self.lending.try_lock() else { return Err(jobs) };
        // What was handed over before goes before.
        if self.lending.undone.load(Ordering::Acquire) > 0 {
            return Err(jobs);
        }
        let Some(writer) = desk.as_mut() else { return Err(jobs) };
        if !writer.may_carry_out_at_once(&jobs) {
            return Err(jobs);
        }
        let result = writer.carry_out_at_once(jobs);
        let has_failed = writer.has_failed;
        drop(desk);
        if has_failed {
            // Its thread sees that it has, and ends.
            let _ = self.send(Work::Repair);
        }
        result
    }
}

impl Lending {
    fn try_lock(&self) -> Option<MutexGuard<'_, Option<Writer>>> {
        if !self.lends {
            return None;
        }
        // Where its thread has panicked under it, the node is about to end.
        self.writer.try_lock().ok()
    }
}

impl WriterThread {
    /// Works until every sender of work is gone and all of it is done, or until the engine fails
    /// in a commit: it cannot be used any more then, and the node has to end. Returns the counters as
    /// the store has them, where it works.
    pub fn run(mut self) -> Option<Counters> {
        let lending = Arc::clone(&self.lending);
        loop {
            let next = self.next();
            let mut desk = lock(&lending.writer);
            let Some(writer) = desk.as_mut().filter(|it| !it.has_failed) else { break };
            match next {
                Next::Work(first) => {
                    let done = writer.work_off(first, &self.work);
                    lending.undone.fetch_sub(done, Ordering::Release);
                }
                Next::Background => writer.work_in_background(),
                Next::Look => writer.has_failed |= writer.store.failure().is_some(),
                Next::End => break,
            }
            if writer.has_failed {
                break;
            }
        }
        let writer = lock(&lending.writer).take();
        writer.and_then(Writer::end)
    }

    /// Waits for something to do. Where nothing is asked for, or much has been, something is done in
    /// the background instead.
    fn next(&mut self) -> Next {
        // A client that writes one thing after another asks again as soon as the last one is answered.
        let work = &self.work;
        self.spin_wait.wait(|| !work.is_empty() || work.is_disconnected());
        let due = lock(&self.lending.writer).as_ref().and_then(|it| it.background.due());
        let Some(due) = due else {
            return match work.recv_timeout(LOOK_INTERVAL) {
                Ok(item) => Next::Work(item),
                Err(flume::RecvTimeoutError::Disconnected) => Next::End,
                Err(flume::RecvTimeoutError::Timeout) => Next::Look,
            };
        };
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() || self.work_since_background < WORK_PER_BACKGROUND {
            match work.recv_timeout(wait) {
                Ok(item) => {
                    self.work_since_background += 1;
                    return Next::Work(item);
                }
                Err(flume::RecvTimeoutError::Disconnected) => return Next::End,
                Err(flume::RecvTimeoutError::Timeout) => {}
            }
        }
        self.work_since_background = 0;
        Next::Background
    }
}

/// What the writer's thread does next.
enum Next {
    Work(Work),
    /// Something in the background.
    Background,
    /// See whether the store works.
    Look,
    /// Nothing, ever again.
    End,
}
