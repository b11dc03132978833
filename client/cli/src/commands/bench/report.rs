//! The result of a benchmark, as JSON and as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::load::Loaded;
use super::plan::Plan;
use super::tally::{Latency, Tally};
use super::workload::{OperationKind, Workload};
use crate::output;

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
    latency_us: Latency,
    by_operation: BTreeMap<&'static str, OfOperationKind>,
    over_time: Vec<Second>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<Loaded>,
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
    pub(crate) fn new(plan: &Plan, load: Option<Loaded>, tally: &Tally) -> Self {
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
            latency_us: tally.overall(),
            by_operation: OperationKind::ALL.into_iter().filter_map(of_kind).collect(),
            over_time: tally.by_second().iter().enumerate().map(second).collect(),
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
        let Self { operations, seconds, errors, not_found, throughput, .. } = self;
        let _ = writeln!(
            text,
            "measured    {operations} operations in {seconds:.1} s, {errors} failed, {not_found} \
             reads found nothing\nthroughput  {throughput:.0} operations/s"
        );
        text
    }
}

fn row(name: &str, operations: u64, latency: &Latency) -> Vec<String> {
    let Latency { mean, p50, p95, p99, p999, max } = latency;
    let latencies = [mean, p50, p95, p99, p999, max].map(|us| format!("{us:.1}"));
    [name.to_owned(), operations.to_string()].into_iter().chain(latencies).collect()
}
