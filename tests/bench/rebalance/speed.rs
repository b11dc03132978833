//! Keys moved per second when a fifth node comes to four, against Redis.
//!
//! Both get the same keys and values, and take turns, so that whatever else the machine does hits
//! both. Redis's time is that of `redis-cli --cluster rebalance` alone; ours that of `kvclient
//! add-node`, which includes planning, verifying and committing.

use kv_bench::figures::{grouped, median, table};
use kv_bench::fleet::{Fleet, VALUE_BYTES, keys};
use kv_bench::programs::Programs;
use kv_bench::redis::{self, Redis};
use kv_bench::settings::Settings;

const NODES: usize = 4;

/// One move.
#[derive(Clone, Copy)]
struct Moved {
    keys: f64,
    seconds: f64,
}

impl Moved {
    fn rate(self) -> f64 {
        self.keys / self.seconds
    }
}

pub(crate) async fn run(settings: &Settings, programs: &Programs) -> anyhow::Result<String> {
    let mut fleet = Fleet::start(programs, NODES, 1).await?;
    fleet.import(keys(settings.keys)).await?;
    let mut redis = None;
    if redis::is_installed() {
        let mut masters = Redis::start(NODES).await?;
        masters.load(keys(settings.keys), VALUE_BYTES).await?;
        let number = masters.add().await?;
        redis = Some((masters, number));
    } else {
        println!("skipped: Redis is not installed (redis-server, redis-cli); ours runs alone\n");
    }
    let (mut ours, mut ours_mover, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        if let Some((masters, number)) = &redis {
            let seconds = masters.rebalance().await?.as_secs_f64();
            theirs.push(Moved { keys: masters.keys(*number).await? as f64, seconds });
            masters.empty(*number).await?;
        }
        fleet.start_node(NODES, 1).await?;
        let done = fleet.add().await?;
        let moved = done.number("keys")?;
        ours.push(Moved { keys: moved, seconds: done.took.as_secs_f64() });
        ours_mover.push(Moved { keys: moved, seconds: done.number("seconds")? });
        fleet.remove(NODES).await?;
    }
    let mut rows = Vec::new();
    let (rate, row) = summary("kvclient add-node, as a command", &ours);
    rows.push(row);
    rows.push(summary("  of which the mover's own time", &ours_mover).1);
    let mut notes = format!(
        "{} keys with values of {VALUE_BYTES} bytes; {NODES} nodes become {}; the medians of {} rounds \
         that take turns",
        grouped(settings.keys as f64),
        NODES + 1,
        settings.rounds
    );
    if let Some((masters, _)) = &redis {
        let (redis_rate, row) = summary("redis-cli --cluster rebalance", &theirs);
        rows.push(row);
        let described = masters.describe().await?;
        notes.push_str(&format!(
            "\nratio: {:.2} times Redis's rate\nRedis {}, as it is without a configuration file: {}; \
             ours: every acknowledged write is synced to the disk",
            rate / redis_rate,
            described.version,
            described.persistence,
        ));
    }
    let header = ["", "keys moved", "seconds", "keys/s", "keys/s of all rounds"];
    Ok(format!("{}\n\n{notes}", table("Speed", &header, &rows)))
}

/// The median rate of some moves, and the row of the table that tells of them.
fn summary(name: &str, moves: &[Moved]) -> (f64, Vec<String>) {
    let of = |number: fn(&Moved) -> f64| median(&moves.iter().map(number).collect::<Vec<_>>());
    let rate = of(|it| it.rate());
    let all: Vec<String> = moves.iter().map(|it| grouped(it.rate())).collect();
    let row = vec![
        name.to_owned(),
        grouped(of(|it| it.keys)),
        format!("{:.2}", of(|it| it.seconds)),
        grouped(rate),
        all.join(" "),
    ];
    (rate, row)
}
