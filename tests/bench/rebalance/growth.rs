//! A move costs as the moved records do, however many are stored: the same partitions with the same number of
//! keys move to a new node, out of a small store and out of one that is ten times as large.

use std::collections::BTreeSet;

use kv_core::limits::PARTITIONS_DEFAULT;
use kv_core::partition::{Partition, PartitionCount};

use kv_bench::figures::{grouped, median, table};
use kv_bench::fleet::{Fleet, keys};
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

const NODES: usize = 4;
/// The weights of the nodes that are there, and of the one that comes: it gets a hundredth.
const WEIGHTS: [u32; 2] = [25, 1];
/// How much larger the large store is.
const TIMES: usize = 10;
/// Which share of the small store's keys is in the partitions that move.
const MOVING_SHARE: usize = 10;

/// A store of some size.
struct Store<'a> {
    stored: usize,
    fleet: Fleet<'a>,
    times: Vec<f64>,
    moved: f64,
}

pub(crate) async fn run(settings: &Settings, programs: &Programs) -> anyhow::Result<String> {
    let sizes = [settings.stored / TIMES, settings.stored];
    let moving_keys = sizes[0] / MOVING_SHARE;
    let partitions = PartitionCount::new(PARTITIONS_DEFAULT)?;
    let mut stores = Vec::new();
    let mut moving = BTreeSet::new();
    for stored in sizes {
        let mut fleet = Fleet::start(programs, NODES, WEIGHTS[0]).await?;
        let found = find_moving(&mut fleet, partitions).await?;
        anyhow::ensure!(moving.is_empty() || moving == found, "other partitions move");
        moving = found;
        fleet.import(chosen_keys(partitions, &moving, moving_keys, stored)).await?;
        stores.push(Store { stored, fleet, times: Vec::new(), moved: 0.0 });
    }
    for _ in 0..settings.rounds {
        for store in &mut stores {
            store.fleet.start_node(NODES, WEIGHTS[1]).await?;
            let done = store.fleet.add().await?;
            store.times.push(done.took.as_secs_f64());
            store.moved = done.number("keys")?;
            store.fleet.remove(NODES).await?;
        }
    }
    let row = |store: &Store<'_>| {
        let all: Vec<String> = store.times.iter().map(|it| format!("{it:.2}")).collect();
        vec![
            grouped(store.stored as f64),
            grouped(store.moved),
            format!("{:.2}", median(&store.times)),
            all.join(" "),
        ]
    };
    let rows: Vec<_> = stores.iter().map(row).collect();
    let share = 100.0 * moving.len() as f64 / f64::from(PARTITIONS_DEFAULT);
    let notes = format!(
        "{} of {PARTITIONS_DEFAULT} partitions move ({share:.1}%), the same ones with the same keys in both; \
         {} times as many keys stored take {:.2} times as long (the medians of {} rounds that take turns)",
        moving.len(),
        TIMES,
        median(&stores[1].times) / median(&stores[0].times),
        settings.rounds,
    );
    let header = ["keys stored", "keys moved", "seconds", "seconds of all rounds"];
    Ok(format!("{}\n\n{notes}", table("Growth", &header, &rows)))
}

/// Finds the partitions that move to the next node, by adding it while there is nothing to move.
async fn find_moving(
    fleet: &mut Fleet<'_>,
    partitions: PartitionCount,
) -> anyhow::Result<BTreeSet<Partition>> {
    fleet.start_node(NODES, WEIGHTS[1]).await?;
    fleet.add().await?;
    let client = fleet.client().await?;
    let new = format!("node-{NODES}");
    let mut seen = BTreeSet::new();
    let mut moving = BTreeSet::new();
    // Some key falls into every partition, sooner or later.
    for key in (0_u64..).map(|number| format!("probe:{number}")) {
        if seen.len() == PARTITIONS_DEFAULT as usize {
            break;
        }
        let partition = partitions.partition_of(&key);
        if seen.insert(partition) && client.locate(&key)?.node == new {
            moving.insert(partition);
        }
    }
    fleet.remove(NODES).await?;
    Ok(moving)
}

/// `stored` keys, `moving_keys` of which are in the `moving` partitions. Those are the same ones
/// whatever is `stored`.
fn chosen_keys(
    partitions: PartitionCount,
    moving: &BTreeSet<Partition>,
    moving_keys: usize,
    stored: usize,
) -> impl Iterator<Item = String> {
    let chosen = move |moves: bool, count: usize| {
        let fits = move |key: &String| moving.contains(&partitions.partition_of(key)) == moves;
        keys(usize::MAX).filter(fits).take(count)
    };
    chosen(true, moving_keys).chain(chosen(false, stored - moving_keys))
}
