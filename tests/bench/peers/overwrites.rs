//! The bytes on the disk after everything has been overwritten ten times, against the data.

use kv_bench::comparison::{Comparison, Goal};
use kv_bench::figures::grouped;
use kv_bench::fleet::{Fleet, VALUE_BYTES};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::Load;
use kv_bench::process;
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

/// How often each key is overwritten, on average.
const TIMES: usize = 10;
/// How many times the data the disk may take.
const TIMES_MAX: f64 = 3.0;

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Vec<Comparison>> {
    let writes = settings.keys * TIMES;
    let mut disk = Comparison::new(
        format!("disk after {} overwrites", grouped(writes as f64)),
        "keys + values",
        Goal::AtMost(TIMES_MAX),
        Unit::Bytes,
    );
    let fleet = Fleet::start(programs, 1, 1).await?;
    fleet.bench(&Load::storing(settings.keys, VALUE_BYTES)).await?;
    fleet.bench(&Load::overwriting(settings.keys, writes)).await?;
    process::settled(fleet.pid(0)).await?;
    let (_, live_bytes) = fleet.stored().await?;
    disk.theirs(journal, live_bytes as f64)?;
    disk.ours(journal, fleet.disk_bytes(0)?)?;
    Ok(vec![disk])
}
