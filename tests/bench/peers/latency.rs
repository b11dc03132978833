//! One operation after the other, against what the machine itself takes for a round trip and for an
//! append that is synced.

use anyhow::Context as _;

use crate::raw;
use kv_bench::comparison::{Comparison, Goal};
use kv_bench::fleet::{Fleet, VALUE_BYTES};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::{Load, Until};
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

/// Both sides take turns this often within a round: what a sync takes changes from one second to the
/// next, where others use the disk.
const TURNS: u32 = 3;
/// How many times what the machine itself takes an operation may take.
const TIMES_MAX: f64 = 1.5;

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Vec<Comparison>> {
    let goal = Goal::AtMost(TIMES_MAX);
    let mut get = Comparison::new("GET, one at a time, p50", "ZeroMQ", goal, Unit::Microseconds);
    let mut put = Comparison::new(
        "PUT durable, one at a time, p50",
        "ZeroMQ + fdatasync",
        goal,
        Unit::Microseconds,
    );
    let fleet = Fleet::start(programs, 1, 1).await?;
    fleet.bench(&Load::storing(settings.keys, VALUE_BYTES)).await?;
    let ours = |workload| Load {
        workload,
        clients: 1,
        depth: 1,
        until: Until::Elapsed(settings.measured_for / TURNS),
        loads: false,
        ..Load::storing(settings.keys, VALUE_BYTES)
    };
    // On the disk of the stores, which are temporary directories too.
    let directory = tempfile::tempdir().context("no temporary directory can be made")?;
    for _ in 0..settings.rounds * TURNS as usize {
        let (path, time) = (directory.path().to_owned(), settings.measured_for / TURNS);
        let raw = tokio::task::spawn_blocking(move || {
            anyhow::Ok((raw::round_trip_us(time)?, raw::append_us(&path, time)?))
        });
        let (round_trip_us, append_us) = raw.await.context("a measurement panicked")??;
        get.theirs(journal, round_trip_us)?;
        put.theirs(journal, round_trip_us + append_us)?;
        get.ours(journal, fleet.bench(&ours("get")).await?.p50_us)?;
        put.ours(journal, fleet.bench(&ours("put")).await?.p50_us)?;
    }
    Ok(vec![get, put])
}
