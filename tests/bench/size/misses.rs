//! Data ten times the memory: reads that miss, against the disk's own random reads, and what they cost reads that hit.

use std::time::Duration;

use anyhow::bail;
use kv_bench::comparison::{Comparison, Goal};
use kv_bench::figures::grouped;
use kv_bench::fleet::{Fleet, key};
use kv_bench::journal::{Journal, Unit};
use kv_bench::load::{CLIENTS, DEPTH, Load, Until};
use kv_bench::process;
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

use crate::confinement::{Emptying, Group, empty_page_cache};
use crate::{disk, print};

/// The length of a value: few keys are many data, so that storing them does not take long.
const VALUE_BYTES: usize = 1000;
/// How many times the memory the data are.
const TIMES: u64 = 10;
/// How many times its budget a node's memory may be. The rest of the memory is for the page cache.
const BUDGET_TIMES_MAX: f64 = 1.3;
/// The least budget that a node takes.
const BUDGET_BYTES_MIN: u64 = 64 << 20;
/// The keys that hits are drawn from, and how many hits there are in a second: all of these keys are read again
/// before they could have been displaced.
const HOT_KEYS: usize = 1000;
const HITS_PER_SECOND: usize = 5000;
/// Which share of the disk's random reads the GETs are to be.
const DISK_SHARE_MIN: f64 = 0.5;
/// How many times what it takes without misses a hit may take with them.
const HIT_TIMES_MAX: f64 = 2.0;
/// How much longer than hits the misses beside them go on.
const MISSES_BESIDE: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    settings: &Settings,
    programs: &Programs,
    journal: &mut Journal,
) -> anyhow::Result<()> {
    if !programs.kvnode_has("--memory")? {
        println!(
            "skipped: kvnode has no --memory, so that no amount of data is ten times its memory\n"
        );
        return Ok(());
    }
    let keys = settings.stored;
    let memory_bytes = (keys * (key(0).len() + VALUE_BYTES)) as u64 / TIMES;
    let budget_bytes = (memory_bytes as f64 / BUDGET_TIMES_MAX) as u64;
    if budget_bytes < BUDGET_BYTES_MIN {
        bail!("--stored {keys}: a tenth of that is less than a node needs; expected more keys");
    }
    // Before the fleet, so that it goes away after the node that is in it.
    let group = Group::make(memory_bytes);
    // Stored with all the memory that there is, for it is reading that is measured.
    let mut fleet = Fleet::start(programs, 1, 1).await?;
    fleet.bench(&Load { loads: true, ..load(keys) }).await?;
    let probe = key(keys);
    fleet.put(&probe).await?;
    process::settled(fleet.pid(0)).await?;
    fleet.stop(0).await?;
    let budget = budget_bytes.to_string();
    fleet.start_nodes_with(&["--memory", &budget], group.as_ref().ok().map(Group::path));
    empty_page_cache(&fleet.data(0))?;
    fleet.restart(0, &probe).await?;
    let (_emptying, confined) = match &group {
        Ok(_) => (None, "a control group holds the node and its page cache to it".to_owned()),
        Err(error) => (
            Some(Emptying::begin(&fleet.data(0))?),
            format!(
                "the page cache is emptied all the time instead of a control group ({error:#})"
            ),
        ),
    };
    let page_bytes = disk::page_bytes(&fleet.data(0))?;
    let compared = measure(settings, &fleet, (budget_bytes, page_bytes), journal).await?;
    let notes = format!(
        "{} keys with values of {VALUE_BYTES} bytes, {} of memory, of which the node's budget is {}: {confined}\n\
         GETs uniform by {CLIENTS} clients x {DEPTH}, the disk's reads of 4 KiB and of {} bytes past the page cache by fio with \
         as many under way; hits at {}/s from {} keys, latencies from when they were due, with misses at half of the rate above",
        grouped(keys as f64),
        Unit::Bytes.show(memory_bytes as f64),
        Unit::Bytes.show(budget_bytes as f64),
        page_bytes,
        grouped(HITS_PER_SECOND as f64),
        grouped(HOT_KEYS as f64),
    );
    print("Data ten times the memory", &compared.iter().collect::<Vec<_>>(), &notes);
    Ok(())
}

async fn measure(
    settings: &Settings,
    fleet: &Fleet<'_>,
    (budget_bytes, page_bytes): (u64, u64),
    journal: &mut Journal,
) -> anyhow::Result<[Comparison; 4]> {
    let time = settings.measured_for;
    let mut reads = Comparison::new(
        "GET that misses",
        "random reads of the disk",
        Goal::AtLeast(DISK_SHARE_MIN),
        Unit::PerSecond,
    );
    let mut page_reads = Comparison::new(
        "GET that misses",
        "random reads of as long as a page",
        Goal::AtLeast(DISK_SHARE_MIN),
        Unit::PerSecond,
    );
    let mut hits = Comparison::new(
        "hits beside misses, p99",
        "without misses",
        Goal::AtMost(HIT_TIMES_MAX),
        Unit::Microseconds,
    );
    let goal = Goal::AtMost(BUDGET_TIMES_MAX);
    let mut peak = Comparison::new("memory, highest", "the budget", goal, Unit::Bytes);

    // On the disk of the stores, which are temporary directories too.
    let directory = tempfile::tempdir()?;
    let data_bytes = budget_bytes * TIMES;
    if !disk::is_installed() {
        println!("fio is not installed: the disk's own random reads are not measured\n");
    }
    let misses = Load { until: Until::Elapsed(time), ..load(settings.stored) };
    let hot = Load { until: Until::Elapsed(time), rate: Some(HITS_PER_SECOND), ..load(HOT_KEYS) };
    for _ in 0..settings.rounds {
        if disk::is_installed() {
            for (length, reads) in [(disk::BLOCK_BYTES, &mut reads), (page_bytes, &mut page_reads)]
            {
                let lengths = (data_bytes, length);
                let rate =
                    disk::random_reads(directory.path(), lengths, CLIENTS * DEPTH, time).await?;
                reads.theirs(journal, rate)?;
            }
        }
        let missed = fleet.bench(&misses).await?.throughput;
        reads.ours(journal, missed)?;
        page_reads.ours_as_told(missed);

        let alone = fleet.bench(&hot).await?;
        hits.theirs(journal, alone.p99_us)?;
        let beside = Load {
            rate: Some((missed / 2.0) as usize + 1),
            until: Until::Elapsed(time + MISSES_BESIDE),
            ..misses.clone()
        };
        let (with_misses, _) = tokio::try_join!(fleet.bench(&hot), fleet.bench(&beside))?;
        hits.ours(journal, with_misses.p99_us)?;
        for measured in [alone, with_misses] {
            if measured.is_held != Some(true) {
                eprintln!("the rate of hits was not held");
            }
        }
    }
    peak.ours(journal, process::peak_bytes(fleet.pid(0))?)?;
    peak.theirs_as_told(budget_bytes as f64);
    Ok([reads, page_reads, hits, peak])
}

/// GETs of `keys` keys, drawn uniformly.
fn load(keys: usize) -> Load<'static> {
    Load { loads: false, distribution: Some("uniform"), ..Load::storing(keys, VALUE_BYTES) }
}
