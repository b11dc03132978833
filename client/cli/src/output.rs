//! Where words go: data to standard output, everything else to standard error.
//!
//! Text for people has been made [`visible`] here, wherever it comes from. Words that cannot be written never
//! end the program: nothing here panics, and only data is worth a failure.

use std::borrow::Cow;
use std::io::{self, IsTerminal, StdoutLock, Write};

use clap::ValueEnum;
use kv_system::streams;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::visible;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: JSON objects, errors too.
    Json,
}

/// Logs to standard error: what `RUST_LOG` asks for, or else warnings, and more where it is verbose.
pub(crate) fn log(verbose: bool) {
    let usual = if verbose { "warn,kvclient=debug,kv_protocol=debug" } else { "warn" };
    let asked = std::env::var("RUST_LOG").ok().filter(|directives| !directives.is_empty());
    // Its constructors that take what they understand say the rest by a macro that panics.
    let filter = EnvFilter::builder().parse(asked.as_deref().unwrap_or(usual));
    let filter = filter.unwrap_or_else(|error| {
        note(&format!("RUST_LOG is not understood, and ignored: {error}"));
        EnvFilter::builder().parse_lossy(usual)
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Log)
        // Colours are control characters too, which could not be told from those of others.
        .with_ansi(false)
        .log_internal_errors(false)
        .with_target(false)
        .init();
}

/// Takes the lines of the log, each as a whole. It never fails.
struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        note(&visible::line(String::from_utf8_lossy(line).trim_end()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes text for people.
pub(crate) fn data(text: &[u8]) -> Result<(), Failure> {
    raw(visible::bytes(text).as_bytes())
}

/// Writes bytes as they are, whatever they do to a terminal.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = stdout()?;
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(not_written)
}

/// Standard output, for data that is written in parts.
///
/// # Errors
/// The process was started without one, so that its data would be lost without a word.
pub(crate) fn stdout() -> Result<StdoutLock<'static>, Failure> {
    match streams::can_write_stdout() {
        true => Ok(io::stdout().lock()),
        false => Err(not_written(io::Error::other("it is not open for writing"))),
    }
}

/// Writes an object of JSON as a line of data.
pub(crate) fn json(object: &impl Serialize) -> Result<(), Failure> {
    let mut line = Vec::new();
    let written = match is_terminal() {
        true => visible::json(&mut line, object),
        false => serde_json::to_writer(&mut line, object),
    };
    written.map_err(|error| not_written(error.into()))?;
    line.push(b'\n');
    raw(&line)
}

/// Says something that is not data, in one line: a line of its own could be imitated by what a node or any
/// process that can write to Consul has put into an id, an address or a message.
pub(crate) fn note(text: &str) {
    let text = visible::line(text);
    // In one go, so that lines of several programs do not mix. With standard error closed, there is no place
    // to say so.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Whether data goes to a person.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

pub(crate) fn not_written(error: io::Error) -> Failure {
    Failure::local("standard output cannot be written", error)
}

/// A table of texts, with its columns aligned. All but the first column are aligned to the right
/// where `numbers` says so.
pub(crate) fn table(header: &[&str], numbers: &[bool], rows: &[Vec<String>]) -> String {
    let columns = header.len();
    let header = header.iter().copied().map(Cow::Borrowed).collect();
    let rows = rows.iter().map(|row| row.iter().map(|cell| visible::line(cell)).collect());
    let lines: Vec<Vec<Cow<'_, str>>> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for cells in lines {
        let mut line = String::new();
        for ((cell, width), number) in cells.iter().zip(&widths).zip(numbers) {
            let cell =
                if *number { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
            line.push_str(&cell);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".into(), "10".into()], vec!["node-10".into(), "7".into()]];
        let expected = "NODE     KEYS\na          10\nnode-10     7\n";
        assert_eq!(table(&["NODE", "KEYS"], &[false, true], &rows), expected);
    }

    #[test]
    fn a_cell_stays_in_its_line() {
        let rows = [vec!["a\nb\u{1b}[2J".into()]];
        assert_eq!(table(&["NODE"], &[false], &rows), "NODE\na\\nb\\u{1b}[2J\n");
    }
}
