//! What more nodes give. On one machine they share its cores and its disk.

use crate::curve::Curve;
use kv_bench::fleet::{Fleet, VALUE_BYTES};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::{Load, Until};
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

const NODES: [usize; 4] = [1, 2, 4, 8];

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Curve> {
    let mut curve =
        Curve::new("By nodes", "nodes", &[("GET", Unit::PerSecond), ("PUT", Unit::PerSecond)]);
    for nodes in NODES {
        let fleet = Fleet::start(programs, nodes, 1).await?;
        fleet.bench(&Load::storing(settings.keys, VALUE_BYTES)).await?;
        let mut figures = Vec::new();
        for workload in ["get", "put"] {
            let until = Until::Elapsed(settings.measured_for);
            let storing = Load::storing(settings.keys, VALUE_BYTES);
            let load = Load { workload, until, loads: false, ..storing };
            figures.push(fleet.rate(&load, settings.rounds).await?);
        }
        curve.add(journal, nodes, figures)?;
    }
    Ok(curve)
}
