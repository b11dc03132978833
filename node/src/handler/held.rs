//! Jobs that are held until all is taken that has come: where they are little work together, this thread carries
//! them out itself, and where more comes, the writer's thread gets them.

use super::Handler;
use crate::writer::{Job, Size, Work, WriterEnded};

/// Jobs are held while no more than so many requests come after the first of them.
const REQUESTS_SINCE_MAX: u32 = 8;

/// The jobs that are held, in the order in which they came.
#[derive(Default)]
pub(super) struct HeldJobs {
    jobs: Vec<Job>,
    size: Size,
    /// How many requests have come since the first of them.
    requests_since: u32,
}

impl HeldJobs {
    /// Whether a job can be held with the others.
    fn has_room_for(&self, job: &Job) -> bool {
        let mut size = self.size;
        size.add(&job.command);
        size.is_little()
    }

    fn hold(&mut self, job: Job) {
        self.size.add(&job.command);
        self.jobs.push(job);
    }

    fn take(&mut self) -> Vec<Job> {
        let Self { jobs, .. } = std::mem::take(self);
        jobs
    }
}

impl<P> Handler<P> {
    /// Has a job carried out after all those before it: by the writer's thread, or by this one at the end of its
    /// turn.
    pub(super) fn hand_over(&mut self, job: Job) -> Result<(), WriterEnded> {
        let work = &self.resources.work;
        // Where the writer's thread has others, it is awake, and this one comes after them.
        let is_held = work.lends()
            && self.pending.len() == self.held.jobs.len()
            && job.may_be_carried_out_at_once()
            && self.held.has_room_for(&job);
        if is_held {
            self.held.hold(job);
            return Ok(());
        }
        self.hand_over_held()?;
        self.resources.work.send(Work::Request(job))
    }

    /// Takes note that a request has come. Those that are held do not wait for many others.
    pub(super) fn note_request(&mut self) {
        if self.held.jobs.is_empty() {
            return;
        }
        self.held.requests_since += 1;
        if self.held.requests_since > REQUESTS_SINCE_MAX {
            // Where the writer has ended, so will the serving loop.
            let _ = self.hand_over_held();
        }
    }

    /// Carries the jobs out that are held, or has the writer's thread do it.
    pub(super) fn work_off_held(&mut self) {
        if self.held.jobs.is_empty() {
            return;
        }
        let jobs = self.held.take();
        if let Err(jobs) = self.resources.work.carry_out_here(jobs) {
            let _ = self.send_all(jobs);
        }
    }

    fn hand_over_held(&mut self) -> Result<(), WriterEnded> {
        let jobs = self.held.take();
        self.send_all(jobs)
    }

    fn send_all(&self, jobs: Vec<Job>) -> Result<(), WriterEnded> {
        jobs.into_iter().try_for_each(|job| self.resources.work.send(Work::Request(job)))
    }
}
