//! What a million overwrites leave on the disk, of few keys and of many.

use crate::by_keys::sizes;
use crate::curve::Curve;
use kv_bench::fleet::{Fleet, VALUE_BYTES};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::Load;
use kv_bench::process;
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

const OVERWRITES: usize = 1_000_000;

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Curve> {
    let columns = [
        ("keys + values", Unit::Bytes),
        ("disk", Unit::Bytes),
        ("disk/data", Unit::Times),
        ("disk settled", Unit::Bytes),
        ("settled/data", Unit::Times),
    ];
    let mut curve = Curve::new("Disk after 1,000,000 overwrites", "keys", &columns);
    for keys in sizes(settings) {
        let fleet = Fleet::start(programs, 1, 1).await?;
        fleet.bench(&Load::storing(keys, VALUE_BYTES)).await?;
        fleet.bench(&Load::overwriting(keys, OVERWRITES)).await?;
        let (_, data_bytes) = fleet.stored().await?;
        let data_bytes = data_bytes as f64;
        let disk_bytes = fleet.disk_bytes(0)?;
        process::settled(fleet.pid(0)).await?;
        let settled_bytes = fleet.disk_bytes(0)?;
        let (at_once, settled) = (disk_bytes / data_bytes, settled_bytes / data_bytes);
        let figures = vec![data_bytes, disk_bytes, at_once, settled_bytes, settled];
        curve.add(journal, keys, figures)?;
    }
    Ok(curve)
}
