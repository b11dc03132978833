//! How far a long command is: a bar on a terminal, and a summary at the end.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use kv_system::resources;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{self, Format};

/// How often the bar is drawn while nothing comes.
const TICK: Duration = Duration::from_millis(200);

/// A line that is drawn again and again from `template`, on standard error and only where that is a
/// terminal. `total` is how far it goes where that is known.
pub(crate) fn ticking(template: &str, total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let bar = match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    // It takes a thread, and panics if the system gives none; the bar can do without.
    if !bar.is_hidden() && resources::threads(1).is_ok() {
        bar.enable_steady_tick(TICK);
    }
    bar
}

/// How far a command is.
pub(crate) struct Progress {
    /// Draws on standard error, and only where that is a terminal.
    bar: ProgressBar,
    began: Instant,
    records: u64,
    bytes: u64,
}

/// What a command did.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// How many records.
    pub(crate) records: u64,
    /// The bytes of their lines.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) seconds: f64,
}

impl Progress {
    /// Begins. `bytes_total` is the size of the whole where it is known.
    pub(crate) fn begin(bytes_total: Option<u64>) -> Self {
        let template = match bytes_total {
            Some(_) => "{wide_bar} {bytes}/{total_bytes} {msg} records, {eta} left",
            None => "{spinner} {bytes} {msg} records, {elapsed}",
        };
        let bar = ticking(template, bytes_total);
        Self { bar, began: Instant::now(), records: 0, bytes: 0 }
    }

    /// Counts what has been done.
    pub(crate) fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        self.bar.set_message(self.records.to_string());
        self.bar.set_position(self.bytes);
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Takes the bar away, and gives the summary.
    pub(crate) fn end(self) -> Summary {
        self.bar.finish_and_clear();
        let seconds = self.began.elapsed().as_secs_f64();
        Summary { records: self.records, bytes: self.bytes, seconds }
    }
}

impl Summary {
    /// Tells a person on standard error, or a program on standard output, unless the data is there.
    pub(crate) fn tell(
        &self,
        done: &str,
        format: Format,
        data_is_out: bool,
    ) -> Result<(), Failure> {
        if format == Format::Json && !data_is_out {
            return output::json(self);
        }
        let Self { records, bytes, seconds } = self;
        let bytes = HumanBytes(*bytes);
        output::note(&format!("{done} {records} records ({bytes}) in {seconds:.1} s"));
        Ok(())
    }
}
