//! How far a rebalance is, as the mover tells everybody.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use kv_core::window::Size;

/// How far a rebalance is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Who moves the data: host and process.
    pub mover: String,
    /// The layout's epoch.
    pub epoch: u64,
    /// How many partitions of those that move are settled.
    pub partitions_settled: u32,
    /// How many partitions move.
    pub partitions_total: u32,
    /// How many keys this mover has copied.
    pub keys_copied: u64,
    /// How many keys it has to copy, as they were counted when it began.
    pub keys_total: u64,
    /// The bytes that it has copied.
    pub bytes_copied: u64,
    /// The bytes of keys and values that it has to copy, as they were counted when it began.
    pub bytes_total: u64,
    /// For how long it has been at work, in seconds.
    pub seconds: f64,
    /// What it waits for, where it does.
    pub waiting: Option<String>,
    /// Grows with every sign of life.
    pub beat: u64,
    /// Whether the layout is at rest, and only what comes after that is done. Nobody else is told.
    #[serde(skip)]
    pub is_over: bool,
}

impl Progress {
    /// Keys copied per second.
    #[must_use]
    pub fn keys_per_s(&self) -> f64 {
        self.keys_copied as f64 / self.seconds.max(0.001)
    }

    /// Bytes copied per second.
    #[must_use]
    pub fn bytes_per_s(&self) -> f64 {
        self.bytes_copied as f64 / self.seconds.max(0.001)
    }

    /// How much is done, in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        let share = |done: u64, total: u64| 100.0 * done.min(total) as f64 / total as f64;
        match (self.keys_total, self.partitions_total) {
            (0, 0) => 100.0,
            (0, total) => share(self.partitions_settled.into(), total.into()),
            (total, _) => share(self.keys_copied, total),
        }
    }

    /// How long it will take at the present rate; none as long as nothing is known.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.keys_total.saturating_sub(self.keys_copied);
        (self.keys_copied > 0)
            .then(|| Duration::try_from_secs_f64(left as f64 / self.keys_per_s()).ok())
            .flatten()
    }

    pub(crate) fn update(&mut self, copied: Size, began: Instant) {
        self.keys_copied = copied.keys;
        self.bytes_copied = copied.bytes;
        self.seconds = began.elapsed().as_secs_f64();
        self.beat += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_by_what_is_known() {
        let mut progress = Progress { partitions_total: 4, ..Progress::default() };
        assert_eq!((progress.percent(), progress.time_left()), (0.0, None));
        progress.partitions_settled = 1;
        assert_eq!(progress.percent(), 25.0);
        progress.keys_total = 200;
        progress.keys_copied = 100;
        progress.seconds = 2.0;
        assert_eq!(
            (progress.percent(), progress.time_left()),
            (50.0, Some(Duration::from_secs(2)))
        );
        progress.keys_copied = 300;
        assert_eq!((progress.percent(), progress.time_left()), (100.0, Some(Duration::ZERO)));
        assert_eq!(Progress::default().percent(), 100.0);
    }
}
