//! Measurements, one by one: as progress, and as lines of JSON.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use crate::figures::grouped;

/// What a measurement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// How often something is done in a second.
    PerSecond,
    /// A time in microseconds.
    Microseconds,
    /// A time in seconds.
    Seconds,
    /// Bytes, shown in MiB.
    Bytes,
    /// Bytes for each of something.
    BytesEach,
    /// How many times another figure.
    Times,
}

impl Unit {
    /// A measurement for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", grouped(value)),
            Self::Microseconds => format!("{} us", grouped(value)),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
            Self::BytesEach => format!("{} B", grouped(value)),
            Self::Times => format!("{value:.2}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "1/s",
            Self::Microseconds => "us",
            Self::Seconds => "s",
            Self::Bytes | Self::BytesEach => "B",
            Self::Times => "1",
        }
    }
}

/// Where every measurement is told.
#[derive(Debug)]
pub struct Journal {
    file: Option<File>,
}

impl Journal {
    /// One that also writes to the file at `path`, where there is one.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let create =
            |path: &Path| File::create(path).with_context(|| format!("{}", path.display()));
        Ok(Self { file: path.map(create).transpose()? })
    }

    /// Tells one measurement: the operations, and the program that carried them out.
    pub fn tell(&mut self, work: &str, who: &str, value: f64, unit: Unit) -> anyhow::Result<()> {
        eprintln!("{work}: {who}: {}", unit.show(value));
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = json!({ "work": work, "who": who, "value": value, "unit": unit.name() });
        writeln!(file, "{line}").context("the measurements cannot be written")
    }
}
