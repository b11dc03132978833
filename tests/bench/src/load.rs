//! One run of `kvclient bench`.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::fleet::VALUE_BYTES;

/// What precedes the number, of ten digits, in a key's name. The keys are thereby those of Redis's
/// load generator.
pub const KEY_PREFIX: &str = "key:00";

/// How many clients there are where nothing else is to be shown.
pub const CLIENTS: usize = 50;
/// How many operations each of them has under way then.
pub const DEPTH: usize = 16;

/// By how many seconds a run may be shorter than it was to be, since its last operation ended before.
const SECONDS_SHORT_MAX: f64 = 0.1;

/// How long a run lasts.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// Until so many operations are done.
    Operations(usize),
    /// Until so much time has passed.
    Elapsed(Duration),
}

/// What `kvclient bench` is to do.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// As the command knows it.
    pub workload: &'a str,
    /// How many keys it draws from.
    pub keys: usize,
    /// The length of the values.
    pub value_bytes: usize,
    /// How many clients there are.
    pub clients: usize,
    /// How many operations each of them has under way.
    pub depth: usize,
    /// How long it lasts.
    pub until: Until,
    /// How the keys are drawn; `None` for what the command takes for this workload.
    pub distribution: Option<&'a str>,
    /// Operations per second, from whose due times latencies count; `None` if each follows on the one before.
    pub rate: Option<usize>,
    /// Whether the keys are stored first.
    pub loads: bool,
}

/// What `kvclient bench` has measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Operations per second.
    pub throughput: f64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// What all but a hundredth of the operations took at most, in microseconds.
    pub p99_us: f64,
    /// The fewest operations that ended within one of the whole seconds; `None` where there is none.
    pub slowest_second: Option<f64>,
    /// Whether the rate was held, where one was asked for.
    pub is_held: Option<bool>,
    /// Keys stored per second before the measurement, where it stored them.
    pub load_throughput: Option<f64>,
}

impl Load<'_> {
    /// What stores the keys, and next to nothing else.
    pub fn storing(keys: usize, value_bytes: usize) -> Self {
        Self {
            workload: "get",
            keys,
            value_bytes,
            clients: CLIENTS,
            depth: DEPTH,
            until: Until::Operations(1),
            distribution: None,
            rate: None,
            loads: true,
        }
    }

    /// What writes `operations` times to `keys` that are there.
    pub fn overwriting(keys: usize, operations: usize) -> Self {
        Self {
            workload: "put",
            until: Until::Operations(operations),
            loads: false,
            ..Self::storing(keys, VALUE_BYTES)
        }
    }

    /// The command line.
    pub fn arguments(&self) -> Vec<String> {
        let (amount, number) = match self.until {
            Until::Operations(operations) => ("--operations", operations.to_string()),
            Until::Elapsed(time) => ("--duration", time.as_secs_f64().to_string()),
        };
        let mut arguments = vec!["bench".to_owned(), amount.to_owned(), number];
        let options = [
            ("--workload", self.workload.to_owned()),
            ("--keys", self.keys.to_string()),
            ("--value-size", self.value_bytes.to_string()),
            ("--threads", self.clients.to_string()),
            ("--depth", self.depth.to_string()),
            ("--prefix", KEY_PREFIX.to_owned()),
        ];
        arguments.extend(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        if let Some(distribution) = self.distribution {
            arguments.extend(["--distribution".to_owned(), distribution.to_owned()]);
        }
        if let Some(rate) = self.rate {
            arguments.extend(["--rate".to_owned(), rate.to_string()]);
        }
        arguments.push(if self.loads { "--load" } else { "--no-load" }.to_owned());
        arguments
    }
}

/// The fewest operations that ended within one of the whole seconds, of so many seconds.
fn slowest_second(json: &Value, seconds: f64) -> Option<f64> {
    let over_time = json["over_time"].as_array()?;
    // The last operation may end a little before the time does. Seconds without any at the end are not listed.
    let whole = (seconds + SECONDS_SHORT_MAX) as usize;
    let of =
        |second: usize| over_time.get(second).map_or(Some(0.0), |it| it["operations"].as_f64());
    (0..whole).map(of).collect::<Option<Vec<_>>>()?.into_iter().min_by(f64::total_cmp)
}

impl Measured {
    /// Reads what the command has printed as JSON.
    pub fn read(json: &Value) -> anyhow::Result<Self> {
        let number = |at: &Value, name: &str| {
            at[name].as_f64().with_context(|| format!("no number {name:?} in {json}"))
        };
        for trouble in ["errors", "not_found"] {
            anyhow::ensure!(number(json, trouble)? == 0.0, "{trouble}: {json}");
        }
        Ok(Self {
            throughput: number(json, "throughput")?,
            p50_us: number(&json["latency_us"], "p50")?,
            p99_us: number(&json["latency_us"], "p99")?,
            slowest_second: slowest_second(json, number(json, "seconds")?),
            is_held: json["rate"]["held"].as_bool(),
            load_throughput: json["load"]["throughput"].as_f64(),
        })
    }
}
