//! What reads and writes take while everything moves, against the same cluster at rest; and how fast
//! data moves with and without them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvclient::Client;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use kv_bench::figures::{grouped, median, percentile_ms, table};
use kv_bench::fleet::{Fleet, VALUE_BYTES, keys};
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

const NODES: usize = 4;
const KEYS: usize = 100_000;
/// How many operations are under way at a time.
const TASKS: u64 = 16;
const STRATEGIES: [&str; 2] = ["consistent-hash", "hrw"];

/// How long each operation took that succeeded.
#[derive(Default)]
struct Times {
    gets: Vec<Duration>,
    puts: Vec<Duration>,
    failed: u64,
    /// How long all of it took.
    seconds: f64,
}

pub(crate) async fn run(settings: &Settings, programs: &Programs) -> anyhow::Result<String> {
    let fleet = Fleet::start(programs, NODES, 1).await?;
    fleet.import(keys(KEYS)).await?;
    let client = fleet.client().await?;
    // Connecting, and warming the nodes' caches, is not measured.
    let warm_up = Duration::from_secs(1);
    measure(&client, rest_for(warm_up)).await?;
    let (idle, ()) = measure(&client, rest_for(settings.measured_for)).await?;
    let (moving, loaded) = measure(&client, migrate_for(&fleet, settings.measured_for)).await?;
    let alone = migrate_for(&fleet, settings.measured_for).await?;

    let mut rows = Vec::new();
    let states = [("at rest", idle), ("while everything moves", moving)];
    for (state, times) in states {
        let (failed, seconds) = (times.failed, times.seconds);
        for (name, mut times) in [("GET", times.gets), ("PUT", times.puts)] {
            times.sort_unstable();
            let mut row = vec![format!("{name} {state}")];
            let shares = [0.5, 0.99, 0.999];
            row.extend(shares.map(|share| format!("{:.2}", percentile_ms(&times, share))));
            row.push(grouped(times.len() as f64 / seconds));
            rows.push(row);
        }
        if failed > 0 {
            rows.push(vec![format!("FAILED {state}: {failed}")]);
        }
    }
    let header = ["", "p50 ms", "p99 ms", "p99.9 ms", "per s"];
    let notes = format!(
        "{TASKS} operations at a time, half reads and half writes, on {} keys; the moves are migrations \
         from hrw to consistent-hash and back, one after the other\n\
         keys moved per second: {} with the operations, {} without them (medians of the migrations)",
        grouped(KEYS as f64),
        grouped(median(&loaded)),
        grouped(median(&alone)),
    );
    Ok(format!("{}\n\n{notes}", table("Foreground", &header, &rows)))
}

async fn rest_for(time: Duration) -> anyhow::Result<()> {
    tokio::time::sleep(time).await;
    Ok(())
}

/// Migrates to and fro, for at least some time. Gives the rate of each migration, in keys per second.
async fn migrate_for(fleet: &Fleet<'_>, at_least: Duration) -> anyhow::Result<Vec<f64>> {
    let began = Instant::now();
    let mut rates = Vec::new();
    while began.elapsed() < at_least {
        for strategy in STRATEGIES {
            rates.push(fleet.migrate(strategy).await?.number("keys_per_s")?);
        }
    }
    Ok(rates)
}

/// Reads and writes until `during` has ended.
async fn measure<T>(
    client: &Client,
    during: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(Times, T)> {
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..TASKS)
        .map(|seed| tokio::spawn(operate(client.clone(), seed, Arc::clone(&stop))))
        .collect();
    let began = Instant::now();
    let result = during.await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Times { seconds: began.elapsed().as_secs_f64(), ..Times::default() };
    for task in tasks {
        let Times { gets, puts, failed, .. } = task.await?;
        all.gets.extend(gets);
        all.puts.extend(puts);
        all.failed += failed;
    }
    Ok((all, result?))
}

async fn operate(client: Client, seed: u64, stop: Arc<AtomicBool>) -> Times {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut times = Times::default();
    while !stop.load(Ordering::Relaxed) {
        let key = format!("key:{:012}", random.random_range(0..KEYS));
        let is_read = random.random::<bool>();
        let began = Instant::now();
        let succeeded = if is_read {
            client.get(key).await.is_ok()
        } else {
            client.put(key, vec![b'w'; VALUE_BYTES]).await.is_ok()
        };
        match (succeeded, is_read) {
            (true, true) => times.gets.push(began.elapsed()),
            (true, false) => times.puts.push(began.elapsed()),
            (false, _) => times.failed += 1,
        }
    }
    times
}
