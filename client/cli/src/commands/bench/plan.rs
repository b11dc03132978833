//! The command's options, checked.

use std::time::Duration;

use kv_core::limits::KEY_BYTES_MAX;

use super::arguments::{Bench, Distribution, KEYS_MAX};
use super::chooser::Chooser;
use super::records::{KEY_DIGITS, Keys};
use super::workload::Workload;
use crate::option_value::Seconds;

/// The most operations that all workers together have under way.
const IN_FLIGHT_MAX: u64 = 65_536;
/// How long is measured where nothing else is asked for.
const DURATION_DEFAULT: Duration = Duration::from_secs(10);
/// How long a time that is measured is warmed up for where nothing else is asked for: connections are made then, and
/// caches filled. A number of operations is carried out as it was asked for, and no more.
const WARM_UP_DEFAULT: Duration = Duration::from_secs(1);

const _: () = assert!(KEYS_MAX * 2 <= 10_u64.pow(KEY_DIGITS as u32));

/// How long is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Extent {
    Operations(u64),
    Duration(Duration),
}

/// A benchmark whose parts fit together.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    pub(crate) records: u64,
    pub(crate) keys: Keys,
    pub(crate) value_bytes: usize,
    pub(crate) threads: usize,
    pub(crate) depth: usize,
    pub(crate) extent: Extent,
    /// Operations per second; `None` if each waits for the one before.
    pub(crate) rate: Option<u64>,
    pub(crate) warm_up: Duration,
    pub(crate) seed: u64,
    pub(crate) loads: bool,
    distribution: Distribution,
}

impl Plan {
    /// # Errors
    /// What contradicts itself in the arguments, for a person.
    pub(crate) fn new(arguments: Bench) -> Result<Self, String> {
        let Bench { workload, keys, threads, depth, .. } = arguments;
        let in_flight = threads * depth;
        if in_flight > IN_FLIGHT_MAX {
            return Err(format!(
                "--threads {threads} with --depth {depth} each are {in_flight} operations under \
                 way: expected at most {IN_FLIGHT_MAX}"
            ));
        }
        let key_bytes = arguments.prefix.len() + KEY_DIGITS;
        if key_bytes > KEY_BYTES_MAX {
            return Err(format!(
                "--prefix makes keys of {key_bytes} bytes: expected at most {KEY_BYTES_MAX}"
            ));
        }
        if workload == Workload::D && arguments.distribution == Some(Distribution::Uniform) {
            return Err("workload d reads the latest records: leave --distribution out".into());
        }
        let plain = matches!(workload, Workload::Put | Workload::Get);
        let usual = if plain { Distribution::Uniform } else { Distribution::Zipfian };
        let duration = arguments.duration.map_or(DURATION_DEFAULT, |Seconds(time)| time);
        let extent = arguments.operations.map_or(Extent::Duration(duration), Extent::Operations);
        let usual_warm_up = match extent {
            Extent::Duration(_) => WARM_UP_DEFAULT,
            Extent::Operations(_) => Duration::ZERO,
        };
        // All these were parsed within limits that every `usize` holds.
        Ok(Self {
            workload,
            records: keys,
            keys: Keys { prefix: arguments.prefix },
            value_bytes: arguments.value_size as usize,
            threads: threads as usize,
            depth: depth as usize,
            extent,
            rate: arguments.rate,
            warm_up: arguments.warm_up.map_or(usual_warm_up, |Seconds(time)| time),
            seed: arguments.seed,
            loads: !arguments.no_load,
            distribution: arguments.distribution.unwrap_or(usual),
        })
    }

    /// What draws the records.
    pub(crate) fn chooser(&self) -> Chooser {
        match (self.workload, self.distribution) {
            (Workload::D, _) => Chooser::latest(self.records),
            (_, Distribution::Zipfian) => Chooser::scrambled(self.records),
            (_, Distribution::Uniform) => Chooser::uniform(self.records),
        }
    }

    /// How the records are drawn, in a word.
    pub(crate) fn distribution(&self) -> &'static str {
        match (self.workload, self.distribution) {
            (Workload::D, _) => "latest",
            (_, Distribution::Zipfian) => "zipfian",
            (_, Distribution::Uniform) => "uniform",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Bench,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("bench").chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        Plan::new(line.arguments)
    }

    #[test]
    fn what_is_not_said_is_usual() {
        let plan = plan("--workload get").unwrap();
        assert_eq!((plan.records, plan.value_bytes), (100_000, 100));
        assert_eq!((plan.threads, plan.depth, plan.loads), (1, 16, true));
        assert_eq!(plan.extent, Extent::Duration(DURATION_DEFAULT));
        assert_eq!((plan.keys.prefix.as_str(), plan.distribution()), ("bench-", "uniform"));
        assert_eq!((plan.rate, plan.warm_up), (None, WARM_UP_DEFAULT));
    }

    #[test]
    fn a_number_of_operations_is_not_exceeded_by_a_warm_up() {
        let warm_up = |line| plan(line).unwrap().warm_up;
        assert_eq!(warm_up("--workload put --operations 5"), Duration::ZERO);
        assert_eq!(warm_up("--workload put --operations 5 --warm-up 2"), Duration::from_secs(2));
        assert_eq!(warm_up("--workload put --duration 5"), WARM_UP_DEFAULT);
    }

    #[test]
    fn each_workload_has_its_distribution() {
        for (line, expected) in [
            ("put", "uniform"),
            ("get", "uniform"),
            ("get --distribution zipfian", "zipfian"),
            ("a", "zipfian"),
            ("b --distribution uniform", "uniform"),
            ("c", "zipfian"),
            ("d", "latest"),
            ("d --distribution zipfian", "latest"),
            ("f", "zipfian"),
        ] {
            let plan = plan(&format!("--workload {line}")).unwrap();
            assert_eq!(plan.distribution(), expected, "{line}");
        }
    }

    #[test]
    fn loading_is_what_was_said_last() {
        for (line, loads) in [("--load", true), ("--no-load", false), ("--load --no-load", false)] {
            assert_eq!(plan(&format!("--workload c {line}")).unwrap().loads, loads, "{line}");
        }
    }

    #[test]
    fn limits_are_kept() {
        plan("--workload get --threads 1024 --depth 64").unwrap();
        assert_eq!(plan("--workload get --warm-up 0").unwrap().warm_up, Duration::ZERO);
        plan(&format!("--workload get --prefix {}", "k".repeat(1014))).unwrap();
        assert_eq!(plan("--workload get --rate 10000000").unwrap().rate, Some(10_000_000));
        for (line, word) in [
            ("--workload get --threads 1024 --depth 65", "65536"),
            (&format!("--workload get --prefix {}", "k".repeat(1015)), "1024"),
            ("--workload d --distribution uniform", "latest"),
            ("--workload e", "possible values"),
            ("--workload get --keys 0", "--keys"),
            ("--workload get --keys 5000000001", "--keys"),
            ("--workload get --threads 0", "--threads"),
            ("--workload get --threads 1025", "--threads"),
            ("--workload get --depth 0", "--depth"),
            ("--workload get --depth 65537", "--depth"),
            ("--workload get --value-size 33554433", "--value-size"),
            ("--workload get --operations 0", "--operations"),
            ("--workload get --operations 1 --duration 1", "cannot be used with"),
            ("--workload get --duration 0", "--duration"),
            ("--workload get --warm-up=-1", "--warm-up"),
            ("--workload get --rate 0", "--rate"),
            ("--workload get --rate 0.5", "--rate"),
            ("--workload get --rate=-1", "--rate"),
            ("--workload get --rate 10000001", "--rate"),
        ] {
            let problem = plan(line).unwrap_err();
            assert!(problem.contains(word), "{line}: {problem}");
        }
    }
}
