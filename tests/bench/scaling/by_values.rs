//! What longer values cost.

use crate::curve::Curve;
use kv_bench::fleet::Fleet;
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::{Load, Until};
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

const VALUE_BYTES: [usize; 5] = [16, 100, 1 << 10, 64 << 10, 1 << 20];
/// The most that is stored, in bytes. There are fewer keys where values are long.
const DATA_BYTES_MAX: usize = 64 << 20;
const CLIENTS: usize = 16;

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Curve> {
    let columns = [
        ("GET", Unit::PerSecond),
        ("GET bytes/s", Unit::Bytes),
        ("PUT", Unit::PerSecond),
        ("PUT bytes/s", Unit::Bytes),
    ];
    let mut curve = Curve::new("By length of values", "bytes", &columns);
    for value_bytes in VALUE_BYTES {
        let fleet = Fleet::start(programs, 1, 1).await?;
        let keys = settings.keys.min(DATA_BYTES_MAX / value_bytes);
        let storing = Load { clients: CLIENTS, depth: 1, ..Load::storing(keys, value_bytes) };
        fleet.bench(&storing).await?;
        let mut figures = Vec::new();
        for workload in ["get", "put"] {
            let until = Until::Elapsed(settings.measured_for);
            let load = Load { workload, until, loads: false, ..storing.clone() };
            let rate = fleet.rate(&load, settings.rounds).await?;
            figures.extend([rate, rate * value_bytes as f64]);
        }
        curve.add(journal, value_bytes, figures)?;
    }
    Ok(curve)
}
