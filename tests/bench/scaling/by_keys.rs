//! What more keys cost: operations, memory, and the start after a stop and after a kill.

use crate::curve::Curve;
use kv_bench::figures::median;
use kv_bench::fleet::{Fleet, VALUE_BYTES, key};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::{Load, Until};
use kv_bench::process;
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

/// How many keys there are.
const SIZES: [usize; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// The sizes above this take long.
const USUAL_MAX: usize = 1_000_000;
/// Which share of the keys is written anew before each kill.
const UNSETTLED_SHARE: usize = 10;

/// The sizes that are to be measured.
pub(crate) fn sizes(settings: &Settings) -> impl Iterator<Item = usize> {
    let max = if settings.large { usize::MAX } else { USUAL_MAX };
    SIZES.into_iter().filter(move |size| *size <= max)
}

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Curve> {
    let columns = [
        ("stored", Unit::PerSecond),
        ("GET", Unit::PerSecond),
        ("PUT", Unit::PerSecond),
        ("memory", Unit::Bytes),
        ("memory/key", Unit::BytesEach),
        ("start", Unit::Seconds),
        ("start after kill -9", Unit::Seconds),
    ];
    let mut curve = Curve::new("By keys", "keys", &columns);
    for keys in sizes(settings) {
        curve.add(journal, keys, measure(settings, programs, keys).await?)?;
    }
    Ok(curve)
}

async fn measure(
    settings: &Settings,
    programs: &Programs,
    keys: usize,
) -> anyhow::Result<Vec<f64>> {
    let mut fleet = Fleet::start(programs, 1, 1).await?;
    let empty_bytes = process::resident_bytes(fleet.pid(0))?;
    let storing = fleet.bench(&Load::storing(keys, VALUE_BYTES)).await?;
    let mut figures = vec![storing.load_throughput.unwrap_or_default()];
    process::settled(fleet.pid(0)).await?;
    let bytes = process::resident_bytes(fleet.pid(0))?;
    for workload in ["get", "put"] {
        let until = Until::Elapsed(settings.measured_for);
        let load = Load { workload, until, loads: false, ..Load::storing(keys, VALUE_BYTES) };
        figures.push(fleet.rate(&load, settings.rounds).await?);
    }
    figures.extend([bytes, (bytes - empty_bytes) / keys as f64]);

    let probe = key(keys);
    fleet.put(&probe).await?;
    let (mut stopped, mut killed) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        fleet.stop(0).await?;
        stopped.push(fleet.restart(0, &probe).await?.as_secs_f64());
        fleet.bench(&Load::overwriting(keys, keys / UNSETTLED_SHARE)).await?;
        fleet.kill(0)?;
        killed.push(fleet.restart(0, &probe).await?.as_secs_f64());
    }
    figures.extend([median(&stopped), median(&killed)]);
    Ok(figures)
}
