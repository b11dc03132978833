//! Reads and writes per second, many under way at a time, against Redis.

use kv_bench::comparison::{Comparison, Goal};
use kv_bench::fleet::{Fleet, VALUE_BYTES, keys};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::{Load, Until};
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;
use kv_bench::standalone::{Fsync, Pipelines, Standalone};

/// One kind of work.
struct Work {
    name: &'static str,
    /// As our load generator calls it.
    ours: &'static str,
    /// As Redis's does.
    theirs: &'static str,
    clients: usize,
    depth: usize,
}

const GETS: [Work; 3] = [
    Work { name: "GET, depth 16", ours: "get", theirs: "get", clients: 1, depth: 16 },
    Work { name: "GET, depth 64", ours: "get", theirs: "get", clients: 1, depth: 64 },
    Work { name: "GET, 50 clients x 16", ours: "get", theirs: "get", clients: 50, depth: 16 },
];
const DURABLE_PUTS: [Work; 1] = [Work {
    name: "PUT durable, 50 clients x 16",
    ours: "put",
    theirs: "set",
    clients: 50,
    depth: 16,
}];
const RELAXED_PUTS: [Work; 1] =
    [Work { name: "PUT everysec, depth 16", ours: "put", theirs: "set", clients: 1, depth: 16 }];

/// Reads.
pub(crate) async fn gets(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Vec<Comparison>> {
    compare(settings, programs, journal, Fsync::Always, &GETS).await
}

/// Writes that are durable once they are acknowledged.
pub(crate) async fn puts(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Vec<Comparison>> {
    compare(settings, programs, journal, Fsync::Always, &DURABLE_PUTS).await
}

/// Writes that are durable a second after they are acknowledged.
pub(crate) async fn relaxed_puts(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Vec<Comparison>> {
    compare(settings, programs, journal, Fsync::EverySecond, &RELAXED_PUTS).await
}

async fn compare(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
    fsync: Fsync,
    works: &[Work],
) -> anyhow::Result<Vec<Comparison>> {
    // Durable is the default, and the defaults are compared.
    let (options, peer): (&[&str], _) = match fsync {
        Fsync::Always => (&[], "Redis, AOF always"),
        Fsync::EverySecond => (&["--fsync", "everysec"], "Redis, AOF everysec"),
    };
    let fleet = Fleet::start_with(programs, 1, 1, options).await?;
    fleet.bench(&Load::storing(settings.keys, VALUE_BYTES)).await?;
    let redis = Standalone::start(fsync).await?;
    redis.load(keys(settings.keys)).await?;
    let mut compared = Vec::new();
    for work in works {
        let mut comparison = Comparison::new(work.name, peer, Goal::AtLeast(1.0), Unit::PerSecond);
        let Work { clients, depth, .. } = *work;
        let theirs = Pipelines { test: work.theirs, keys: settings.keys, clients, depth };
        let ours = Load {
            workload: work.ours,
            clients,
            depth,
            until: Until::Elapsed(settings.measured_for),
            loads: false,
            ..Load::storing(settings.keys, VALUE_BYTES)
        };
        for _ in 0..settings.rounds {
            let rate = redis.rate(theirs, settings.measured_for).await?;
            comparison.theirs(journal, rate)?;
            comparison.ours(journal, fleet.bench(&ours).await?.throughput)?;
        }
        compared.push(comparison);
    }
    Ok(compared)
}
