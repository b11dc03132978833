//! The CPU time of a thread, by which strategies are judged also on a busy machine.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How much time a processor has spent on this thread.
#[must_use]
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // What has passed is not negative.
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_passes_while_the_thread_works_and_not_while_it_sleeps() {
        let began = thread_time();
        while thread_time() - began < Duration::from_millis(5) {}
        let worked = thread_time();
        std::thread::sleep(Duration::from_millis(50));
        assert!(thread_time() - worked < Duration::from_millis(40));
    }
}
