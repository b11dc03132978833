//! YCSB's core workloads A, B and C, with 50 clients that do one operation after the other: against
//! etcd, and against memcached, which keeps nothing, for information.

use crate::etcd::Etcd;
use crate::memcached::Memcached;
use crate::mix::{self, MIXES, Mix};
use kv_bench::comparison::{Comparison, Goal};
use kv_bench::fleet::{Fleet, VALUE_BYTES};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::{Load, Until};
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

const CLIENTS: usize = 50;
/// How many operations are under way while a peer is filled.
const FILLING_CLIENTS: usize = 256;
/// How many times etcd's rate ours is to be.
const TIMES_ETCD: f64 = 10.0;

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<Vec<Comparison>> {
    let fleet = Fleet::start(programs, 1, 1).await?;
    fleet.bench(&Load::storing(settings.keys, VALUE_BYTES)).await?;
    let etcd = match Etcd::is_installed() {
        true => Some(Etcd::start().await?),
        false => None,
    };
    if let Some(etcd) = &etcd {
        mix::store(etcd.clients(FILLING_CLIENTS).await?, settings.keys).await?;
    }
    let memcached = match Memcached::is_installed() {
        true => Some(Memcached::start().await?),
        false => None,
    };
    if let Some(memcached) = &memcached {
        mix::store(memcached.clients(CLIENTS).await?, settings.keys).await?;
    }
    let mut compared = Vec::new();
    for mix in MIXES {
        let work = format!("YCSB {}, {CLIENTS} clients", mix.name.to_uppercase());
        let compare = |peer, goal| Comparison::new(work.clone(), peer, goal, Unit::PerSecond);
        let mut against_etcd = compare("etcd", Goal::AtLeast(TIMES_ETCD));
        let mut against_memcached = compare("memcached", Goal::None);
        // What memcached writes it need not keep, so only reads can be compared.
        let memcached = memcached.as_ref().filter(|_| mix.reads > 0.5);
        for _ in 0..settings.rounds {
            if let Some(etcd) = &etcd {
                let clients = etcd.clients(CLIENTS).await?;
                let rate = mix::drive(clients, mix, settings.keys, settings.measured_for).await?;
                against_etcd.theirs(journal, rate)?;
            }
            if let Some(memcached) = memcached {
                let clients = memcached.clients(CLIENTS).await?;
                let rate = mix::drive(clients, mix, settings.keys, settings.measured_for).await?;
                against_memcached.theirs(journal, rate)?;
            }
            let rate = fleet.bench(&ours(settings, mix)).await?.throughput;
            against_etcd.ours(journal, rate)?;
            against_memcached.ours_as_told(rate);
        }
        if etcd.is_some() {
            compared.push(against_etcd);
        }
        if memcached.is_some() {
            compared.push(against_memcached);
        }
    }
    Ok(compared)
}

fn ours(settings: &Settings, mix: Mix) -> Load<'static> {
    Load {
        workload: mix.name,
        clients: CLIENTS,
        depth: 1,
        until: Until::Elapsed(settings.measured_for),
        loads: false,
        ..Load::storing(settings.keys, VALUE_BYTES)
    }
}
