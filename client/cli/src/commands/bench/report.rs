//! The result of a benchmark, as JSON and as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::load::Loaded;
use super::measure::Measured;
use super::plan::Plan;
use super::schedule::Kept;
use super::tally::Latency;
use super::workload::{OperationKind, Workload};
use crate::output;

/// A rate is held where at most this share of the operations waited for others when the last ones fell due. Pauses
/// before that, which were made up for, are in the latencies.
const WAITING_SHARE_MAX: f64 = 0.01;

/// The workload that was asked for, and its figures.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    workload: Workload,
    keys: u64,
    value_size: usize,
    threads: usize,
    depth: usize,
    distribution: &'static str,
    seed: u64,
    /// How many operations were carried out.
    operations: u64,
    seconds: f64,
    /// Operations per second.
    throughput: f64,
    /// How many operations failed.
    errors: u64,
    /// How many reads found no record.
    not_found: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
    latency_us: Latency,
    by_operation: BTreeMap<&'static str, OfOperationKind>,
    over_time: Vec<Second>,
    warm_up: WarmUp,
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<Loaded>,
}

/// How a fixed rate was kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Rate {
    /// Operations per second.
    asked: u64,
    /// Operations per second, from when the first one was due until the last one was, or had ended.
    achieved: f64,
    held: bool,
    /// How many operations that were due waited for others when the last ones fell due.
    waiting: u64,
    /// How many operations were due and did not begin.
    not_begun: u64,
}

/// What was done and not measured.
#[derive(Clone, Copy, Debug, Serialize)]
struct WarmUp {
    seconds: f64,
    operations: u64,
}

#[derive(Debug, Serialize)]
struct OfOperationKind {
    operations: u64,
    latency_us: Latency,
}

#[derive(Debug, Serialize)]
struct Second {
    second: usize,
    operations: u64,
}

impl Report {
    pub(crate) fn new(plan: &Plan, load: Option<Loaded>, measured: &Measured) -> Self {
        let Measured { tally, warm_up, kept, .. } = measured;
        let seconds = tally.elapsed().as_secs_f64();
        let operations = tally.operations();
        let of_kind = |kind: OperationKind| {
            let (operations, latency_us) = tally.of(kind)?;
            Some((kind.name(), OfOperationKind { operations, latency_us }))
        };
        let second =
            |(second, operations): (usize, &u64)| Second { second, operations: *operations };
        Self {
            workload: plan.workload,
            keys: plan.records,
            value_size: plan.value_bytes,
            threads: plan.threads,
            depth: plan.depth,
            distribution: plan.distribution(),
            seed: plan.seed,
            operations,
            seconds,
            throughput: if seconds > 0.0 { operations as f64 / seconds } else { 0.0 },
            errors: tally.errors,
            not_found: tally.not_found,
            rate: kept.map(|kept| Rate::of(kept, operations, seconds)),
            latency_us: tally.overall(),
            by_operation: OperationKind::ALL.into_iter().filter_map(of_kind).collect(),
            over_time: tally.by_second().iter().enumerate().map(second).collect(),
            warm_up: WarmUp {
                seconds: warm_up.as_secs_f64(),
                operations: tally.warm_up_operations,
            },
            load,
        }
    }

    /// The report for a person.
    pub(crate) fn text(&self) -> String {
        let mut text = self.summary();
        let header = ["LATENCY (us)", "OPERATIONS", "MEAN", "P50", "P95", "P99", "P99.9", "MAX"];
        let mut rows = vec![row("all", self.operations, &self.latency_us)];
        rows.extend(self.by_operation.iter().map(
            |(name, OfOperationKind { operations, latency_us })| row(name, *operations, latency_us),
        ));
        let numbers = [false, true, true, true, true, true, true, true];
        text.push('\n');
        text.push_str(&output::table(&header, &numbers, &rows));
        let rows: Vec<_> = self
            .over_time
            .iter()
            .map(|it| vec![it.second.to_string(), it.operations.to_string()])
            .collect();
        text.push('\n');
        text.push_str(&output::table(&["SECOND", "OPERATIONS"], &[false, true], &rows));
        text
    }

    fn summary(&self) -> String {
        let Self { workload, keys, value_size, threads, depth, .. } = self;
        let workload = workload.name();
        let mut text = format!(
            "workload    {workload}, {}, seed {}\nrecords     {keys} with values of {value_size} B\n\
             workers     {threads}, each with {depth} operations under way\n",
            self.distribution, self.seed
        );
        if let Some(Loaded { seconds, throughput }) = self.load {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "load        {seconds:.1} s, {throughput:.0} records/s");
        }
        let WarmUp { seconds, operations } = self.warm_up;
        if operations > 0 {
            let _ =
                writeln!(text, "warm-up     {seconds:.1} s, {operations} operations, not counted");
        }
        let Self { operations, seconds, errors, not_found, throughput, .. } = self;
        let _ = writeln!(
            text,
            "measured    {operations} operations in {seconds:.1} s, {errors} failed, {not_found} \
             reads found nothing\nthroughput  {throughput:.0} operations/s"
        );
        if let Some(rate) = self.rate {
            text.push_str(&rate.text());
        }
        text
    }
}

impl Rate {
    /// How a rate was kept at which so many operations were carried out within some `seconds`.
    fn of(kept: Kept, operations: u64, seconds: f64) -> Self {
        let Kept { rate, due, waiting, not_begun } = kept;
        let took = seconds.max(due as f64 / rate as f64);
        let held = waiting.max(not_begun) as f64 <= due as f64 * WAITING_SHARE_MAX;
        let achieved = if took > 0.0 { operations as f64 / took } else { 0.0 };
        Self { asked: rate, achieved, held, waiting, not_begun }
    }

    fn text(self) -> String {
        let Self { asked, achieved, held, waiting, not_begun } = self;
        if held {
            return format!(
                "rate        {asked}/s was held; latencies count from when operations were due\n"
            );
        }
        format!(
            "rate        {asked}/s was NOT HELD: {achieved:.0}/s achieved; {waiting} operations waited at the end, and \
             {not_begun} of them did not begin\n"
        )
    }
}

fn row(name: &str, operations: u64, latency: &Latency) -> Vec<String> {
    let Latency { mean, p50, p95, p99, p999, max } = latency;
    let latencies = [mean, p50, p95, p99, p999, max].map(|us| format!("{us:.1}"));
    [name.to_owned(), operations.to_string()].into_iter().chain(latencies).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_held_where_what_was_due_was_done_in_time() {
        for (due, waiting, not_begun, operations, seconds, achieved, held) in [
            (10_000, 0, 0, 10_000, 10.0, 1000.0, true),
            // The last one took long, which is a latency.
            (10_000, 0, 0, 10_000, 10.5, 952.38, true),
            // What waited at the end was done after it.
            (10_000, 100, 0, 10_000, 10.1, 990.1, true),
            (10_000, 101, 0, 10_000, 10.1, 990.1, false),
            // It was interrupted, or stood still.
            (10_000, 0, 101, 9899, 10.0, 989.9, false),
            // Few operations, and a failure, which is counted elsewhere.
            (10, 0, 0, 9, 0.05, 180.0, true),
            (0, 0, 0, 0, 0.0, 0.0, true),
        ] {
            let kept = Kept { rate: 1000, due, waiting, not_begun };
            let rate = Rate::of(kept, operations, seconds);
            assert!((rate.achieved - achieved).abs() < 0.01, "{rate:?}");
            assert_eq!((rate.held, rate.not_begun), (held, not_begun), "{rate:?}");
            assert_eq!(rate.text().contains("NOT HELD"), !held);
        }
    }
}
