//! Counts and latencies, by kind of operation.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kvclient::ClientError;
use serde::Serialize;

use super::workload::OperationKind;

/// The longest latency that is told from longer ones, in nanoseconds: far above any timeout in use.
const LATENCY_NS_MAX: u64 = 1000 * 1_000_000_000;
/// The significant digits of recorded latencies.
const LATENCY_DIGITS: u8 = 3;

/// What became of an operation.
pub(crate) enum Ending {
    Done,
    /// A read found no record.
    NotFound,
    Failed(ClientError),
}

/// Counts, failures and latencies of some operations.
pub(crate) struct Tally {
    began: Instant,
    /// When the last operation ended.
    ended: Instant,
    /// Latencies in nanoseconds, by kind of operation; `None` for a kind that did not come.
    latencies: [Option<Histogram<u64>>; OperationKind::ALL.len()],
    /// How many operations ended in each second.
    by_second: Vec<u64>,
    /// How many operations came before those.
    pub(crate) warm_up_operations: u64,
    pub(crate) not_found: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<ClientError>,
}

/// The spread of latencies, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Tally {
    /// Of operations that begin at `began` or later.
    pub(crate) fn from(began: Instant) -> Self {
        Self {
            began,
            ended: began,
            latencies: Default::default(),
            by_second: Vec::new(),
            warm_up_operations: 0,
            not_found: 0,
            errors: 0,
            first_error: None,
        }
    }

    /// Takes note of an operation.
    pub(crate) fn note(
        &mut self,
        kind: OperationKind,
        began: Instant,
        ended: Instant,
        ending: Ending,
    ) {
        self.ended = self.ended.max(ended);
        match ending {
            Ending::Done => {}
            Ending::NotFound => self.not_found += 1,
            Ending::Failed(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
                return;
            }
        }
        let second = ended.saturating_duration_since(self.began).as_secs() as usize;
        if self.by_second.len() <= second {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += 1;
        let ns = ended.saturating_duration_since(began).as_nanos().max(1);
        let latencies = self.latencies[kind as usize].get_or_insert_with(histogram);
        latencies.saturating_record(u64::try_from(ns).unwrap_or(u64::MAX));
    }

    /// Adds what another tally, which began at the same time, has.
    pub(crate) fn merge(&mut self, other: Self) {
        self.ended = self.ended.max(other.ended);
        for (ours, theirs) in self.latencies.iter_mut().zip(other.latencies) {
            let Some(theirs) = theirs else { continue };
            let ours = ours.get_or_insert_with(histogram);
            ours.add(&theirs).expect("both have the same bounds");
        }
        if self.by_second.len() < other.by_second.len() {
            self.by_second.resize(other.by_second.len(), 0);
        }
        for (ours, theirs) in self.by_second.iter_mut().zip(other.by_second) {
            *ours += theirs;
        }
        self.warm_up_operations += other.warm_up_operations;
        self.not_found += other.not_found;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// How many operations were carried out.
    pub(crate) fn operations(&self) -> u64 {
        self.latencies.iter().flatten().map(Histogram::len).sum()
    }

    /// From the beginning to the end of the last operation.
    pub(crate) fn elapsed(&self) -> Duration {
        self.ended - self.began
    }

    /// How many operations ended in each second.
    pub(crate) fn by_second(&self) -> &[u64] {
        &self.by_second
    }

    /// The number and latencies of the operations of one kind; `None` if no such operation ended.
    pub(crate) fn of(&self, kind: OperationKind) -> Option<(u64, Latency)> {
        let latencies = self.latencies[kind as usize].as_ref()?;
        Some((latencies.len(), Latency::of(latencies)))
    }

    /// The latencies of all operations.
    pub(crate) fn overall(&self) -> Latency {
        let mut all = histogram();
        for latencies in self.latencies.iter().flatten() {
            all.add(latencies).expect("all have the same bounds");
        }
        Latency::of(&all)
    }
}

impl Latency {
    fn of(latencies_ns: &Histogram<u64>) -> Self {
        if latencies_ns.is_empty() {
            return Self::default();
        }
        // The last digit that a histogram has is far above a nanosecond, so it is cut off here.
        let us = |ns: f64| (ns / 10.0).round() / 100.0;
        let at = |quantile| us(latencies_ns.value_at_quantile(quantile) as f64);
        Self {
            mean: us(latencies_ns.mean()),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: us(latencies_ns.max() as f64),
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS).expect("the bounds are in order")
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    /// A thousand reads of 1 to 1000 microseconds.
    fn reads(began: Instant) -> Tally {
        let mut tally = Tally::from(began);
        for us in 1..=1000 {
            tally.note(OperationKind::Read, began, began + us * US, Ending::Done);
        }
        tally
    }

    #[test]
    fn percentiles_are_those_of_the_latencies() {
        let latency = reads(Instant::now()).overall();
        let close = |shown: f64, expected: f64| (shown / expected - 1.0).abs() < 0.002;
        assert!(close(latency.mean, 500.5) && close(latency.p50, 500.0), "{latency:?}");
        assert!(close(latency.p95, 950.0) && close(latency.p99, 990.0), "{latency:?}");
        assert!(close(latency.p999, 999.0) && close(latency.max, 1000.0), "{latency:?}");
    }

    #[test]
    fn nothing_measured_is_no_latency() {
        let tally = Tally::from(Instant::now());
        assert_eq!((tally.operations(), tally.overall()), (0, Latency::default()));
        assert_eq!(tally.of(OperationKind::Read), None);
    }

    #[test]
    fn merged_tallies_are_the_sum() {
        let began = Instant::now();
        let mut tally = reads(began);
        let mut other = Tally::from(began);
        let later = began + Duration::from_millis(2500);
        other.note(OperationKind::Update, began, later, Ending::Done);
        other.note(OperationKind::Read, began, later, Ending::NotFound);
        other.warm_up_operations = 7;
        let failure = ClientError::Local("no".into());
        other.note(OperationKind::Update, began, later, Ending::Failed(failure));
        tally.merge(other);
        assert_eq!((tally.operations(), tally.not_found, tally.errors), (1002, 1, 1));
        assert_eq!((tally.by_second(), tally.warm_up_operations), (&[1000, 0, 2][..], 7));
        assert_eq!(tally.of(OperationKind::Read).map(|(count, _)| count), Some(1001));
        assert_eq!(tally.of(OperationKind::Update).map(|(count, _)| count), Some(1));
        assert_eq!(tally.elapsed(), later - began);
        assert!(tally.first_error.is_some());
    }
}
