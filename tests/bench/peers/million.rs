//! What many keys cost: memory once they are stored, and time to serve them after `kill -9`.

use kv_bench::comparison::{Comparison, Goal};
use kv_bench::figures::grouped;
use kv_bench::fleet::{Fleet, VALUE_BYTES, key, keys};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::{CLIENTS, DEPTH, Load};
use kv_bench::process;
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;
use kv_bench::standalone::{Fsync, Pipelines, Standalone};

/// How many keys are written anew before each kill, so that none finds everything in order.
const UNSETTLED_WRITES: usize = 100_000;
const PEER: &str = "Redis, AOF always";

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Vec<Comparison>> {
    let many = format!("{} keys", grouped(settings.stored as f64));
    let memory = |what: &str, goal| {
        Comparison::new(format!("memory of {many}, {what}"), PEER, goal, Unit::Bytes)
    };
    let mut loaded = memory("just stored", Goal::None);
    let mut settled = memory("settled", Goal::AtMost(1.0));
    let mut started = Comparison::new(
        format!("start after kill -9, {many}"),
        PEER,
        Goal::AtMost(1.0),
        Unit::Seconds,
    );

    let mut redis = Standalone::start(Fsync::Always).await?;
    redis.load(keys(settings.stored)).await?;
    loaded.theirs(journal, process::resident_bytes(redis.pid().await?)?)?;
    redis.settled().await?;
    settled.theirs(journal, process::resident_bytes(redis.pid().await?)?)?;

    let mut fleet = Fleet::start(programs, 1, 1).await?;
    fleet.bench(&Load::storing(settings.stored, VALUE_BYTES)).await?;
    loaded.ours(journal, process::resident_bytes(fleet.pid(0))?)?;
    process::settled(fleet.pid(0)).await?;
    settled.ours(journal, process::resident_bytes(fleet.pid(0))?)?;

    let probe = key(settings.stored);
    fleet.put(&probe).await?;
    let load = Pipelines { test: "set", keys: settings.stored, clients: CLIENTS, depth: DEPTH };
    for _ in 0..settings.rounds {
        redis.benchmark(load, UNSETTLED_WRITES).await?;
        redis.kill().await?;
        started.theirs(journal, redis.launch().await?.as_secs_f64())?;
        fleet.bench(&Load::overwriting(settings.stored, UNSETTLED_WRITES)).await?;
        fleet.kill(0)?;
        started.ours(journal, fleet.restart(0, &probe).await?.as_secs_f64())?;
    }
    Ok(vec![loaded, settled, started])
}
