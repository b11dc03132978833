//! What is to be measured.

use std::path::PathBuf;
use std::time::Duration;

/// How the program is used.
pub(crate) const USAGE: &str = "\
usage: cargo bench -p kv-tests --bench rebalance [-- [OPTIONS] [BENCHMARK...]]

benchmarks (all of them where none is named): speed, foreground, growth, movement

options:
  --keys N      keys that speed moves a fifth of [default: 400000]
  --rounds N    how often speed and growth measure, alternating [default: 3]
  --stored N    the larger number of keys that growth stores; the smaller is a tenth [default: 2000000]
  --seconds N   how long foreground measures each state [default: 10]
  --programs D  measure kvnode and kvclient of the folder D instead of building them, to compare";

/// One of the things that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Benchmark {
    Speed,
    Foreground,
    Growth,
    Movement,
}

/// What is to be measured, and how long.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) benchmarks: Vec<Benchmark>,
    /// The keys of `speed`.
    pub(crate) keys: usize,
    /// The rounds of `speed` and `growth`.
    pub(crate) rounds: usize,
    /// The larger number of keys of `growth`.
    pub(crate) stored: usize,
    /// How long `foreground` measures one state.
    pub(crate) measured_for: Duration,
    /// Where the programs under test are; none where they are to be built.
    pub(crate) programs: Option<PathBuf>,
}

impl Settings {
    /// Reads the command line; none where it asks for help.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn from_args(
        mut args: impl Iterator<Item = String>,
    ) -> Result<Option<Self>, String> {
        let mut settings = Self {
            benchmarks: Vec::new(),
            keys: 400_000,
            rounds: 3,
            stored: 2_000_000,
            measured_for: Duration::from_secs(10),
            programs: None,
        };
        while let Some(arg) = args.next() {
            let mut number = || {
                let value = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
                let number = value.parse::<usize>().ok().filter(|it| *it > 0);
                number.ok_or_else(|| format!("{arg} {value}: expected a number above 0"))
            };
            match arg.as_str() {
                "--help" | "-h" => return Ok(None),
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--keys" => settings.keys = number()?,
                "--rounds" => settings.rounds = number()?,
                "--stored" => settings.stored = number()?,
                "--seconds" => settings.measured_for = Duration::from_secs(number()? as u64),
                "--programs" => {
                    let folder = args.next().ok_or("--programs needs a folder")?;
                    settings.programs = Some(folder.into());
                }
                "speed" => settings.benchmarks.push(Benchmark::Speed),
                "foreground" => settings.benchmarks.push(Benchmark::Foreground),
                "growth" => settings.benchmarks.push(Benchmark::Growth),
                "movement" => settings.benchmarks.push(Benchmark::Movement),
                other => return Err(format!("{other:?} is neither a benchmark nor an option")),
            }
        }
        if settings.benchmarks.is_empty() {
            settings.benchmarks = vec![
                Benchmark::Speed,
                Benchmark::Foreground,
                Benchmark::Growth,
                Benchmark::Movement,
            ];
        }
        Ok(Some(settings))
    }
}
