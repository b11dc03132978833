//! One number of keys after the other, each from its storing to the start after `kill -9`. The node and Redis take
//! turns.

use std::time::{Duration, Instant};

use kv_bench::figures::grouped;
use kv_bench::fleet::{Fleet, VALUE_BYTES, key, keys as key_names};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::{CLIENTS, DEPTH, Load, Until};
use kv_bench::process;
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;
use kv_bench::standalone::{Fsync, Pipelines, Standalone};

use crate::goals::{Phase, Rows};
use crate::print;

/// What a node may take at least, in bytes, where nothing else is said.
const MEMORY_BYTES_MIN: u64 = 512 << 20;
/// What a key with its value takes of the memory where all are to be in it.
const MEMORY_BYTES_PER_KEY: u64 = 600;
/// What Redis takes of the memory for a key with its value, also while it rewrites its file.
const REDIS_BYTES_PER_KEY: f64 = 500.0;
/// How many times as long as reads writes are measured, so that checkpoints are among them.
const PUT_TIMES: u32 = 3;
/// Caches are warm once a run is at most this many times as fast as the fastest one before it...
const WARM_TIMES_MAX: f64 = 1.05;
/// ...or after this time.
const WARM_WITHIN: Duration = Duration::from_secs(600);
/// Which share of the keys is written anew before each stop and each kill, so that neither finds everything in order.
const UNSETTLED_SHARE: usize = 10;
const UNSETTLED_MIN: usize = 100_000;

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<()> {
    let has_budget = programs.kvnode_has("--memory")?;
    let first = settings.sizes.first().copied().unwrap_or_default();
    let mut first_puts = None;
    for keys in &settings.sizes {
        let budget = settings
            .memory_bytes
            .unwrap_or(MEMORY_BYTES_MIN.max(*keys as u64 * MEMORY_BYTES_PER_KEY));
        let budget = has_budget.then_some(budget);
        let mut rows = Rows::new(*keys, first);
        let run = Run { settings, keys: *keys, budget };
        run.measure(programs, journal, &mut rows).await?;
        if let Some(first_puts) = first_puts {
            rows.put_by_first.ours_as_told(rows.put.our_median());
            rows.put_by_first.theirs_as_told(first_puts);
        }
        first_puts.get_or_insert(rows.put.our_median());
        let budget = budget.map_or_else(
            || "kvnode has no --memory: its caches are as they are".to_owned(),
            |bytes| format!("the node's budget is {}", Unit::Bytes.show(bytes as f64)),
        );
        let notes = format!(
            "values of {VALUE_BYTES} bytes, {CLIENTS} clients x {DEPTH}; {budget}; medians of {} rounds that take turns",
            settings.rounds
        );
        print(&format!("{} keys", grouped(*keys as f64)), &rows.all(), &notes);
    }
    Ok(())
}

/// The measuring of one number of keys.
struct Run<'a> {
    settings: &'a Settings,
    keys: usize,
    /// What the node may take of the memory, where it knows such a thing.
    budget: Option<u64>,
}

impl Run<'_> {
    async fn measure(
        &self,
        programs: &Programs,
        journal: &mut Journal,
        rows: &mut Rows,
    ) -> anyhow::Result<()> {
        let memory = self.budget.map(|bytes| bytes.to_string());
        let options = memory.as_ref().map(|bytes| ["--memory", bytes.as_str()]);
        let options = options.as_ref().map_or(&[][..], |it| &it[..]);
        let mut fleet = Fleet::start_with(programs, 1, 1, options).await?;
        let stored = fleet.bench(&Load::storing(self.keys, VALUE_BYTES)).await?;
        journal.tell(
            &format!("storing {} keys", grouped(self.keys as f64)),
            "ours",
            stored.load_throughput.unwrap_or_default(),
            Unit::PerSecond,
        )?;
        let mut redis = None;
        if self.keys as f64 * REDIS_BYTES_PER_KEY < process::available_bytes()? {
            let started = Standalone::start(Fsync::Always).await?;
            started.load(key_names(self.keys)).await?;
            redis = Some(started);
        }
        self.note_memory(&fleet, redis.as_ref(), Phase::Stored, journal, rows).await?;
        self.operate(&fleet, redis.as_ref(), journal, rows).await?;
        if let Some(budget) = self.budget {
            rows.peak.ours(journal, process::peak_bytes(fleet.pid(0))?)?;
            rows.peak.theirs_as_told(budget as f64);
        }
        self.stop_and_kill(&mut fleet, redis.as_mut(), journal, rows).await?;
        process::settled(fleet.pid(0)).await?;
        if let Some(redis) = &redis {
            redis.settled().await?;
        }
        self.note_memory(&fleet, redis.as_ref(), Phase::Settled, journal, rows).await?;
        let (_, data_bytes) = fleet.stored().await?;
        rows.disk.theirs_as_told(data_bytes as f64);
        rows.disk.ours(journal, fleet.disk_bytes(0)?)
    }

    /// Reads until that does not become faster any more: a node that has stored much gives its memory back.
    async fn warm_up(
        &self,
        fleet: &Fleet<'_>,
        journal: &mut Journal,
        rows: &mut Rows,
    ) -> anyhow::Result<()> {
        let load = self.load("get", "uniform", self.settings.measured_for);
        let began = Instant::now();
        let mut fastest = fleet.bench(&load).await?.throughput;
        rows.cold.ours(journal, fastest)?;
        while began.elapsed() < WARM_WITHIN {
            let rate = fleet.bench(&load).await?.throughput;
            if rate <= fastest * WARM_TIMES_MAX {
                break;
            }
            fastest = rate;
        }
        Ok(())
    }

    /// Reads, then writes.
    async fn operate(
        &self,
        fleet: &Fleet<'_>,
        redis: Option<&Standalone>,
        journal: &mut Journal,
        rows: &mut Rows,
    ) -> anyhow::Result<()> {
        self.warm_up(fleet, journal, rows).await?;
        let time = self.settings.measured_for;
        for (phase, workload, distribution, time) in [
            (Phase::Uniform, "get", "uniform", time),
            (Phase::Zipfian, "get", "zipfian", time),
            (Phase::Put, "put", "uniform", time * PUT_TIMES),
        ] {
            for _ in 0..self.settings.rounds {
                if let Some(redis) = redis {
                    let test = if workload == "put" { "set" } else { "get" };
                    let rate = redis.rate(self.pipelines(test), time).await?;
                    rows.operations(phase).theirs(journal, rate)?;
                }
                let load = self.load(workload, distribution, time);
                let measured = fleet.bench(&load).await?;
                rows.operations(phase).ours(journal, measured.throughput)?;
                if let (Phase::Put, Some(slowest)) = (phase, measured.slowest_second) {
                    rows.slowest_second.ours(journal, slowest)?;
                    rows.slowest_second.theirs_as_told(measured.throughput);
                }
            }
            self.note_memory(fleet, redis, phase, journal, rows).await?;
        }
        Ok(())
    }

    /// Stops and kills both sides, right after writes.
    async fn stop_and_kill(
        &self,
        fleet: &mut Fleet<'_>,
        mut redis: Option<&mut Standalone>,
        journal: &mut Journal,
        rows: &mut Rows,
    ) -> anyhow::Result<()> {
        let probe = key(self.keys);
        fleet.put(&probe).await?;
        let writes = UNSETTLED_MIN.max(self.keys / UNSETTLED_SHARE);
        for _ in 0..self.settings.rounds {
            if let Some(redis) = &mut redis {
                redis.benchmark(self.pipelines("set"), writes).await?;
                rows.stop.theirs(journal, redis.terminate().await?.as_secs_f64())?;
                redis.launch().await?;
                redis.benchmark(self.pipelines("set"), writes).await?;
                redis.kill().await?;
                rows.start.theirs(journal, redis.launch().await?.as_secs_f64())?;
            }
            fleet.bench(&Load::overwriting(self.keys, writes)).await?;
            let took = fleet.terminate(0).await?;
            rows.stopped(journal, took.as_secs_f64())?;
            fleet.restart(0, &probe).await?;
            fleet.bench(&Load::overwriting(self.keys, writes)).await?;
            fleet.kill(0)?;
            let took = fleet.restart(0, &probe).await?;
            rows.started(journal, took.as_secs_f64())?;
        }
        Ok(())
    }

    async fn note_memory(
        &self,
        fleet: &Fleet<'_>,
        redis: Option<&Standalone>,
        phase: Phase,
        journal: &mut Journal,
        rows: &mut Rows,
    ) -> anyhow::Result<()> {
        let row = &mut rows.memory[phase as usize];
        if let Some(redis) = redis {
            row.theirs(journal, process::resident_bytes(redis.pid().await?)?)?;
        }
        row.ours(journal, process::resident_bytes(fleet.pid(0))?)
    }

    fn load<'a>(&self, workload: &'a str, distribution: &'a str, time: Duration) -> Load<'a> {
        Load {
            workload,
            distribution: Some(distribution),
            until: Until::Elapsed(time),
            loads: false,
            ..Load::storing(self.keys, VALUE_BYTES)
        }
    }

    fn pipelines(&self, test: &'static str) -> Pipelines<'static> {
        Pipelines { test, keys: self.keys, clients: CLIENTS, depth: DEPTH }
    }
}
