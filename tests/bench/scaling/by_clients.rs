//! What more clients cost: operations of clients that each do one after the other, and the memory of
//! the node for programs that are connected.

use crate::curve::Curve;
use kv_bench::fleet::{Fleet, VALUE_BYTES, key};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::{Load, Until};
use kv_bench::process;
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

const CLIENTS: [usize; 4] = [1, 4, 16, 64];

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Curve> {
    let columns = [
        ("GET", Unit::PerSecond),
        ("GET p50", Unit::Microseconds),
        ("PUT", Unit::PerSecond),
        ("PUT p50", Unit::Microseconds),
        ("memory of connections", Unit::Bytes),
    ];
    let mut curve = Curve::new("By clients", "clients", &columns);
    let fleet = Fleet::start(programs, 1, 1).await?;
    fleet.bench(&Load::storing(settings.keys, VALUE_BYTES)).await?;
    fleet.put(&key(settings.keys)).await?;
    for clients in CLIENTS {
        let mut figures = Vec::new();
        for workload in ["get", "put"] {
            let load = Load {
                workload,
                clients,
                depth: 1,
                until: Until::Elapsed(settings.measured_for),
                loads: false,
                ..Load::storing(settings.keys, VALUE_BYTES)
            };
            let measured = fleet.bench(&load).await?;
            figures.extend([measured.throughput, measured.p50_us]);
        }
        process::settled(fleet.pid(0)).await?;
        let before = process::resident_bytes(fleet.pid(0))?;
        let mut connected = Vec::new();
        for _ in 0..clients {
            let client = fleet.client().await?;
            client.get(key(settings.keys)).await?;
            connected.push(client);
        }
        let after = process::resident_bytes(fleet.pid(0))?;
        figures.push((after - before).max(0.0));
        curve.add(journal, clients, figures)?;
    }
    Ok(curve)
}
